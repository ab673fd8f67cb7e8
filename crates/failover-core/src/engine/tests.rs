pub(crate) mod all_out;
pub(crate) mod capped;
pub(crate) mod changes;
pub(crate) mod classes;
pub(crate) mod failure_rate;
pub(crate) mod first_answer;
pub(crate) mod forced;
pub(crate) mod in_flight;
pub(crate) mod oracles;
pub(crate) mod outliers;
pub(crate) mod pauses;
pub(crate) mod places;
pub(crate) mod races;
pub(crate) mod retry_choice;
pub(crate) mod returns;
pub(crate) mod rush;
pub(crate) mod sequences;
pub(crate) mod single_failure;
pub(crate) mod stay_first;
pub(crate) mod strays;
pub(crate) mod undecided;

use std::collections::BTreeMap;
use std::time::Duration;

use super::*;
use crate::config::CircuitBreakerConfig;
use crate::engine::algorithm::Tried;
use crate::engine::availability::{Availability, UnavailableCause};
use crate::error::ErrorKind;
use crate::events::EventKind;
use crate::model::attempt_class::AttemptClass;
use crate::model::endpoint::{Endpoint, EndpointEntry};
use crate::model::health::{Health, Lifecycle};

/// An engine in virtual time with one source, and the operations that tests perform on it.
struct Bench {
    engine: Engine,
    source: SourceId,
}

fn breaker(
    change: impl FnOnce(crate::config::CircuitBreakerConfigBuilder) -> crate::config::CircuitBreakerConfigBuilder,
) -> FailoverConfig {
    let breaker = change(CircuitBreakerConfig::builder().jitter(0.0)).build().expect("valid");
    FailoverConfig::builder().circuit_breaker(breaker).build().expect("valid")
}

impl Bench {
    fn new(config: FailoverConfig) -> Self {
        let name = ServiceName::new("users").expect("valid");
        let engine =
            Engine::new(name, Arc::new(config), Clock::tokio(), Random::seeded(1), None).expect("valid");
        let source = engine.add_source(Arc::from("test"), 0);
        Self { engine, source }
    }

    fn with(ids: &[&str]) -> Self {
        let bench = Self::new(breaker(|b| b));
        bench.publish(ids.iter().map(|id| entry(id, 0)));
        bench
    }

    fn publish(&self, entries: impl IntoIterator<Item = EndpointEntry>) {
        self.engine.publish(self.source, entries.into_iter().collect(), false, Duration::ZERO);
    }

    /// Makes one call; `fails` selects the endpoints whose calls fail. Returns the endpoint called,
    /// if any.
    fn call(&self, fails: &[&str]) -> Option<String> {
        let pick = self.engine.pick(Tried::NONE, true)?;
        let id = self.id(&pick);
        let verdict =
            if fails.contains(&id.as_str()) { AttemptClass::Failure } else { AttemptClass::Success };
        self.engine.report(pick, verdict);
        Some(id)
    }

    fn id(&self, pick: &RawPick) -> String {
        self.engine.slab.state(pick.state()).endpoint().id().to_string()
    }

    fn calls(&self, count: usize, fails: &[&str]) -> BTreeMap<String, usize> {
        (0..count).filter_map(|_| self.call(fails)).fold(BTreeMap::new(), |mut counts, id| {
            *counts.entry(id).or_default() += 1;
            counts
        })
    }

    fn availability(&self, id: &str) -> Availability {
        let stats = self.engine.stats();
        stats.endpoints.iter().find(|endpoint| endpoint.id == *id).expect("present").availability
    }

    fn emitted(&self, kind: EventKind) -> Vec<String> {
        let events = self.engine.events.newest(usize::MAX);
        events.iter().filter(|event| event.kind == kind).map(ToString::to_string).collect()
    }
}

fn entry(id: &str, priority: u32) -> EndpointEntry {
    let last = id.bytes().fold(0_u8, u8::wrapping_add);
    let address = format!("10.0.{priority}.{last}");
    EndpointEntry::new(Endpoint::builder(id, "users", address, 80).priority(priority).build().expect("valid"))
}

async fn pass(duration: Duration) {
    tokio::time::advance(duration).await;
}

const SECOND: Duration = Duration::from_secs(1);

#[tokio::test(start_paused = true)]
async fn a_dead_endpoint_gets_five_attempts_then_none_then_probes_then_its_share() {
    let bench = Bench::with(&["a", "b", "c"]);
    let counts = bench.calls(300, &["b"]);
    assert_eq!(counts["b"], 5);
    assert!(matches!(
        bench.availability("b"),
        Availability::Out { cause: UnavailableCause::BreakerOpen { .. } }
    ));

    pass(4 * SECOND).await;
    assert_eq!(bench.calls(300, &["b"]).get("b"), None, "its open time has not passed");

    pass(SECOND).await;
    assert_eq!(bench.calls(300, &["b"])["b"], 1, "one probe call, which fails");
    pass(9 * SECOND).await;
    assert_eq!(bench.calls(300, &[]).get("b"), None, "the open time has doubled");

    pass(SECOND).await;
    let mut probes = 0;
    while probes < 3 {
        assert_eq!(bench.calls(300, &[]).get("b"), Some(&1), "one probe call at a time");
        probes += 1;
        pass(SECOND / 2).await;
    }
    assert!(!bench.availability("b").is_in());
    assert_eq!(bench.calls(301, &[])["b"], 101, "the fourth probe call, then its third");
    assert!(bench.availability("b").is_in());
    assert_eq!(bench.engine.probe_at.load(Ordering::Relaxed), u64::MAX, "nothing is left to look for");
    assert_eq!(bench.emitted(EventKind::CircuitOpen).len(), 2);
    assert_eq!(bench.emitted(EventKind::CircuitClose).len(), 1);
    assert_eq!(bench.emitted(EventKind::Recovery).len(), 1);
}

#[tokio::test(start_paused = true)]
async fn half_open_permits_are_never_more_than_three_and_come_back_when_calls_are_dropped() {
    let bench = Bench::new(breaker(|b| b.half_open_max_calls(3)));
    bench.publish([entry("a", 0), entry("b", 0)]);
    bench.calls(20, &["b"]);
    pass(5 * SECOND).await;
    let pinned: Vec<_> = (0..20).map(|_| bench.engine.pick(Tried::NONE, true).expect("available")).collect();
    let probes = pinned.iter().filter(|pick| bench.id(pick) == "b").count();
    assert_eq!(probes, 3);
    for pick in pinned {
        bench.engine.cancel(pick);
    }
    pass(Duration::from_millis(50)).await;
    let pinned: Vec<_> = (0..20).map(|_| bench.engine.pick(Tried::NONE, true).expect("available")).collect();
    let probes = pinned.iter().filter(|pick| bench.id(pick) == "b").count();
    assert_eq!(probes, 3, "the permits came back");
    for pick in pinned {
        bench.engine.cancel(pick);
    }
    let stats = bench.engine.stats();
    assert_eq!((stats.in_flight, stats.cancelled), (0, 40));
}

#[tokio::test(start_paused = true)]
async fn a_call_that_cannot_be_repeated_is_a_probe_call_only_if_no_other_call_probes() {
    let bench = Bench::with(&["a", "b"]);
    bench.calls(20, &["b"]);
    pass(5 * SECOND).await;
    let pick = || bench.engine.pick(Tried::NONE, false).expect("available");
    for _ in 0..20 {
        let pick = pick();
        assert_eq!(bench.id(&pick), "a");
        bench.engine.report(pick, AttemptClass::Success);
    }
    pass(5 * SECOND).await;
    assert_eq!(bench.id(&pick()), "b");
}

#[tokio::test(start_paused = true)]
async fn one_endpoint_alone_is_never_refused_by_its_breaker() {
    let bench = Bench::with(&["a"]);
    assert_eq!(bench.calls(1_000, &["a"])["a"], 1_000);
    assert_eq!(bench.availability("a"), Availability::In { pinned: true });
    assert!(bench.emitted(EventKind::CircuitOpen)[0].contains("stays in rotation"));
    assert_eq!(bench.calls(10, &[])["a"], 10);
    assert_eq!(bench.availability("a"), Availability::In { pinned: false });
}

#[tokio::test(start_paused = true)]
async fn without_a_floor_and_failing_fast_a_dead_service_is_refused_until_a_probe_is_due() {
    let breaker = CircuitBreakerConfig::builder().jitter(0.0).min_available(0).build().expect("valid");
    let config = FailoverConfig::builder().circuit_breaker(breaker).fail_fast(true).build().expect("valid");
    let bench = Bench::new(config);
    bench.publish([entry("a", 0), entry("b", 0)]);
    bench.calls(10, &["a", "b"]);
    assert_eq!(bench.call(&[]), None);
    let none = bench.engine.why_none();
    assert_eq!(none.reason(), NoEndpointsReason::AllOut);
    assert_eq!(none.out().len(), 2);
    assert!(none.to_string().contains("a: breaker open, next probe call in 5s"), "{none}");
    let error = Error::from(none);
    assert_eq!((error.kind(), error.code()), (ErrorKind::CircuitBreaker, "CIRCUIT_OPEN"));
    // If no breaker is among the causes, the error is that endpoints are missing.
    bench.publish(["a", "b"].map(|id| entry(id, 0).with_lifecycle(Lifecycle::Maintenance)));
    let error = Error::from(bench.engine.why_none());
    assert_eq!((error.kind(), error.code()), (ErrorKind::NoEndpoints, "ALL_ENDPOINTS_DOWN"));
    bench.publish([entry("a", 0), entry("b", 0)]);
    pass(5 * SECOND).await;
    assert!(bench.call(&[]).is_some(), "a probe call");
}

#[tokio::test(start_paused = true)]
async fn when_all_fail_calls_go_to_each_in_turn_and_the_first_to_return_is_found() {
    let bench = Bench::with(&["a", "b", "c", "d", "e"]);
    let all = ["a", "b", "c", "d", "e"];
    bench.calls(100, &all);
    assert_eq!(bench.engine.snapshot().closed(), 0);
    // No permit is needed: whichever endpoint returns, one of the next five calls finds it.
    let pinned: Vec<_> =
        (0..10_000).map(|_| bench.engine.pick(Tried::NONE, true).expect("fails open")).collect();
    let mut counts = BTreeMap::new();
    for pick in &pinned {
        *counts.entry(bench.id(pick)).or_insert(0) += 1;
    }
    let mut sizes: Vec<_> = counts.values().copied().collect();
    sizes.sort_unstable();
    assert_eq!(sizes, [2_000; 5]);
    for pick in pinned {
        bench.engine.report(pick, AttemptClass::Failure);
    }
    pass(30 * SECOND).await;
    bench.calls(100, &all);
    // One endpoint recovers: it is found long before any open time has passed, and takes all calls.
    let counts = bench.calls(50, &["a", "b", "d", "e"]);
    assert!(counts["c"] >= 44, "{counts:?}");
}

#[tokio::test(start_paused = true)]
async fn a_long_outage_of_all_does_not_end_with_the_longest_wait() {
    let bench = Bench::with(&["a", "b", "c"]);
    for _ in 0..600 {
        bench.calls(10, &["a", "b", "c"]);
        pass(SECOND).await;
    }
    bench.calls(10, &[]);
    for _ in 0..10 {
        pass(SECOND / 2).await;
        bench.calls(10, &[]);
    }
    let counts = bench.calls(30, &[]);
    assert_eq!(counts, BTreeMap::from([("a".into(), 10), ("b".into(), 10), ("c".into(), 10)]));
}

#[tokio::test(start_paused = true)]
async fn a_dead_primary_gives_way_to_the_standby_and_calls_go_back_after_it_returns() {
    let bench = Bench::new(breaker(|b| b));
    bench.publish([entry("primary", 0), entry("standby", 1)]);
    assert_eq!(bench.calls(100, &[]), BTreeMap::from([("primary".into(), 100)]));
    let counts = bench.calls(100, &["primary"]);
    assert_eq!(counts, BTreeMap::from([("primary".into(), 5), ("standby".into(), 95)]));
    assert!(bench.emitted(EventKind::LoadBalance)[0].contains("100 % to priority 1"));
    pass(6 * SECOND).await;
    bench.calls(100, &[]);
    pass(SECOND / 2).await;
    let counts = bench.calls(100, &[]);
    assert_eq!(counts, BTreeMap::from([("primary".into(), 100)]));
}

#[tokio::test(start_paused = true)]
async fn a_tier_short_of_endpoints_spills_over_as_envoys_does() {
    let bench = Bench::new(breaker(|b| b));
    let tier = |priority: u32, ids: [&str; 4]| ids.map(|id| entry(&format!("{id}{priority}"), priority));
    bench.publish(tier(0, ["a", "b", "c", "d"]).into_iter().chain(tier(1, ["a", "b", "c", "d"])));
    bench.calls(200, &["a0", "b0"]);
    let counts = bench.calls(10_000, &[]);
    let first = counts["c0"] + counts["d0"];
    assert!((6_700..7_300).contains(&first), "half of the first tier takes 70 %: {counts:?}");
    assert_eq!(bench.engine.snapshot().share_percent(), [70, 30]);
}

#[tokio::test(start_paused = true)]
async fn what_the_source_claims_takes_out_and_only_the_unhealthy_are_a_last_resort() {
    let bench = Bench::new(breaker(|b| b));
    bench.publish([
        entry("draining", 0).with_lifecycle(Lifecycle::Draining),
        entry("maintained", 0).with_lifecycle(Lifecycle::Maintenance),
        entry("unhealthy", 0).with_health(Health::Unhealthy),
        entry("degraded", 0).with_health(Health::Degraded),
        entry("unknown", 0),
    ]);
    let counts = bench.calls(100, &[]);
    assert_eq!(counts, BTreeMap::from([("degraded".into(), 50), ("unknown".into(), 50)]));
    bench.publish([
        entry("draining", 0).with_lifecycle(Lifecycle::Draining),
        entry("unhealthy", 0).with_health(Health::Unhealthy),
    ]);
    assert_eq!(bench.calls(10, &[]), BTreeMap::from([("unhealthy".into(), 10)]));
    bench.publish([entry("draining", 0).with_lifecycle(Lifecycle::Draining)]);
    assert_eq!(bench.call(&[]), None);
    let none = bench.engine.why_none();
    assert_eq!((none.out()[0].id.as_str(), none.out()[0].cause), ("draining", UnavailableCause::Draining));
    let json = serde_json::to_value(&none).expect("serialises");
    assert_eq!(json["out"], serde_json::json!([{"id": "draining", "cause": "draining"}]));
}

#[tokio::test(start_paused = true)]
async fn weight_zero_takes_out_unless_all_have_it() {
    let bench = Bench::new(breaker(|b| b));
    let weighted = |id: &str, weight| {
        let endpoint = entry(id, 0).endpoint().to_builder().weight(weight).build().expect("valid");
        EndpointEntry::new(endpoint)
    };
    bench.publish([weighted("a", 0), weighted("b", 1)]);
    assert_eq!(bench.calls(10, &[]), BTreeMap::from([("b".into(), 10)]));
    assert_eq!(bench.availability("a"), Availability::Out { cause: UnavailableCause::WeightZero });
    bench.publish([weighted("a", 0), weighted("b", 0)]);
    assert_eq!(bench.calls(10, &[]).len(), 2);
}

#[tokio::test(start_paused = true)]
async fn state_survives_every_update_and_begins_anew_at_another_address() {
    let bench = Bench::with(&["a", "b"]);
    bench.calls(20, &["b"]);
    let heavier = entry("b", 0).endpoint().to_builder().weight(7).tag("new").build().expect("valid");
    bench.publish([entry("a", 0), EndpointEntry::new(heavier), entry("c", 0)]);
    assert!(!bench.availability("b").is_in(), "its breaker is still open");
    let transition = entry("b", 9).endpoint().to_builder().priority(0).build().expect("valid");
    bench.publish([entry("a", 0), EndpointEntry::new(transition)]);
    assert!(bench.availability("b").is_in(), "another server, so nothing is known of it");
    let stats = bench.engine.stats();
    assert_eq!(stats.successful_requests, 15, "what was counted stays counted");
}

#[tokio::test(start_paused = true)]
async fn calls_in_flight_on_a_removed_endpoint_end_as_usual_and_then_its_state_is_freed() {
    let bench = Bench::with(&["a"]);
    let pick = bench.engine.pick(Tried::NONE, true).expect("available");
    bench.publish([entry("b", 0)]);
    assert_eq!(bench.calls(10, &[]), BTreeMap::from([("b".into(), 10)]));
    assert_eq!(bench.engine.stats().in_flight, 1, "it is still counted");
    assert_eq!(bench.id(&pick), "a", "and it is still that endpoint");
    let state = pick.state();
    bench.engine.report(pick, AttemptClass::Success);
    bench.publish([entry("c", 0)]);
    let snapshot = bench.engine.snapshot();
    bench.publish([entry("d", 0)]);
    let reused = bench.engine.snapshot().slots[0].state;
    assert!(reused == state || snapshot.slots[0].state == state, "its state is reused");
    let stats = bench.engine.stats();
    assert_eq!((stats.in_flight, stats.successful_requests), (0, 11));
}

#[tokio::test(start_paused = true)]
async fn memory_follows_the_endpoints_that_there_are_not_those_that_there_were() {
    let bench = Bench::new(breaker(|b| b));
    for round in 0..1_000 {
        bench.publish((0..3).map(|n| {
            let endpoint = Endpoint::builder(format!("{round}-{n}"), "users", format!("10.0.0.{n}"), 80);
            EndpointEntry::new(endpoint.build().expect("valid"))
        }));
        bench.calls(3, &[]);
    }
    let highest = bench.engine.snapshot().slots.iter().map(|slot| slot.state).max();
    assert!(highest < Some(9), "{highest:?}");
    assert_eq!(bench.engine.stats().successful_requests, 3_000);
}

#[tokio::test(start_paused = true)]
async fn a_floor_of_two_keeps_two_in_use() {
    let bench = Bench::new(breaker(|b| b.min_available(2)));
    bench.publish(["a", "b", "c"].map(|id| entry(id, 0)));
    let counts = bench.calls(60, &["a", "b"]);
    let least = counts.values().min().copied();
    assert!(least < Some(10), "one is out: {counts:?}");
    assert!(counts.values().filter(|count| **count > 20).count() == 2, "two are in use: {counts:?}");
}

#[tokio::test(start_paused = true)]
async fn a_new_configuration_keeps_the_state_and_a_bad_one_changes_nothing() {
    let bench = Bench::with(&["a", "b"]);
    bench.calls(20, &["b"]);
    let random =
        breaker(|b| b.failure_threshold(1)).to_builder().strategy(crate::config::StrategyKind::Random);
    bench.engine.configure(Arc::new(random.build().expect("valid"))).expect("supported");
    assert!(!bench.availability("b").is_in());
    assert_eq!(bench.emitted(EventKind::ConfigApplied).len(), 1);
    let nowhere =
        FailoverConfig::builder().strategy(crate::config::StrategyKind::Geographic).build().expect("valid");
    bench.engine.configure(Arc::new(nowhere)).expect_err("it does not say where this process is");
    assert_eq!(bench.engine.config().strategy(), crate::config::StrategyKind::Random);
    assert_eq!(bench.emitted(EventKind::ConfigRejected).len(), 1);
}

#[tokio::test(start_paused = true)]
async fn nothing_known_says_why() {
    let bench = Bench::new(FailoverConfig::default());
    assert_eq!(bench.engine.why_none().reason(), NoEndpointsReason::NotYetKnown);
    let refused = Error::new(ErrorKind::Connection, "connection refused");
    bench.engine.source_failed(bench.source, refused, EventKind::SourceStale);
    let none = bench.engine.why_none();
    assert!(none.to_string().contains("connection refused"), "{none}");
    bench.engine.publish(bench.source, Vec::new(), true, Duration::ZERO);
    assert_eq!(bench.engine.why_none().reason(), NoEndpointsReason::UnknownService);
    bench.publish([]);
    assert_eq!(bench.engine.why_none().reason(), NoEndpointsReason::Empty);
    assert_eq!(Error::from(bench.engine.why_none()).code(), "NO_ENDPOINTS");
}

#[tokio::test(start_paused = true)]
async fn a_change_of_many_endpoints_emits_a_few_events() {
    let bench = Bench::new(breaker(|b| b));
    let many = |from: usize| {
        (from..from + 1_000).map(|n| {
            let address = format!("10.1.{}.{}", n / 250, n % 250);
            EndpointEntry::new(
                Endpoint::builder(format!("e{n}"), "users", address, 80).build().expect("valid"),
            )
        })
    };
    bench.publish(many(0));
    assert_eq!(bench.emitted(EventKind::EndpointAdded).len(), 17);
    bench.publish(many(500));
    let removed = bench.emitted(EventKind::EndpointRemoved);
    assert_eq!(removed.len(), 17);
    assert_eq!(removed[16], "endpoint_removed users: and 484 more in the same change");
}

#[tokio::test(start_paused = true)]
async fn a_cell_is_not_given_away_while_an_older_snapshot_knows_it() {
    let bench = Bench::with(&["a", "b"]);
    // As held by an interrupted pick.
    let pinned = bench.engine.snapshot();
    let state = pinned.slot(pinned.find("a").expect("there")).state;
    bench.publish([entry("a", 0), entry("b", 0), entry("c", 0)]);
    bench.publish([entry("b", 0), entry("c", 0)]);
    bench.publish([entry("b", 0), entry("c", 0), entry("x", 0)]);
    assert_eq!(*bench.engine.slab.state(state).endpoint().id(), *"a");
    drop(pinned);
    bench.publish([entry("b", 0), entry("c", 0), entry("y", 0)]);
    bench.publish([entry("b", 0), entry("c", 0), entry("y", 0), entry("z", 0)]);
    let snapshot = bench.engine.snapshot();
    assert!(snapshot.slots.iter().any(|slot| slot.state == state), "now it is used again");
}

#[tokio::test(start_paused = true)]
async fn a_breaker_that_is_switched_off_while_it_is_open_refuses_nothing() {
    let bench = Bench::with(&["a", "b"]);
    bench.calls(20, &["b"]);
    bench.engine.configure(Arc::new(breaker(|b| b.enabled(false)))).expect("supported");
    assert_eq!(bench.calls(100, &["b"])["b"], 50);
    pass(60 * SECOND).await;
    assert_eq!(bench.calls(100, &["b"])["b"], 50);
}

#[tokio::test(start_paused = true)]
async fn a_floor_of_two_does_not_hold_a_dead_primary_beside_a_live_standby() {
    let bench = Bench::new(breaker(|b| b.min_available(2)));
    bench.publish([entry("primary", 0), entry("standby", 1)]);
    let counts = bench.calls(100, &["primary"]);
    assert_eq!(counts, BTreeMap::from([("primary".into(), 5), ("standby".into(), 95)]));
}

#[tokio::test(start_paused = true)]
async fn a_held_endpoint_in_a_tier_without_calls_is_probed() {
    let bench = Bench::new(breaker(|b| b.min_available(2)));
    let primary = entry("primary", 0).with_lifecycle(Lifecycle::Draining);
    bench.publish([primary, entry("standby", 1)]);
    bench.calls(10, &["standby"]);
    bench.publish([entry("primary", 0), entry("standby", 1)]);
    for _ in 0..6 {
        pass(10 * SECOND).await;
        bench.calls(100, &[]);
    }
    assert_eq!(bench.availability("standby"), Availability::In { pinned: false });
}

#[tokio::test(start_paused = true)]
async fn a_half_open_endpoint_that_rejects_has_answered_and_one_that_is_dropped_is_probed_now_and_then() {
    for (verdict, most) in [(Some(AttemptClass::Rejected), 102), (Some(AttemptClass::Local), 10), (None, 10)]
    {
        let bench = Bench::new(breaker(|b| b.half_open_max_calls(3).success_threshold(2)));
        bench.publish(["a", "b", "c"].map(|id| entry(id, 0)));
        bench.calls(30, &["b"]);
        pass(5 * SECOND).await;
        let mut probes = 0;
        for _ in 0..300 {
            let pick = bench.engine.pick(Tried::NONE, true).expect("available");
            probes += u32::from(bench.id(&pick) == "b");
            bench.engine.report(pick, verdict);
        }
        assert!((1..=most).contains(&probes), "{verdict:?}: {probes} of 300");
        assert_eq!(bench.availability("b").is_in(), verdict == Some(AttemptClass::Rejected));
    }
}

#[tokio::test(start_paused = true)]
async fn ten_thousand_bad_entries_emit_a_few_events() {
    let bench = Bench::with(&["a"]);
    let fault = || Error::invalid("port", 0, "a number from 1 to 65535");
    let mut rejected = crate::contract::provider::Rejections::default();
    for n in 0..10_000 {
        rejected.add(|| crate::contract::provider::RejectedEntry::new(format!("entry {n}"), fault()));
    }
    bench.engine.entries_rejected(bench.source, &rejected);
    let emitted = bench.emitted(EventKind::EntryRejected);
    assert_eq!(emitted.len(), 17);
    assert_eq!(emitted[16], "entry_rejected users [test]: and 9984 more in the same answer");
    bench.engine.entries_rejected(bench.source, &rejected);
    assert_eq!(bench.emitted(EventKind::EntryRejected).len(), 17, "a repeated rejection is emitted once");
    assert_eq!(bench.engine.sources()[0].rejected, 20_000);
}

#[tokio::test(start_paused = true)]
async fn statistics_have_the_names_of_the_go_package() {
    let bench = Bench::with(&["a", "b"]);
    bench.calls(20, &["b"]);
    let json = serde_json::to_value(bench.engine.stats()).expect("serialises");
    for name in
        ["total_requests", "successful_requests", "failed_requests", "failovers", "recoveries", "uptime"]
    {
        assert!(!json[name].is_null(), "{name}: {json}");
    }
    assert_eq!(json["last_update"], "1970-01-01T00:00:00Z", "RFC 3339, of the test's clock");
    assert!(json["average_response_time"].is_string(), "{json}");
    let source = &json["sources"][0];
    assert_eq!((&source["provider"], &source["stale"]), (&"test".into(), &false.into()));
    let b = &json["endpoints"][1];
    assert_eq!((&b["id"], &b["breaker"], &b["failures"]), (&"b".into(), &"open".into(), &5.into()));
    let availability = serde_json::json!({"state": "out", "cause": "breaker_open", "retry_in": "4.999999999s", "retry_in_seconds": 4.999_999_999});
    assert_eq!(b["availability"], availability);
}

#[tokio::test(start_paused = true)]
async fn a_half_open_endpoint_that_is_overloaded_is_not_back_and_a_closed_one_is_not_to_blame() {
    let bench = Bench::with(&["a", "b"]);
    bench.calls(20, &["b"]);
    pass(5 * SECOND).await;
    let probe = bench.engine.pick(Tried::NONE, true).expect("available");
    assert_eq!(bench.id(&probe), "b");
    bench.engine.report(probe, AttemptClass::Overload);
    assert!(matches!(
        bench.availability("b"),
        Availability::Out { cause: UnavailableCause::BreakerOpen { .. } }
    ));
    for _ in 0..100 {
        let pick = bench.engine.pick(Tried::NONE, true).expect("available");
        bench.engine.report(pick, AttemptClass::Overload);
    }
    assert_eq!(bench.availability("a"), Availability::In { pinned: false });
}
