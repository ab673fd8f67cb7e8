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
    let reading = Reading { port: PortChoice::Only, family: AddressFamily::Both, protocol: "tcp".into() };
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
    let reading = Reading { port: PortChoice::Only, family: AddressFamily::Both, protocol: "tcp".into() };
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
        for (change, _) in &events {
            match change {
                Change::Put(name, pods) => drop(server.insert(*name, pods.clone())),
                Change::Delete(name) => drop(server.remove(name)),
            }
        }
        for number in order {
            let (change, version) = &events[number];
            match change {
                Change::Put(name, pods) => slices.changed(slice(&name.to_string(), *version, pods)),
                Change::Delete(name) => slices.deleted(&name.to_string(), &name.to_string(), Some(*version)),
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
