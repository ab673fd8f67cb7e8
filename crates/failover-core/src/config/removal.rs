//! Treatment of an answer that removes many endpoints at once.

use std::time::Duration;

use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::codec::document;
use crate::codec::document::{Document, Raw};
use crate::codec::{duration, range};
use crate::config::defaults;
use crate::error::Error;

/// How to treat an answer that lacks many of the previously listed endpoints.
///
/// Such an answer can be a deployment, or a registry that has lost data.
///
/// In JSON it is `"off"` or `{"share": 0.5, "grace": "5m"}`. Default: off. Modelled on Eureka's
/// self-preservation.
#[derive(Clone, Copy, Debug, PartialEq, Default)]
#[non_exhaustive]
pub enum RemovalGuard {
    /// Removes the endpoints at once.
    #[default]
    Off,
    /// Retains the endpoints as a last resort: called only if no other is available.
    Keep {
        /// The minimum share of removed endpoints, above 0 to 1.
        share: f64,
        /// How long they are retained, 1 ms to 7 days.
        grace: Duration,
    },
}

impl RemovalGuard {
    pub(super) fn check(self) -> Result<Self, Error> {
        if let Self::Keep { share, grace } = self {
            range::number(SHARE, share, &defaults::REMOVAL_SHARE_RANGE)?;
            range::duration(GRACE, grace, &defaults::REMOVAL_GRACE_RANGE)?;
        }
        Ok(self)
    }

    pub(super) fn from_raw(raw: Raw) -> Result<Self, Error> {
        match raw {
            Raw::Text(word) if word == OFF || word.is_empty() => Ok(Self::Off),
            Raw::Object(_) => {
                let mut fields = Document::open(raw, FIELD, "removal guard", &["share", "grace"])?;
                let share = fields.number("share", &defaults::REMOVAL_SHARE_RANGE)?;
                let grace = fields.duration("grace", &defaults::REMOVAL_GRACE_RANGE)?;
                Ok(Self::Keep {
                    share: share.unwrap_or(defaults::REMOVAL_SHARE),
                    grace: grace.unwrap_or(defaults::REMOVAL_GRACE),
                })
            }
            other => Err(Error::invalid(FIELD, other, "\"off\" or {\"share\": 0.5, \"grace\": \"5m\"}")),
        }
    }
}

impl Serialize for RemovalGuard {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Off => serializer.serialize_str(OFF),
            Self::Keep { share, grace } => {
                let mut map = serializer.serialize_map(Some(2))?;
                map.serialize_entry("share", share)?;
                map.serialize_entry("grace", &duration::format(*grace))?;
                map.end()
            }
        }
    }
}

impl<'de> Deserialize<'de> for RemovalGuard {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        document::deserialize(deserializer, Self::from_raw)
    }
}

const FIELD: &str = "removal_guard";
const SHARE: &str = "removal_guard.share";
const GRACE: &str = "removal_guard.grace";
const OFF: &str = "off";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_read_and_written_in_both_forms() {
        let keep = RemovalGuard::Keep { share: 0.85, grace: Duration::from_secs(90) };
        for (json, expected) in [
            ("\"off\"", RemovalGuard::Off),
            ("\"\"", RemovalGuard::Off),
            (r#"{"share": 0.85, "grace": "1m30s"}"#, keep),
            ("{}", RemovalGuard::Keep { share: 0.5, grace: Duration::from_secs(300) }),
        ] {
            let read: RemovalGuard = serde_json::from_str(json).expect(json);
            assert_eq!(read, expected, "{json}");
            let written = serde_json::to_string(&read).expect("serialises");
            assert_eq!(serde_json::from_str::<RemovalGuard>(&written).expect("valid"), read);
        }
        for (json, message) in [
            ("\"on\"", "removal_guard: \"on\" is not allowed"),
            (r#"{"share": 1.5}"#, "removal_guard.share: 1.5 is not allowed"),
            (r#"{"grace": "8d"}"#, "removal_guard.grace: "),
            (r#"{"grce": "1s"}"#, "removal_guard.grce: unknown key; did you mean grace?"),
        ] {
            let error = serde_json::from_str::<RemovalGuard>(json).expect_err(json).to_string();
            assert!(error.starts_with(message), "{error}");
        }
        assert!(RemovalGuard::Keep { share: f64::NAN, grace: Duration::from_secs(1) }.check().is_err());
    }
}
