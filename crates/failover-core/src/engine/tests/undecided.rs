//! How soon an endpoint that peak EWMA avoids is out, although it gets few calls.

use super::*;
use crate::config::{CircuitBreakerConfigBuilder, StrategyKind};
use crate::model::forced::Forced;

/// Four endpoints that have answered in 10 ms so far.
async fn by_health(change: impl FnOnce(CircuitBreakerConfigBuilder) -> CircuitBreakerConfigBuilder) -> Bench {
    let config = breaker(change).to_builder().strategy(StrategyKind::HealthBased).build().expect("valid");
    let bench = Bench::new(config);
    bench.publish(["a", "b", "c", "d"].map(|id| entry(id, 0)));
    until_out(&bench, AttemptClass::Success, 100).await;
    bench
}

/// Makes a hundred calls a second, of which those to `b` end with this class, until it is out. Returns
/// how many these were, and the number of calls.
async fn until_out(bench: &Bench, class: AttemptClass, most: u32) -> (u32, u32) {
    let mut ended = 0;
    for call in 0..most {
        let pick = bench.engine.pick(Tried::NONE, true).expect("available");
        let is_b = bench.id(&pick) == "b";
        if !is_b || class == AttemptClass::Success {
            pass(Duration::from_millis(10)).await;
        }
        bench.engine.report(pick, if is_b { class } else { AttemptClass::Success });
        ended += u32::from(is_b);
        if is_b && !bench.availability("b").is_in() {
            return (ended, call);
        }
    }
    (ended, most)
}

#[tokio::test(start_paused = true)]
async fn an_endpoint_that_fails_hard_is_out_within_seconds_after_as_many_failures_as_configured() {
    for class in [AttemptClass::Failure, AttemptClass::NotSent] {
        for (threshold, most) in [(1, 100), (2, 500), (5, 1_000), (10, 1_800)] {
            let bench = by_health(|b| b.failure_threshold(threshold)).await;
            let (failures, calls) = until_out(&bench, class, 6_000).await;
            assert_eq!(failures, threshold, "{class}");
            assert!(calls < most, "{class}: {threshold} failures took {calls} calls");
        }
    }
}

/// A test is a call that may fail: where it decides nothing, the penalty grows old first, as it does
/// after a timeout or an overload answer.
#[tokio::test(start_paused = true)]
async fn what_no_failure_takes_out_and_what_may_be_an_overload_is_tested_rarely() {
    for (name, forced, enabled, class, most) in [
        ("disabled", false, false, AttemptClass::Failure, 3),
        // The fifth failure makes it suspect.
        ("forced in", true, true, AttemptClass::Failure, 6),
        ("overload", false, true, AttemptClass::Overload, 3),
        ("timeout", false, true, AttemptClass::Timeout, 3),
    ] {
        let bench = by_health(|b| b.enabled(enabled)).await;
        if forced {
            bench.engine.force("b", Forced::In, 600 * SECOND).expect("the endpoint exists");
        }
        let (failures, _) = until_out(&bench, class, 4_000).await;
        assert!((2..=most).contains(&failures), "{name}: {failures}");
    }
}
