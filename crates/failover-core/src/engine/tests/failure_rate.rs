//! The failure rate over a sliding window, with resilience4j's settings: 20 s, at least 5 attempts,
//! 50 %, four half-open calls, 5 s open.

use super::*;
use crate::model::breaker_state::BreakerState;

fn rate(b: crate::config::CircuitBreakerConfigBuilder) -> crate::config::CircuitBreakerConfigBuilder {
    b.failure_rate(0.5)
        .failure_rate_window(20 * SECOND)
        .failure_rate_attempts(5)
        .failure_threshold(100)
        .half_open_max_calls(4)
        .success_threshold(4)
}

fn resilience4j() -> Bench {
    let bench = Bench::new(breaker(rate));
    bench.publish([entry("a", 0), entry("b", 0)]);
    bench
}

fn state(bench: &Bench) -> BreakerState {
    let stats = bench.engine.stats();
    stats.endpoints.iter().find(|endpoint| endpoint.id == "b").expect("present").breaker
}

/// Makes calls to `b` that end as these letters say: S for a success, F for a failure, T for a
/// timeout, and `-` for a call without evidence; calls to `a` succeed.
fn calls_to_b(bench: &Bench, letters: &str) {
    for letter in letters.chars() {
        let pick = (0..100).find_map(|_| {
            let pick = bench.engine.pick(Tried::NONE, true).expect("available");
            if bench.id(&pick) == "b" {
                return Some(pick);
            }
            bench.engine.report(pick, AttemptClass::Success);
            None
        });
        let pick = pick.expect("b gets calls");
        let class = match letter {
            'S' => Some(AttemptClass::Success),
            'F' => Some(AttemptClass::Failure),
            'T' => Some(AttemptClass::Timeout),
            _ => None,
        };
        bench.engine.report(pick, class);
    }
}

#[tokio::test(start_paused = true)]
async fn it_opens_at_the_fifth_attempt_also_if_that_succeeds() {
    for (history, expected) in [
        ("FFFS", BreakerState::Closed),
        ("FFFSS", BreakerState::Open),
        ("F--F--F--SS", BreakerState::Open),
        ("SSSF", BreakerState::Closed),
        ("SSSFF", BreakerState::Closed),
        ("SSSFFF", BreakerState::Open),
        ("TTTSS", BreakerState::Open),
    ] {
        let bench = resilience4j();
        calls_to_b(&bench, history);
        assert_eq!(state(&bench), expected, "{history}");
        assert_eq!(bench.emitted(EventKind::CircuitOpen).len(), usize::from(expected == BreakerState::Open));
    }
}

#[tokio::test(start_paused = true)]
async fn half_open_calls_are_judged_by_the_rate_and_closing_resets_the_metrics() {
    for (round, expected) in [("FF", BreakerState::Open), ("FSSS", BreakerState::Closed)] {
        let bench = resilience4j();
        calls_to_b(&bench, "FFFFF");
        pass(5 * SECOND).await;
        calls_to_b(&bench, round);
        assert_eq!(state(&bench), expected, "{round}");
    }
    let bench = resilience4j();
    calls_to_b(&bench, "FFFFF");
    pass(5 * SECOND).await;
    calls_to_b(&bench, "FSSSFFFF");
    assert_eq!(state(&bench), BreakerState::Closed, "the five failures before it opened are forgotten");
    calls_to_b(&bench, "F");
    assert_eq!(state(&bench), BreakerState::Open);
}

#[tokio::test(start_paused = true)]
async fn failures_leave_the_window_and_the_rate_is_explained() {
    let bench = resilience4j();
    calls_to_b(&bench, "FFFF");
    pass(21 * SECOND).await;
    calls_to_b(&bench, "FSSSS");
    assert_eq!(state(&bench), BreakerState::Closed);
    let explained = bench.engine.explain().to_string();
    assert!(explained.contains("or 50 % failures of at least 5 attempts in 20s"), "{explained}");
}

#[tokio::test(start_paused = true)]
async fn timeouts_of_all_endpoints_freeze_and_do_not_take_them_out_one_by_one() {
    let bench = Bench::new(breaker(|b| rate(b).failure_rate_window(120 * SECOND)));
    bench.publish([entry("a", 0), entry("b", 0)]);
    for _ in 0..40 {
        let pick = bench.engine.pick(Tried::NONE, true).expect("available");
        bench.engine.report(pick, AttemptClass::Timeout);
    }
    assert_eq!(bench.emitted(EventKind::CommonCause).len(), 1);
    assert_eq!(state(&bench), BreakerState::Closed);
    pass(31 * SECOND).await;
    calls_to_b(&bench, "TT");
    assert_eq!(state(&bench), BreakerState::Closed, "timeouts before the freeze and in it do not count");
}

#[tokio::test(start_paused = true)]
async fn a_state_that_is_reused_for_another_endpoint_has_no_history() {
    let bench = resilience4j();
    calls_to_b(&bench, "FFFF");
    bench.publish([entry("a", 0)]);
    bench.publish([entry("a", 0)]);
    bench.publish([entry("a", 0), entry("b", 0)]);
    calls_to_b(&bench, "F");
    assert_eq!(state(&bench), BreakerState::Closed);
}
