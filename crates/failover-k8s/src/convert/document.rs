//! The annotation with the whole endpoint.

use failover_core::provider::EndpointEntry;
use failover_core::{Error, ErrorKind, Health, Lifecycle};
use serde_json::{Map, Value};

/// The maximum size of the annotation in bytes; Kubernetes limits all annotations of an object to
/// 256 KiB together.
pub(crate) const MAX_DOCUMENT: usize = 240 * 1024;

const VERSION: u64 = 1;
/// Set if the lease of the process that registered the endpoint has expired.
const EXPIRED: &str = "expired";

/// A parsed document.
#[derive(Clone, Debug, Default)]
pub(super) struct Document {
    pub(super) fields: Map<String, Value>,
    pub(super) expired: bool,
    /// Fields of newer versions.
    pub(super) others: Map<String, Value>,
}

impl Document {
    pub(super) fn parse(text: &str) -> Result<Self, Error> {
        let invalid = |why: String| {
            Error::new(ErrorKind::Validation, format!("annotation {}: {why}", crate::names::ENDPOINT))
                .with_code("ENTRY_REJECTED")
        };
        if text.len() > MAX_DOCUMENT {
            return Err(invalid(format!("{} bytes are more than {MAX_DOCUMENT}", text.len())));
        }
        let mut all: Map<String, Value> =
            serde_json::from_str(text).map_err(|error| invalid(format!("it is no JSON object: {error}")))?;
        match all.remove("v") {
            Some(version) if version.as_u64() == Some(VERSION) => {}
            version => {
                let shown = version.map_or_else(|| "none".to_owned(), |version| version.to_string());
                let shown: String = shown.chars().take(40).collect();
                return Err(invalid(format!("its version is {shown}, and this crate reads {VERSION}")));
            }
        }
        let expired = all.remove(EXPIRED) == Some(Value::Bool(true));
        let mut document = Self { expired, ..Self::default() };
        for (key, value) in all {
            let known = EndpointEntry::JSON_KEYS.contains(&key.as_str());
            let place = if known { &mut document.fields } else { &mut document.others };
            place.insert(key, value);
        }
        Ok(document)
    }

    pub(super) fn entry(&self) -> Result<EndpointEntry, Error> {
        serde_json::from_value(Value::Object(self.fields.clone())).map_err(|error| {
            Error::new(ErrorKind::Validation, format!("annotation {}: {error}", crate::names::ENDPOINT))
                .with_code("ENTRY_REJECTED")
        })
    }
}

/// Returns the document of an entry, with the fields of newer versions in the previous one.
pub(super) fn write(
    entry: &EndpointEntry,
    secrets: bool,
    expired: bool,
    others: Map<String, Value>,
) -> Result<String, Error> {
    let endpoint = entry.endpoint();
    let shown = match endpoint.health_check() {
        Some(check) if !secrets => {
            let endpoint = endpoint.to_builder().health_check(check.without_secrets()).build()?;
            EndpointEntry::new(endpoint).with_health(entry.health()).with_lifecycle(entry.lifecycle())
        }
        _ => entry.clone(),
    };
    let wrong = |why: String| Error::new(ErrorKind::Internal, format!("endpoint {}: {why}", endpoint.id()));
    let Value::Object(fields) = serde_json::to_value(&shown).map_err(|error| wrong(error.to_string()))?
    else {
        return Err(wrong("its JSON is no object".to_owned()));
    };
    let mut all = others;
    all.insert("v".to_owned(), VERSION.into());
    if expired {
        all.insert(EXPIRED.to_owned(), true.into());
    }
    all.extend(fields);
    let text = Value::Object(all).to_string();
    if text.len() <= MAX_DOCUMENT {
        return Ok(text);
    }
    let message = format!(
        "endpoint {}: {} bytes as JSON are more than the {MAX_DOCUMENT} that an annotation has room for; shorten its \
         metadata, tags or health check",
        endpoint.id(),
        text.len()
    );
    Err(Error::new(ErrorKind::Unsupported, message).with_code("TOO_LARGE").with_detail("field", "metadata"))
}

/// Returns whether a slice is marked as expired.
pub(crate) fn is_expired(slice: &Value) -> bool {
    let text =
        slice.get("metadata").and_then(|m| m.get("annotations")).and_then(|a| a.get(crate::names::ENDPOINT));
    text.and_then(Value::as_str)
        .and_then(|text| Document::parse(text).ok())
        .is_some_and(|document| document.expired)
}

/// Returns the health and lifecycle in the annotation of a slice written by this crate, whether or
/// not the slice is marked as expired.
pub(crate) fn claims(slice: &Value) -> Option<(Health, Lifecycle)> {
    let annotations = slice.get("metadata")?.get("annotations")?;
    let document = Document::parse(annotations.get(crate::names::ENDPOINT)?.as_str()?).ok()?;
    let entry = document.entry().ok()?;
    Some((entry.health(), entry.lifecycle()))
}
