//! Slices of every kind, valid and invalid.

use std::time::{Duration, SystemTime};

use failover_core::provider::EndpointEntry;
use failover_core::{Endpoint, Health, HealthCheck, Lifecycle};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::names;
use crate::settings::{AddressFamily, PortChoice, Reading};

fn reading() -> Reading {
    Reading::new(PortChoice::Only, AddressFamily::PreferIpv4, "tcp")
}

#[allow(clippy::needless_pass_by_value, reason = "it is made where it is given")]
fn foreign(endpoints: Value, ports: Value) -> Value {
    json!({
        "metadata": {"name": "users-abc", "uid": "u1", "resourceVersion": "7", "labels": {names::SERVICE: "users"}},
        "addressType": "IPv4", "endpoints": endpoints, "ports": ports,
    })
}

fn http() -> Value {
    json!([{"name": "http", "port": 8080, "protocol": "TCP", "appProtocol": "http"}])
}

fn read_all(object: &Value, reading: &Reading) -> Slice {
    read(object, reading).expect("it says which slice it is")
}

/// Returns the addresses of a slice with health and lifecycle, and the number of rejected parts.
fn seen(slice: &Slice) -> (Vec<String>, usize) {
    let shown = |entry: &EndpointEntry| {
        format!("{} {} {}", entry.endpoint().authority(), entry.health(), entry.lifecycle())
    };
    (slice.candidates.iter().map(|one| shown(&one.entry)).collect(), slice.rejected.len())
}

#[test]
fn conditions_are_read_as_kube_proxy_reads_them() {
    for (conditions, expected) in [
        (json!(null), "healthy in_service"),
        (json!({}), "healthy in_service"),
        (json!({"ready": null, "serving": null, "terminating": null}), "healthy in_service"),
        (json!({"ready": true, "serving": true, "terminating": false}), "healthy in_service"),
        (json!({"ready": false, "serving": false, "terminating": false}), "unhealthy in_service"),
        (json!({"ready": false}), "unhealthy in_service"),
        (json!({"ready": false, "serving": true, "terminating": true}), "healthy draining"),
        (json!({"ready": false, "serving": false, "terminating": true}), "unhealthy draining"),
        // As written with `publishNotReadyAddresses`.
        (json!({"ready": true, "serving": false, "terminating": true}), "healthy in_service"),
        (json!({"ready": "yes", "serving": 1}), "healthy in_service"),
    ] {
        let slice = foreign(json!([{"addresses": ["10.0.0.1"], "conditions": conditions}]), http());
        let (entries, rejected) = seen(&read_all(&slice, &reading()));
        assert_eq!((entries, rejected), (vec![format!("10.0.0.1:8080 {expected}")], 0), "{conditions}");
    }
}

/// F13: only the invalid endpoint is rejected; the valid one beside it stays.
#[test]
fn a_bad_endpoint_is_left_out_and_reported_and_the_others_stay() {
    for bad in [
        json!({}),
        json!(null),
        json!("text"),
        json!(7),
        json!({"addresses": null}),
        json!({"addresses": []}),
        json!({"addresses": [7]}),
        json!({"addresses": "10.0.0.2"}),
        json!({"addresses": [""]}),
        json!({"addresses": ["10.0.0.256"]}),
        json!({"addresses": ["http://10.0.0.2"]}),
        json!({"addresses": ["a b"]}),
        json!({"addresses": ["x".repeat(65536)]}),
        json!({"addresses": ["10.0.0.2"], "targetRef": {"uid": "a b\n"}}),
    ] {
        let slice = foreign(json!([bad, {"addresses": ["10.0.0.1"]}]), http());
        let read = read_all(&slice, &reading());
        assert_eq!(read.candidates.len(), 1, "{bad}");
        assert_eq!(read.candidates[0].entry.endpoint().address(), "10.0.0.1");
        assert_eq!(read.rejected.len(), 1, "{bad}");
        assert!(read.rejected[0].0.starts_with("slice users-abc, endpoint 0"), "{:?}", read.rejected[0]);
    }
    // Unknown or invalid additional fields are ignored.
    let odd = json!([{
        "addresses": ["10.0.0.1", "10.0.0.9"], "zone": "z".repeat(300), "nodeName": 7, "hostname": null,
        "targetRef": {"uid": null, "name": 9}, "hints": {"forZones": [{"name": null}, 7]}, "deprecatedTopology": {"a": 1},
    }]);
    let read = read_all(&foreign(odd, http()), &reading());
    assert_eq!(seen(&read), (vec!["10.0.0.1:8080 healthy in_service".to_owned()], 0));
    assert_eq!(read.candidates[0].entry.endpoint().zone(), None);
}

/// F13 and F34: slices from controllers of all versions.
#[test]
fn slices_without_endpoints_or_with_unknown_parts_are_read() {
    for (object, entries, rejected) in [
        (foreign(json!(null), json!(null)), 0, 0),
        (foreign(json!([]), json!([])), 0, 0),
        (foreign(json!({}), http()), 0, 0),
        (foreign(json!([{"addresses": ["10.0.0.1"]}]), json!(null)), 0, 1),
        (foreign(json!([{"addresses": ["10.0.0.1"]}]), json!([{"port": null}])), 0, 1),
        (foreign(json!([{"addresses": ["10.0.0.1"]}]), json!([{"port": 0}])), 0, 1),
        (foreign(json!([{"addresses": ["10.0.0.1"]}]), json!([{"port": 70000}])), 0, 1),
        (foreign(json!([{"addresses": ["10.0.0.1"]}]), json!([{"port": "80"}])), 0, 1),
        (foreign(json!([{"addresses": ["10.0.0.1"]}]), json!([{"port": 80.5}])), 0, 1),
        (foreign(json!([{"addresses": ["10.0.0.1"]}]), json!([{"port": 1e300}])), 0, 1),
        (
            foreign(
                json!([{"addresses": ["10.0.0.1"]}]),
                json!([{"port": 80, "name": null, "protocol": null}]),
            ),
            1,
            0,
        ),
    ] {
        let read = read_all(&object, &reading());
        assert_eq!((read.candidates.len(), read.rejected.len()), (entries, rejected), "{object}");
    }
    let mut future = foreign(
        json!([{"addresses": ["10.0.0.1"], "conditions": {"ready": true, "dancing": true},
        "hints": {"forZones": [{"name": "a"}, {"name": "b"}], "forNodes": [{"name": "n1"}]}, "new": [1]}]),
        http(),
    );
    future["newField"] = json!({"deep": {"er": null}});
    future["addressType"] = json!("IPv4");
    let read = read_all(&future, &reading());
    assert_eq!(read.candidates[0].entry.endpoint().metadata()["k8s.zone_hints"], "a,b");
    future["addressType"] = json!("Carrier-Pigeon");
    let read = read_all(&future, &reading());
    assert_eq!((read.candidates.len(), read.rejected.len()), (0, 1));
    assert!(read.rejected[0].1.to_string().contains("IPv4, IPv6 or FQDN"), "{:?}", read.rejected);
    let mut named = foreign(json!([{"addresses": ["db.example.com"]}]), http());
    named["addressType"] = json!("FQDN");
    assert_eq!(read_all(&named, &reading()).candidates[0].entry.endpoint().address(), "db.example.com");
}

#[test]
fn what_is_no_slice_is_an_error_and_no_panic() {
    for object in [
        json!(null),
        json!([]),
        json!("x"),
        json!({}),
        json!({"metadata": null}),
        json!({"metadata": {"name": "a"}}),
        json!({"metadata": {"name": "a", "labels": null}}),
        json!({"metadata": {"name": "a", "labels": {names::SERVICE: "a/b"}}}),
        json!({"metadata": {"labels": {names::SERVICE: "users"}}}),
    ] {
        read(&object, &reading()).expect_err("it does not say what it is");
    }
}

#[test]
fn the_port_is_chosen_by_name_or_number_and_a_name_is_another_number_in_each_slice() {
    let endpoints = json!([{"addresses": ["10.0.0.1"]}]);
    let two = json!([{"name": "http", "port": 8080, "appProtocol": "http"}, {"name": "admin", "port": 9090}]);
    let slice = foreign(endpoints.clone(), two.clone());
    let port = |object: &Value, choice: PortChoice| {
        let read = read_all(object, &Reading { port: choice, ..reading() });
        read.candidates.first().map(|one| one.entry.endpoint().port())
    };
    assert_eq!(port(&slice, PortChoice::Only), None);
    let why = read_all(&slice, &reading()).rejected[0].1.to_string();
    assert!(why.contains("http (8080), admin (9090)") && why.contains("port_name"), "{why}");
    assert_eq!(port(&slice, PortChoice::Name("http".into())), Some(8080));
    assert_eq!(port(&slice, PortChoice::Number(9090)), Some(9090));
    assert_eq!(port(&slice, PortChoice::Name("grpc".into())), None);
    assert_eq!(port(&slice, PortChoice::Number(1)), None);
    let other = foreign(endpoints.clone(), json!([{"name": "http", "port": 9999}]));
    assert_eq!(port(&other, PortChoice::Name("http".into())), Some(9999));
    let all = foreign(endpoints, json!([{"port": null}]));
    assert_eq!(port(&all, PortChoice::Number(77)), Some(77), "a port without a number is every port");
}

#[test]
fn the_protocol_is_what_the_port_says() {
    for (port, protocol) in [
        (json!({"port": 1, "appProtocol": "http"}), "http"),
        (json!({"port": 1, "appProtocol": "HTTPS"}), "https"),
        (json!({"port": 1, "appProtocol": "kubernetes.io/h2c"}), "h2c"),
        (json!({"port": 1, "appProtocol": "kubernetes.io/wss"}), "wss"),
        (json!({"port": 1, "appProtocol": "failover.rs/grpc"}), "grpc"),
        (json!({"port": 1, "appProtocol": "example.com/own", "protocol": "TCP"}), "tcp"),
        (json!({"port": 1, "protocol": "UDP"}), "udp"),
        (json!({"port": 1, "protocol": "SCTP"}), "sctp"),
        (json!({"port": 1, "protocol": 7, "appProtocol": null}), "tcp"),
    ] {
        let slice = foreign(json!([{"addresses": ["10.0.0.1"]}]), json!([port]));
        assert_eq!(
            read_all(&slice, &reading()).candidates[0].entry.endpoint().protocol(),
            protocol,
            "{port}"
        );
    }
}

#[test]
fn an_endpoint_of_a_pod_is_known_by_the_pod_and_says_where_it_runs() {
    let slice = foreign(
        json!([{"addresses": ["10.0.0.1"], "zone": "eu-1a", "nodeName": "n1",
                "targetRef": {"kind": "Pod", "name": "users-x", "uid": "3fa-9"}}, {"addresses": ["10.0.0.2"]}]),
        http(),
    );
    let read = read_all(&slice, &reading());
    let one = read.candidates[0].entry.endpoint();
    assert_eq!((one.id().as_str(), one.zone()), ("3fa-9:8080", Some("eu-1a")));
    assert_eq!((one.metadata()["k8s.pod"].as_str(), one.metadata()["k8s.node"].as_str()), ("users-x", "n1"));
    assert_eq!(read.candidates[1].entry.endpoint().id().as_str(), "10.0.0.2:8080");
}

fn full() -> Endpoint {
    let check = HealthCheck::builder()
        .path("/health?deep=1")
        .interval(Duration::from_millis(7001))
        .header("Accept", "text/plain")
        .header("Authorization", "hunter2")
        .body("hunter3")
        .build()
        .expect("valid");
    let at = |millis| SystemTime::UNIX_EPOCH + Duration::from_millis(millis);
    Endpoint::builder("a/ü?#%", "users", "10.0.0.1", 8080)
        .protocol("grpc+tls")
        .server_name("users.example")
        .health_check(check)
        .metadata("note", "two \"words\"\u{0}\n")
        .tag("b")
        .tag("a")
        .weight(0)
        .priority(3)
        .region("eu")
        .zone("eu 1a")
        .created_at(at(1_700_000_000_123))
        .updated_at(at(1_700_000_001_456))
        .build()
        .expect("valid")
}

fn back(object: &Value) -> EndpointEntry {
    let read = read_all(object, &reading());
    assert!(read.rejected.is_empty() && read.candidates.len() == 1, "{read:?}");
    read.candidates[0].entry.clone()
}

fn owner() -> Owner {
    Owner { lease: "fo-host-1".into(), uid: "lease-uid".into() }
}

#[test]
fn every_field_and_claim_comes_back_whatever_the_address() {
    for address in [
        "10.0.0.1",
        "fd00::1",
        "127.0.0.1",
        "::1",
        "169.254.1.1",
        "0.0.0.0",
        "224.0.0.5",
        "::ffff:10.0.0.1",
        "localhost",
        "db.example.com",
        "fe80::1",
        "ff02::1",
    ] {
        let endpoint = Endpoint::builder("x", "users", address, 1).build().expect("valid");
        let endpoint =
            Endpoint::builder("a", "users", endpoint.address(), 8080).zone("eu-1a").build().expect("valid");
        for health in [Health::Unknown, Health::Healthy, Health::Degraded, Health::Unhealthy] {
            for lifecycle in [Lifecycle::InService, Lifecycle::Draining, Lifecycle::Maintenance] {
                let entry =
                    EndpointEntry::new(endpoint.clone()).with_health(health).with_lifecycle(lifecycle);
                let object = slice("shop", &entry, Some(&owner()), true).expect("fits");
                assert_eq!(back(&object), entry, "{object}");
            }
        }
    }
    let entry = EndpointEntry::new(full());
    assert_eq!(back(&slice("shop", &entry, None, true).expect("fits")), entry);
    let bare = slice("shop", &entry, None, false).expect("fits");
    assert!(!bare.to_string().contains("hunter"), "secrets are not stored unless that is switched on");
    assert_eq!(back(&bare).endpoint().health_check().expect("it has one").headers().len(), 1);
}

/// F15: an address that Kubernetes accepts is in the slice's field, any other only in the
/// annotation.
#[test]
fn an_address_that_kubernetes_refuses_is_not_offered_to_it() {
    let native = |address: &str| {
        let endpoint =
            Endpoint::builder("a", "users", address, 8080).protocol("http").build().expect("valid");
        let object = slice("shop", &EndpointEntry::new(endpoint), None, false).expect("fits");
        (object["addressType"].clone(), object["endpoints"].clone())
    };
    assert_eq!(native("10.0.0.1"), (json!("IPv4"), json!([{"addresses": ["10.0.0.1"], "conditions": {}}])));
    assert_eq!(native("fd00::1"), (json!("IPv6"), json!([{"addresses": ["fd00::1"], "conditions": {}}])));
    for refused in ["127.0.0.1", "0.0.0.0", "169.254.7.7", "224.0.0.1", "localhost", "users.example.com"] {
        assert_eq!(native(refused), (json!("IPv4"), json!([])), "{refused}");
    }
    for refused in ["::1", "::", "fe80::1", "ff02::5", "::ffff:1.2.3.4"] {
        assert_eq!(native(refused), (json!("IPv6"), json!([])), "{refused}");
    }
}

/// F21: fields that others wrote into our slice take precedence, and are kept when it changes.
#[test]
fn what_others_wrote_into_a_slice_of_ours_counts_and_stays() {
    let entry = EndpointEntry::new(full().to_builder().zone("eu-1a").build().expect("valid"))
        .with_health(Health::Degraded);
    let mut object = slice("shop", &entry, None, true).expect("fits");
    object["endpoints"][0]["addresses"][0] = json!("10.9.9.9");
    object["endpoints"][0]["zone"] = json!("eu-9z");
    object["endpoints"][0]["nodeName"] = json!("n1");
    object["ports"][0]["port"] = json!(9999);
    object["metadata"]["labels"]["team"] = json!("blue");
    object["metadata"]["annotations"]["other"] = json!("kept");
    let read = back(&object);
    assert_eq!(read.endpoint().authority(), "10.9.9.9:9999");
    assert_eq!(read.endpoint().zone(), Some("eu-9z"));
    assert_eq!(read.health(), Health::Degraded, "the conditions still say what was claimed");
    object["endpoints"][0]["conditions"] = json!({"ready": false, "serving": false});
    assert_eq!(back(&object).health(), Health::Unhealthy);
    object["endpoints"][0]["conditions"] = json!({"ready": false, "serving": true, "terminating": true});
    assert_eq!(back(&object).lifecycle(), Lifecycle::Draining);
    let mut text: Value =
        serde_json::from_str(object["metadata"]["annotations"][names::ENDPOINT].as_str().expect("text"))
            .expect("JSON");
    text["newer"] = json!({"kept": true});
    object["metadata"]["annotations"][names::ENDPOINT] = json!(text.to_string());
    let heavier = back(&object).endpoint().to_builder().weight(9).build().expect("valid");
    let amended = amend(object, &EndpointEntry::new(heavier), true, false).expect("fits");
    assert_eq!(amended["metadata"]["labels"]["team"], "blue");
    assert_eq!(amended["metadata"]["annotations"]["other"], "kept");
    assert_eq!(amended["endpoints"][0]["nodeName"], "n1");
    assert!(amended["metadata"]["annotations"][names::ENDPOINT].as_str().expect("text").contains("newer"));
    assert_eq!(back(&amended).endpoint().weight(), 9);
}

/// F14: the endpoint is used as the slice states it, and the unreadable annotation is reported.
#[test]
fn an_annotation_that_cannot_be_read_costs_only_what_stood_in_it() {
    let object = slice("shop", &EndpointEntry::new(full()), None, true).expect("fits");
    for text in [
        "",
        "{",
        "[]",
        "null",
        "7",
        "{}",
        r#"{"v":2,"id":"x"}"#,
        r#"{"v":"1"}"#,
        r#"{"v":1}"#,
        r#"{"v":1,"id":7}"#,
        r#"{"v":1,"id":"a","name":"users","address":"10.0.0.1","port":1,"weight":-1}"#,
        r#"{"v":1,"id":"a","name":"users","address":"10.0.0.1","port":1,"health_check":{"interval":"1e9y"}}"#,
        &"x".repeat(300_000),
    ] {
        let mut broken = object.clone();
        broken["metadata"]["annotations"][names::ENDPOINT] = json!(text);
        let read = read_all(&broken, &reading());
        let shown: String = text.chars().take(60).collect();
        assert_eq!(read.candidates.len(), 1, "{shown}");
        assert_eq!(read.candidates[0].entry.endpoint().authority(), "10.0.0.1:8080", "{shown}");
        assert_eq!(read.rejected.len(), 1, "{shown}");
        // If the slice has no address either, no endpoint is usable.
        broken["endpoints"] = json!([]);
        let read = read_all(&broken, &reading());
        assert!(read.candidates.len() <= 1 && read.rejected.len() == 1 - read.candidates.len(), "{shown}");
    }
}

#[test]
fn an_endpoint_that_is_too_large_is_refused_before_it_is_sent() {
    let large = full()
        .to_builder()
        .metadata_map((0..4).map(|n| (format!("k{n}"), "\u{1}".repeat(16_000))))
        .tags((0..60).map(|_| "\u{1}".repeat(1000)));
    let error = slice("shop", &EndpointEntry::new(large.build().expect("valid")), None, false)
        .expect_err("too large");
    assert_eq!((error.kind(), error.code()), (failover_core::ErrorKind::Unsupported, "TOO_LARGE"));
}

#[test]
fn one_that_was_left_behind_is_unhealthy_until_it_is_restored() {
    for address in ["10.0.0.1", "127.0.0.1"] {
        let entry =
            EndpointEntry::new(full().to_builder().address_for_test(address)).with_health(Health::Healthy);
        let object = slice("shop", &entry, Some(&owner()), true).expect("fits");
        let expired = expire(object, Some(&entry)).expect("it is ours");
        assert!(is_expired(&expired));
        assert_eq!(back(&expired).health(), Health::Unhealthy);
        assert_eq!(
            expired["metadata"]["labels"][names::REGISTRANT],
            "fo-host-1",
            "it can still be found by its lease"
        );
        let restored = amend(expired, &entry, true, false).expect("fits");
        assert!(!is_expired(&restored));
        assert_eq!(back(&restored), entry);
    }
}

trait AtAddress {
    fn address_for_test(self, address: &str) -> Endpoint;
}

impl AtAddress for failover_core::EndpointBuilder {
    fn address_for_test(self, address: &str) -> Endpoint {
        let other = self.build().expect("valid");
        Endpoint::builder(other.id(), other.service(), address, other.port()).build().expect("valid")
    }
}

/// Generates any JSON value.
fn json_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(|number| json!(number)),
        "[a-z0-9.:/]{0,12}".prop_map(Value::from),
        Just(json!("10.0.0.1")),
    ];
    leaf.prop_recursive(4, 48, 6, |cluster| {
        let key = prop_oneof![
            Just("metadata"),
            Just("name"),
            Just("labels"),
            Just("annotations"),
            Just(names::SERVICE),
            Just(names::ENDPOINT),
            Just("endpoints"),
            Just("addresses"),
            Just("conditions"),
            Just("ready"),
            Just("ports"),
            Just("port"),
            Just("addressType"),
            Just("targetRef"),
            Just("uid"),
            Just("zone"),
            Just("hints"),
            Just("forZones"),
        ];
        prop_oneof![
            prop::collection::vec(cluster.clone(), 0..6).prop_map(Value::from),
            prop::collection::vec((key, cluster), 0..6)
                .prop_map(|all| Value::Object(all.into_iter().map(|(k, v)| (k.to_owned(), v)).collect())),
        ]
    })
}

proptest! {
    #[test]
    fn no_json_makes_it_panic(mut object in json_value(), document in json_value(), endpoints in json_value(), ports in json_value()) {
        let _ = read(&object, &reading());
        object = foreign(endpoints, ports);
        object["metadata"]["annotations"] = json!({names::ENDPOINT: document.to_string()});
        let slice = read_all(&object, &reading());
        for candidate in &slice.candidates {
            let _ = amend(object.clone(), &candidate.entry, false, false);
        }
        let _ = is_expired(&object);
    }

    #[test]
    fn what_is_written_is_read_again(
        id in "[^\\s\\p{C}]{1,40}", port in 1..u16::MAX, weight: u32, priority: u32,
        tags in prop::collection::vec(".{0,20}", 0..5),
        metadata in prop::collection::btree_map(".{1,20}", ".{0,40}", 0..5),
        zone in prop::option::of("[a-zA-Z0-9 _.-]{1,63}"), protocol in "[a-z][a-z0-9+.-]{0,10}",
    ) {
        let mut builder = Endpoint::builder(id, "users", "10.0.0.1", port)
            .protocol(protocol).weight(weight).priority(priority).tags(tags).metadata_map(metadata);
        if let Some(zone) = zone {
            builder = builder.zone(zone);
        }
        if let Ok(endpoint) = builder.build() {
            let entry = EndpointEntry::new(endpoint);
            prop_assert_eq!(back(&slice("shop", &entry, None, true).expect("fits")), entry);
        }
    }
}

/// S5: endpoints beyond Kubernetes' maximum are rejected, reported, and take no memory.
#[test]
fn a_slice_with_more_endpoints_than_there_can_be_is_read_in_part() {
    let endpoints: Vec<_> =
        (0..5000).map(|n| json!({"addresses": [format!("10.0.{}.{}", n / 250, n % 250)]})).collect();
    let slice = read_all(&foreign(json!(endpoints), http()), &reading());
    assert_eq!((slice.candidates.len(), slice.rejected.len()), (1000, 1));
    let long = json!([{"addresses": ["x".repeat(1_000_000)]}, {"addresses": ["10.0.0.1"]}]);
    let slice = read_all(&foreign(long, http()), &reading());
    assert_eq!((slice.candidates.len(), slice.rejected.len()), (1, 1));
    assert!(slice.rejected[0].0.len() < 200, "it is not kept");
    assert!(slice.rejected[0].1.to_string().len() < 1000, "and the rejected entries are not quoted");
}
