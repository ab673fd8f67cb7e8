use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::model::health::{Health, Lifecycle};

fn plain() -> EndpointBuilder {
    Endpoint::builder("users-1", "user-service", "10.0.0.1", 8080)
}

fn minimal() -> Value {
    json!({"id": "users-1", "name": "user-service", "address": "10.0.0.1", "port": 8080})
}

fn with(changes: &Value) -> Value {
    let mut json = minimal();
    for (key, value) in changes.as_object().unwrap() {
        json[key] = value.clone();
    }
    json
}

fn read(json: &Value) -> Result<Endpoint, String> {
    serde_json::from_value(json.clone()).map_err(|error| error.to_string())
}

fn full() -> Endpoint {
    let second = SystemTime::UNIX_EPOCH + Duration::from_secs(1_758_500_000);
    Endpoint::builder("users/1~ü", "user.service_v2-a", "fd00::1", 443)
        .protocol("HTTPS")
        .server_name("users.example.com")
        .health_check(HealthCheck::builder().path("/health").build().unwrap())
        .metadata("version", "1.0.0")
        .metadata("", "")
        .metadata_map([("version", "1.0.0"), ("note", "a\nb")])
        .tag("api")
        .tags(["api", "user", "api"])
        .weight(7)
        .priority(2)
        .region("eu central")
        .zone("eu-central-1a")
        .created_at(second)
        .updated_at(second + Duration::from_nanos(123_456_789))
        .build()
        .unwrap()
}

#[test]
fn the_authority_is_as_formatted_for_every_number_of_digits() {
    for port in [1, 9, 10, 99, 100, 8_080, 10_000, u16::MAX] {
        let endpoint = Endpoint::builder("a", "users", "db.example.com", port).build().expect("valid");
        let authority = endpoint.authority();
        assert_eq!(authority, format!("db.example.com:{port}"));
        assert_eq!(authority.capacity(), authority.len(), "no spare room");
        assert!(endpoint.to_string().ends_with(&format!("//{authority})")));
    }
    assert_eq!(host_port("10.0.0.1", 0), "10.0.0.1:0");
}

#[test]
fn nothing_set_is_every_default() {
    let endpoint = plain().build().unwrap();
    assert_eq!(endpoint.id(), &"users-1");
    assert_eq!(endpoint.service(), &"user-service");
    assert_eq!(endpoint.address(), "10.0.0.1");
    assert_eq!(endpoint.ip(), Some([10, 0, 0, 1].into()));
    assert_eq!(endpoint.port(), 8080);
    assert_eq!(endpoint.protocol(), "tcp");
    assert_eq!((endpoint.weight(), endpoint.priority()), (1, 0));
    assert_eq!((endpoint.region(), endpoint.zone(), endpoint.server_name()), (None, None, None));
    assert_eq!((endpoint.created_at(), endpoint.updated_at()), (None, None));
    assert!(endpoint.metadata().is_empty() && endpoint.tags().is_empty());
    assert!(endpoint.health_check().is_none());
    assert_eq!(read(&minimal()).unwrap(), endpoint);
}

#[test]
fn urls_put_ipv6_in_brackets_and_a_slash_where_it_is_missing() {
    let endpoint = full();
    assert_eq!(endpoint.authority(), "[fd00::1]:443");
    assert_eq!(endpoint.url("/a?b=c"), "https://[fd00::1]:443/a?b=c");
    assert_eq!(endpoint.to_string(), "users/1~ü (https://[fd00::1]:443)");
    assert_eq!(endpoint.socket_addr().unwrap().to_string(), "[fd00::1]:443");
    let named = Endpoint::builder("a", "s", "users.example.com", 80).protocol("http").build().unwrap();
    assert_eq!(named.url("a"), "http://users.example.com:80/a");
    assert_eq!(named.url(""), "http://users.example.com:80/");
    assert_eq!(named.url("?b"), "http://users.example.com:80/?b");
    assert_eq!((named.ip(), named.socket_addr()), (None, None));
}

#[test]
fn service_names_and_ids_that_are_right_are_kept_as_they_are() {
    for name in ["a", "user-service", "a.b_c-D9", "...", "-", &"x".repeat(253)] {
        let checked = ServiceName::new(name).unwrap();
        assert_eq!(checked, *name);
        assert_eq!(serde_json::to_value(&checked).unwrap(), json!(name));
        assert_eq!(serde_json::from_value::<ServiceName>(json!(name)).unwrap(), checked);
    }
    for id in ["a", "a/../b", "10.0.0.1:80", "[::1]:80", "a@b", "ü", "\"q\"", &"ü".repeat(255)] {
        let checked = EndpointId::new(id).unwrap();
        assert_eq!(format!("{checked}"), id);
        assert_eq!(format!("{checked:?}"), format!("{id:?}"));
        assert_eq!(id.parse::<EndpointId>().unwrap(), checked);
        assert_eq!(EndpointId::try_from(id.to_owned()).unwrap(), EndpointId::try_from(id).unwrap());
        let map = std::collections::HashMap::from([(checked, 1)]);
        assert_eq!(map.get(id), Some(&1));
    }
}

#[test]
fn service_names_that_are_wrong_are_refused() {
    for (name, shown) in [
        ("", "an empty value"),
        (".", "."),
        ("..", ".."),
        ("a/../b", "a/../b"),
        ("a/b", "a/b"),
        ("a b", "a b"),
        ("a\nb", "a\\u{a}b"),
        ("a\0", "\\u{0}"),
        ("ü", "ü"),
        ("a%2fb", "a%2fb"),
        (&"x".repeat(300), "(300 bytes)"),
        (&"x".repeat(254), "(254 bytes)"),
    ] {
        let error = ServiceName::new(name).unwrap_err().to_string();
        assert!(error.starts_with("service name: "), "{error}");
        assert!(error.contains(shown), "{error}");
        assert_eq!(error, Endpoint::builder("a", name, "10.0.0.1", 1).build().unwrap_err().to_string());
    }
}

#[test]
fn ids_that_are_wrong_are_refused() {
    for (id, shown) in [
        ("", "an empty value"),
        (" ", "  is"),
        ("a b", "a b"),
        ("a\u{a0}b", "a\u{a0}b"),
        ("a\tb", "a\\u{9}b"),
        ("a\r\nb", "a\\u{d}\\u{a}b"),
        ("a\0b", "a\\u{0}b"),
        ("a\u{1b}[31m", "\\u{1b}"),
        ("a\u{202e}b", "\\u{202e}"),
        ("a\u{feff}b", "\\u{feff}"),
        ("a\u{85}b", "\\u{85}"),
        (&"x".repeat(300), "(300 bytes)"),
        (&"ü".repeat(256), "(512 bytes)"),
    ] {
        let error = EndpointId::new(id).unwrap_err().to_string();
        assert!(error.starts_with("endpoint id: "), "{error}");
        assert!(error.contains(shown), "{error}");
        assert_eq!(error, Endpoint::builder(id, "s", "10.0.0.1", 1).build().unwrap_err().to_string());
    }
}

#[test]
fn addresses_that_are_right_come_back_in_one_form() {
    for (given, kept, is_ip) in [
        ("10.0.0.1", "10.0.0.1", true),
        ("FD00:0:0:0:0:0:0:1", "fd00::1", true),
        ("::ffff:10.0.0.1", "::ffff:10.0.0.1", true),
        ("localhost", "localhost", false),
        ("a_b.example-1.com", "a_b.example-1.com", false),
        ("example.com.", "example.com.", false),
        ("1a", "1a", false),
        ("10.0.0.1.example", "10.0.0.1.example", false),
        ("0xg", "0xg", false),
        (&"a.".repeat(126), &"a.".repeat(126), false),
    ] {
        let endpoint = Endpoint::builder("a", "s", given, 1).build().unwrap();
        assert_eq!((endpoint.address(), endpoint.ip().is_some()), (kept, is_ip));
    }
}

#[test]
fn addresses_that_are_wrong_are_refused_with_the_reason() {
    for (given, reason) in [
        ("", "an empty value is not allowed; give an IP address or a host name"),
        ("http://10.0.0.1", "not a URL"),
        ("10.0.0.1/path", "not a URL"),
        ("a@b", "not a URL"),
        ("10.0.0.1:80", "the port is a separate field"),
        ("host:80", "the port is a separate field"),
        ("host:", "has no colon"),
        ("[::1]", "without brackets"),
        ("[::1]:80", "without brackets"),
        ("fe80::1%eth0", "zone id"),
        ("fe80::1%25eth0", "zone id"),
        ("1:2:3", "an IPv6 address such as"),
        ("::1::", "an IPv6 address such as"),
        ("0x7f.1", "only looks like one"),
        ("0x7f.0.0.1", "only looks like one"),
        ("010.1.2.3", "only looks like one"),
        ("2130706433", "only looks like one"),
        ("0x7f000001", "only looks like one"),
        ("0X7F000001", "only looks like one"),
        ("0x", "only looks like one"),
        ("017700000001", "only looks like one"),
        ("127.1", "only looks like one"),
        ("1.2.3.4.", "only looks like one"),
        ("256.1.1.1", "only looks like one"),
        ("1.2.3.4.5", "only looks like one"),
        ("a.1", "only looks like one"),
        ("-a.example", "hyphen"),
        ("a-.example", "hyphen"),
        ("a..example", "labels"),
        (".", "labels"),
        ("a example", "labels"),
        (" 10.0.0.1", "labels"),
        ("a\n", "labels"),
        ("münchen.example", "xn--"),
        ("\u{ff11}\u{ff12}7.0.0.1", "xn--"),
        (&"a".repeat(64), "1 to 63"),
        (&format!("{}a", "a.".repeat(127)), "at most 253"),
    ] {
        let error = Endpoint::builder("a", "s", given, 1).build().unwrap_err().to_string();
        assert!(error.starts_with("address: "), "{given:?}: {error}");
        assert!(error.contains(reason), "{given:?}: {error}");
        assert!(read(&with(&json!({"address": given}))).unwrap_err().contains("address"), "{given:?}");
        let error = plain().server_name(given).build().unwrap_err().to_string();
        assert!(error.starts_with("server_name: ") && error.contains(reason), "{given:?}: {error}");
    }
}

#[test]
fn other_values_that_are_wrong_are_refused() {
    let many = |count: usize| (0..count).map(|n| (n.to_string(), "v"));
    let early = SystemTime::UNIX_EPOCH - Duration::from_secs(62_104_060_801);
    let late = SystemTime::UNIX_EPOCH + Duration::from_secs(253_402_300_800);
    for (builder, starts, shown) in [
        (Endpoint::builder("a", "s", "10.0.0.1", 0), "port: 0", "1 to 65535"),
        (plain().protocol(""), "protocol: an empty value", "a letter"),
        (plain().protocol("1http"), "protocol: 1http", "a letter"),
        (plain().protocol("http://"), "protocol: http://", "a letter"),
        (plain().protocol("ht tp"), "protocol: ht tp", "a letter"),
        (plain().protocol("a".repeat(33)), "protocol: aaa", "at most 32"),
        (plain().metadata_map(many(257)), "metadata: 257", "at most 256"),
        (plain().metadata("", "v"), "metadata key: an empty value", "1 to 256 bytes"),
        (plain().metadata("k".repeat(257), "v"), "metadata key: kkk", "(257 bytes)"),
        (plain().metadata("k", "v".repeat(16_385)), "metadata.k: 16385 bytes", "at most 16384"),
        (plain().tags(vec!["t"; 257]), "tags: 257", "at most 256"),
        (plain().tag("t".repeat(1025)), "tags: ttt", "(1025 bytes)"),
        (plain().region(""), "region: an empty value", "1 to 63"),
        (plain().zone("z".repeat(64)), "zone: zzz", "1 to 63"),
        (plain().zone("a\u{202e}b"), "zone: a\\u{202e}b", "printable"),
        (plain().created_at(early), "created_at: ", "2 to 9999"),
        (plain().updated_at(late), "updated_at: ", "2 to 9999"),
    ] {
        let error = builder.build().unwrap_err();
        assert_eq!(error.kind(), crate::ErrorKind::Validation);
        assert!(error.to_string().starts_with(starts), "{error}");
        assert!(error.to_string().contains(shown), "{error}");
    }
    let most = plain().metadata_map(many(256)).tags(vec![""; 256]).protocol("a".repeat(32));
    most.metadata("0", "v".repeat(16_384)).region("r".repeat(63)).weight(u32::MAX).build().unwrap();
}

#[test]
fn json_that_is_wrong_is_refused_with_the_field_and_the_value() {
    for (changes, field, shown) in [
        (json!({"port": 0}), "port", "0 is not allowed; give a number from 1 to 65535"),
        (json!({"port": 65_536}), "port", "65536 is not allowed; give a number from 1 to 65535"),
        (json!({"port": "80"}), "port", "\"80\""),
        (json!({"port": -1}), "port", "-1"),
        (json!({"port": 80.5}), "port", "80.5"),
        (json!({"port": true}), "port", "true"),
        (json!({"port": null}), "port is missing", "1 to 65535"),
        (json!({"port": u64::MAX}), "port", "18446744073709551615"),
        (json!({"id": ""}), "id is missing or empty", "service"),
        (json!({"id": 5}), "id", "5"),
        (json!({"id": "a b"}), "endpoint id", "a b"),
        (json!({"id": "x".repeat(300)}), "endpoint id", "300 bytes"),
        (json!({"name": null}), "name is missing or empty", "service"),
        (json!({"name": ["a"]}), "name", "a list"),
        (json!({"name": "a/../b"}), "service name", "a/../b"),
        (json!({"address": ""}), "address is missing or empty", "host name"),
        (json!({"address": {}}), "address", "an object"),
        (json!({"protocol": 1}), "protocol", "1"),
        (json!({"server_name": "a:80"}), "server_name", "a:80"),
        (json!({"health_check": true}), "health_check", "a boolean"),
        (json!({"health_check": {"path": "x"}}), "health_check.path", "x"),
        (json!({"metadata": "a=b"}), "metadata", "a text"),
        (json!({"metadata": {"a": 1}}), "metadata.a", "1"),
        (json!({"metadata": {"a": null}}), "metadata.a", "null"),
        (json!({"tags": "api"}), "tags", "\"api\""),
        (json!({"tags": ["api", 1]}), "tags", "1"),
        (json!({"weight": -1}), "weight", "-1"),
        (json!({"weight": 1.5}), "weight", "1.5"),
        (json!({"weight": "1"}), "weight", "\"1\""),
        (json!({"weight": 4_294_967_296_u64}), "weight", "4294967296"),
        (json!({"weight": 5, "zero_weight": true}), "weight", "5"),
        (json!({"zero_weight": 1}), "zero_weight", "1"),
        (json!({"priority": -1}), "priority", "-1"),
        (json!({"region": "r".repeat(64)}), "region", "rrr"),
        (json!({"zone": 1}), "zone", "1"),
        (json!({"created_at": "yesterday"}), "created_at", "\"yesterday\""),
        (json!({"created_at": "2025-09-22T10:00:00"}), "created_at", "\"2025-09-22T10:00:00\""),
        (json!({"created_at": "2025-13-22T10:00:00Z"}), "created_at", "2025-13-22"),
        (json!({"updated_at": 1_758_500_000}), "updated_at", "1758500000"),
        (json!({"prot": "http"}), "prot", "did you mean port?"),
        (json!({"server-name": "a"}), "server-name", "did you mean server_name?"),
        (json!({"Token": "a"}), "Token", "unknown key"),
    ] {
        let error = read(&with(&changes)).unwrap_err();
        assert!(error.starts_with(field), "{changes}: {error}");
        assert!(error.contains(shown), "{changes}: {error}");
        let entry = serde_json::from_value::<EndpointEntry>(with(&changes)).unwrap_err().to_string();
        assert_eq!(entry, error);
    }
    for missing in ["id", "name", "address", "port"] {
        let mut json = minimal();
        json.as_object_mut().unwrap().remove(missing);
        assert!(read(&json).unwrap_err().starts_with(&format!("{missing} is missing")), "{missing}");
    }
    assert_eq!(read(&json!([])).unwrap_err(), "endpoint: a list is not allowed; give an object");
}

/// As `encoding/json` writes a `ServiceEndpoint` with only the required fields.
#[test]
fn the_zero_values_of_the_go_package_read_as_absent() {
    let go = r#"{"id":"users-1","name":"user-service","address":"10.0.0.1","port":8080,"protocol":"",
        "health_check":null,"metadata":null,"tags":null,"weight":0,"priority":0,"health":"","last_check":
        "0001-01-01T00:00:00Z","response_time":0,"failures":0,"successes":0,
        "created_at":"0001-01-01T00:00:00Z","updated_at":"0001-01-01T00:00:00+07:00"}"#;
    assert_eq!(serde_json::from_str::<Endpoint>(go).unwrap(), plain().build().unwrap());
    let entry = serde_json::from_str::<EndpointEntry>(go).unwrap();
    assert_eq!(entry, EndpointEntry::new(plain().build().unwrap()));
}

/// The quick start of the Go package's README, after `encoding/json`.
#[test]
fn an_endpoint_of_the_go_package_is_read_as_meant() {
    let go = r#"{"id":"service-1","name":"user-service","address":"192.168.1.10","port":8080,"protocol":"http",
        "health_check":{"path":"/health","interval":30000000000,"timeout":5000000000,"method":"","headers":null,
        "body":""},"metadata":{"region":"us-east-1","version":"1.0.0"},"tags":["api","user"],"weight":0,"priority":0,
        "created_at":"2025-09-22T12:00:00.5+02:00","updated_at":"2025-09-22T10:00:00Z","health":1,"draining":true}"#;
    let entry: EndpointEntry = serde_json::from_str(go).unwrap();
    let endpoint = entry.endpoint();
    assert_eq!(endpoint.url("/users"), "http://192.168.1.10:8080/users");
    assert_eq!(endpoint.health_check().unwrap().interval(), Duration::from_secs(30));
    assert_eq!(endpoint.metadata()["region"], "us-east-1");
    assert_eq!(endpoint.tags(), ["api", "user"]);
    assert_eq!(endpoint.weight(), 1);
    let later = endpoint.created_at().unwrap().duration_since(endpoint.updated_at().unwrap()).unwrap();
    assert_eq!(later, Duration::from_millis(500));
    assert_eq!((entry.health(), entry.lifecycle()), (Health::Healthy, Lifecycle::Draining));
    assert_eq!(serde_json::from_str::<Endpoint>(go).unwrap(), **endpoint);
}

#[test]
fn an_endpoint_comes_back_as_it_went_out() {
    for endpoint in [plain().build().unwrap(), full(), plain().weight(0).build().unwrap()] {
        let json = serde_json::to_value(&endpoint).unwrap();
        assert_eq!(read(&json).unwrap(), endpoint);
        assert_eq!(endpoint.to_builder().build().unwrap(), endpoint);
    }
    let json = serde_json::to_value(full()).unwrap();
    assert_eq!(json["created_at"], "2025-09-22T00:13:20Z");
    assert_eq!(json["updated_at"], "2025-09-22T00:13:20.123456789Z");
    assert_eq!(
        serde_json::to_value(plain().build().unwrap()).unwrap(),
        with(&json!({"protocol": "tcp", "weight": 1, "priority": 0}))
    );
}

#[test]
fn an_entry_comes_back_with_what_its_source_claims() {
    let endpoint = Arc::new(full());
    for health in [Health::Unknown, Health::Healthy, Health::Degraded, Health::Unhealthy] {
        for lifecycle in [Lifecycle::InService, Lifecycle::Draining, Lifecycle::Maintenance] {
            let entry =
                EndpointEntry::new(Arc::clone(&endpoint)).with_health(health).with_lifecycle(lifecycle);
            let json = serde_json::to_value(&entry).unwrap();
            assert_eq!(serde_json::from_value::<EndpointEntry>(json.clone()).unwrap(), entry);
            assert_eq!(serde_json::from_value::<Endpoint>(json).unwrap(), *endpoint);
        }
    }
    for (changes, field) in [
        (json!({"health": "fine"}), "health: fine"),
        (json!({"health": 4}), "health: 4"),
        (json!({"draining": "yes"}), "draining: \"yes\""),
        (json!({"maintenance": 1}), "maintenance: 1"),
    ] {
        let error = serde_json::from_value::<EndpointEntry>(with(&changes)).unwrap_err().to_string();
        assert!(error.starts_with(field), "{error}");
    }
}

#[test]
fn urls_and_authorities_become_endpoints() {
    let service = ServiceName::new("s").unwrap();
    for (url, protocol, address, port, id) in [
        ("http://10.0.0.1:8080", "http", "10.0.0.1", 8080, "10.0.0.1:8080"),
        ("http://10.0.0.1:8080/", "http", "10.0.0.1", 8080, "10.0.0.1:8080"),
        ("HTTPS://host", "https", "host", 443, "host:443"),
        ("http://host", "http", "host", 80, "host:80"),
        ("grpc://host:50051", "grpc", "host", 50051, "host:50051"),
        ("10.0.0.1:8080", "tcp", "10.0.0.1", 8080, "10.0.0.1:8080"),
        ("[::1]:80", "tcp", "::1", 80, "[::1]:80"),
        ("http://[0:0::1]", "http", "::1", 80, "[::1]:80"),
        ("host:1234", "tcp", "host", 1234, "host:1234"),
    ] {
        let endpoint = Endpoint::from_url(&service, url).unwrap();
        assert_eq!(
            (endpoint.protocol(), endpoint.address(), endpoint.port(), endpoint.id().as_str()),
            (protocol, address, port, id)
        );
        assert_eq!(endpoint.service(), &service);
    }
}

#[test]
fn urls_that_say_more_than_where_are_refused_without_the_user() {
    let service = ServiceName::new("s").unwrap();
    for (url, reason) in [
        ("", "a port"),
        ("host", "a port"),
        ("grpc://host", "a port"),
        ("::1", "in brackets"),
        ("fd00::1:80", "in brackets"),
        ("[::1", "in brackets"),
        ("[::1]80", "in brackets"),
        ("[host]:80", "in brackets"),
        ("http://[fe80::1%25eth0]:80", "zone id"),
        ("host:", "a port from 1 to 65535"),
        ("host:0", "a port from 1 to 65535"),
        ("host:65536", "a port from 1 to 65535"),
        ("host:+80", "a port from 1 to 65535"),
        ("http://:80", "an IP address or a host name"),
        ("://host:80", "a letter"),
        ("http://0x7f.1:80", "only looks like one"),
        ("http://ho st:80", "labels"),
        ("http://host/path", "without a path"),
        ("http://host//", "without a path"),
        ("host:80/path", "without a path"),
        ("http://host?token=c4n4ry", "without a query"),
        ("http://host#c4n4ry", "without a fragment"),
        ("http://user:c4n4ry@host", "without a user"),
        ("user:c4n4ry@host:80", "without a user"),
        ("http://user:c4n4ry@x:c4n4ry@host:80", "without a user"),
        ("http://c4n4ry@host/path?c4n4ry", "without a user"),
        ("http://host/a@b", "without a user"),
        ("c4n4ry@http://host", "only"),
    ] {
        let error = Endpoint::from_url(&service, url);
        let Err(error) = error else { panic!("{url} is accepted") };
        let shown = format!("{error} {error:?}");
        assert!(error.to_string().starts_with("url"), "{url}: {error}");
        assert!(reason == "only" || error.to_string().contains(reason), "{url}: {error}");
        assert!(!shown.contains("c4n4ry"), "{url}: {shown}");
    }
    let error = Endpoint::builder("a", "s", "http://u:c4n4ry@host", 80).build().unwrap_err();
    assert!(!format!("{error:?}").contains("c4n4ry"), "{error:?}");
}

proptest! {
    #[test]
    fn every_endpoint_that_builds_comes_back(
        id in "[!-~ä-ü]{1,40}", service in "[a-zA-Z0-9_-]{1,40}", host in "[a-z]{1,9}(\\.[a-z_][a-z0-9_]{0,7}[a-z]){0,4}",
        port in 1_u16.., weight: u32, priority: u32, seconds in 0_u64..200_000_000_000, nanos in 0_u32..1_000_000_000,
        tags in prop::collection::vec("\\PC{0,20}", 0..5),
        metadata in prop::collection::btree_map("\\PC{1,20}", ".{0,20}", 0..5),
        zone in prop::option::of("[ -~]{1,63}"),
    ) {
        let mut builder = Endpoint::builder(id, service, host, port).weight(weight).priority(priority).tags(tags)
            .metadata_map(metadata).created_at(SystemTime::UNIX_EPOCH + Duration::new(seconds, nanos));
        if let Some(zone) = zone {
            builder = builder.zone(zone);
        }
        let endpoint = builder.build().unwrap();
        let json = serde_json::to_string(&endpoint).unwrap();
        prop_assert_eq!(serde_json::from_str::<Endpoint>(&json).unwrap(), endpoint);
    }

    #[test]
    fn no_url_makes_it_panic(url in "\\PC{0,30}|(http|x)?:?/?/?[a-z@:.%#?\\[\\]0-9é]{0,20}") {
        let _ = Endpoint::from_url(&ServiceName::new("s").unwrap(), &url);
    }
}

#[test]
fn an_endpoint_is_reached_by_its_server_name_or_as_another_scheme() {
    let at = |address: &str, name: Option<&str>| {
        let builder = Endpoint::builder("a", "users", address, 8443).protocol("https");
        let builder = if let Some(name) = name { builder.server_name(name) } else { builder };
        builder.build().unwrap()
    };
    for (endpoint, url, by_name, name) in [
        (at("10.0.0.1", None), "https://10.0.0.1:8443/a?b", "https://10.0.0.1:8443/a?b", "10.0.0.1"),
        (
            at("10.0.0.1", Some("u.example")),
            "https://10.0.0.1:8443/a?b",
            "https://u.example:8443/a?b",
            "u.example",
        ),
        (
            at("2001:db8::1", None),
            "https://[2001:db8::1]:8443/a?b",
            "https://[2001:db8::1]:8443/a?b",
            "2001:db8::1",
        ),
        (
            at("h.example", Some("u.example")),
            "https://h.example:8443/a?b",
            "https://u.example:8443/a?b",
            "u.example",
        ),
    ] {
        assert_eq!((endpoint.url("a?b"), endpoint.url("/a?b")), (url.to_owned(), url.to_owned()));
        let to = endpoint.connect_to();
        assert_eq!((to.url("a?b"), to.name()), (by_name.to_owned(), name));
        assert_eq!(to.address(), (endpoint.address(), 8443));
        assert_eq!(format!("https://{}/a?b", to.authority()), by_name);
        assert_eq!(endpoint.url_as("http", "/a?b"), url.replace("https", "http"));
        assert_eq!(to.url_as("wss", "/a?b"), by_name.replace("https", "wss"));
    }
}
