//! Treatment of an empty answer of a registry.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::codec::document;
use crate::codec::document::{Document, Raw};
use crate::codec::{duration, range};
use crate::config::defaults;
use crate::error::Error;

/// How to treat an unconfirmed answer that a service has no endpoints.
///
/// In JSON it is `"trust"` or `{"hold": "5m"}`. Default: hold for 5 min.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum EmptyPolicy {
    /// Applies the empty answer at once.
    Trust,
    /// Keeps the previous endpoints for this time, 1 ms to 7 days, or until an answer that is not
    /// empty.
    Hold(Duration),
}

impl EmptyPolicy {
    pub(super) fn check(self) -> Result<Self, Error> {
        if let Self::Hold(time) = self {
            range::duration(HOLD, time, &defaults::EMPTY_HOLD_RANGE)?;
        }
        Ok(self)
    }

    pub(super) fn from_raw(raw: Raw) -> Result<Self, Error> {
        match raw {
            Raw::Text(word) if word == TRUST => Ok(Self::Trust),
            Raw::Text(word) if word.is_empty() => Ok(Self::default()),
            Raw::Object(fields) => Self::from_fields(fields),
            other => Err(Error::invalid(FIELD, other, "\"trust\" or {\"hold\": \"5m\"}")),
        }
    }

    fn from_fields(fields: BTreeMap<String, Raw>) -> Result<Self, Error> {
        let mut fields = Document::open(Raw::Object(fields), FIELD, "empty policy", &["hold"])?;
        let hold = fields.duration("hold", &defaults::EMPTY_HOLD_RANGE)?;
        Ok(hold.map_or_else(Self::default, Self::Hold))
    }
}

impl Default for EmptyPolicy {
    fn default() -> Self {
        Self::Hold(defaults::EMPTY_HOLD)
    }
}

impl Serialize for EmptyPolicy {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Trust => serializer.serialize_str(TRUST),
            Self::Hold(time) => {
                let mut map = serializer.serialize_map(Some(1))?;
                map.serialize_entry("hold", &duration::format(*time))?;
                map.end()
            }
        }
    }
}

impl<'de> Deserialize<'de> for EmptyPolicy {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        document::deserialize(deserializer, Self::from_raw)
    }
}

const FIELD: &str = "empty_policy";
const HOLD: &str = "empty_policy.hold";
const TRUST: &str = "trust";
