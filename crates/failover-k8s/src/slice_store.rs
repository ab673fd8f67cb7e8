//! Reads and writes of the slice of one endpoint.

use failover_core::provider::EndpointEntry;
use failover_core::{Endpoint, EndpointId, Error, ErrorKind, ServiceName};
use serde_json::Value;

use crate::api::Kind;
use crate::cluster::Cluster;
use crate::{convert, error, names};

/// Applies the slice of an entry, creating it if necessary.
pub(crate) async fn apply(
    cluster: &Cluster,
    entry: &EndpointEntry,
    owner: Option<&convert::Owner>,
) -> Result<(), Error> {
    let endpoint = entry.endpoint();
    let namespace = &cluster.settings.namespace;
    let name = names::slice(namespace, endpoint.service(), endpoint.id());
    let object = convert::slice(namespace, entry, owner, cluster.settings.secrets)?;
    let api = cluster.api();
    match api.apply(Kind::Slices, &name, object.clone()).await {
        Ok(_) => Ok(()),
        Err(error) if error::status(&error) == Some(422) => {
            // The address type is immutable, so another type needs a new slice.
            let before = api.get(Kind::Slices, &name).await?;
            let Some(before) = before.filter(|before| has_other_type(before, endpoint)) else {
                return Err(error);
            };
            let (uid, version) = identity(&before);
            api.delete(Kind::Slices, &name, uid, Some(version)).await?;
            api.apply(Kind::Slices, &name, object).await.map(drop)
        }
        Err(error) => Err(error),
    }
}

/// Replaces a slice whose address type differs by a new one with the same owner.
pub(crate) async fn replace_by_new(
    cluster: &Cluster,
    name: &str,
    before: &Value,
    entry: &EndpointEntry,
    secrets: bool,
) -> Result<Option<Value>, Error> {
    let mut object = convert::slice(&cluster.settings.namespace, entry, None, secrets)?;
    if let (Some(old), Some(new)) = (before.get("metadata"), object.get_mut("metadata")) {
        for key in ["labels", "ownerReferences"] {
            if let Some(kept) = old.get(key) {
                new[key] = kept.clone();
            }
        }
    }
    let (uid, version) = identity(before);
    if !cluster.api().delete(Kind::Slices, name, uid, Some(version)).await? {
        return Ok(None);
    }
    // Applied like a registration, so that the next one can change all fields.
    cluster.api().apply(Kind::Slices, name, object).await.map(Some)
}

/// Returns whether the object is deleted; false if another object has the name now.
pub(crate) fn gone(deleted: Result<bool, Error>) -> Result<bool, Error> {
    match deleted {
        Ok(_) => Ok(true),
        Err(error) if error::status(&error) == Some(409) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Returns the process that registered a slice.
pub(crate) fn registrant(slice: &Value) -> Option<&str> {
    slice.get("metadata")?.get("labels")?.get(names::REGISTRANT)?.as_str()
}

/// Returns the entry of a slice written by this crate.
pub(crate) fn entry_of(cluster: &Cluster, object: &Value, id: &EndpointId) -> Option<EndpointEntry> {
    let slice = convert::read(object, &cluster.settings.reading).ok()?;
    let mut candidates = slice.candidates.into_iter().map(|candidate| candidate.entry);
    candidates.find(|entry| entry.endpoint().id() == id)
}

/// Returns an object's uid and version.
pub(crate) fn identity(object: &Value) -> (&str, &str) {
    let text = |key: &str| {
        object.get("metadata").and_then(|m| m.get(key)).and_then(Value::as_str).unwrap_or_default()
    };
    (text("uid"), text("resourceVersion"))
}

pub(crate) fn has_other_type(object: &Value, endpoint: &Endpoint) -> bool {
    object
        .get("addressType")
        .and_then(Value::as_str)
        .is_some_and(|kind| kind != convert::address_type(endpoint))
}

pub(crate) fn missing(service: &ServiceName, id: &EndpointId) -> Error {
    let message = format!("{service}/{id}: there is no such endpoint; register it first");
    Error::new(ErrorKind::NotFound, message)
        .with_detail("service", service.as_str())
        .with_detail("id", id.as_str())
}
