//! The keys of configuration documents, and what is read of them.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use failover_core::provider::{ConfigKey, Revision, StoredConfig};
use failover_core::{Error, ErrorKind, ServiceName};

use crate::client::Client;
use crate::error;
use crate::wire::answer::Answer;
use crate::wire::{Call, KeyValue, Read};

pub(crate) fn path(client: &Client, key: &ConfigKey) -> Result<String, Error> {
    let prefix = &client.settings.config_prefix;
    match key {
        ConfigKey::Default => Ok(format!("{prefix}/default")),
        ConfigKey::Service(service) if service.as_str().contains("..") => {
            let message =
                format!("service {service}: newer versions of consul take no key with two dots in a row");
            Err(Error::new(ErrorKind::Unsupported, message))
        }
        ConfigKey::Service(service) => Ok(format!("{prefix}/service/{service}")),
        _ => Err(Error::new(ErrorKind::Unsupported, "this version keeps no such configuration")),
    }
}

/// Returns the key of a document by its path.
pub(crate) fn key_of(client: &Client, path: &str) -> Option<ConfigKey> {
    let path = path.strip_prefix(&*client.settings.config_prefix)?.strip_prefix('/')?;
    match path.strip_prefix("service/") {
        Some(service) => ServiceName::new(service).ok().map(ConfigKey::Service),
        None => (path == "default").then_some(ConfigKey::Default),
    }
}

pub(crate) fn read(client: &Client, key: &ConfigKey, read: Read) -> Result<(Call, String), Error> {
    let call = client.settings.kv_read(&path(client, key)?, read)?;
    let what = call.what.clone();
    Ok((call, what))
}

/// Returns the document, or `None` if the key does not exist.
pub(crate) fn stored(what: &str, answer: &Answer) -> Result<Option<StoredConfig>, Error> {
    let Some(found) = found(what, answer)? else { return Ok(None) };
    let Some(first) = found.into_iter().next() else { return Err(Error::bad_answer(what, "an empty list")) };
    document(what, first).map(Some)
}

/// Returns the keys of an answer with their values, or `None` if there are none.
pub(crate) fn found(what: &str, answer: &Answer) -> Result<Option<Vec<KeyValue>>, Error> {
    match answer.status {
        200 => {}
        // A proxy may answer 404, too, but does not send these headers.
        404 if answer.index.is_some() && answer.known_leader != Some(false) => return Ok(None),
        404 => return Err(Error::bad_answer(what, "a 404 that is not consul's own")),
        _ => return Err(error::of_status(what, answer)),
    }
    serde_json::from_slice(&answer.body).map(Some).map_err(|error| error::of_json(what, &error))
}

/// Returns the document of a key. Bytes that are no text are one as well, which can be replaced.
pub(crate) fn document(what: &str, found: KeyValue) -> Result<StoredConfig, Error> {
    let bytes = STANDARD
        .decode(found.value.unwrap_or_default())
        .map_err(|_| Error::bad_answer(what, "its value is not base64"))?;
    let revision = Revision::new(found.modify_index.to_string());
    Ok(match String::from_utf8(bytes) {
        Ok(document) => StoredConfig::new(document, revision),
        Err(_) => StoredConfig::unreadable("the value of the key is not UTF-8 text", revision),
    })
}
