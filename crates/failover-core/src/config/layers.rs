//! A service's configuration in layers: the manager's own, the stored one of all services, and the
//! stored one of the service. A nearer layer replaces single values of those below it.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;

use crate::codec::document::Raw;
use crate::config::FailoverConfig;
use crate::config::given::Origins;
use crate::error::Error;

/// Objects that are one value: their keys are names of the user's choice.
const MAPS: [&str; 3] = ["load_balancer.weights", "locality.zone_weights", "metadata"];
/// Fields for which 0 is a value. The Go package writes 0 for any other one that is not set.
const ZEROS: [&str; 6] = [
    "panic_threshold",
    "circuit_breaker.min_available",
    "circuit_breaker.jitter",
    "retry_budget.max_ambiguous",
    "outlier_detection.max_ejected",
    "slow_start.aggression",
];
/// The maximum number of values from lower layers that nearer ones rule out.
const MAX_CONFLICTS: usize = 16;

/// The values that one layer gives, and where they come from.
pub(crate) struct Layer<'a> {
    pub(crate) origin: &'a str,
    pub(crate) given: &'a Raw,
}

/// Puts layers on a configuration, the nearest one last.
///
/// A value of a lower layer that contradicts one of a nearer layer gives way to its default, such as
/// an inherited `attempt_timeout` above the service's `timeout`.
///
/// # Errors
///
/// Returns `Validation` for an invalid value of the nearest layers.
pub(crate) fn layered(base: &FailoverConfig, layers: &[Layer<'_>]) -> Result<FailoverConfig, Error> {
    let mut origins = BTreeMap::new();
    let json = serde_json::to_value(base).unwrap_or_default();
    let mut merged: Raw = serde_json::from_value(json).unwrap_or(Raw::Null);
    for layer in layers {
        merge(&mut merged, layer.given, "", &Arc::from(layer.origin), &mut origins);
    }
    let mut conflict = None;
    for _ in 0..=MAX_CONFLICTS {
        let error = match FailoverConfig::from_raw(merged.clone()) {
            Ok(config) => return Ok(config.layered_on(base, Origins::new(origins))),
            Err(error) => error,
        };
        let field = error.details().get("field").and_then(Value::as_str).map(str::to_owned);
        // What the nearest layers say is not ignored.
        let inherited = |field: &String| layers.last().is_none_or(|nearest| !has(nearest.given, field));
        let Some(field) = field.filter(inherited).filter(|field| remove(&mut merged, field)) else {
            return Err(error);
        };
        origins.remove(&field);
        conflict = Some(error);
    }
    Err(conflict.unwrap_or_else(|| Error::invalid("configuration", "the layers", "fewer contradictions")))
}

fn merge(
    into: &mut Raw,
    given: &Raw,
    path: &str,
    origin: &Arc<str>,
    origins: &mut BTreeMap<String, Arc<str>>,
) {
    match (into, given) {
        (Raw::Object(into), Raw::Object(given)) if !MAPS.contains(&path) => {
            for (key, value) in given {
                let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                let unset = match value {
                    Raw::Null => true,
                    Raw::Text(text) => text.is_empty(),
                    value => value.is_unset() && !ZEROS.contains(&path.as_str()),
                };
                if !unset {
                    merge(into.entry(key.clone()).or_insert(Raw::Null), value, &path, origin, origins);
                }
            }
        }
        (into @ Raw::Null, Raw::Object(_)) if !MAPS.contains(&path) && !path.is_empty() => {
            *into = Raw::Object(BTreeMap::new());
            merge(into, given, path, origin, origins);
        }
        (into, given) => {
            *into = given.clone();
            origins.insert(path.to_owned(), Arc::clone(origin));
        }
    }
}

/// Whether a document gives a field, by its full name.
fn has(raw: &Raw, field: &str) -> bool {
    let Raw::Object(fields) = raw else { return false };
    match field.split_once('.') {
        Some((section, rest)) => fields.get(section).is_some_and(|section| has(section, rest)),
        None => fields.contains_key(field),
    }
}

/// Removes a field by its full name. Returns false if there is none.
fn remove(raw: &mut Raw, field: &str) -> bool {
    let Raw::Object(fields) = raw else { return false };
    match field.split_once('.') {
        Some((section, rest)) => fields.get_mut(section).is_some_and(|section| remove(section, rest)),
        None => fields.remove(field).is_some(),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn raw(json: &str) -> Raw {
        serde_json::from_str(json).expect("JSON")
    }

    fn base(json: &str) -> FailoverConfig {
        FailoverConfig::from_json(json).expect("valid")
    }

    fn on(base: &FailoverConfig, documents: &[(&str, &str)]) -> Result<FailoverConfig, Error> {
        let raws: Vec<_> = documents.iter().map(|(origin, json)| (*origin, raw(json))).collect();
        let layers: Vec<_> = raws.iter().map(|(origin, given)| Layer { origin, given }).collect();
        layered(base, &layers)
    }

    #[test]
    fn each_value_comes_from_the_nearest_layer_that_gives_it() {
        let base = base(
            r#"{"timeout": "2s", "circuit_breaker": {"failure_threshold": 3, "jitter": 0.5},
                "load_balancer": {"weights": {"a": 5, "b": 2}}, "metadata": {"team": "x"}}"#,
        );
        let all = r#"{"retry_delay": "1s", "circuit_breaker": {"recovery_timeout": "9s"}}"#;
        let one = r#"{"max_retries": 1, "circuit_breaker": {"failure_threshold": 7, "jitter": 0},
            "load_balancer": {"weights": {"c": 1}}}"#;
        let config = on(&base, &[("all", all), ("one", one)]).expect("valid");
        assert_eq!((config.timeout(), config.max_retries()), (Duration::from_secs(2), 1));
        assert_eq!(config.retry_delay(), Duration::from_secs(1));
        let breaker = config.circuit_breaker();
        assert_eq!((breaker.failure_threshold(), breaker.jitter()), (7, 0.0));
        assert_eq!(breaker.recovery_timeout(), Duration::from_secs(9));
        let weights = config.load_balancer().weights();
        assert_eq!(weights.len(), 1, "a map is one value: {weights:?}");
        assert_eq!(config.metadata()["team"], "x");
        for (field, origin) in [
            ("max_retries", Some("one")),
            ("circuit_breaker.failure_threshold", Some("one")),
            ("circuit_breaker.recovery_timeout", Some("all")),
            ("load_balancer.weights", Some("one")),
            ("timeout", None),
        ] {
            assert_eq!(config.origin(field), origin, "{field}");
        }
    }

    #[test]
    fn what_go_writes_for_unset_values_is_inherited() {
        let base = base(r#"{"max_retries": 5, "retry_delay": "3s", "timeout": "2s", "strategy": "random"}"#);
        let go = r#"{"strategy": "", "max_retries": 0, "retry_delay": 0, "timeout": 0,
            "circuit_breaker": {"failure_threshold": 0, "recovery_timeout": 0}, "metadata": null}"#;
        assert_eq!(on(&base, &[("go", go)]).expect("valid"), base);
    }

    /// A 0 in a document means what it means in a configuration.
    #[test]
    fn a_zero_is_a_value_exactly_where_the_reader_takes_it_as_one() {
        let full = serde_json::to_value(FailoverConfig::default()).expect("JSON");
        let sections = full.as_object().expect("an object").iter().flat_map(|(key, value)| match value {
            Value::Object(fields) => fields.keys().map(|field| format!("{key}.{field}")).collect(),
            _ => vec![key.clone()],
        });
        let optional = ["circuit_breaker.min_available", "circuit_breaker.success_threshold"];
        for field in sections.chain(optional.map(str::to_owned)) {
            let document = match field.split_once('.') {
                Some((section, name)) => format!("{{\"{section}\": {{\"{name}\": 0}}}}"),
                None => format!("{{\"{field}\": 0}}"),
            };
            let Ok(read) = FailoverConfig::from_json(&document) else { continue };
            let taken = read != FailoverConfig::default();
            assert!(!taken || ZEROS.contains(&field.as_str()), "{field}: 0 is a value");
        }
    }

    #[test]
    fn an_inherited_value_that_a_nearer_one_rules_out_gives_way() {
        let base_config = base(
            r#"{"timeout": "30s", "attempt_timeout": "5s",
                "circuit_breaker": {"max_recovery_timeout": "60s", "min_available": 2}}"#,
        );
        let one = r#"{"timeout": "2s", "fail_fast": true, "circuit_breaker": {"recovery_timeout": "2m"}}"#;
        let config = on(&base_config, &[("one", one)]).expect("valid");
        assert_eq!(config.given_attempt_timeout(), None);
        assert_eq!(config.circuit_breaker().max_recovery_timeout(), Duration::from_secs(120));
        assert_eq!(config.circuit_breaker().min_available(), None);
        let wrong = r#"{"attempt_timeout": "40s"}"#;
        let error = on(&base_config, &[("one", wrong)]).expect_err("the document is wrong").to_string();
        assert!(error.starts_with("attempt_timeout: 40s"), "{error}");
        // Right with the manager's timeout, although it would be wrong with the default one.
        let long = base(r#"{"timeout": "2m"}"#);
        on(&long, &[("one", wrong)]).expect("valid");
    }
}
