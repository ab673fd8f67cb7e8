//! Where this process runs.

use serde::{Deserialize, Deserializer, Serialize};

use crate::document::{self, Document, Raw};
use crate::error::Error;

/// Where the caller runs, for the strategy geographic: its own zone comes first, then its region.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Locality {
    zone: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    region: Option<String>,
}

impl Locality {
    /// This zone, of no known region.
    ///
    /// # Errors
    ///
    /// `Validation` when it is not 1 to 63 printable characters.
    pub fn zone_of(zone: impl Into<String>) -> Result<Self, Error> {
        Ok(Self { zone: checked("zone", zone.into())?, region: None })
    }

    /// This zone of this region.
    ///
    /// # Errors
    ///
    /// As [`zone_of`](Self::zone_of).
    pub fn new(region: impl Into<String>, zone: impl Into<String>) -> Result<Self, Error> {
        let region = Some(checked("region", region.into())?);
        Ok(Self { region, ..Self::zone_of(zone)? })
    }

    /// The zone.
    pub fn zone(&self) -> &str {
        &self.zone
    }

    /// The region, if it is known.
    pub fn region(&self) -> Option<&str> {
        self.region.as_deref()
    }

    pub(super) fn from_raw(raw: Raw) -> Result<Self, Error> {
        let mut fields = Document::open(raw, SECTION, "locality", &["region", "zone"])?;
        let (region, zone) = (fields.text("region")?, fields.text("zone")?);
        let zone = checked("zone", zone.unwrap_or_default())?;
        let region = region.filter(|region| !region.is_empty());
        Ok(Self { zone, region: region.map(|region| checked("region", region)).transpose()? })
    }
}

impl<'de> Deserialize<'de> for Locality {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        document::deserialize(deserializer, Self::from_raw)
    }
}

fn checked(name: &str, value: String) -> Result<String, Error> {
    let good = (1..=63).contains(&value.len()) && !value.chars().any(char::is_control);
    if good {
        Ok(value)
    } else {
        Err(Error::invalid(&document::path(SECTION, name), &value, "1 to 63 printable characters"))
    }
}

const SECTION: &str = "locality";
