//! The locality of this process.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize};

use crate::codec::document;
use crate::codec::document::{Document, Raw};
use crate::codec::range;
use crate::config::defaults;
use crate::error::Error;

/// The locality of the caller, for the strategy geographic.
///
/// The caller's own zone comes first, then its region. With
/// [`zone_weights`](Self::with_zone_weights), calls are spread over the zones instead.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Locality {
    zone: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    region: Option<String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    zone_weights: BTreeMap<String, u32>,
}

impl Locality {
    /// Creates a locality with this zone and no known region.
    ///
    /// # Errors
    ///
    /// Returns `Validation` if the zone is not 1 to 63 printable characters.
    pub fn zone_of(zone: impl Into<String>) -> Result<Self, Error> {
        Ok(Self { zone: checked("zone", zone.into())?, region: None, zone_weights: BTreeMap::new() })
    }

    /// Creates a locality with this zone of this region.
    ///
    /// # Errors
    ///
    /// See [`zone_of`](Self::zone_of).
    pub fn new(region: impl Into<String>, zone: impl Into<String>) -> Result<Self, Error> {
        let region = Some(checked("region", region.into())?);
        Ok(Self { region, ..Self::zone_of(zone)? })
    }

    /// Spreads calls over the zones by these weights, 0 to 65 535.
    ///
    /// Replaces the preference for the nearest zone, like Envoy's locality weights. With fewer than
    /// five of seven endpoints available, a zone's weight shrinks in proportion. Zones that are not
    /// named, and endpoints without a zone, receive calls only if no named zone has an available
    /// endpoint.
    ///
    /// # Errors
    ///
    /// Returns `Validation` for an invalid name or weight, and for more than 64 zones.
    pub fn with_zone_weights<Z: Into<String>>(
        self,
        weights: impl IntoIterator<Item = (Z, u32)>,
    ) -> Result<Self, Error> {
        let weights = weights.into_iter().map(|(zone, weight)| (zone.into(), weight));
        let mut zone_weights = BTreeMap::new();
        for (zone, weight) in weights {
            let field = format!("{}.{zone}", document::path(SECTION, WEIGHTS));
            let zone = checked(WEIGHTS, zone)?;
            zone_weights.insert(zone, range::whole(&field, weight, &defaults::ZONE_WEIGHT_RANGE)?);
        }
        if zone_weights.len() > defaults::MAX_ZONES {
            let most = format!("at most {} zones", defaults::MAX_ZONES);
            return Err(Error::invalid(&document::path(SECTION, WEIGHTS), zone_weights.len(), &most));
        }
        Ok(Self { zone_weights, ..self })
    }

    /// Returns the weights of the zones; empty if the nearest zone comes first.
    pub fn zone_weights(&self) -> &BTreeMap<String, u32> {
        &self.zone_weights
    }

    /// Returns the zone.
    pub fn zone(&self) -> &str {
        &self.zone
    }

    /// Returns the region, if it is known.
    pub fn region(&self) -> Option<&str> {
        self.region.as_deref()
    }

    pub(super) fn from_raw(raw: Raw) -> Result<Self, Error> {
        let mut fields = Document::open(raw, SECTION, "locality", &["region", "zone", WEIGHTS])?;
        let (region, zone) = (fields.text("region")?, fields.text("zone")?);
        let zone = checked("zone", zone.unwrap_or_default())?;
        let region = region.filter(|region| !region.is_empty());
        let region = region.map(|region| checked("region", region)).transpose()?;
        let mut weights = BTreeMap::new();
        for (zone, weight) in fields.object(WEIGHTS)? {
            let field = format!("{}.{zone}", document::path(SECTION, WEIGHTS));
            weights.insert(zone, document::whole(&field, &weight, &defaults::ZONE_WEIGHT_RANGE)?);
        }
        Self { zone, region, zone_weights: BTreeMap::new() }.with_zone_weights(weights)
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
const WEIGHTS: &str = "zone_weights";
