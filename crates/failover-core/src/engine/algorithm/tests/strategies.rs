//! Each strategy through a service, as a caller uses it.

use crate::model::attempt_class::AttemptClass;
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::config::{FailoverConfig, StrategyKind};
use crate::config::{LoadBalancerConfig, SlowStartConfig};
use crate::contract::strategy::{Candidates as Seen, Strategy};
use crate::engine::{Engine, SourceId};
use crate::events::EventKind;
use crate::model::endpoint::{Endpoint, EndpointEntry, ServiceName};
use crate::model::health::Health;
use crate::runtime::clock::Clock;

/// An engine with endpoints given as ids, on tokio's clock.
pub(super) struct Bench {
    pub(super) engine: Arc<Engine>,
    source: SourceId,
}

impl Bench {
    pub(super) fn new(config: FailoverConfig) -> Self {
        let name = ServiceName::new("users").unwrap();
        let engine = Engine::new(name, Arc::new(config), Clock::tokio(), Random::seeded(7), None).unwrap();
        let source = engine.add_source(Arc::from("test"), 0);
        Self { engine: Arc::new(engine), source }
    }

    pub(super) fn with(self, entries: Vec<EndpointEntry>) -> Self {
        self.publish(entries);
        self
    }

    pub(super) fn publish(&self, entries: Vec<EndpointEntry>) {
        self.engine.publish(self.source, entries, false, Duration::ZERO);
    }

    pub(super) fn pick(&self, options: PickOptions) -> String {
        let pick = self.engine.pick_with(Tried::NONE, true, options).expect("available");
        let id = self.engine.slab.state(pick.state()).endpoint().id().to_string();
        self.engine.report(pick, AttemptClass::Success);
        id
    }

    pub(super) fn shares(&self, picks: usize) -> HashMap<String, usize> {
        counts((0..picks).map(|_| self.pick(PickOptions::NONE)))
    }

    /// Opens the breaker of this endpoint.
    pub(super) fn break_down(&self, id: &str) {
        for _ in 0..5 {
            self.end(id, AttemptClass::Failure, Duration::ZERO);
        }
        // Others answer meanwhile: a service whose last calls have all failed tries all endpoints.
        let now = self.engine.clock.now();
        self.engine.strain.answered(now, now);
    }

    /// Makes one attempt on this endpoint that ends now with this class.
    fn end(&self, id: &str, class: impl Into<Option<AttemptClass>>, before: Duration) {
        let snapshot = self.engine.snapshot();
        let state = snapshot.slot(snapshot.find(id).expect("there")).state;
        let admission = self.engine.slab.state(state).breaker().admit_if_closed();
        let Some(admission) = admission else { return };
        self.engine.slab.state(state).begin();
        let now = self.engine.clock.now();
        let began = Time::from_nanos(now.as_nanos().saturating_sub(before.as_nanos() as u64));
        let began = (began, crate::runtime::rush::Timing::Each);
        let pick = crate::engine::RawPick::new(state, admission, crate::engine::Transition::No, began);
        self.engine.report(pick, class);
    }

    fn emitted(&self, kind: EventKind) -> usize {
        self.engine.events.newest(1_000).iter().filter(|event| event.kind == kind).count()
    }
}

pub(super) fn endpoint(id: &str) -> crate::model::endpoint::EndpointBuilder {
    let port =
        1 + id.bytes().fold(7_u16, |sum, byte| sum.wrapping_mul(31).wrapping_add(u16::from(byte))) % 60_000;
    Endpoint::builder(id, "users", "10.0.0.1", port)
}

pub(super) fn entry(id: &str) -> EndpointEntry {
    EndpointEntry::new(endpoint(id).build().unwrap())
}

pub(super) fn entries(count: usize) -> Vec<EndpointEntry> {
    (0..count).map(|n| entry(&format!("e{n:03}"))).collect()
}

pub(super) fn balancer(
    build: impl FnOnce(crate::config::LoadBalancerConfigBuilder) -> crate::config::LoadBalancerConfigBuilder,
) -> FailoverConfig {
    let balancer = build(LoadBalancerConfig::builder()).build().unwrap();
    FailoverConfig::builder().load_balancer(balancer).build().unwrap()
}

#[tokio::test(start_paused = true)]
async fn weights_give_exact_shares_and_change_live() {
    let bench = Bench::new(balancer(|b| b.algorithm(Algorithm::Weighted).weight("b", 3).weight("ghost", 9)))
        .with(vec![entry("a"), entry("b"), entry("c")]);
    assert_eq!(bench.shares(50), [("a", 10), ("b", 30), ("c", 10)].map(|(id, n)| (id.to_owned(), n)).into());
    let spoken = bench.engine.events.newest(50);
    assert!(
        spoken.iter().any(|event| event.reason.contains("ghost")),
        "an id that does not exist is reported"
    );
    let config = balancer(|b| b.algorithm(Algorithm::Weighted).weight("a", 7).weight("b", 2).weight("c", 0));
    bench.engine.configure(Arc::new(config)).unwrap();
    assert_eq!(bench.shares(90), [("a", 70), ("b", 20)].map(|(id, n)| (id.to_owned(), n)).into());
}

#[tokio::test(start_paused = true)]
async fn the_turns_of_one_that_is_out_go_to_the_others_by_their_weights() {
    let bench =
        Bench::new(balancer(|b| b.algorithm(Algorithm::Weighted).weight("big", 65_535).weight("b", 3)))
            .with(vec![entry("big"), entry("a"), entry("b")]);
    bench.break_down("big");
    let shares = bench.shares(4_000);
    // Seed 7; three quarters of 4 000 draws with a standard deviation of 27.
    assert!(shares["b"].abs_diff(3_000) < 120 && !shares.contains_key("big"), "{shares:?}");
}

#[tokio::test(start_paused = true)]
async fn bad_weights_are_defined() {
    for (weights, expected) in
        [([0, 0], vec![("a", 50), ("b", 50)]), ([0, 5], vec![("b", 100)]), ([1, u32::MAX], vec![("b", 100)])]
    {
        let config =
            balancer(|b| b.algorithm(Algorithm::Weighted).weight("a", weights[0]).weight("b", weights[1]));
        let bench = Bench::new(config).with(vec![entry("a"), entry("b")]);
        let shares = bench.shares(100);
        for (id, share) in expected {
            assert!(shares[id].abs_diff(share) <= 1, "{weights:?}: {shares:?}");
        }
    }
    for strategy in [StrategyKind::Weighted, StrategyKind::IpHash, StrategyKind::HealthBased] {
        let bench = Bench::new(config(strategy));
        assert!(bench.engine.pick(Tried::NONE, true).is_none(), "{strategy} of none");
        bench.publish(vec![entry("a")]);
        assert_eq!(bench.pick(PickOptions::keyed(b"k")), "a", "{strategy} of one");
        bench.publish(Vec::new());
        assert!(bench.engine.pick(Tried::NONE, true).is_none());
    }
}

#[tokio::test(start_paused = true)]
async fn a_key_has_a_home_and_comes_back_to_it() {
    let bench = Bench::new(config(StrategyKind::IpHash)).with(entries(10));
    let home = |n: u32| bench.pick(PickOptions::keyed(&n.to_le_bytes()));
    let before: Vec<_> = (0..500).map(home).collect();
    assert_eq!(before, (0..500).map(home).collect::<Vec<_>>());
    assert_eq!(counts(before.iter().cloned()).len(), 10);
    bench.break_down("e004");
    let during: Vec<_> = (0..500).map(home).collect();
    let transition = before.iter().zip(&during).filter(|(a, b)| a != b);
    assert!(transition.clone().all(|(a, _)| a == "e004"), "only the keys of the one that is out move");
    assert!(counts(transition.map(|(_, b)| b.clone())).len() > 5, "and spread over the others");
    tokio::time::advance(Duration::from_secs(7)).await;
    for _ in 0..2 {
        bench.pick(PickOptions::NONE);
        tokio::time::advance(Duration::from_millis(500)).await;
    }
    assert_eq!(before, (0..500).map(home).collect::<Vec<_>>(), "back home");
    let without: HashSet<_> = (0..100).map(|_| bench.pick(PickOptions::keyed(b""))).collect();
    assert!(without.len() > 5, "an empty key is none");
}

#[tokio::test(start_paused = true)]
async fn health_based_prefers_healthy_ones_and_those_that_answer_best() {
    let of = |id: &str, health| entry(id).with_health(health);
    let bench = Bench::new(config(StrategyKind::HealthBased)).with(vec![
        of("a", Health::Healthy),
        of("b", Health::Unknown),
        of("c", Health::Healthy),
        of("d", Health::Degraded),
    ]);
    tokio::time::advance(Duration::from_secs(1)).await;
    // 3 of 4 are healthy, which is enough with overprovisioning.
    assert_eq!(bench.engine.snapshot().share_percent(), [100, 0]);
    for _ in 0..50 {
        bench.end("a", AttemptClass::Success, Duration::from_millis(1));
        bench.end("b", AttemptClass::Success, Duration::from_millis(50));
        bench.end("c", AttemptClass::Success, Duration::from_millis(10));
    }
    let cheapest = counts((0..300).map(|_| {
        let pick = bench.engine.pick(Tried::NONE, true).unwrap();
        let id = bench.engine.slab.state(pick.state()).endpoint().id().to_string();
        bench.engine.report(pick, AttemptClass::Local);
        id
    }));
    assert!(cheapest["a"] > cheapest["c"] && !cheapest.contains_key("b"), "{cheapest:?}");
    bench.break_down("a");
    bench.break_down("b");
    assert_eq!(bench.engine.snapshot().share_percent(), [50, 50], "one of each of 4 is left");
}

#[tokio::test(start_paused = true)]
async fn one_that_fails_fast_gets_less_than_its_share() {
    let config = balancer(|b| b.algorithm(Algorithm::PeakEwma));
    let config = config
        .to_builder()
        .circuit_breaker(crate::config::CircuitBreakerConfig::builder().enabled(false).build().unwrap())
        .build()
        .unwrap();
    let bench = Bench::new(config).with(entries(10));
    let mut bad = 0;
    for _ in 0..2_000 {
        let pick = bench.engine.pick(Tried::NONE, true).unwrap();
        let fails = bench.engine.slab.state(pick.state()).endpoint().id() == "e003";
        tokio::time::advance(Duration::from_millis(if fails { 1 } else { 10 })).await;
        bad += u32::from(fails);
        let verdict = if fails { AttemptClass::Failure } else { AttemptClass::Success };
        bench.engine.report(pick, verdict);
    }
    assert!(bad <= 20, "{bad} of 2 000 calls went to the one that fails at once; fair would be 200");
}

#[tokio::test(start_paused = true)]
async fn a_new_endpoint_begins_with_the_median_of_its_peers_and_a_late_cancel_counts() {
    let bench = Bench::new(balancer(|b| b.algorithm(Algorithm::PeakEwma))).with(entries(3));
    tokio::time::advance(Duration::from_secs(1)).await;
    for (id, ms) in [("e000", 10), ("e001", 20), ("e002", 90)] {
        bench.end(id, AttemptClass::Success, Duration::from_millis(ms));
    }
    bench.publish(entries(4));
    let ewma = |id: &str| {
        let snapshot = bench.engine.snapshot();
        let state = snapshot.slot(snapshot.find(id).expect("there")).state;
        bench.engine.slab.state(state).ewma().at(bench.engine.clock.now()) / 1e6
    };
    assert!((ewma("e003") - 20.0).abs() < 0.1, "{}", ewma("e003"));
    bench.end("e003", None, Duration::from_millis(5));
    assert!((ewma("e003") - 20.0).abs() < 0.1, "a short one says nothing");
    bench.end("e003", None, Duration::from_millis(70));
    assert!((ewma("e003") - 70.0).abs() < 0.1, "it would have taken longer than that");
}

#[tokio::test(start_paused = true)]
async fn panic_mode_uses_all_and_is_off_unless_asked_for() {
    for (threshold, expected) in [(0, 1), (50, 4)] {
        let config = FailoverConfig::builder().panic_threshold(threshold).build().unwrap();
        let bench = Bench::new(config).with(entries(4));
        for id in ["e000", "e001", "e002"] {
            bench.break_down(id);
        }
        // The endpoints stay down: a good answer would close a breaker and end panic mode. No time
        // passes, so no probe call is due.
        let used: HashSet<_> = (0..100)
            .map(|_| {
                let pick = bench.engine.pick(Tried::NONE, true).unwrap();
                let state = pick.state();
                bench.engine.report(pick, AttemptClass::Local);
                state
            })
            .collect();
        assert_eq!(used.len(), expected, "threshold {threshold}");
    }
}

#[tokio::test(start_paused = true)]
async fn slow_start_gives_one_that_comes_back_a_part_of_its_share() {
    for algorithm in [Algorithm::RoundRobin, Algorithm::Weighted, Algorithm::LeastConnections] {
        let slow = SlowStartConfig::builder().window(Duration::from_secs(100)).build().unwrap();
        let config = balancer(|b| b.algorithm(algorithm)).to_builder().slow_start(slow).build().unwrap();
        let bench = Bench::new(config).with(entries(10));
        tokio::time::advance(Duration::from_secs(200)).await;
        bench.publish(entries(11));
        let share = || bench.shares(5_500).get("e010").copied().unwrap_or(0);
        // Fair is 500; seed 7, four standard deviations.
        let found = share();
        assert!(found <= 50 + 28, "{algorithm}: {found} at the start");
        tokio::time::advance(Duration::from_secs(50)).await;
        let found = share();
        assert!(found.abs_diff(250) < 70, "{algorithm}: {found} at half of the window");
        tokio::time::advance(Duration::from_secs(50)).await;
        let found = share();
        assert!(found.abs_diff(500) < 90, "{algorithm}: {found} after it");
    }
}

struct Script(fn(&Seen<'_>) -> Option<usize>);

impl Strategy for Script {
    fn pick(&self, candidates: &Seen<'_>) -> Option<usize> {
        (self.0)(candidates)
    }
}

#[tokio::test(start_paused = true)]
async fn a_strategy_of_the_callers_own_decides_and_its_faults_do_no_harm() {
    let with = |script| {
        let config = FailoverConfig::builder().custom_strategy(Script(script)).build().unwrap();
        Bench::new(config).with(entries(3))
    };
    let bench = with(|seen| {
        assert_eq!((seen.len(), seen.attempt()), (3, 1));
        seen.iter().position(|c| c.endpoint().id() == "e001" && c.is_available() && c.in_flight() == 0)
    });
    assert_eq!(bench.shares(30), [("e001".to_owned(), 30)].into());
    bench.break_down("e001");
    assert_eq!(bench.shares(30).len(), 2, "it leaves the choice to round robin");

    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    let panics = with(|_| panic!("on purpose"));
    assert_eq!(panics.shares(30).len(), 3);
    std::panic::set_hook(hook);
    assert_eq!(panics.emitted(EventKind::StrategyFailed), 5, "at the 1st, 2nd, 4th, 8th and 16th time");
    let outside = with(|seen| Some(seen.len()));
    assert_eq!(outside.shares(3).len(), 3);
    assert_eq!(outside.emitted(EventKind::StrategyFailed), 2);
}

#[tokio::test(start_paused = true)]
async fn one_call_can_ask_for_another_algorithm() {
    let bench = Bench::new(FailoverConfig::default()).with(entries(5));
    bench.engine.prepare(Algorithm::IpHash);
    let options = PickOptions { algorithm: Some(Algorithm::IpHash), ..PickOptions::keyed(b"ada") };
    let homes: HashSet<_> = (0..50).map(|_| bench.pick(options)).collect();
    assert_eq!(homes.len(), 1);
    assert_eq!(bench.shares(50).len(), 5);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Whatever happens to the endpoints, a pick is one of them, and is in rotation as long as any
    /// endpoint is.
    #[test]
    fn a_pick_is_in_the_snapshot_and_available(
        algorithm in 0..Algorithm::WORDS.len(),
        sticky: bool,
        steps in prop::collection::vec((0_u8..4, 0_usize..8), 1..40),
    ) {
        let algorithm: Algorithm = Algorithm::WORDS[algorithm].parse().unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().start_paused(true).enable_time().build().unwrap();
        runtime.block_on(async {
            let bench = Bench::new(balancer(|b| b.algorithm(algorithm).sticky(sticky))).with(entries(5));
            for (what, which) in steps {
                match what {
                    0 => bench.publish((0..=which).rev().step_by(2).map(|n| entry(&format!("e{n:03}"))).collect()),
                    1 => bench.publish(entries(which)),
                    2 if bench.engine.snapshot().find(&format!("e{which:03}")).is_some() => {
                        bench.break_down(&format!("e{which:03}"));
                    }
                    _ => tokio::time::advance(Duration::from_millis(100)).await,
                }
                let snapshot = bench.engine.snapshot();
                for n in 0..10_u32 {
                    let options = PickOptions::keyed(&n.to_le_bytes());
                    let Some(pick) = bench.engine.pick_with(Tried::NONE, true, options) else {
                        prop_assert!(snapshot.slots.is_empty(), "nothing, with endpoints there");
                        continue;
                    };
                    let slot = snapshot.slots.iter().find(|slot| slot.state == pick.state());
                    prop_assert!(slot.is_some(), "not in the snapshot");
                    let in_rotation = bench.engine.slab.state(pick.state()).is_in_rotation();
                    prop_assert!(in_rotation || pick.admission().permit || snapshot.closed() == 0);
                    bench.engine.report(pick, AttemptClass::Success);
                }
            }
            Ok(())
        })?;
    }
}

#[tokio::test(start_paused = true)]
async fn reported_load_gives_calls_by_what_is_done_for_a_unit_of_load() {
    let bench = Bench::new(balancer(|b| b.algorithm(Algorithm::ReportedLoad))).with(vec![
        entry("a"),
        entry("b"),
        entry("c"),
        entry("d"),
    ]);
    let report = |id: &str, utilization| {
        bench.engine.report_load(id, &crate::LoadReport::new(10.0, utilization)).unwrap();
    };
    report("a", 1.0);
    assert_eq!(bench.shares(40), ["a", "b", "c", "d"].map(|id| (id.to_owned(), 10)).into(), "in turn");
    report("b", 0.1);
    tokio::time::advance(Duration::from_secs(11)).await;
    report("a", 1.0);
    report("b", 0.1);
    tokio::time::advance(Duration::from_secs(1)).await;
    report("a", 1.0);
    // 10 and 100, and their mean, 55, for the endpoints without a report: out of 220. Seed 7.
    let shares = bench.shares(22_000);
    for (id, expected) in [("a", 1_000_usize), ("b", 10_000), ("c", 5_500), ("d", 5_500)] {
        assert!(shares[id].abs_diff(expected) < 300, "{id}: {shares:?}");
    }
    // The turns of an endpoint that is out go to the others in proportion.
    bench.break_down("b");
    let shares = bench.shares(12_000);
    assert!(!shares.contains_key("b") && shares["a"].abs_diff(1_000) < 150, "{shares:?}");
    // Another answer of the registry changes no weight.
    bench.publish(vec![entry("a"), entry("c"), entry("d"), entry("e")]);
    let shares = bench.shares(4_000);
    assert!(shares["a"].abs_diff(1_000) < 10, "a alone is known, so all are called in turn: {shares:?}");
    report("c", 0.1);
    tokio::time::advance(Duration::from_secs(11)).await;
    report("c", 0.1);
    bench.publish(vec![entry("a"), entry("c")]);
    let shares = bench.shares(11_000);
    assert!(shares["a"].abs_diff(1_000) < 150, "{shares:?}");
    tokio::time::advance(Duration::from_secs(181)).await;
    assert_eq!(bench.shares(20), ["a", "c"].map(|id| (id.to_owned(), 10)).into(), "too old");
}

#[tokio::test(start_paused = true)]
async fn a_load_report_that_cannot_be_is_refused_and_an_idle_one_says_nothing() {
    let bench = Bench::new(balancer(|b| b.algorithm(Algorithm::ReportedLoad))).with(vec![entry("a")]);
    let report =
        |id, rps, utilization| bench.engine.report_load(id, &crate::LoadReport::new(rps, utilization));
    assert_eq!(report("ghost", 1.0, 1.0).unwrap_err().kind(), crate::ErrorKind::NotFound);
    assert_eq!(report("a", f64::NAN, 1.0).unwrap_err().kind(), crate::ErrorKind::Validation);
    report("a", 0.0, 0.0).unwrap();
    assert_eq!(bench.shares(3), [("a".to_owned(), 3)].into());
}
