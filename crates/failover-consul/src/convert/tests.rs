use std::time::{Duration, SystemTime};

use failover_core::provider::EndpointSet;
use failover_core::{HealthCheck, Lifecycle};
use proptest::prelude::*;

use super::nodes as nodes_of;
use super::set::set;
use super::*;
use crate::provider::ConsulProvider;
use crate::provider::builder::ConsulBuilder;
use crate::settings::Order;

fn provider(change: impl FnOnce(ConsulBuilder) -> ConsulBuilder) -> ConsulProvider {
    change(ConsulProvider::builder()).build().expect("valid")
}

/// Shared, because creating a thousand takes seconds.
fn usual() -> &'static ConsulProvider {
    static USUAL: std::sync::OnceLock<ConsulProvider> = std::sync::OnceLock::new();
    USUAL.get_or_init(|| provider(|b| b))
}

/// Returns a registration as a server would list it.
fn listed(registration: &Registration) -> serde_json::Value {
    serde_json::json!({
        "Node": {"Node": "node-1", "Address": "10.9.9.9", "Datacenter": "dc1", "Meta": {"zone": "of the node"}},
        "Service": {
            "ID": registration.id, "Service": registration.name, "Tags": registration.tags,
            "Address": registration.address, "Port": registration.port, "Meta": registration.meta,
            "Weights": {"Passing": registration.weights.passing, "Warning": 1},
        },
        "Checks": [{"CheckID": "serfHealth", "Status": "passing", "ServiceID": ""}],
    })
}

fn back(endpoint: &Endpoint, provider: &ConsulProvider) -> Result<Endpoint, Error> {
    let settings = &provider.client.settings;
    let registration = registration(endpoint, "me", settings)?;
    assert!(registration.meta.len() <= MAX_META, "{} pairs", registration.meta.len());
    assert!(registration.meta.values().all(|value| value.len() <= MAX_VALUE));
    let key = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
    assert!(registration.meta.keys().all(|k| k.len() <= 128 && k.bytes().all(key)));
    let body = serde_json::to_vec(&[listed(&registration)]).expect("JSON");
    let set = set(endpoint.service(), None, &body, settings, Order::ById).expect("a list");
    assert_eq!(set.rejected_count(), 0, "{:?}", set.rejected());
    Ok(set.entries()[0].endpoint().as_ref().clone())
}

fn plain(id: &str) -> failover_core::EndpointBuilder {
    Endpoint::builder(id, "users", "10.0.0.1", 8080)
}

#[test]
fn nasty_endpoints_come_back_as_they_were() {
    let provider = provider(|b| b);
    let at = |millis| SystemTime::UNIX_EPOCH + Duration::from_millis(millis);
    let many = |count: usize| (0..count).map(|n| (format!("key-{n}"), format!("value {n}")));
    let check = HealthCheck::builder().path("/health?deep=1").header("Accept", "text/plain").method("HEAD");
    for (what, endpoint) in [
        ("bare", plain("a")),
        (
            "every field",
            plain("A/b")
                .protocol("https")
                .server_name("users.example")
                .weight(7)
                .priority(3)
                .region("eu")
                .zone("eu-1")
                .tag("x")
                .tag("")
                .tag("x")
                .created_at(at(1))
                .updated_at(at(1_700_000_001_456))
                .health_check(check.clone().interval(Duration::from_secs(7)).build().expect("valid")),
        ),
        ("weight 0", plain("a").weight(0)),
        ("largest weight", plain("a").weight(u32::MAX)),
        ("before 1970", plain("a").created_at(SystemTime::UNIX_EPOCH - Duration::from_millis(1500))),
        ("IPv6", Endpoint::builder("a", "users", "2001:db8::1", 1)),
        ("host name", Endpoint::builder("a", "users", "db.example.com", 65535)),
        (
            "keys that Consul refuses",
            plain("a").metadata("a.b/c d", "1").metadata("\u{fc}", "2").metadata("x", ""),
        ),
        (
            "reserved keys",
            plain("a")
                .metadata("fo-v", "9")
                .metadata("fo-x00", "{}")
                .metadata("consul-a", "b")
                .metadata("FO-A", "c"),
        ),
        ("a long value", plain("a").metadata("long", "\u{1f600}".repeat(400))),
        ("many pairs", plain("a").metadata_map(many(40))),
        ("very many pairs", plain("a").metadata_map(many(200))),
        ("a long key", plain("a").metadata("k".repeat(200), "v")),
        ("a document", plain("a").metadata("json", "{\"a\": \"\\u0000\\n\"}")),
        ("many tags", plain("a").tags((0..256).map(|n| format!("tag {n} ,;\u{e9}")))),
        ("a long id", plain(&"\u{e9}".repeat(255))),
    ] {
        let endpoint = endpoint.build().expect(what);
        assert_eq!(back(&endpoint, &provider).expect(what), endpoint, "{what}");
    }
}

#[test]
fn what_is_too_large_is_unsupported_by_name_before_anything_is_sent() {
    let provider = provider(|b| b);
    let endpoint = plain("a")
        .metadata("a", "x".repeat(16_000))
        .metadata("b", "x".repeat(16_000))
        .build()
        .expect("valid");
    let error = back(&endpoint, &provider).expect_err("too large");
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert!(error.to_string().starts_with("metadata: "), "{error}");
    let endpoint = Endpoint::builder("a", "users", "0.0.0.0", 80).build();
    if let Ok(endpoint) = endpoint {
        assert_eq!(back(&endpoint, &provider).expect_err("refused").kind(), ErrorKind::Unsupported);
    }
}

#[test]
fn secret_headers_and_bodies_are_stored_when_that_is_switched_on_alone() {
    let check = HealthCheck::builder().header("Authorization", "hunter2").build().expect("valid");
    let endpoint = plain("a").protocol("http").health_check(check).build().expect("valid");
    let settings = |provider: &ConsulProvider| registration(&endpoint, "me", &provider.client.settings);
    let error = settings(&provider(|b| b)).expect_err("the agent would have to keep it");
    assert_eq!((error.kind(), error.to_string().contains("hunter2")), (ErrorKind::Unsupported, false));
    assert!(error.to_string().starts_with("health_check.headers"), "{error}");
    let without = settings(&provider(|b| b.agent_checks(false))).expect("no check of the agent needs it");
    assert!(!serde_json::to_string(&without).expect("JSON").contains("hunter2"));
    let with = provider(|b| b.store_secret_headers(true));
    let registration = settings(&with).expect("switched on");
    assert_eq!(registration.check.header["Authorization"], ["hunter2"]);
    assert!(!format!("{:?}", registration.check).contains("hunter2"));
    assert_eq!(back(&endpoint, &with).expect("kept"), endpoint);
}

#[test]
fn the_check_is_the_one_that_the_endpoint_asks_for() {
    let provider = provider(|b| b);
    let asked = || {
        HealthCheck::builder().path("/health").timeout(Duration::from_millis(1500)).build().expect("valid")
    };
    let check = |endpoint: failover_core::EndpointBuilder| {
        let endpoint = endpoint.build().expect("valid");
        let check = registration(&endpoint, "me", &provider.client.settings).expect("valid").check;
        serde_json::to_value(check).expect("JSON")
    };
    let none = check(plain("a").protocol("http"));
    assert_eq!(
        (&none["TTL"], &none["HTTP"], &none["Status"]),
        (&"30000ms".into(), &serde_json::Value::Null, &"passing".into())
    );
    let http = check(plain("a").protocol("http").health_check(asked()));
    assert_eq!((&http["HTTP"], &http["Method"]), (&"http://10.0.0.1:8080/health".into(), &"GET".into()));
    assert_eq!(
        (&http["Interval"], &http["Timeout"], &http["TTL"]),
        (&"10000ms".into(), &"1500ms".into(), &serde_json::Value::Null)
    );
    assert_eq!((&http["SuccessBeforePassing"], &http["FailuresBeforeCritical"]), (&2.into(), &3.into()));
    let v6 = check(
        Endpoint::builder("a", "users", "::1", 80)
            .protocol("https")
            .server_name("u.example")
            .health_check(asked()),
    );
    assert_eq!((&v6["HTTP"], &v6["TLSServerName"]), (&"https://[::1]:80/health".into(), &"u.example".into()));
    assert_eq!(v6["Header"]["Host"][0], "u.example");
    let bare = || HealthCheck::builder().build().expect("valid");
    let tcp = check(plain("a").protocol("postgres").health_check(bare()));
    assert_eq!((&tcp["TCP"], &tcp["HTTP"]), (&"10.0.0.1:8080".into(), &serde_json::Value::Null));
    let grpc = check(plain("a").protocol("grpc").health_check(asked()));
    assert_eq!(grpc["GRPC"], "10.0.0.1:8080/health");
    let grpcs = check(plain("a").protocol("grpcs").health_check(bare()));
    assert_eq!((&grpcs["GRPC"], &grpcs["GRPCUseTLS"]), (&"10.0.0.1:8080".into(), &true.into()));
    let at = |protocol, asked: failover_core::HealthCheckBuilder| {
        check(plain("a").protocol(protocol).health_check(asked.port(9_090).build().expect("valid")))
    };
    assert_eq!(at("http", asked().to_builder())["HTTP"], "http://10.0.0.1:9090/health");
    let named = bare().to_builder().grpc_service("shop.Users");
    assert_eq!(at("grpc", named)["GRPC"], "10.0.0.1:9090/shop.Users");
    assert_eq!(at("postgres", bare().to_builder())["TCP"], "10.0.0.1:9090");
}

#[test]
fn what_the_kind_of_a_check_cannot_carry_is_refused_by_name() {
    let provider = provider(|b| b);
    let without = super::tests::provider(|b| b.agent_checks(false));
    let bare = HealthCheck::builder;
    for (protocol, check, field) in [
        ("postgres", bare().path("/health?key=canary"), "path"),
        ("postgres", bare().method("HEAD"), "method"),
        ("postgres", bare().header("Accept", "canary"), "headers"),
        ("postgres", bare().body("canary").method("POST"), "method"),
        ("tcp", bare().body("canary"), "body"),
        ("tcp", bare().expect_status(200..=299), "expected_statuses"),
        ("tcp", bare().grpc_service("users"), "grpc_service"),
        ("grpc", bare().method("HEAD"), "method"),
        ("grpc", bare().header("Authorization", "canary"), "headers"),
        ("grpcs", bare().body("canary"), "body"),
        ("grpcs", bare().expect_status(200..=200), "expected_statuses"),
        ("grpc", bare().path("/canary").grpc_service("users"), "path"),
        ("http", bare().grpc_service("users"), "grpc_service"),
    ] {
        let Ok(check) = check.build() else { panic!("{protocol} {field}") };
        let endpoint = plain("a").protocol(protocol).health_check(check).build().expect("valid");
        let error = registration(&endpoint, "me", &provider.client.settings).expect_err(field);
        assert_eq!(error.kind(), ErrorKind::Unsupported);
        assert!(error.to_string().starts_with(&format!("health_check.{field}: ")), "{error}");
        assert!(!format!("{error:?}").contains("canary"), "{error:?}");
        registration(&endpoint, "me", &without.client.settings).expect("no check of the agent needs it");
    }
}

#[test]
fn statuses_that_an_agent_cannot_expect_are_refused() {
    let provider = provider(|b| b);
    for (statuses, refused) in [(200..=299, false), (401..=401, true), (200..=399, true)] {
        let check = HealthCheck::builder().expect_status(statuses.clone()).build().expect("valid");
        let endpoint = plain("a").protocol("http").health_check(check).build().expect("valid");
        let registered = registration(&endpoint, "me", &provider.client.settings);
        assert_eq!(registered.is_err(), refused, "{statuses:?}");
        if let Err(error) = registered {
            assert!(error.to_string().starts_with("health_check.expected_statuses: "), "{error}");
        }
    }
}

fn read(body: &str) -> EndpointSet {
    let provider = provider(|b| b.default_protocol("http"));
    set(
        &ServiceName::new("users").expect("valid"),
        None,
        body.as_bytes(),
        &provider.client.settings,
        Order::ById,
    )
    .expect("a list")
}

/// Row 23: services registered by other programs.
#[test]
fn foreign_instances_are_read_plainly() {
    let set = read(
        r#"[{"Node":{"Node":"n1","Address":"10.9.9.9","Datacenter":"dc1","Meta":{"zone":"z1"},"New":1},
             "Service":{"ID":"","Service":"users","Tags":null,"Address":"","Port":80,"Meta":null,"Weights":null,"Unheard":{}},
             "Checks":null},
            {"Node":{"Node":"n2","Address":"10.9.9.8"},
             "Service":{"ID":"b","Service":"users","Tags":["x"],"Address":"users.example","Port":81,
                        "Meta":{"k":null,"fo-zone":"theirs"},"Weights":{"Passing":5}},
             "Checks":[{"CheckID":"c","Status":"warning","ServiceID":"b"},{"CheckID":"_node_maintenance","Status":"critical"}]}]"#,
    );
    let [b, a] = set.entries() else { panic!("{set:?}") };
    let (a, b) = if a.endpoint().id() == "users" { (a, b) } else { (b, a) };
    let endpoint = a.endpoint();
    assert_eq!((endpoint.address(), endpoint.weight(), endpoint.protocol()), ("10.9.9.9", 1, "http"));
    assert_eq!((endpoint.zone(), endpoint.region(), a.health()), (Some("z1"), Some("dc1"), Health::Healthy));
    let endpoint = b.endpoint();
    assert_eq!((endpoint.weight(), endpoint.tags().len(), b.health()), (5, 1, Health::Degraded));
    assert_eq!(endpoint.metadata().get("fo-zone").map(String::as_str), Some("theirs"), "not one of ours");
    assert_eq!((endpoint.zone(), b.lifecycle()), (None, Lifecycle::Maintenance));
}

/// Row 23 and R6: each bad instance is reported, and the good ones stay.
#[test]
fn an_instance_that_cannot_be_used_is_left_out_and_named() {
    let bad = |service: &str| {
        format!(r#"{{"Node":{{"Node":"n1","Address":"10.0.0.9"}},"Service":{service},"Checks":[]}}"#)
    };
    let cases = [
        (bad(r#"{"ID":"x","Service":"users","Address":"10.0.0.2","Port":0}"#), "port: 0"),
        (bad(r#"{"ID":"x","Service":"users","Address":"10.0.0.2","Port":-1}"#), "port: -1"),
        (bad(r#"{"ID":"x","Service":"users","Address":"10.0.0.2","Port":65536}"#), "port: 65536"),
        (bad(r#"{"ID":"x","Service":"users","Address":"10.0.0.2","Port":"80"}"#), "cannot be read"),
        (bad(r#"{"ID":"x","Service":"users","Address":"10.0.0.2","Port":80,"Tags":[1]}"#), "cannot be read"),
        (
            bad(r#"{"ID":"x","Service":"users","Address":"10.0.0.2","Port":80,"Weights":{"Passing":1e308}}"#),
            "cannot be read",
        ),
        (bad(r#"{"ID":"x","Service":"users","Address":"http://a","Port":80}"#), "address"),
        (bad(r#"{"ID":"x","Service":"user","Address":"10.0.0.2","Port":80}"#), "belongs to service user"),
        (
            bad(r#"{"ID":"x","Service":"users","Kind":"connect-proxy","Address":"10.0.0.2","Port":80}"#),
            "its kind is connect-proxy",
        ),
        (
            bad(r#"{"ID":"x","Service":"users","Kind":"api-gateway","Address":"10.0.0.2","Port":80}"#),
            "its kind is api-gateway",
        ),
        (bad("null"), "no service"),
        ("7".to_owned(), "cannot be read"),
        ("null".to_owned(), ""),
        (
            bad(&format!(r#"{{"ID":"x","Service":"users","Address":"{}","Port":80}}"#, "h".repeat(65536))),
            "address",
        ),
    ];
    let good = bad(r#"{"ID":"good","Service":"users","Address":"10.0.0.1","Port":80}"#);
    for (entry, message) in &cases {
        let set = read(&format!("[{entry},{good}]"));
        assert_eq!((set.entries().len(), set.rejected_count()), (1, 1), "{entry:.80}");
        let error = set.rejected()[0].error().to_string();
        assert!(error.contains(message) && error.len() < 400, "{message}: {error}");
    }
    let all: Vec<_> = cases.iter().map(|(entry, _)| entry.as_str()).chain([good.as_str()]).collect();
    let set = read(&format!("[{}]", all.join(",")));
    assert_eq!((set.entries().len(), set.rejected_count()), (1, cases.len() as u64));
}

/// What other software registers is larger than the model allows, and is used nevertheless.
#[test]
fn an_instance_is_not_lost_for_what_can_be_cut_or_encoded() {
    let of = |service: &str| {
        let set = read(&format!(
            r#"[{{"Node":{{"Node":"n 1"}},"Service":{{"Service":"users","Address":"10.0.0.1","Port":80,{service}}}}}]"#
        ));
        assert_eq!((set.entries().len(), set.rejected_count()), (1, 1), "{service:.80}");
        let rejected = &set.rejected()[0];
        assert_eq!(rejected.error().code(), "ADJUSTED");
        (set.entries()[0].endpoint().as_ref().clone(), rejected.error().to_string())
    };
    let many: Vec<_> = (0..300).map(|n| format!("t{n}")).collect();
    let (endpoint, said) = of(&format!(r#""ID":"a","Tags":{}"#, serde_json::json!(many)));
    assert_eq!((endpoint.tags().len(), endpoint.tags()[255].as_str()), (256, "t255"));
    assert!(said.contains("300 tags"), "{said}");
    let (endpoint, said) = of(&format!(r#""ID":"a","Tags":["{}"]"#, "t".repeat(5000)));
    assert_eq!(endpoint.tags()[0].len(), 1024);
    assert!(said.contains("1024 bytes"), "{said}");
    let (endpoint, said) = of(r#""ID":"my id""#);
    assert_eq!(endpoint.id(), "my%20id");
    assert!(said.contains("encoded"), "{said}");
    let (endpoint, said) = of(&format!(r#""ID":"{}""#, "i".repeat(285)));
    assert_eq!(endpoint.id().as_str().len(), 255);
    assert!(said.contains("285 characters"), "{said}");
    let (endpoint, _) = of(&format!(r#""ID":"a","Meta":{{"k":"{}"}}"#, "v".repeat(20_000)));
    assert_eq!(endpoint.metadata()["k"].len(), 16_384);
}

/// An id that leaves no room for its node, and a node with a space in its name.
#[test]
fn a_long_id_on_two_nodes_is_two_endpoints() {
    let on = |node: &str| {
        format!(
            r#"{{"Node":{{"Node":"{node}"}},"Service":{{"ID":"{}","Service":"users","Address":"10.0.0.1","Port":80}}}}"#,
            "i".repeat(250)
        )
    };
    let set = read(&format!("[{},{}]", on("node 1"), on("node 2")));
    let ids: std::collections::BTreeSet<_> =
        set.entries().iter().map(|entry| entry.endpoint().id()).collect();
    assert_eq!((ids.len(), set.rejected_count()), (2, 2), "{set:?}");
}

#[test]
fn the_nodes_of_a_few_instances_are_known_by_their_ids() {
    let on = |node: &str| format!(r#"{{"Node":{node},"Service":{{"ID":"a","Service":"users"}}}}"#);
    let known = |nodes: &[String]| {
        let all: Vec<_> = nodes.iter().map(|node| on(node)).collect();
        nodes_of(format!("[{},7]", all.join(",")).as_bytes())
    };
    let node = |name: &str, id: &str| format!(r#"{{"Node":"{name}","ID":"{id}"}}"#);
    let some = known(&[node("n1", "x"), node("n1", "x"), node("n2", ""), "null".to_owned()]);
    assert_eq!(some.into_iter().collect::<Vec<_>>(), [("n1".to_owned(), "x".to_owned())]);
    let many: Vec<_> = (0..9).map(|n| node(&format!("n{n}"), "x")).collect();
    assert_eq!((known(&many[..8]).len(), known(&many).len()), (8, 0));
    assert!(nodes_of(b"no list").is_empty());
}

#[test]
fn a_locality_comes_before_conventions_and_excludes_no_instance() {
    let of = |service: &str, node: &str| {
        let set = read(&format!(
            r#"[{{"Node":{{"Node":"n1","Datacenter":"dc1","Meta":{{"zone":"of meta"}}{node}}},
                "Service":{{"ID":"a","Service":"users","Address":"10.0.0.2","Port":80{service}}}}}]"#
        ));
        let endpoint = set.entries()[0].endpoint();
        (endpoint.region().map(str::to_owned), endpoint.zone().map(str::to_owned))
    };
    let (own, nodes) =
        (r#","Locality":{"Region":"eu","Zone":"eu-1"}"#, r#","Locality":{"Region":"us","Zone":"us-1"}"#);
    let place = |region: &str, zone: &str| (Some(region.to_owned()), Some(zone.to_owned()));
    for (service, node, expected) in [
        (own, nodes, place("eu", "eu-1")),
        ("", nodes, place("us", "us-1")),
        ("", "", place("dc1", "of meta")),
        (r#","Locality":{"Zone":"eu-1"}"#, nodes, place("us", "eu-1")),
        (r#","Locality":{"Region":""}"#, "", place("dc1", "of meta")),
        (r#","Locality":null"#, r#","Locality":7"#, place("dc1", "of meta")),
        (r#","Locality":{"Zone":[1]}"#, "", place("dc1", "of meta")),
    ] {
        assert_eq!(of(service, node), expected, "{service} {node}");
    }
}

#[test]
fn named_ports_are_read_and_all_of_them_are_kept() {
    let of = |ports: &str| {
        read(&format!(r#"[{{"Service":{{"ID":"a","Service":"users","Address":"10.0.0.2",{ports}}}}}]"#))
    };
    let two =
        of(r#""Port":0,"Ports":[{"Name":"admin","Port":9090},{"Name":"http","Port":8080,"Default":true}]"#);
    let endpoint = two.entries()[0].endpoint();
    assert_eq!((endpoint.port(), endpoint.metadata()["port.admin"].as_str()), (8080, "9090"));
    assert_eq!(endpoint.metadata()["port.http"], "8080");
    let none = of(r#""Port":0,"Ports":[{"Name":"admin","Port":9090},{"Name":"http","Port":8080}]"#);
    let error = none.rejected()[0].error().to_string();
    assert!(none.entries().is_empty() && error.contains("admin 9090, http 8080"), "{error}");
    assert_eq!(of(r#""Port":80,"Ports":null"#).entries()[0].endpoint().port(), 80);
}

#[test]
fn only_what_passes_is_left_and_nothing_is_certain() {
    let set = |statuses: &[&str]| {
        let one = |(n, status): (usize, &&str)| {
            format!(
                r#"{{"Service":{{"ID":"{n}","Service":"users","Address":"10.0.0.2","Port":8{n}}},"Checks":[{status}]}}"#
            )
        };
        let all: Vec<_> = statuses.iter().enumerate().map(one).collect();
        only_passing(read(&format!("[{},7]", all.join(","))).with_age(Duration::from_secs(3)))
    };
    let check = |status: &str| format!(r#"{{"CheckID":"c","Status":"{status}"}}"#);
    let (passing, warning, critical) = (check("passing"), check("warning"), check("critical"));
    let maintenance = r#"{"CheckID":"_node_maintenance","Status":"critical"}"#;
    let left = set(&[&warning, &passing, &critical, maintenance]);
    let ids: Vec<_> = left.entries().iter().map(|entry| entry.endpoint().id().as_str()).collect();
    assert_eq!((ids, left.rejected_count(), left.age()), (vec!["1"], 1, Duration::from_secs(3)));
    let none = set(&[&warning, &critical]);
    assert!(none.entries().is_empty() && none.is_confirmed() && none.rejected_count() == 1);
    assert_eq!(set(&[&passing]).entries().len(), 1);
}

#[test]
fn the_weight_for_a_warning_counts_while_there_is_one() {
    for (status, weights, weight) in [
        ("passing", r#"{"Passing":5,"Warning":2}"#, 5),
        ("warning", r#"{"Passing":5,"Warning":2}"#, 2),
        ("warning", r#"{"Passing":5,"Warning":0}"#, 0),
        ("warning", r#"{"Passing":5}"#, 5),
        ("warning", r#"{"Passing":5,"Warning":-1}"#, 0),
        ("critical", r#"{"Passing":5,"Warning":2}"#, 5),
        ("warning", "null", 1),
    ] {
        let of = |meta: &str| {
            let set = read(&format!(
                r#"[{{"Service":{{"ID":"a","Service":"users","Address":"10.0.0.1","Port":80,"Weights":{weights},
                     "Meta":{meta}}},"Checks":[{{"CheckID":"c","Status":"{status}"}}]}}]"#
            ));
            set.entries()[0].endpoint().weight()
        };
        assert_eq!(of("null"), weight, "{status} {weights}");
        if weights != "null" {
            assert_eq!(of(r#"{"fo-v":"1"}"#), 5, "an endpoint of this library: {status} {weights}");
        }
    }
}

/// Row 23: an invalid zone of a node does not exclude its instances.
#[test]
fn a_node_that_names_an_odd_zone_keeps_its_instances() {
    for odd in ["z".repeat(64), "a\\u0000b".to_owned(), "a\\u202eb".to_owned()] {
        let set = read(&format!(
            r#"[{{"Node":{{"Node":"n1","Address":"10.0.0.9","Meta":{{"zone":"{odd}","region":"{odd}","x":null}}}},
                "Service":{{"ID":"x","Service":"users","Address":"10.0.0.2","Port":80}}}}]"#
        ));
        let [entry] = set.entries() else { panic!("{odd}: {:?}", set.rejected()) };
        assert_eq!((entry.endpoint().zone(), entry.endpoint().region()), (None, None));
    }
}

/// The parser's own message would quote it.
#[test]
fn what_cannot_be_read_of_an_instance_is_not_shown() {
    for port in ["\"canary\"", "{\"canary\":1}", "80.5", "[\"canary\"]"] {
        let set = read(&format!(
            r#"[{{"Service":{{"ID":"x","Service":"users","Address":"10.0.0.2","Port":{port},"Tags":"canary"}}}}]"#
        ));
        let error = set.rejected()[0].error();
        assert!(error.to_string().contains("cannot be read: it is not the JSON"), "{error}");
        assert!(!format!("{error:?}").contains("canary"), "{error:?}");
    }
}

/// S5: an answer of tiny entries takes little memory, whatever it holds.
#[test]
fn a_flood_of_bad_entries_is_counted_and_a_larger_one_is_an_error() {
    let flood = |count: usize| format!("[{}7]", "7,".repeat(count - 1));
    let set = read(&flood(150_000));
    assert_eq!((set.entries().len(), set.rejected_count(), set.rejected().len()), (0, 150_000, 1024));
    let users = ServiceName::new("users").expect("valid");
    let error =
        super::set::set(&users, None, flood(200_001).as_bytes(), &usual().client.settings, Order::ById)
            .expect_err("too many");
    assert!(error.to_string().contains("more than 200000"), "{error}");
    assert_eq!(read("null").entries().len(), 0);
}

/// Row 22: the same id on two nodes.
#[test]
fn the_same_id_on_two_nodes_is_two_endpoints_whatever_the_order() {
    let on = |node: &str, last: u8| {
        format!(
            r#"{{"Node":{{"Node":"{node}"}},"Service":{{"ID":"a","Service":"users","Address":"10.0.0.{last}","Port":80}}}}"#
        )
    };
    for body in [format!("[{},{}]", on("n1", 1), on("n2", 2)), format!("[{},{}]", on("n2", 2), on("n1", 1))] {
        let set = read(&body);
        let seen: Vec<_> =
            set.entries().iter().map(|e| (e.endpoint().id().as_str(), e.endpoint().address())).collect();
        assert_eq!(seen, [("a@n1", "10.0.0.1"), ("a@n2", "10.0.0.2")]);
    }
    // An instance that cannot be used holds no id.
    let unusable =
        r#"{"Node":{"Node":"n3"},"Service":{"ID":"a","Service":"users","Address":"10.0.0.3","Port":0}}"#;
    let set = read(&format!("[{unusable},{}]", on("n1", 1)));
    assert_eq!((set.entries()[0].endpoint().id().as_str(), set.rejected_count()), ("a", 1));
}

#[test]
fn an_overflow_that_is_broken_or_newer_costs_only_what_it_holds() {
    let with = |meta: &str| {
        read(&format!(
            r#"[{{"Service":{{"ID":"a","Service":"users","Address":"10.0.0.1","Port":80,"Meta":{{"fo-v":"2","fo-proto":"grpc","k":"v",{meta}}}}}}}]"#
        ))
    };
    for (meta, keys) in [
        (r#""fo-x00":"{\"md\":{\"a\":\"b""#, 1),
        (r#""fo-x00":"{\"md\":{\"a\":\"b\"},\"hc\":{\"interval\":\"never\"},\"new\":1}""#, 2),
        (r#""fo-x00":"{\"md\":","fo-x01":"{\"a\":\"b\"}}""#, 2),
        (r#""fo-weight":"lots","fo-prio":"-1","fo-ctime":"soon""#, 1),
    ] {
        let set = with(meta);
        let endpoint = set.entries()[0].endpoint();
        assert_eq!(
            (endpoint.protocol(), endpoint.metadata().len(), endpoint.weight()),
            ("grpc", keys, 1),
            "{meta}"
        );
        assert!(endpoint.health_check().is_none() && endpoint.created_at().is_none());
    }
}

proptest! {
    #[test]
    fn every_endpoint_comes_back_or_is_unsupported(
        id in "[^\\s\\p{C}]{1,40}",
        metadata in proptest::collection::btree_map("\\PC{1,20}", "\\PC{0,600}", 0..60),
        tags in proptest::collection::vec("\\PC{0,30}", 0..5),
        weight: u32,
        priority: u32,
    ) {
        let built = plain(&id).metadata_map(metadata).tags(tags).weight(weight).priority(priority).build();
        let Ok(endpoint) = built else { return Ok(()) };
        match back(&endpoint, usual()) {
            Ok(read) => prop_assert_eq!(read, endpoint),
            Err(error) => prop_assert_eq!(error.kind(), ErrorKind::Unsupported),
        }
    }

    #[test]
    fn no_answer_makes_it_panic(body in "\\PC{0,200}", bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let provider = usual();
        let users = ServiceName::new("users").expect("valid");
        let _ = set(&users, None, body.as_bytes(), &provider.client.settings, Order::ById);
        let _ = set(&users, None, &bytes, &provider.client.settings, Order::ById);
        let _ = set(&users, None, format!("[{{\"Service\":{body}}}]").as_bytes(), &provider.client.settings, Order::AsAnswered);
    }
}
