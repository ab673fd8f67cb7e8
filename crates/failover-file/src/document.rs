//! What a file says.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use failover_core::provider::{ConfigKey, ConfigSet, EndpointEntry, EndpointSet, Revision, StoredConfig};
use failover_core::{Error, IntoEndpoint, ServiceName};
use serde_json::{Map, Value};

use crate::text::Format;

/// The endpoints and the configuration of all services.
#[derive(Debug, Default)]
pub(crate) struct Document {
    services: HashMap<ServiceName, EndpointSet>,
    config: ConfigSet,
    /// What is left out besides endpoints.
    problems: Vec<String>,
}

impl Document {
    /// Reads a text.
    ///
    /// # Errors
    ///
    /// Returns the reason if the whole of it cannot be used.
    pub(crate) fn read(text: &str, format: Format) -> Result<Self, String> {
        // What a writer has truncated, and not written yet, is no empty list.
        if text.trim().is_empty() {
            return Err(
                "it is empty; `services = {}` in TOML, or `{\"services\": {}}`, lists none".to_owned()
            );
        }
        let Value::Object(mut top) = format.parse(text)? else {
            return Err("it is no table with the keys `services` and `config`".to_owned());
        };
        let services = top.remove("services").unwrap_or_else(|| Value::Object(Map::new()));
        let default = top.remove("config");
        if let Some(key) = top.keys().next() {
            return Err(format!("`{key}` is no key of it; the keys are `services` and `config`"));
        }
        let Value::Object(services) = services else {
            return Err("`services` is no table of services".to_owned());
        };
        let mut read = Self::default();
        let mut configs: Vec<_> =
            default.map(|config| (ConfigKey::Default, stored(&config))).into_iter().collect();
        for (name, value) in services {
            let service = match ServiceName::new(name.as_str()) {
                Ok(service) => service,
                Err(error) => {
                    read.problems.push(format!("services.{name}: {error}"));
                    continue;
                }
            };
            let (endpoints, config) = match parts(value) {
                Ok(parts) => parts,
                Err(why) => {
                    read.problems.push(format!("services.{name}: {why}"));
                    continue;
                }
            };
            configs.extend(config.map(|config| (ConfigKey::Service(service.clone()), stored(&config))));
            if let Some(endpoints) = endpoints {
                let set = set(&service, endpoints);
                read.services.insert(service, set);
            }
        }
        read.config = ConfigSet::new(configs);
        Ok(read)
    }

    /// Returns the endpoints of a service.
    pub(crate) fn endpoints(&self, service: &ServiceName) -> EndpointSet {
        self.services.get(service).cloned().unwrap_or_else(EndpointSet::unknown_service)
    }

    pub(crate) fn services(&self) -> Vec<ServiceName> {
        let mut names: Vec<_> = self.services.keys().cloned().collect();
        names.sort_unstable();
        names
    }

    pub(crate) fn config(&self) -> &ConfigSet {
        &self.config
    }

    pub(crate) fn problems(&self) -> &[String] {
        &self.problems
    }
}

type Parts = (Option<Vec<Value>>, Option<Value>);

/// Returns the endpoints and the configuration of a service: a list of endpoints, or a table with both.
fn parts(value: Value) -> Result<Parts, String> {
    let mut table = match value {
        Value::Array(endpoints) => return Ok((Some(endpoints), None)),
        Value::Object(table) => table,
        _ => {
            return Err(
                "it is neither a list of endpoints nor a table with `endpoints` and `config`".to_owned()
            );
        }
    };
    let config = table.remove("config");
    let endpoints = match table.remove("endpoints") {
        None => None,
        Some(Value::Array(endpoints)) => Some(endpoints),
        Some(_) => return Err("`endpoints` is no list".to_owned()),
    };
    match table.keys().next() {
        Some(key) => Err(format!("`{key}` is no key of a service; the keys are `endpoints` and `config`")),
        None => Ok((endpoints, config)),
    }
}

/// A file is whole, so that an empty list is certain.
fn set(service: &ServiceName, endpoints: Vec<Value>) -> EndpointSet {
    let mut set = EndpointSet::new([]).confirmed();
    for (index, value) in endpoints.into_iter().enumerate() {
        let shown = value.get("id").and_then(Value::as_str).map(str::to_owned);
        match entry(service, value) {
            Ok(entry) => set.push(entry),
            Err(error) => set.reject(shown.unwrap_or_else(|| format!("endpoints[{index}]")), error),
        }
    }
    set
}

/// Reads an endpoint: `"http://10.0.0.1:8080"`, or a table with the fields of an endpoint.
fn entry(service: &ServiceName, value: Value) -> Result<EndpointEntry, Error> {
    let mut fields = match value {
        Value::String(text) => return Ok(text.into_endpoint(service)?.into()),
        Value::Object(fields) => fields,
        other => return Err(Error::invalid("endpoint", other, "a URL or a table")),
    };
    if let (None, Some(address), Some(port)) =
        (fields.get("id"), fields.get("address").and_then(Value::as_str), fields.get("port"))
    {
        let id = format!("{address}:{port}");
        fields.insert("id".to_owned(), id.into());
    }
    let named = fields.insert("name".to_owned(), service.as_str().into());
    if let Some(named) = named.filter(|named| named.as_str() != Some(service.as_str())) {
        return Err(Error::invalid("name", named, "the name of the service that lists the endpoint"));
    }
    serde_json::from_value(Value::Object(fields))
        .map_err(|error| Error::new(failover_core::ErrorKind::Validation, error.to_string()))
}

fn stored(config: &Value) -> StoredConfig {
    let document = config.to_string();
    let mut hasher = DefaultHasher::new();
    document.hash(&mut hasher);
    StoredConfig::new(document, Revision::new(format!("{:016x}", hasher.finish())))
}

#[cfg(test)]
mod tests;
