//! The simulator against what is known without it.

use std::cell::{Cell, RefCell};
use std::time::Duration;

use crate::fault::FaultKind;
use crate::peer::{Balancer, Check, Peer};
use crate::policy::Policy;
use crate::record::{Report, SECOND};
use crate::registry::Answer;
use crate::run::run;
use crate::scenario::{Load, Model, Scenario};
use crate::server::Queue;
use crate::service_time::ServiceTime;

fn models(count: usize, service: ServiceTime, workers: usize) -> Vec<Model> {
    vec![Model::new(service, workers, Queue::Fifo); count]
}

fn report(scenario: &Scenario, policy: Policy, seed: u64) -> Report {
    run(scenario, policy, seed).expect("the scenario is valid")
}

fn queue_at_70_percent() -> Scenario {
    let service = ServiceTime::Exponential(10_000_000);
    let mut scenario = Scenario::new("M/M/1", 2_000 * SECOND, models(1, service, 1), Load::Open(70.0));
    scenario.config = scenario
        .config
        .to_builder()
        .timeout(std::time::Duration::from_secs(60))
        .attempt_timeout(std::time::Duration::from_secs(60))
        .build()
        .expect("valid");
    scenario
}

#[test]
fn half_a_millisecond_of_service_measures_half_a_millisecond() {
    let service = ServiceTime::Constant(500_000);
    let scenario = Scenario::new("quick", 10 * SECOND, models(3, service, usize::MAX), Load::Open(100.0));
    for policy in [Policy::Default, Policy::Select, Policy::Random] {
        let report = report(&scenario, policy, 1);
        assert!(report.calls > 800, "{policy}");
        assert_eq!((report.times[0], report.percentile(100.0)), (500_000, 500_000), "{policy}");
    }
}

/// Mean time 1 / (mu - lambda); utilization = arrival rate times service time; Little's law: L = lambda W.
#[test]
fn a_queue_at_70_percent_has_its_textbook_figures() {
    let scenario = queue_at_70_percent();
    for policy in [Policy::Default, Policy::Random] {
        let runs: Vec<_> = (1..=4).map(|seed| report(&scenario, policy, seed)).collect();
        let calls: u64 = runs.iter().map(|run| run.calls).sum();
        let spent: u64 = runs.iter().flat_map(|run| &run.times).sum();
        let worked: u64 = runs.iter().map(|run| run.worked[0]).sum();
        let span = 4.0 * 2_000.0 * SECOND as f64;
        let mean = spent as f64 / calls as f64 / 1e6;
        assert!((mean / (1000.0 / 30.0) - 1.0).abs() < 0.05, "{policy}: {mean} ms, 33.3 by the book");
        let busy = worked as f64 / span;
        let service = worked as f64 / calls as f64;
        assert!((busy - calls as f64 / span * service).abs() < 1e-9 && (busy - 0.7).abs() < 0.02, "{busy}");
        let in_system = spent as f64 / span;
        assert!((in_system / (0.7 / 0.3) - 1.0).abs() < 0.06, "{in_system}, 2.33 by the book");
    }
}

#[test]
fn random_without_logic_fails_for_the_crashed_share() {
    let service = ServiceTime::Constant(10_000_000);
    let scenario = Scenario::new("crash", 100 * SECOND, models(5, service, usize::MAX), Load::Open(1000.0))
        .fault(FaultKind::Refuse, [2], (0, u64::MAX));
    let naive = report(&scenario, Policy::Random, 3);
    assert!((naive.visible() - 0.2).abs() < 0.005, "{}", naive.visible());
    assert_eq!(naive.failed, naive.attempts_at(2, 0, 101), "exactly the attempts at the crashed one fail");
    let in_turn = report(&scenario, Policy::RoundRobin, 3);
    assert!(in_turn.failed.abs_diff(in_turn.calls / 5) <= 1, "{} of {}", in_turn.failed, in_turn.calls);
    assert_eq!(report(&scenario, Policy::Default, 3).failed, 0);
}

#[test]
fn an_attempt_ends_at_its_time_limit() {
    let service = ServiceTime::Constant(10_000_000);
    let scenario = Scenario::new("silent", 10 * SECOND, models(1, service, 1), Load::Open(1.0)).fault(
        FaultKind::BlackHole,
        [0],
        (0, u64::MAX),
    );
    let naive = report(&scenario, Policy::Random, 1);
    assert_eq!((naive.times[0], naive.percentile(100.0)), (SECOND, SECOND));
    let ours = report(&scenario, Policy::Default, 1);
    assert!(ours.percentile(100.0) <= 3 * SECOND + 1_000_000, "{}", ours.percentile(100.0));
}

#[test]
fn a_seed_repeats_its_log_and_another_one_does_not() {
    let service = ServiceTime::Exponential(3_000_000);
    let mut scenario = Scenario::new("mixed", 20 * SECOND, models(3, service, 1), Load::Open(800.0))
        .fault(FaultKind::Slow(3.0), 0..3, (5 * SECOND, 8 * SECOND))
        .fault(FaultKind::Refuse, [1], (10 * SECOND, 12 * SECOND));
    scenario.clients = 4;
    for policy in [
        Policy::Default,
        Policy::LeastConnections,
        Policy::HealthBased,
        Policy::RequestBudget,
        Policy::Tower,
        Policy::Probing,
    ] {
        let first = report(&scenario, policy, 7);
        assert_eq!(first.hash, report(&scenario, policy, 7).hash, "{policy}");
        assert_ne!(first.hash, report(&scenario, policy, 8).hash, "{policy}");
        assert!(first.attempts > first.calls || policy == Policy::HealthBased, "{policy} retries");
    }
}

#[test]
fn a_closed_loop_is_limited_by_its_callers() {
    let service = ServiceTime::Constant(10_000_000);
    let load = Load::Closed { callers: 20, think: 10_000_000 };
    let scenario = Scenario::new("closed", 10 * SECOND, models(2, service, usize::MAX), load);
    let calls = report(&scenario, Policy::Default, 1).calls;
    assert_eq!(calls, 10_000, "20 callers, each with a call every 20 ms, for 10 s");
}

/// The tasks that watch a registry run on the same clock: an answer is taken at its time, and the same log comes again.
#[test]
fn a_registry_is_believed_at_its_time() {
    let service = ServiceTime::Constant(10_000_000);
    let models = models(4, service, usize::MAX);
    let mut scenario = Scenario::new("registry", 20 * SECOND, models, Load::Open(200.0));
    scenario.registry = vec![
        (5 * SECOND, Answer::Lists(vec![0, 2])),
        (10 * SECOND, Answer::Down),
        (15 * SECOND, Answer::Lists(vec![0, 1, 2, 3])),
    ];
    let ours = report(&scenario, Policy::Default, 1);
    assert_eq!(ours.failed, 0);
    assert_eq!(ours.attempts_at(1, 5, 15), 0, "it is not in the list");
    assert!(ours.attempts_at(1, 0, 5) > 200 && ours.attempts_at(1, 16, 20) > 100);
    assert_eq!(ours.hash, report(&scenario, Policy::Default, 1).hash);
    let listed = report(&scenario, Policy::Listed, 1);
    assert_eq!(listed.failed, listed.failed_between(10, 15).0, "it takes an error for an empty list");
}

/// A balancer of a library that is not part of this crate: in turn over what has passed its check each second.
#[derive(Default)]
struct InTurn {
    turn: Cell<usize>,
    answers: RefCell<Vec<Check>>,
}

impl Balancer for InTurn {
    fn choose(&self) -> Option<usize> {
        let endpoints = self.answers.borrow().len();
        let start = self.turn.get() + 1;
        let next =
            (start..start + endpoints).map(|index| index % endpoints).find(|index| !self.is_out(*index))?;
        self.turn.set(next);
        Some(next)
    }

    fn advance(&self, now: Duration, answers: &[Check]) -> Duration {
        *self.answers.borrow_mut() = answers.to_vec();
        now + Duration::from_secs(1)
    }

    fn is_out(&self, endpoint: usize) -> bool {
        self.answers.borrow()[endpoint] != Check::Passes
    }
}

#[test]
fn a_peer_sees_checks_at_its_times() {
    let service = ServiceTime::Constant(10_000_000);
    let models = models(3, service, usize::MAX);
    let scenario = Scenario::new("peer", 20 * SECOND, models, Load::Open(300.0))
        .fault(FaultKind::Refuse, [1], (5 * SECOND + SECOND / 2, 10 * SECOND))
        .fault(FaultKind::BlackHole, 0..3, (15 * SECOND + SECOND / 2, u64::MAX));
    let peer = Policy::Peer(Peer::new("in_turn", "a test", |_| Box::new(InTurn::default())));
    let report = report(&scenario, peer, 1);
    assert_eq!(report.policy, "in_turn");
    assert_eq!((report.seconds[6].out[1], report.seconds[11].out[1]), (true, false));
    assert!(report.failed_between(5, 6).1 > 20, "not seen before the check at 6 s");
    assert_eq!(report.failed_between(6, 15).1, 0, "it is left out, and comes back");
    assert_eq!(report.attempts_at(1, 6, 10), 0);
    assert!(report.attempts_at(1, 11, 15) > 200);
    let (calls, failed) = report.failed_between(16, 20);
    let attempts: u64 = (0..3).map(|endpoint| report.attempts_at(endpoint, 16, 20)).sum();
    assert!(calls > 1000 && failed == calls && attempts == 0, "calls fail at once without an endpoint");
    assert_eq!(report.hash, run(&scenario, peer, 1).expect("the scenario is valid").hash);
}

/// A thread that makes 20 000 calls a second has one of eight timed. One of ten endpoints becomes ten times slower
/// after a second.
#[test]
fn a_slow_endpoint_is_avoided_by_its_latency_in_a_rush_as_well() {
    for (least, most) in [(450_000, 550_000), (9_000_000, 11_000_000)] {
        let service = ServiceTime::Uniform(least, most);
        let mut scenario =
            Scenario::new("rush", 3 * SECOND, models(10, service, usize::MAX), Load::Open(20_000.0)).fault(
                FaultKind::Slow(10.0),
                [2],
                (SECOND, u64::MAX),
            );
        let config = scenario.config.to_builder().strategy(failover_core::StrategyKind::HealthBased);
        scenario.config = config.build().expect("valid");
        let after = |policy| {
            let report = report(&scenario, policy, 1);
            (report.attempts_at(2, 1, 3), report.percentile(99.8))
        };
        let (slow, nearly_all) = after(Policy::Select);
        assert!(nearly_all <= most && slow < 200, "{slow} calls, {nearly_all} ns");
        let (slow, nearly_all) = after(Policy::RoundRobin);
        assert!(nearly_all > 5 * most && slow > 3_000, "it bites: {slow} calls, {nearly_all} ns");
    }
}
