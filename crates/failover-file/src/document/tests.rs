use failover_core::Health;

use super::*;

const TOML: &str = r#"
[config]
timeout = "5s"

[services.users]
endpoints = [
    "http://10.0.0.1:8080",
    { id = "two", address = "10.0.0.2", port = 8080, weight = 3, tags = ["blue"], health = "unhealthy" },
]
config = { timeout = "2s", max_retries = 1 }

[services]
orders = ["https://orders.example.com"]
"#;

const YAML: &str = r"
config: { timeout: 5s }
services:
  users:
    endpoints:
      - http://10.0.0.1:8080
      - { id: two, address: 10.0.0.2, port: 8080, weight: 3, tags: [blue], health: unhealthy }
    config: { timeout: 2s, max_retries: 1 }
  orders: [https://orders.example.com]
";

const JSON: &str = r#"{"config": {"timeout": "5s"}, "services": {
    "users": {
        "endpoints": ["http://10.0.0.1:8080",
            {"id": "two", "address": "10.0.0.2", "port": 8080, "weight": 3, "tags": ["blue"], "health": "unhealthy"}],
        "config": {"timeout": "2s", "max_retries": 1}},
    "orders": ["https://orders.example.com"]}}"#;

fn service(name: &str) -> ServiceName {
    ServiceName::new(name).expect("valid")
}

fn of_users(text: &str) -> EndpointSet {
    Document::read(text, Format::Json).expect("it reads").endpoints(&service("users"))
}

#[test]
fn the_three_formats_say_the_same() {
    let documents: Vec<_> =
        [(TOML, Format::Toml), (YAML, Format::Yaml), (JSON, Format::Json), (JSON, Format::Yaml)]
            .map(|(text, format)| Document::read(text, format).expect("it reads"))
            .into_iter()
            .collect();
    for document in &documents {
        assert_eq!(document.services(), [service("orders"), service("users")]);
        let users = document.endpoints(&service("users"));
        assert!(users == documents[0].endpoints(&service("users")), "{users:?}");
        assert_eq!(document.config(), documents[0].config());
    }
    let users = documents[0].endpoints(&service("users"));
    let [one, two] = users.entries() else { panic!("{users:?}") };
    assert_eq!((one.endpoint().authority(), one.endpoint().protocol()), ("10.0.0.1:8080".to_owned(), "http"));
    assert_eq!(
        (two.endpoint().id().as_str(), two.endpoint().tags().len(), two.health()),
        ("two", 1, Health::Unhealthy)
    );
    let config = |key| documents[0].config().get(&key).map(|config| config.document().to_owned());
    assert_eq!(config(ConfigKey::Default).as_deref(), Some(r#"{"timeout":"5s"}"#));
    assert_eq!(
        config(ConfigKey::Service(service("users"))).as_deref(),
        Some(r#"{"max_retries":1,"timeout":"2s"}"#)
    );
    assert_eq!(config(ConfigKey::Service(service("orders"))), None);
}

#[test]
fn a_broken_text_is_an_error_with_its_place() {
    for (text, format, parts) in [
        (
            "[services.users]\nendpoints = [\"a\"\nconfig",
            Format::Toml,
            &["not valid TOML", "line 3 column"][..],
        ),
        ("services:\n  users: [a\n", Format::Yaml, &["not valid YAML", "line"]),
        ("{\"services\": {\n\"users\" []}}", Format::Json, &["not valid JSON", "line 2 column 9"]),
        ("", Format::Toml, &["it is empty"]),
        (" \n\t\n", Format::Json, &["it is empty", "{\"services\": {}}"]),
        ("# nothing but a comment", Format::Yaml, &["it is no table"]),
        ("[]", Format::Json, &["it is no table with the keys `services` and `config`"]),
        ("{\"servics\": {}}", Format::Json, &["`servics` is no key", "`services` and `config`"]),
        ("{\"services\": []}", Format::Json, &["`services` is no table"]),
        ("services = 7", Format::Toml, &["`services` is no table"]),
    ] {
        let error = Document::read(text, format).expect_err(text);
        assert!(parts.iter().all(|part| error.contains(part)), "{text:?}: {error}");
    }
}

#[test]
fn nested_aliases_are_refused_at_once() {
    let mut text = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x]\n");
    text.extend((1..20).map(|level| {
        let before = format!("*a{}", level - 1);
        format!("a{level}: &a{level} [{}]\n", [before.as_str(); 5].join(", "))
    }));
    Document::read(&text, Format::Yaml).expect_err("it is refused");
    let deep = "[".repeat(100_000);
    for format in [Format::Json, Format::Yaml] {
        Document::read(&deep, format).expect_err("it is refused");
    }
}

#[test]
fn what_is_not_valid_is_left_out_and_the_rest_stays() {
    let text = r#"{"services": {
        "users": ["http://10.0.0.1:8080", 7, "http://", {"id": "no address", "port": 80}, {"address": "10.0.0.3"},
                  {"id": "port", "address": "10.0.0.4", "port": 70000}, {"address": "10.0.0.5", "port": 5},
                  {"id": "other", "name": "orders", "address": "10.0.0.6", "port": 6},
                  {"id": "own", "name": "users", "address": "10.0.0.7", "port": 7}],
        "not a name \u0000": ["http://10.0.0.1:8080"],
        "typo": {"endpoint": []}, "seven": 7, "list": {"endpoints": {}},
        "fine": {"config": {"timeout": "1s"}}}}"#;
    let document = Document::read(text, Format::Json).expect("it reads");
    let users = document.endpoints(&service("users"));
    let ids: Vec<_> = users.entries().iter().map(|entry| entry.endpoint().id().to_string()).collect();
    assert_eq!(ids, ["10.0.0.1:8080", "10.0.0.5:5", "own"]);
    let rejected: Vec<_> =
        users.rejected().iter().map(failover_core::provider::RejectedEntry::what).collect();
    assert_eq!(rejected, ["endpoints[1]", "endpoints[2]", "no address", "endpoints[4]", "port", "other"]);
    assert_eq!(document.problems().len(), 4, "{:?}", document.problems());
    assert!(
        document.problems().iter().any(|problem| problem.contains("services.typo: `endpoint` is no key"))
    );
    assert!(document.config().get(&ConfigKey::Service(service("fine"))).is_some());
    assert!(document.endpoints(&service("fine")).is_unknown_service(), "it names no endpoints");
}

#[test]
fn an_empty_list_is_certain_and_a_missing_service_is_not() {
    assert!(of_users(r#"{"services": {"users": []}}"#).is_confirmed());
    assert!(of_users(r#"{"services": {"users": {"endpoints": []}}}"#).is_confirmed());
    for text in [r#"{"services": {}}"#, "{}", r#"{"services": {"users": {}}}"#] {
        let set = of_users(text);
        assert!(set.is_unknown_service() && !set.is_confirmed(), "{text}");
    }
    assert!(!of_users("\u{feff}{\"services\": {\"users\": [\"http://10.0.0.1:80\"]}}").entries().is_empty());
}

#[test]
fn a_revision_changes_with_the_document_alone() {
    let revision = |text: &str| {
        let document = Document::read(text, Format::Json).expect("it reads");
        document.config().get(&ConfigKey::Default).expect("it is there").revision().clone()
    };
    assert_eq!(
        revision(r#"{"config": {"timeout": "1s"}}"#),
        revision("{\"config\":\n{\"timeout\": \"1s\"}, \"services\": {}}")
    );
    assert_ne!(revision(r#"{"config": {"timeout": "1s"}}"#), revision(r#"{"config": {"timeout": "2s"}}"#));
}
