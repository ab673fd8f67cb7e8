//! The values of a configuration that are not the defaults, with their origins.

use serde::Serialize;
use serde_json::Value;

use crate::config::FailoverConfig;

/// A value of the configuration that is not the default.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct ConfiguredValue {
    /// The full name of the field, such as `circuit_breaker.failure_threshold`.
    pub field: String,
    /// The value, as in a document.
    pub value: Value,
    /// The stored document that it comes from; absent for a value that was set in code or read from a
    /// file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub origin: Option<String>,
}

impl ConfiguredValue {
    /// Returns the values that differ from the defaults. Metadata is left out: it is the owner's, and
    /// may hold secrets.
    pub(super) fn all_of(config: &FailoverConfig) -> Vec<Self> {
        let read = |config: &FailoverConfig| serde_json::to_value(config).unwrap_or_default();
        let mut found = Vec::new();
        differences("", &read(config), &read(&FailoverConfig::default()), config, &mut found);
        found
    }
}

impl std::fmt::Display for ConfiguredValue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.value {
            Value::String(text) => write!(f, "{} {text}", self.field),
            value => write!(f, "{} {value}", self.field),
        }?;
        write!(f, " ({})", self.origin.as_deref().unwrap_or("set in code"))
    }
}

fn differences(
    path: &str,
    value: &Value,
    default: &Value,
    config: &FailoverConfig,
    found: &mut Vec<ConfiguredValue>,
) {
    match (value, default) {
        (Value::Object(fields), Value::Object(defaults)) if config.origin(path).is_none() => {
            for (key, value) in fields {
                let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                if path != "metadata" {
                    differences(&path, value, defaults.get(key).unwrap_or(&Value::Null), config, found);
                }
            }
        }
        (value, default) if value != default => {
            let origin = config.origin(path).map(str::to_owned);
            found.push(ConfiguredValue { field: path.to_owned(), value: value.clone(), origin });
        }
        _ => {}
    }
}
