//! A configuration in a store that processes of several versions share.

use serde_json::Value;

use crate::codec::document;
use crate::codec::document::{Raw, unknown_key_of};
use crate::config::FailoverConfig;
use crate::config::layers::{Layer, layered};
use crate::error::{Error, ErrorKind};

/// The version of the document that this crate writes.
const VERSION: u32 = 1;
/// The maximum number of unknown keys in the document of a newer version.
const MAX_UNKNOWN: usize = 64;

/// A parsed document.
pub(crate) struct StoredDocument {
    /// The values that the document gives; the others are inherited.
    pub(crate) given: Raw,
    version: u32,
    /// The unknown keys of a newer version, kept when the document is written back.
    pub(crate) unknown: Vec<Unknown>,
}

/// A key that this version does not know.
#[derive(Debug, PartialEq)]
pub(crate) struct Unknown {
    section: String,
    key: String,
    value: Value,
}

impl Unknown {
    /// Returns its full name.
    pub(crate) fn name(&self) -> String {
        document::path(&self.section, &self.key)
    }
}

impl StoredDocument {
    /// Creates a document with the values that this configuration gives. It keeps the unknown keys of
    /// `previous`.
    pub(crate) fn replacing(previous: Option<Self>, config: &FailoverConfig) -> Self {
        let given = serde_json::from_value(config.given_document()).unwrap_or(Raw::Null);
        match previous {
            Some(previous) => Self { given, ..previous },
            None => Self { given, version: VERSION, unknown: Vec::new() },
        }
    }

    /// Reads a document that is valid on top of `base`. An unknown key is an error, unless the document
    /// is of a newer version.
    pub(crate) fn read(json: &str, base: &FailoverConfig) -> Result<Self, Error> {
        let raw = document::from_json(json, "the stored configuration")?;
        let Raw::Object(mut fields) = raw else {
            return Err(Error::invalid("the stored configuration", raw.kind(), "an object"));
        };
        let version = match fields.remove("v") {
            None | Some(Raw::Null) => VERSION,
            Some(raw) => document::whole("v", &raw, &(1..=u32::MAX))?,
        };
        let mut raw = Raw::Object(fields);
        let mut unknown = Vec::new();
        loop {
            let Err(error) = layered(base, &[Layer { origin: "", given: &raw }]) else {
                return Ok(Self { given: raw, version, unknown });
            };
            let Some((section, key)) = unknown_key_of(&error).filter(|_| version > VERSION) else {
                return Err(error);
            };
            if unknown.len() == MAX_UNKNOWN {
                let message =
                    format!("version {version} of the configuration has more than {MAX_UNKNOWN} new keys");
                return Err(Error::new(ErrorKind::Validation, message));
            }
            let Some(value) = inside(&mut raw, section).and_then(|fields| fields.remove(key)) else {
                return Err(error);
            };
            let value = value.into_json(&document::path(section, key))?;
            unknown.push(Unknown { section: section.to_owned(), key: key.to_owned(), value });
        }
    }

    /// Returns the document in its stored form.
    pub(crate) fn write(&self) -> String {
        let mut json = self.given.clone().into_json("").unwrap_or_default();
        json["v"] = self.version.into();
        for Unknown { section, key, value } in &self.unknown {
            let mut parts = section.split('.').filter(|part| !part.is_empty());
            // A section that is written as a word has no place for unknown keys.
            let empty = || Value::Object(serde_json::Map::new());
            let place = parts
                .try_fold(&mut json, |at, part| Some(at.as_object_mut()?.entry(part).or_insert_with(empty)));
            if let Some(fields) = place.and_then(Value::as_object_mut) {
                fields.insert(key.clone(), value.clone());
            }
        }
        json.to_string()
    }
}

/// Returns the fields of a section, by its full name.
fn inside<'a>(raw: &'a mut Raw, section: &str) -> Option<&'a mut std::collections::BTreeMap<String, Raw>> {
    let mut parts = section.split('.').filter(|part| !part.is_empty());
    let found = parts.try_fold(raw, |at, part| match at {
        Raw::Object(fields) => fields.get_mut(part),
        _ => None,
    })?;
    match found {
        Raw::Object(fields) => Some(fields),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> Result<StoredDocument, Error> {
        StoredDocument::read(json, &FailoverConfig::default())
    }

    fn config(document: &StoredDocument) -> FailoverConfig {
        FailoverConfig::from_raw(document.given.clone()).expect("valid")
    }

    #[test]
    fn what_a_newer_version_has_added_is_kept_reported_and_written_again() {
        let json = r#"{"v": 2, "max_retries": 5, "hedge": {"after": "5ms"}, "quorum": 3,
            "circuit_breaker": {"failure_threshold": 7, "mood": "calm"}}"#;
        let document = read(json).expect("read as far as it is known");
        assert_eq!(config(&document).max_retries(), 5);
        assert_eq!(config(&document).circuit_breaker().failure_threshold(), 7);
        let names: Vec<_> = document.unknown.iter().map(Unknown::name).collect();
        assert_eq!(names.len(), 3, "{names:?}");
        assert!(names.contains(&"circuit_breaker.mood".to_owned()), "{names:?}");

        let other = FailoverConfig::builder().max_retries(1).build().expect("valid");
        let written = StoredDocument::replacing(Some(document), &other).write();
        let value: Value = serde_json::from_str(&written).expect("JSON");
        assert_eq!(value["v"], 2);
        assert_eq!(value["hedge"]["after"], "5ms");
        assert_eq!(value["circuit_breaker"]["mood"], "calm");
        assert_eq!(config(&read(&written).expect("valid")), other);
    }

    #[test]
    fn of_its_own_version_a_key_that_is_not_known_is_an_error() {
        for json in [r#"{"max_retrys": 5}"#, r#"{"v": 1, "max_retrys": 5}"#] {
            let error = read(json).err().expect("a mistake").to_string();
            assert_eq!(error, "max_retrys: unknown key; did you mean max_retries?");
        }
    }

    #[test]
    fn what_cannot_be_a_document_is_named() {
        for (json, message) in [
            ("<html>", "the stored configuration is not valid JSON"),
            ("7", "the stored configuration: a number is not allowed"),
            (r#"{"v": "x"}"#, "v: \"x\" is not allowed"),
            (r#"{"v": 0}"#, "v: 0 is not allowed"),
            (r#"{"v": 9, "max_retries": 99}"#, "max_retries: 99 is not allowed"),
        ] {
            let error = read(json).err().expect(json).to_string();
            assert!(error.starts_with(message), "{json}: {error}");
        }
        let many: Vec<_> = (0..=MAX_UNKNOWN).map(|n| format!("\"k{n}\": 1")).collect();
        let error = read(&format!("{{\"v\": 2, {}}}", many.join(","))).err().expect("too many");
        assert!(error.to_string().contains("more than 64 new keys"), "{error}");
    }

    #[test]
    fn what_is_written_reads_as_the_same() {
        let whole =
            FailoverConfig::builder().max_retries(0).metadata("team", "users").build().expect("valid");
        let document = StoredDocument::replacing(None, &whole);
        assert_eq!(config(&read(&document.write()).expect("valid")), whole);
        assert_eq!(
            document.write(),
            r#"{"max_retries":-1,"metadata":{"team":"users"},"v":1}"#,
            "and no more"
        );
    }
}
