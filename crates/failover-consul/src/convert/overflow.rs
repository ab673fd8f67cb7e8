//! Fields that Consul has no place for: one JSON document split into pieces.

use std::collections::BTreeMap;

use failover_core::{Error, ErrorKind, HealthCheck};
use serde::{Deserialize, Serialize};

/// The maximum length of a metadata value, in bytes.
pub(super) const MAX_VALUE: usize = 512;

const PIECE: &str = "fo-x";

#[derive(Debug, Default, PartialEq, Serialize)]
pub(super) struct Overflow {
    #[serde(rename = "md", skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) metadata: BTreeMap<String, String>,
    #[serde(rename = "hc", skip_serializing_if = "Option::is_none")]
    pub(super) health_check: Option<HealthCheck>,
}

/// Parsed separately, so that an unknown health check of a newer version does not affect the
/// metadata.
#[derive(Deserialize)]
struct Document {
    #[serde(default)]
    md: BTreeMap<String, String>,
    #[serde(default)]
    hc: Option<serde_json::Value>,
}

impl Overflow {
    /// Returns the document as metadata pairs, each value at most 512 bytes; none if it is empty.
    pub(super) fn pieces(&self) -> Result<Vec<(String, String)>, Error> {
        if *self == Self::default() {
            return Ok(Vec::new());
        }
        let text = serde_json::to_string(self).map_err(|error| {
            Error::new(ErrorKind::Internal, format!("the rest of an endpoint as JSON: {error}"))
        })?;
        let mut pieces = Vec::new();
        let mut rest = text.as_str();
        while !rest.is_empty() {
            let mut end = rest.len().min(MAX_VALUE);
            while !rest.is_char_boundary(end) {
                end -= 1;
            }
            let (piece, left) = rest.split_at(end);
            pieces.push((format!("{PIECE}{:02}", pieces.len()), piece.to_owned()));
            rest = left;
        }
        Ok(pieces)
    }

    /// Parses the pieces. An unreadable document counts as empty; the other fields stay valid.
    pub(super) fn read<'a>(get: &impl Fn(&str) -> Option<&'a str>) -> Self {
        let text: String = (0..100).map_while(|number| get(&format!("{PIECE}{number:02}"))).collect();
        let Ok(document) = serde_json::from_str::<Document>(&text) else { return Self::default() };
        let health_check = document.hc.and_then(|check| serde_json::from_value(check).ok());
        Self { metadata: document.md, health_check }
    }
}
