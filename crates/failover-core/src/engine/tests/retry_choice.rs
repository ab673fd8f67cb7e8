//! A retry goes where the signs are best.

use super::classes::only;
use super::*;
use crate::config::StrategyKind;

/// A bench whose breakers are off, so that only the choice of a retry decides.
fn bench(strategy: StrategyKind) -> Bench {
    let breaker = CircuitBreakerConfig::builder().failure_threshold(1_000).build().expect("valid");
    let config = FailoverConfig::builder().strategy(strategy).circuit_breaker(breaker);
    let bench = Bench::new(config.build().expect("valid"));
    bench.publish(["a", "b", "c", "d"].map(|id| entry(id, 0)));
    bench
}

impl Bench {
    fn state(&self, id: &str) -> u32 {
        let snapshot = self.engine.snapshot();
        snapshot.slot(snapshot.find(id).expect("there")).state
    }

    /// Keeps this many calls in flight at an endpoint.
    fn occupy(&self, id: &str, calls: u32) {
        (0..calls).for_each(|_| self.engine.slab.state(self.state(id)).begin());
    }

    /// Returns where the retries of calls go that have failed at these endpoints.
    fn retries(&self, tried: &[&str]) -> BTreeMap<String, usize> {
        let tried: Vec<_> = tried.iter().map(|id| self.state(id)).collect();
        (0..100).fold(BTreeMap::new(), |mut counts, _| {
            let pick = self.engine.pick(Tried::of(&tried), true).expect("available");
            *counts.entry(self.id(&pick)).or_default() += 1;
            self.engine.cancel(pick);
            counts
        })
    }
}

const STRATEGIES: [StrategyKind; 4] =
    [StrategyKind::RoundRobin, StrategyKind::Random, StrategyKind::LeastConnections, StrategyKind::Weighted];

#[tokio::test(start_paused = true)]
async fn a_retry_avoids_endpoints_that_have_failed_since_their_last_success() {
    for strategy in STRATEGIES {
        let bench = bench(strategy);
        for _ in 0..100 {
            bench.end(true, only(&["b", "c"], AttemptClass::Failure));
        }
        // `d` is busier, and still better than one that has just failed.
        bench.occupy("d", 3);
        assert_eq!(bench.retries(&["a"]), BTreeMap::from([("d".into(), 100)]), "{strategy}");
        // If all others have failed, the retry goes to one of them.
        let others = bench.retries(&["a", "d"]);
        assert!(!others.contains_key("a") && !others.contains_key("d"), "{strategy}: {others:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_retry_prefers_fewer_calls_in_flight() {
    for strategy in STRATEGIES {
        let bench = bench(strategy);
        for (id, calls) in [("a", 0), ("b", 2), ("c", 1), ("d", 5)] {
            bench.occupy(id, calls);
        }
        assert_eq!(bench.retries(&["a"]), BTreeMap::from([("c".into(), 100)]), "{strategy}");
        assert_eq!(bench.retries(&["a", "c"]), BTreeMap::from([("b".into(), 100)]), "{strategy}");
    }
}

#[tokio::test(start_paused = true)]
async fn equal_endpoints_share_the_retries() {
    let bench = bench(StrategyKind::RoundRobin);
    let counts = bench.retries(&["a"]);
    assert!(counts.len() == 3 && counts.values().all(|count| *count > 15), "{counts:?}");
}
