//! Checks the table of settings in docs/configuration.md against the code.

use std::collections::BTreeSet;
use std::path::Path;

use failover_core::{FailoverConfig, ManagerConfig};
use serde_json::{Map, Value, json};

/// A row of the tables: section (`""`, `circuit_breaker`, …, `manager`), field, default, and when
/// to change it.
struct Row {
    section: String,
    field: String,
    default: String,
    change: String,
}

fn rows() -> Vec<Row> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/configuration.md");
    let text = std::fs::read_to_string(path).expect("the document is there");
    let mut section = String::new();
    let mut rows = Vec::new();
    for line in text.lines() {
        if line.starts_with("## Of a manager") {
            "manager".clone_into(&mut section);
        } else if let Some(rest) = line.strip_prefix("### `") {
            rest.split('`').next().unwrap_or_default().clone_into(&mut section);
        } else if line.starts_with("## ") {
            section.clear();
        } else if line.starts_with("| `") {
            let cells: Vec<_> = line.trim_matches('|').split('|').map(str::trim).collect();
            assert_eq!(cells.len(), 5, "{line}");
            let field = cells[0].trim_matches('`');
            // The table lists `backoff.multiplier` among the fields of a service.
            let (inner, field) = field.split_once('.').unwrap_or((&section, field));
            rows.push(Row {
                section: inner.to_owned(),
                field: field.to_owned(),
                default: cells[1].to_owned(),
                change: cells[4].to_owned(),
            });
        }
    }
    rows
}

/// Parses a default as JSON; `None` if it is described in words.
fn value(text: &str) -> Option<Value> {
    if let Ok(value) = serde_json::from_str(text.trim_matches('`')) {
        return Some(value);
    }
    match text.split_once(' ') {
        Some((number, "ms" | "s" | "min" | "h")) if number.parse::<u64>().is_ok() => {
            Some(json!(text.replace(' ', "").replace("min", "m")))
        }
        None if text.starts_with('`') => Some(json!(text.trim_matches('`'))),
        _ => None,
    }
}

fn document(section: &str, field: &str, value: &Value) -> String {
    let inner = json!({ field: value });
    let whole = if section.is_empty() || section == "manager" { inner } else { json!({ section: inner }) };
    whole.to_string()
}

#[test]
fn every_default_in_the_documentation_is_the_one_of_the_code() {
    let mut compared = 0;
    for Row { section, field, default, .. } in rows() {
        let Some(value) = value(&default) else { continue };
        let text = document(&section, &field, &value);
        if section == "manager" {
            let read = ManagerConfig::from_json(&text).unwrap_or_else(|error| panic!("{text}: {error}"));
            assert_eq!(read, ManagerConfig::default(), "{text}");
        } else {
            let read = FailoverConfig::from_json(&text).unwrap_or_else(|error| panic!("{text}: {error}"));
            assert!(same(&read, &FailoverConfig::default()), "{text} is not the default: {read:?}");
        }
        compared += 1;
    }
    assert!(compared >= 30, "only {compared} defaults are written as values");
}

/// Compares effects: two maxima differ as values if they are given explicitly, but not if they
/// follow from another value.
fn same(one: &FailoverConfig, other: &FailoverConfig) -> bool {
    let effect = |config: &FailoverConfig| {
        (config.backoff().max_delay(), config.circuit_breaker().max_recovery_timeout())
    };
    let rest = |config: &FailoverConfig| {
        let mut json = serde_json::to_value(config).expect("serialises");
        json["backoff"]["max_delay"].take();
        json["circuit_breaker"]["max_recovery_timeout"].take();
        json
    };
    effect(one) == effect(other) && rest(one) == rest(other)
}

/// Returns the keys of a section, as listed in the error about an unknown key.
fn keys(section: &str) -> BTreeSet<String> {
    let text = document(section, "an unknown key", &Value::Null);
    let error = match section {
        "manager" => ManagerConfig::from_json(&text).expect_err("not known"),
        _ => FailoverConfig::from_json(&text).expect_err("not known"),
    };
    let text = error.to_string();
    let (_, known) = text.rsplit_once(" knows ").unwrap_or_else(|| panic!("{text}"));
    known.split(", ").map(str::to_owned).collect()
}

#[test]
fn every_setting_is_in_the_documentation_with_when_to_change_it() {
    let rows = rows();
    let defaults = serde_json::to_value(FailoverConfig::default()).expect("serialises");
    let is_section = |key: &str| {
        matches!(defaults.get(key), Some(Value::Object(_)))
            && !["empty_policy", "removal_guard"].contains(&key)
    };
    let sections = defaults.as_object().map(Map::keys).into_iter().flatten().filter(|key| is_section(key));
    let sections: Vec<&str> = sections.map(String::as_str).chain(["", "manager"]).collect();
    assert!(sections.len() >= 6, "{sections:?}");
    for section in sections {
        let documented: BTreeSet<String> =
            rows.iter().filter(|row| row.section == section).map(|row| row.field.clone()).collect();
        let known: BTreeSet<String> =
            keys(section).into_iter().filter(|key| section == "manager" || !is_section(key)).collect();
        assert_eq!(documented, known, "section `{section}`");
    }
    for row in &rows {
        assert!(!row.change.is_empty(), "{}.{}: when to change it is missing", row.section, row.field);
    }
}
