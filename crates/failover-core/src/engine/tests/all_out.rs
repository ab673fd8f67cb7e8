//! When every endpoint fails, each gets its turn, and the first one that answers is used at once.

use std::collections::BTreeSet;

use super::classes::{failure, only, success, timeout};
use super::*;
use crate::config::StrategyKind;

const STRATEGIES: [StrategyKind; 6] = [
    StrategyKind::RoundRobin,
    StrategyKind::Random,
    StrategyKind::Weighted,
    StrategyKind::LeastConnections,
    StrategyKind::IpHash,
    StrategyKind::HealthBased,
];

fn with_strategy(strategy: StrategyKind) -> FailoverConfig {
    let breaker = CircuitBreakerConfig::builder().jitter(0.0).build().expect("valid");
    FailoverConfig::builder().strategy(strategy).circuit_breaker(breaker).build().expect("valid")
}

#[tokio::test(start_paused = true)]
async fn every_endpoint_gets_its_turn_under_every_strategy_without_a_limit() {
    for strategy in STRATEGIES {
        let bench = Bench::new(with_strategy(strategy));
        let unhealthy = entry("d", 0).with_health(Health::Unhealthy);
        bench.publish([entry("a", 0), entry("b", 0), entry("c", 1), unhealthy]);
        for _ in 0..200 {
            bench.end(true, failure);
        }
        assert_eq!(bench.engine.snapshot().closed(), 0, "{strategy}");
        let mut counts = BTreeMap::new();
        bench.together(400, |id| {
            *counts.entry(id.to_owned()).or_insert(0) += 1;
            AttemptClass::Failure
        });
        assert_eq!(counts.into_values().collect::<Vec<_>>(), [100; 4], "{strategy}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_first_success_closes_at_once_whichever_endpoint_returns() {
    for strategy in STRATEGIES {
        for returns in ["a", "b", "c"] {
            let bench = Bench::new(with_strategy(strategy));
            bench.publish([entry("a", 0), entry("b", 0), entry("c", 1)]);
            for _ in 0..100 {
                bench.end(true, failure);
            }
            let dead: Vec<_> = ["a", "b", "c"].into_iter().filter(|id| *id != returns).collect();
            let called: Vec<_> =
                (0..3).map(|_| bench.end(true, only(&dead, AttemptClass::Failure))).collect();
            assert!(called.iter().any(|id| id == returns), "{strategy}: {called:?}");
            assert_eq!(bench.out(), dead, "{strategy}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn the_others_become_due_within_a_second_at_the_lowest_level() {
    let bench = Bench::of(breaker(|b| b), 3);
    // `a` has been out for long.
    for _ in 0..80 {
        bench.calls(20, &["a"]);
        pass(SECOND).await;
    }
    assert!(bench.level("a") >= 4);
    bench.calls(60, &["a", "b", "c"]);
    assert_eq!(bench.out(), ["a", "b", "c"]);
    let called = (0..3).map(|_| bench.end(true, only(&["a", "b"], AttemptClass::Failure)));
    assert!(called.take_while(|id| id != "c").count() < 3);
    assert_eq!((bench.level("a"), bench.level("b")), (0, 0));
    pass(SECOND).await;
    let counts = bench.calls(20, &["a"]);
    assert_eq!((counts.get("a"), counts.get("b")), (Some(&1), Some(&1)), "both are due: {counts:?}");
    pass(SECOND / 2).await;
    bench.calls(20, &["a"]);
    assert_eq!(bench.out(), ["a"], "two probe calls suffice at the lowest level");
    // The probe call of `a` failed, and the next one comes after the shortest open time.
    pass(4 * SECOND).await;
    assert_eq!(bench.calls(20, &["a"]).get("a"), None);
    pass(SECOND / 2).await;
    assert_eq!(bench.calls(20, &["a"]).get("a"), Some(&1));
}

#[tokio::test(start_paused = true)]
async fn an_outage_of_all_raises_no_level() {
    let bench = Bench::of(breaker(|b| b), 3);
    for _ in 0..300 {
        bench.calls(10, &["a", "b", "c"]);
        pass(SECOND).await;
    }
    for id in ["a", "b", "c"] {
        assert_eq!(bench.level(id), 1, "{id}");
    }
}

#[tokio::test(start_paused = true)]
async fn after_two_failures_per_endpoint_in_a_row_first_attempts_go_to_each_in_turn() {
    for strategy in STRATEGIES {
        let bench = Bench::new(with_strategy(strategy));
        bench.publish(["a", "b", "c", "d"].map(|id| entry(id, 0)));
        // `a` is out, and the others time out: the cap holds some of them in use.
        bench.together(40, only(&["a"], AttemptClass::NotSent));
        assert_eq!(bench.out(), ["a"]);
        let next = |count: usize| -> BTreeSet<String> {
            let picks: Vec<_> =
                (0..count).map(|_| bench.engine.pick(Tried::NONE, true).expect("there")).collect();
            picks
                .into_iter()
                .map(|pick| {
                    let id = bench.id(&pick);
                    bench.engine.cancel(pick);
                    id
                })
                .collect()
        };
        bench.together(7, timeout);
        assert!(!next(40).contains("a"), "{strategy}: seven failures");
        bench.together(1, timeout);
        assert_eq!(bench.out(), ["a"], "{strategy}");
        assert_eq!(next(4).len(), 4, "{strategy}: eight failures in a row");
        // A success ends it.
        bench.together(1, success);
        assert!(!next(40).contains("a"), "{strategy}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_retry_goes_on_to_an_endpoint_that_its_call_has_not_tried() {
    let bench = Bench::of(breaker(|b| b), 4);
    bench.calls(100, &["a", "b", "c", "d"]);
    assert_eq!(bench.out().len(), 4);
    for _ in 0..20 {
        let mut tried = Vec::new();
        for _ in 0..4 {
            let pick = bench.engine.pick(Tried::of(&tried), true).expect("there");
            assert!(!tried.contains(&pick.state()));
            tried.push(pick.state());
            bench.engine.report(pick, AttemptClass::Failure);
            // Other calls take the next turns.
            for _ in 0..3 {
                bench.end(true, failure);
            }
        }
    }
}
