//! TOML and YAML: the documented example files, and errors about mistakes.

#![cfg(all(feature = "toml", feature = "yaml"))]

use std::fmt::Write;
use std::fs;
use std::path::Path;
use std::time::Duration;

use failover_core::{Endpoint, Error, ErrorKind, FailoverConfig, HealthCheck, ManagerConfig, StrategyKind};
use proptest::prelude::*;

fn example(file: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/config").join(file);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[test]
fn the_example_files_of_a_service_say_the_same_in_both_formats() {
    let toml = FailoverConfig::from_toml(&example("failover.toml")).expect("valid");
    let yaml = FailoverConfig::from_yaml(&example("failover.yaml")).expect("valid");
    assert_eq!(toml, yaml);
    assert_eq!(toml.strategy(), StrategyKind::LeastConnections);
    assert_eq!(toml.attempt_timeout(), Duration::from_millis(500));
    assert_eq!(toml.circuit_breaker().failure_threshold(), 3);
    assert_eq!(toml.load_balancer().weights().len(), 2);
    assert_eq!(toml.retry_budget().capacity(), 1_000);
    let json = serde_json::to_string(&toml).expect("serialises");
    assert_eq!(FailoverConfig::from_json(&json).expect("valid"), toml);
}

#[test]
fn the_example_files_of_a_manager_say_the_same_in_both_formats() {
    let toml = ManagerConfig::from_toml(&example("manager.toml")).expect("valid");
    let yaml = ManagerConfig::from_yaml(&example("manager.yaml")).expect("valid");
    assert_eq!(toml, yaml);
    assert_eq!(toml.default_provider(), Some("memory"));
    assert_eq!(toml.service_config().max_retries(), 1);
    assert_eq!(toml.service_config().circuit_breaker().failure_threshold(), 3);
}

#[test]
fn any_serde_reader_of_the_formats_works_as_well() {
    let toml: FailoverConfig = toml::from_str(&example("failover.toml")).expect("valid");
    let yaml: FailoverConfig = serde_saphyr::from_str(&example("failover.yaml")).expect("valid");
    assert_eq!(toml, yaml);
}

fn checked(error: &Error) -> String {
    assert_eq!(error.kind(), ErrorKind::Validation);
    assert!(!error.to_string().contains('\n'), "one line: {error}");
    error.to_string()
}

#[test]
fn what_is_no_toml_or_yaml_is_reported_with_its_line() {
    for (text, line) in [("timeout = \"2s\"\nmax_retries = = 3\n", 2), ("a = 1\na = 2\n", 2), ("[circuit", 1)]
    {
        let error = FailoverConfig::from_toml(text).expect_err(text);
        assert!(checked(&error).starts_with("configuration is not valid TOML: "), "{error}");
        assert!(checked(&error).contains(&format!("line {line}")), "{error}");
        assert_eq!(error.details()["line"], line, "{error}");
    }
    for (text, line) in
        [("timeout: 2s\nmax_retries: [3\n", 2), ("timeout: 2s\nmax_retries: 3\ntimeout: 3s\n", 3)]
    {
        let error = FailoverConfig::from_yaml(text).expect_err(text);
        assert!(checked(&error).starts_with("configuration is not valid YAML: "), "{error}");
        let at = error.details()["line"].as_u64().expect("a line");
        assert!((line..=line + 1).contains(&at), "{error}");
        assert!(checked(&error).contains(&format!("line {at}")), "{error}");
    }
}

#[test]
fn a_key_that_is_not_known_and_a_wrong_value_are_reported_with_their_path() {
    let unknown = "circuit_breaker.failure_treshold: unknown key; did you mean failure_threshold?";
    let wrong = "circuit_breaker.recovery_timeout: \"2h\" is not allowed";
    for (toml, yaml, expected) in [
        ("circuit_breaker.failure_treshold = 3", "circuit_breaker:\n  failure_treshold: 3", unknown),
        ("circuit_breaker.recovery_timeout = \"2h\"", "circuit_breaker:\n  recovery_timeout: 2h", wrong),
        ("fail_fast = \"no\"", "fail_fast: no", "fail_fast: \"no\" is not allowed; give true or false"),
        ("timeout = 2026-01-01", "timeout: 2026-01-01", "timeout: \"2026-01-01\" is not allowed"),
    ] {
        for error in [
            FailoverConfig::from_toml(toml).expect_err(toml),
            FailoverConfig::from_yaml(yaml).expect_err(yaml),
        ] {
            assert!(checked(&error).starts_with(expected), "{error}");
        }
    }
    for error in [
        ManagerConfig::from_toml("[failover]\nmax_retries = 99").expect_err("too many"),
        ManagerConfig::from_yaml("failover:\n  max_retries: 99").expect_err("too many"),
    ] {
        assert!(checked(&error).starts_with("failover: max_retries: 99 is not allowed"), "{error}");
    }
}

#[test]
fn what_would_grow_without_a_bound_is_refused() {
    let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..9 {
        let alias = format!("*a{}", level - 1);
        writeln!(bomb, "a{level}: &a{level} [{}]", vec![alias; 10].join(", ")).expect("a string");
    }
    checked(&FailoverConfig::from_yaml(&bomb).expect_err("a thousand million values"));
    let deep = format!("metadata: {}{}", "[".repeat(100_000), "]".repeat(100_000));
    checked(&FailoverConfig::from_yaml(&deep).expect_err("too deep"));
    let deep = format!("metadata = {}{}", "[".repeat(100_000), "]".repeat(100_000));
    checked(&FailoverConfig::from_toml(&deep).expect_err("too deep"));
}

#[test]
fn nested_aliases_are_refused_before_they_take_time() {
    for (width, levels) in [(10, 9), (2, 40), (50, 6), (1_000, 3)] {
        let mut bomb = format!("a0: &a0 [{}]\n", vec!["x"; width].join(", "));
        for level in 1..levels {
            let alias = format!("*a{}", level - 1);
            writeln!(bomb, "a{level}: &a{level} [{}]", vec![alias; width].join(", ")).expect("a string");
        }
        for text in [bomb.clone(), format!("metadata:\n  {}", bomb.replace('\n', "\n  "))] {
            // Time is not measured, since a busy machine may take any; the number of values is.
            let error = checked(&FailoverConfig::from_yaml(&text).expect_err("too many values"));
            assert!(error.contains("total_replayed_events=2001"), "{error}");
        }
    }
    let anchors = "circuit_breaker: &b {failure_threshold: 3}\nmetadata: {copy: *b, again: [*b, *b]}";
    FailoverConfig::from_yaml(anchors).expect("some aliases are fine");
}

#[test]
fn what_is_far_too_large_is_refused() {
    let keys: Vec<_> = (0..300_000).map(|n| format!("\"k{n}\": 1")).collect();
    let many = format!("{{\"metadata\": {{{}}}}}", keys.join(", "));
    let long = format!("{{\"metadata\": {{\"a\": \"{}\"}}}}", "x".repeat(3_000_000));
    for text in [&many, &long] {
        let errors = [
            FailoverConfig::from_json(text),
            FailoverConfig::from_toml(text),
            FailoverConfig::from_yaml(text),
        ];
        for error in errors {
            let error = error.expect_err("too large");
            assert_eq!((checked(&error).len() < 200, error.code()), (true, "TOO_LARGE"), "{error}");
        }
        let error = serde_json::from_str::<FailoverConfig>(text).expect_err("too large").to_string();
        assert!(error.contains("metadata: ") && error.contains("at most 262144 bytes"), "{error}");
    }
}

#[test]
fn whole_numbers_are_read_however_a_format_writes_them() {
    for text in ["1e+06", "1000000.0", "1E6", "1_000_000"] {
        let written = format!("max_retries = 3.0\nretry_budget.capacity = {text}\ntimeout = 3e+10");
        let config = FailoverConfig::from_toml(&written).expect(text);
        assert_eq!((config.max_retries(), config.retry_budget().capacity()), (3, 1_000_000));
        assert_eq!(config.timeout(), Duration::from_secs(30));
        if text.contains('_') {
            continue;
        }
        let written = format!("max_retries: 3.0\nretry_budget: {{capacity: {text}}}\ntimeout: 3e+10");
        assert_eq!(FailoverConfig::from_yaml(&written).expect(text), config);
        let written = format!(
            "{{\"max_retries\": 3.0, \"retry_budget\": {{\"capacity\": {text}}}, \"timeout\": 3e+10}}"
        );
        assert_eq!(FailoverConfig::from_json(&written).expect(text), config);
        assert_eq!(serde_json::from_str::<FailoverConfig>(&written).expect(text), config);
    }
    let weights = FailoverConfig::from_yaml("load_balancer: {weights: {a: 2e+00}}").expect("valid");
    assert_eq!(weights.load_balancer().weights().values().copied().collect::<Vec<_>>(), [2]);
    let endpoint: Endpoint =
        serde_saphyr::from_str("{id: a, name: b, address: 10.0.0.1, port: 8.08e+03}").expect("a whole port");
    assert_eq!(endpoint.port(), 8080);
    for wrong in ["1.5", "1e+400", "-1e+06", ".inf", ".nan", "1e+30", "'7'"] {
        let error = FailoverConfig::from_yaml(&format!("retry_budget: {{capacity: {wrong}}}"));
        checked(&error.expect_err(wrong));
    }
    for wrong in ["1.5", "1e400", "9.3e18"] {
        checked(&FailoverConfig::from_json(&format!("{{\"timeout\": {wrong}}}")).expect_err(wrong));
    }
}

#[test]
fn a_byte_order_mark_is_left_out() {
    let config = FailoverConfig::builder().max_retries(4).build().expect("valid");
    for read in [
        FailoverConfig::from_json("\u{feff}{\"max_retries\": 4}"),
        FailoverConfig::from_toml("\u{feff}max_retries = 4"),
        FailoverConfig::from_yaml("\u{feff}max_retries: 4"),
    ] {
        assert_eq!(read.expect("valid"), config);
    }
    ManagerConfig::from_toml("\u{feff}[failover]\nmax_retries = 4").expect("valid");
}

/// The Go package writes 0 for a number that is not set, and writes JSON alone.
#[test]
fn a_zero_is_a_zero_except_in_json() {
    let unset = FailoverConfig::default();
    for json in [r#"{"max_retries": 0}"#, r#"{"retry_delay": 0}"#, r#"{"circuit_breaker": {"jitter": 0}}"#] {
        let read = FailoverConfig::from_json(json).expect("valid");
        assert_eq!(serde_json::from_str::<FailoverConfig>(json).expect("valid"), read, "{json}");
        let value: serde_json::Value = serde_json::from_str(json).expect("JSON");
        assert_eq!(serde_json::from_value::<FailoverConfig>(value).expect("valid"), read, "{json}");
    }
    assert_eq!(FailoverConfig::from_json(r#"{"max_retries": 0}"#).expect("valid"), unset);
    let toml = "max_retries = 0\nretry_delay = 0";
    let yaml = "max_retries: 0\nretry_delay: 0.0";
    let numbers = [("max_retries", 0_u32), ("retry_delay", 0)];
    let pairs = serde::de::value::MapDeserializer::<_, serde::de::value::Error>::new(numbers.into_iter());
    for config in [
        FailoverConfig::from_toml(toml).expect("valid"),
        toml::from_str(toml).expect("valid"),
        FailoverConfig::from_yaml(yaml).expect("valid"),
        serde_saphyr::from_str(yaml).expect("valid"),
        // As readers of the environment do.
        serde::Deserialize::deserialize(pairs).expect("valid"),
        ManagerConfig::from_toml(&format!("[failover]\n{toml}")).expect("valid").service_config().clone(),
    ] {
        assert_eq!((config.max_retries(), config.retry_delay()), (0, Duration::ZERO));
    }
    let error = FailoverConfig::from_toml("circuit_breaker.failure_threshold = 0").expect_err("no threshold");
    assert!(checked(&error).starts_with("circuit_breaker.failure_threshold: 0 is not allowed"), "{error}");
    let endpoint = |text: &str| serde_saphyr::from_str::<Endpoint>(text).expect("valid").weight();
    assert_eq!(endpoint("{id: a, name: b, address: 10.0.0.1, port: 80, weight: 0}"), 0);
    assert_eq!(endpoint("{id: a, name: b, address: 10.0.0.1, port: 80}"), 1);
}

/// Generates an example with some characters replaced, or unrelated text.
fn mangled(examples: [&'static str; 3]) -> impl Strategy<Value = String> {
    let example = prop::sample::select(examples.to_vec()).prop_map(example);
    let cuts = prop::collection::vec((any::<prop::sample::Index>(), any::<char>()), 1..8);
    let replaced = (example, cuts).prop_map(|(text, cuts)| {
        let mut all: Vec<char> = text.chars().collect();
        for (at, with) in cuts {
            let at = at.index(all.len());
            all[at] = with;
        }
        all.into_iter().collect()
    });
    prop_oneof![3 => replaced, 1 => any::<String>()]
}

proptest! {
    #[test]
    fn r6_no_text_makes_a_reader_panic_and_every_error_is_one_line(
        toml in mangled(["failover.toml", "manager.toml", "failover.yaml"]),
        yaml in mangled(["failover.yaml", "manager.yaml", "manager.toml"]),
        json in "[\\[\\]{}:,\"0-9a-z.eE+ -]{0,200}",
    ) {
        let errors = [
            FailoverConfig::from_toml(&toml).err(),
            ManagerConfig::from_toml(&toml).err(),
            FailoverConfig::from_yaml(&yaml).err(),
            ManagerConfig::from_yaml(&yaml).err(),
            FailoverConfig::from_json(&json).err(),
            ManagerConfig::from_json(&json).err(),
        ];
        for error in errors.iter().flatten() {
            checked(error);
        }
        let _ = serde_json::from_str::<Endpoint>(&json);
        let _ = serde_json::from_str::<HealthCheck>(&json);
    }

    #[test]
    fn r6_no_document_of_an_endpoint_makes_its_reader_panic(
        port in prop_oneof![Just(serde_json::json!("80")), Just(serde_json::json!(65_536)), Just(serde_json::json!(-1)), Just(serde_json::json!(null)), any::<u64>().prop_map(|n| serde_json::json!(n)), any::<f64>().prop_map(|n| serde_json::json!(n))],
        weight in prop_oneof![Just(serde_json::json!(1e308)), Just(serde_json::json!(-1)), Just(serde_json::json!(u64::MAX)), Just(serde_json::json!("NaN")), Just(serde_json::json!([])), any::<u32>().prop_map(|n| serde_json::json!(n))],
        address in prop_oneof![any::<String>(), Just("h".repeat(65_536)), Just("10.0.0.1".to_owned())],
        metadata in prop_oneof![Just("x".repeat(1 << 20)), any::<String>()],
    ) {
        let json = serde_json::json!({
            "id": "a", "name": "users", "address": address, "port": port, "weight": weight, "metadata": {"k": metadata},
        });
        if let Ok(endpoint) = serde_json::from_value::<Endpoint>(json) {
            prop_assert!(endpoint.port() > 0 && endpoint.address().len() <= 253);
            prop_assert!(endpoint.metadata().values().all(|value| value.len() <= 16_384));
        }
    }
}
