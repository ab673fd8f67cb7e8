//! Slices that appear, move and disappear.

use proptest::prelude::*;
use serde_json::{Value, json};

use failover_provider_kit::Timing;

use super::*;
use crate::convert::read;
use crate::names;
use crate::settings::{PortChoice, Reading};

const SETTLE: Duration = Duration::from_millis(250);

#[allow(clippy::needless_pass_by_value, reason = "it is made where it is given")]
fn slice_of(name: &str, version: u64, endpoints: Value) -> Slice {
    let reading = Reading::new(PortChoice::Only, AddressFamily::Both, "tcp");
    let object = json!({
        "metadata": {"name": name, "uid": name, "resourceVersion": version.to_string(), "labels": {names::SERVICE: "users"}},
        "addressType": "IPv4", "endpoints": endpoints, "ports": [{"port": 80}],
    });
    read(&object, &reading).expect("valid")
}

fn slice(name: &str, version: u64, pods: &[u8]) -> Slice {
    let endpoints: Vec<_> = pods.iter().map(|pod| json!({"addresses": [format!("10.0.0.{pod}")]})).collect();
    slice_of(name, version, json!(endpoints))
}

fn slices() -> Slices {
    Slices::new(AddressFamily::PreferIpv4, SETTLE)
}

fn pods(set: Option<EndpointSet>) -> Option<Vec<String>> {
    let mut all: Vec<_> = set?.entries().iter().map(|entry| entry.endpoint().address().to_owned()).collect();
    all.sort();
    Some(all.iter().map(|address| address.replace("10.0.0.", "")).collect())
}

#[allow(clippy::unnecessary_wraps, reason = "it is compared with what may be nothing")]
fn some(pods: &[&str]) -> Option<Vec<String>> {
    Some(pods.iter().map(|pod| (*pod).to_owned()).collect())
}

/// F11: the move takes two steps, in either order; in between the endpoint is in both slices or in
/// none.
#[test]
fn an_endpoint_that_moves_to_another_slice_never_goes() {
    let begin = Timing::tokio().now();
    let at = |millis| begin + Duration::from_millis(millis);
    for gone_first in [true, false] {
        let mut slices = slices();
        slices.listed(vec![slice("a", 1, &[1, 2, 3, 4])], "10");
        assert_eq!(pods(slices.next_set(at(0))), some(&["1", "2", "3", "4"]));
        let shrink = slice("a", if gone_first { 11 } else { 12 }, &[1, 2]);
        let grow = slice("b", if gone_first { 12 } else { 11 }, &[3, 4]);
        let steps = if gone_first { [shrink, grow] } else { [grow, shrink] };
        for (step, millis) in steps.into_iter().zip([10, 100]) {
            slices.changed(step);
            assert_eq!(pods(slices.next_set(at(millis))), None, "nothing has changed for callers");
        }
        assert_eq!(pods(slices.next_set(at(1000))), None);
        // A whole slice is deleted and recreated under another name.
        slices.deleted("b", "b", Some(13));
        assert_eq!(pods(slices.next_set(at(1010))), None);
        slices.changed(slice("c", 14, &[3, 4]));
        assert_eq!(pods(slices.next_set(at(1020))), None);
        assert_eq!(slices.due(), None, "nothing is on its way any more");
    }
}

#[test]
fn an_endpoint_that_goes_is_gone_after_a_moment_and_a_new_one_is_there_at_once() {
    let begin = Timing::tokio().now();
    let mut slices = slices();
    slices.listed(vec![slice("a", 1, &[1, 2])], "10");
    assert_eq!(pods(slices.next_set(begin)), some(&["1", "2"]));
    slices.changed(slice("a", 11, &[2, 3]));
    assert_eq!(pods(slices.next_set(begin)), some(&["1", "2", "3"]));
    let due = slices.due().expect("one is leaving");
    assert_eq!(due, begin + SETTLE);
    assert_eq!(pods(slices.next_set(due)), some(&["2", "3"]));
    assert_eq!(slices.due(), None);
    // Its successor gets its address before it is removed.
    slices.changed(slice_of("a", 12, json!([{"addresses": ["10.0.0.2"], "targetRef": {"uid": "new"}}])));
    let set = slices.next_set(due).expect("it is another one");
    let ids: Vec<_> = set.entries().iter().map(|entry| entry.endpoint().id().as_str()).collect();
    assert_eq!(ids, ["10.0.0.3:80", "new:80@10.0.0.2"]);
}

#[test]
fn an_endpoint_of_ours_that_goes_is_gone_at_once() {
    let endpoint = failover_core::Endpoint::builder("u1", "users", "10.0.0.1", 80).build().expect("valid");
    let mut object = crate::convert::slice("shop", &endpoint.into(), None, false).expect("fits");
    object["metadata"]["uid"] = json!("x");
    let reading = Reading::new(PortChoice::Only, AddressFamily::Both, "tcp");
    let ours = read(&object, &reading).expect("valid");
    let mut slices = slices();
    slices.listed(vec![ours.clone()], "10");
    let now = Timing::tokio().now();
    assert_eq!(pods(slices.next_set(now)), some(&["1"]));
    slices.deleted(&ours.name, "x", Some(11));
    let set = slices.next_set(now).expect("it is gone");
    assert!(set.entries().is_empty() && set.is_confirmed(), "an event has said so");
}

#[test]
fn an_endpoint_in_two_slices_counts_once_and_the_better_state_wins() {
    let conditions = |ready: bool, serving: bool, terminating: bool| json!([{"addresses": ["10.0.0.1"], "conditions": {"ready": ready, "serving": serving, "terminating": terminating}}]);
    for (a, b, health, lifecycle) in [
        (
            conditions(true, true, false),
            conditions(false, false, false),
            Health::Healthy,
            Lifecycle::InService,
        ),
        (
            conditions(false, false, true),
            conditions(true, true, false),
            Health::Healthy,
            Lifecycle::InService,
        ),
        (
            conditions(false, false, false),
            conditions(false, true, false),
            Health::Unhealthy,
            Lifecycle::InService,
        ),
    ] {
        let mut slices = slices();
        slices.listed(vec![slice_of("a", 5, a), slice_of("b", 4, b)], "10");
        let set = slices.next_set(Timing::tokio().now()).expect("new");
        assert_eq!(set.entries().len(), 1);
        assert_eq!((set.entries()[0].health(), set.entries()[0].lifecycle()), (health, lifecycle));
    }
}

/// F12: a terminating endpoint that still serves is used while no endpoint is ready, as in
/// kube-proxy, and no longer.
#[test]
fn where_nothing_is_ready_what_is_about_to_go_is_used() {
    let ending = json!({"addresses": ["10.0.0.1"], "conditions": {"ready": false, "serving": true, "terminating": true}});
    let broken = json!({"addresses": ["10.0.0.2"], "conditions": {"ready": false, "serving": false, "terminating": false}});
    let ready = json!({"addresses": ["10.0.0.3"]});
    let mut slices = slices();
    let now = Timing::tokio().now();
    let claims = |set: EndpointSet| {
        let mut all: Vec<_> = set
            .into_entries()
            .iter()
            .map(|e| (e.endpoint().address().to_owned(), e.health(), e.lifecycle()))
            .collect();
        all.sort_by(|a, b| a.0.cmp(&b.0));
        all.into_iter().map(|(_, health, lifecycle)| (health, lifecycle)).collect::<Vec<_>>()
    };
    slices.listed(vec![slice_of("a", 1, json!([ending, broken]))], "10");
    let seen = claims(slices.next_set(now).expect("new"));
    assert_eq!(seen, [(Health::Degraded, Lifecycle::InService), (Health::Unhealthy, Lifecycle::InService)]);
    slices.changed(slice_of("a", 11, json!([ending, broken, ready])));
    let seen = claims(slices.next_set(now).expect("new"));
    let expected = [
        (Health::Healthy, Lifecycle::Draining),
        (Health::Unhealthy, Lifecycle::InService),
        (Health::Healthy, Lifecycle::InService),
    ];
    assert_eq!(seen, expected);
}

#[test]
fn an_empty_set_says_how_certain_it_is() {
    let now = Timing::tokio().now();
    let mut slices = slices();
    slices.listed(vec![], "1");
    assert!(slices.next_set(now).expect("first").is_unknown_service());
    slices.changed(slice("a", 2, &[]));
    let set = slices.next_set(now);
    assert!(set.is_none(), "still nothing");
    slices.republish();
    assert!(
        slices.next_set(now).expect("again").is_confirmed(),
        "a slice that is there and empty is no doubt"
    );
    slices.changed(slice("a", 3, &[1]));
    slices.next_set(now);
    // A list that is suddenly empty is not confirmed.
    slices.listed(vec![], "9");
    slices.next_set(now);
    let set = slices.next_set(now + SETTLE).expect("gone");
    assert!(set.entries().is_empty() && set.is_unknown_service() && !set.is_confirmed());
}

#[test]
fn a_pod_with_two_addresses_is_one_endpoint_of_the_family_that_is_preferred() {
    let pod = |address: &str, uid: &str| json!([{"addresses": [address], "targetRef": {"uid": uid}}]);
    for (family, expected) in [
        (AddressFamily::PreferIpv4, &["10.0.0.1", "fd00::2"][..]),
        (AddressFamily::PreferIpv6, &["fd00::1", "fd00::2"]),
        (AddressFamily::Both, &["10.0.0.1", "fd00::1", "fd00::2"]),
    ] {
        let mut slices = Slices::new(family, SETTLE);
        let mut second = slice_of("c", 3, pod("fd00::2", "p2"));
        second.name = "c".into();
        slices.listed(
            vec![slice_of("a", 1, pod("10.0.0.1", "p1")), slice_of("b", 2, pod("fd00::1", "p1")), second],
            "10",
        );
        let set = slices.next_set(Timing::tokio().now()).expect("new");
        let mut all: Vec<_> = set.entries().iter().map(|entry| entry.endpoint().address()).collect();
        all.sort_unstable();
        assert_eq!(all, expected, "{family:?}");
    }
}

/// One pod, two addresses: it is one endpoint, and ready if it is ready by one of them.
#[test]
fn a_pod_that_is_ready_by_one_of_its_addresses_is_one_endpoint_that_is_ready() {
    let pod = |address: &str, ready: bool, serving: bool| {
        json!([{"addresses": [address], "targetRef": {"uid": "p1"},
            "conditions": {"ready": ready, "serving": serving, "terminating": !ready && serving}}])
    };
    for (family, four, six, address, health) in [
        (AddressFamily::PreferIpv4, (false, false), (true, true), "fd00::1", Health::Healthy),
        (AddressFamily::PreferIpv4, (false, true), (true, true), "fd00::1", Health::Healthy),
        (AddressFamily::PreferIpv4, (true, true), (true, true), "10.0.0.1", Health::Healthy),
        (AddressFamily::PreferIpv4, (false, false), (false, false), "10.0.0.1", Health::Unhealthy),
        (AddressFamily::PreferIpv6, (true, true), (false, false), "10.0.0.1", Health::Healthy),
        (AddressFamily::PreferIpv6, (true, true), (true, true), "fd00::1", Health::Healthy),
    ] {
        let reading = Reading::new(PortChoice::Only, family, "tcp");
        let slice = |name: &str, endpoints: Value| {
            let object = json!({
                "metadata": {"name": name, "uid": name, "resourceVersion": "1", "labels": {names::SERVICE: "users"}},
                "addressType": if name == "a" { "IPv4" } else { "IPv6" }, "endpoints": endpoints, "ports": [{"port": 80}],
            });
            read(&object, &reading).expect("valid")
        };
        let mut slices = Slices::new(family, SETTLE);
        slices.listed(
            vec![slice("a", pod("10.0.0.1", four.0, four.1)), slice("b", pod("fd00::1", six.0, six.1))],
            "10",
        );
        let set = slices.next_set(Timing::tokio().now()).expect("new");
        let [entry] = set.entries() else { panic!("{family:?} {four:?} {six:?}: {set:?}") };
        let found = (entry.endpoint().address(), entry.health(), entry.endpoint().id().as_str());
        assert_eq!(found, (address, health, "p1:80"), "{family:?} {four:?} {six:?}");
    }
}

/// The rule of kube-proxy, except that endpoints elsewhere stay as a fallback.
#[test]
fn hints_are_followed_while_every_ready_endpoint_has_one_and_one_is_meant_for_us() {
    let endpoint = |number: u8, zones: &[&str], nodes: &[&str], ready: bool| {
        let named = |all: &[&str]| all.iter().map(|name| json!({"name": name})).collect::<Vec<_>>();
        json!({"addresses": [format!("10.0.0.{number}")], "conditions": {"ready": ready},
            "hints": {"forZones": named(zones), "forNodes": named(nodes)}})
    };
    let priorities = |endpoints: &[Value], zone: Option<&str>, node: Option<&str>| {
        let mut reading = Reading::new(PortChoice::Only, AddressFamily::PreferIpv4, "tcp");
        (reading.zone, reading.node) = (zone.map(str::to_owned), node.map(str::to_owned));
        let object = json!({
            "metadata": {"name": "a", "uid": "a", "resourceVersion": "1", "labels": {names::SERVICE: "users"}},
            "addressType": "IPv4", "endpoints": endpoints, "ports": [{"port": 80}],
        });
        let mut slices = slices();
        slices.listed(vec![read(&object, &reading).expect("valid")], "10");
        let set = slices.next_set(Timing::tokio().now()).expect("new");
        set.entries().iter().map(|entry| entry.endpoint().priority()).collect::<Vec<_>>()
    };
    let (a, b) = (endpoint(1, &["a"], &[], true), endpoint(2, &["b"], &[], true));
    let none = endpoint(3, &[], &[], true);
    let broken = endpoint(4, &[], &[], false);
    assert_eq!(priorities(&[a.clone(), b.clone()], Some("a"), None), [0, 1]);
    assert_eq!(priorities(&[a.clone(), b.clone()], Some("b"), None), [1, 0]);
    assert_eq!(priorities(&[a.clone(), b.clone()], Some("c"), None), [0, 0], "none is meant for us");
    assert_eq!(priorities(&[a.clone(), b.clone()], None, None), [0, 0], "our zone is unknown");
    assert_eq!(priorities(&[a.clone(), b.clone(), none], Some("a"), None), [0, 0, 0], "one has no hint");
    assert_eq!(
        priorities(&[a.clone(), b, broken], Some("a"), None),
        [0, 1, 0],
        "one that is not ready does not count"
    );
    let (here, there) = (endpoint(1, &["a"], &["n1"], true), endpoint(2, &["a"], &["n2"], true));
    assert_eq!(
        priorities(&[here.clone(), there.clone()], Some("a"), Some("n1")),
        [0, 1],
        "nodes before zones"
    );
    assert_eq!(priorities(&[here, there], Some("a"), Some("n3")), [0, 0]);
    assert_eq!(priorities(&[a, endpoint(2, &["a", "b"], &[], true)], Some("b"), None), [1, 0]);
}

/// Some servers send a deletion with the last version of the object. Name and uid say what is gone.
#[test]
fn a_deletion_with_an_old_version_is_taken_by_name_and_uid() {
    let now = Timing::tokio().now();
    let mut slices = slices();
    slices.listed(vec![slice("a", 5, &[1]), slice("b", 6, &[2])], "10");
    slices.next_set(now);
    slices.deleted("a", "a", Some(5));
    slices.next_set(now);
    assert_eq!(pods(slices.next_set(now + SETTLE)), some(&["2"]));
    // A late deletion of the object before it.
    slices.deleted("b", "another", Some(20));
    assert!(slices.next_set(now + SETTLE).is_none());
    // Without a uid, the version has to tell.
    slices.deleted("b", "", Some(6));
    assert!(slices.next_set(now + SETTLE).is_none());
    slices.deleted("b", "", Some(21));
    slices.next_set(now + SETTLE);
    let set = slices.next_set(now + SETTLE * 2).expect("it is gone");
    assert!(set.entries().is_empty() && set.is_confirmed(), "the event said so");
}

#[test]
fn a_change_that_says_nothing_new_is_not_published_unless_listeners_have_to_hear_that_it_holds() {
    let mut slices = slices();
    let now = Timing::tokio().now();
    slices.listed(vec![slice("a", 1, &[1])], "10");
    assert!(slices.next_set(now).is_some());
    slices.changed(slice("a", 11, &[1]));
    assert!(slices.next_set(now).is_none(), "only its version is new");
    slices.republish();
    assert!(slices.next_set(now).is_some() && slices.next_set(now).is_none());
}

/// F26: a store restored to an older state is accepted when it is listed, and so are its later
/// events.
#[test]
fn a_list_with_an_older_version_replaces_what_is_known() {
    let mut slices = slices();
    let now = Timing::tokio().now();
    slices.listed(vec![slice("a", 90, &[1])], "100");
    slices.next_set(now);
    slices.changed(slice("a", 50, &[9]));
    assert!(slices.next_set(now).is_none(), "an event of before the list is old");
    slices.listed(vec![slice("a", 40, &[2])], "45");
    slices.next_set(now);
    assert_eq!(pods(slices.next_set(now + SETTLE)), some(&["2"]));
    slices.changed(slice("a", 50, &[2, 3]));
    assert_eq!(pods(slices.next_set(now + SETTLE)), some(&["2", "3"]));
}

#[derive(Clone, Debug)]
enum Change {
    Put(u8, Vec<u8>),
    Delete(u8),
}

fn changes() -> impl Strategy<Value = Vec<Change>> {
    let one = prop_oneof![
        3 => (0..4_u8, prop::collection::vec(1..20_u8, 0..5)).prop_map(|(name, pods)| Change::Put(name, pods)),
        1 => (0..4_u8).prop_map(Change::Delete),
    ];
    prop::collection::vec(one, 1..30)
}

proptest! {
    /// R9: repeated and late events change nothing; the result is the server's state.
    #[test]
    fn repeated_and_late_events_change_nothing(all in changes(), repeats in prop::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>()), 0..20)) {
        let events: Vec<_> = all.iter().zip(11_u64..).collect();
        let mut order: Vec<usize> = (0..events.len()).collect();
        for (what, after) in repeats {
            // Repeats any event, anywhere after itself.
            let what = what.index(events.len());
            let after = what + after.index(events.len() - what);
            let place = order.iter().position(|one| *one == after).expect("it is there") + 1;
            order.insert(place, what);
        }
        let mut slices = Slices::new(AddressFamily::Both, Duration::ZERO);
        slices.listed(vec![], "10");
        let now = Timing::tokio().now();
        let mut server: BTreeMap<u8, Vec<u8>> = BTreeMap::new();
        // An object that is created again has another uid.
        let mut deletions: BTreeMap<u8, u32> = BTreeMap::new();
        let mut uids = Vec::new();
        for (change, _) in &events {
            let (Change::Put(name, _) | Change::Delete(name)) = change;
            uids.push(format!("{name}-{}", deletions.get(name).copied().unwrap_or_default()));
            match change {
                Change::Put(name, pods) => drop(server.insert(*name, pods.clone())),
                Change::Delete(name) => {
                    *deletions.entry(*name).or_default() += 1;
                    server.remove(name);
                }
            }
        }
        for number in order {
            let (change, version) = &events[number];
            match change {
                Change::Put(name, pods) => {
                    let slice = slice(&name.to_string(), *version, pods);
                    slices.changed(Slice { uid: uids[number].clone(), ..slice });
                }
                Change::Delete(name) => slices.deleted(&name.to_string(), &uids[number], Some(*version)),
            }
        }
        slices.republish();
        let set = pods(slices.next_set(now)).expect("asked for");
        let expected: std::collections::BTreeSet<_> = server.values().flatten().map(u8::to_string).collect();
        prop_assert_eq!(set.into_iter().collect::<std::collections::BTreeSet<_>>(), expected);
    }

    /// R9: at any time, every endpoint in a slice is in the set, so that no step of a move removes
    /// an endpoint.
    #[test]
    fn nothing_that_is_in_a_slice_is_ever_missing(all in changes()) {
        let mut slices = slices();
        slices.listed(vec![], "10");
        let begin = Timing::tokio().now();
        let mut server: BTreeMap<u8, Vec<u8>> = BTreeMap::new();
        let mut last = Vec::new();
        for ((change, version), step) in all.iter().zip(11_u64..).zip(0_u64..) {
            match change {
                Change::Put(name, pods) => {
                    server.insert(*name, pods.clone());
                    slices.changed(slice(&name.to_string(), version, pods));
                }
                Change::Delete(name) => {
                    server.remove(name);
                    slices.deleted(&name.to_string(), &name.to_string(), Some(version));
                }
            }
            if let Some(set) = pods(slices.next_set(begin + Duration::from_millis(100 * step))) {
                last = set;
            }
            for pod in server.values().flatten() {
                prop_assert!(last.contains(&pod.to_string()), "{pod} is missing from {last:?}");
            }
        }
    }
}

/// Measures a change of one of 50 slices of 100 endpoints, from the bytes of the event to the set.
#[test]
#[ignore = "it measures; in release"]
fn measure_a_change_of_one_slice_of_fifty() {
    let object = |number: u32, version: u64, ready: bool| {
        let endpoints: Vec<_> = (0..100)
            .map(|pod| {
                let at = number * 100 + pod;
                json!({"addresses": [format!("10.0.{}.{}", at / 250, at % 250 + 1)], "nodeName": format!("node-{}", at % 40),
                    "targetRef": {"kind": "Pod", "name": format!("users-{at}"), "uid": format!("6f1c2a34-0b5d-4f7e-9a10-{at:012}")},
                    "zone": "a", "conditions": {"ready": ready || pod != 7, "serving": true, "terminating": false}})
            })
            .collect();
        json!({"type": "MODIFIED", "object": {
            "metadata": {"name": format!("users-{number:02}"), "uid": format!("u{number}"), "resourceVersion": version.to_string(),
                "labels": {names::SERVICE: "users"}},
            "addressType": "IPv4", "endpoints": endpoints, "ports": [{"name": "http", "port": 8080}],
        }})
        .to_string()
    };
    let reading = Reading::new(PortChoice::Only, AddressFamily::PreferIpv4, "tcp");
    let parse = |text: &str| {
        let event: Value = serde_json::from_str(text).expect("JSON");
        read(&event["object"], &reading).expect("valid")
    };
    let timing = Timing::tokio();
    let mut slices = slices();
    slices.listed((0..50).map(|number| parse(&object(number, 1, true))).collect(), "10");
    let now = timing.now();
    assert_eq!(slices.next_set(now).expect("first").entries().len(), 5000);
    let texts: Vec<_> =
        (0..400).map(|round| object(round % 50, u64::from(round) + 11, round / 50 % 2 == 1)).collect();
    for part in ["parse", "all"] {
        let begun = timing.now();
        for text in &texts {
            let slice = parse(text);
            if part == "all" {
                slices.changed(slice);
                assert_eq!(slices.next_set(now).expect("changed").entries().len(), 5000);
            }
        }
        println!("{part}: {:?} each", timing.now().since(begun) / 400);
    }
}
