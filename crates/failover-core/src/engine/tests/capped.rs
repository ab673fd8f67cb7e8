//! Timeouts take out a part of the endpoints at most, and none in an overload.

use super::classes::{failure, only, success, timeout};
use super::*;

/// The time that an attempt may take.
const ATTEMPT: Duration = Duration::from_secs(10);

/// Three endpoints that time out together, of which the first is out and two are held in use. The
/// sixth call of each succeeds: otherwise calls would go to all endpoints in turn.
fn capped(config: FailoverConfig) -> Bench {
    let bench = Bench::of(config, 3);
    let mut ended = 0;
    bench.together(18, |_| {
        ended += 1;
        if ended % 6 == 0 { AttemptClass::Success } else { AttemptClass::Timeout }
    });
    assert_eq!(bench.out(), ["a"]);
    bench
}

#[tokio::test(start_paused = true)]
async fn half_of_the_endpoints_that_time_out_together_go_out_and_the_others_are_counted() {
    for (count, out) in [(3, 1), (4, 2), (10, 5)] {
        let bench = Bench::of(breaker(|b| b), count);
        bench.together(usize::from(count) * 5, timeout);
        assert_eq!(bench.out().len(), out, "of {count}");
        let held = u64::from(count) - out as u64;
        assert_eq!(bench.engine.strain.unenforced(), held, "of {count}");
        assert_eq!(bench.emitted(EventKind::CommonCause), [] as [&str; 0]);
    }
}

#[tokio::test(start_paused = true)]
async fn with_a_cap_of_one_all_but_the_last_go_out() {
    let bench = Bench::of(breaker(|b| b.max_ejected(1.0).freeze_time(Duration::ZERO)), 10);
    bench.together(50, timeout);
    assert_eq!(bench.out().len(), 9);
    assert_eq!(bench.engine.strain.unenforced(), 0);
}

#[tokio::test(start_paused = true)]
async fn hard_failures_know_no_cap() {
    let bench = Bench::of(breaker(|b| b), 3);
    bench.together(24, |id| match id {
        "a" => AttemptClass::Timeout,
        "b" => AttemptClass::NotSent,
        _ => AttemptClass::Success,
    });
    assert_eq!(bench.out(), ["a", "b"], "the cap is reached by the first");
}

#[tokio::test(start_paused = true)]
async fn a_failed_probe_call_confirms_and_then_the_next_one_goes_out() {
    let bench = capped(breaker(|b| b));
    pass(SECOND / 5).await;
    assert_eq!(bench.end(true, timeout), "a", "the cap makes it due at once");
    assert_eq!(bench.out(), ["a"]);
    bench.together(2, only(&["b"], AttemptClass::Timeout));
    assert_eq!(bench.out(), ["a", "b"], "the first one is confirmed, so the cap has room");
    assert_eq!(bench.emitted(EventKind::CommonCause), [] as [&str; 0]);
}

#[tokio::test(start_paused = true)]
async fn any_call_may_be_the_probe_call_of_the_cap() {
    let bench = capped(breaker(|b| b));
    assert_eq!(bench.end(false, success), "a", "a call that cannot be repeated");
}

#[tokio::test(start_paused = true)]
async fn an_endpoint_that_answers_once_it_is_left_alone_shows_an_overload() {
    let bench = capped(breaker(|b| b));
    pass(4 * SECOND).await;
    assert_eq!(bench.end(true, success), "a");
    assert_eq!(bench.out(), [] as [&str; 0], "all return");
    let events = bench.emitted(EventKind::CommonCause);
    assert_eq!(events.len(), 1, "{events:?}");

    // The scores start afresh, timeouts open nothing, and hard failures do.
    bench.together(3, failure);
    assert_eq!(bench.out(), [] as [&str; 0], "one failure each");
    bench.calls(3, &[]);
    pass(SECOND).await;
    for _ in 0..10 {
        bench.together(30, timeout);
    }
    assert_eq!(bench.out(), [] as [&str; 0]);
    bench.calls(60, &["b"]);
    assert_eq!(bench.out(), ["b"]);
    assert_eq!(bench.emitted(EventKind::CommonCause).len(), 1, "one event per freeze");

    // After the freeze, timeouts count again.
    pass(29 * SECOND).await;
    bench.together(20, only(&["a"], AttemptClass::Timeout));
    assert!(bench.out().contains(&"a".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn timeouts_during_a_freeze_are_forgotten_at_its_end() {
    let bench = capped(breaker(|b| b));
    assert_eq!(bench.end(true, success), "a");
    bench.together(30, timeout);
    pass(31 * SECOND).await;
    bench.together(3, timeout);
    assert_eq!(bench.out(), [] as [&str; 0]);
    bench.together(12, timeout);
    assert_eq!(bench.out(), ["a"]);
}

#[tokio::test(start_paused = true)]
async fn a_probe_call_answered_long_after_the_cap_shows_a_recovery() {
    let bench = capped(breaker(|b| b));
    pass(6 * SECOND).await;
    assert_eq!(bench.end(true, success), "a");
    assert_eq!(bench.emitted(EventKind::CommonCause), [] as [&str; 0]);
    assert_eq!(bench.out(), ["a"], "half-open");
}

#[tokio::test(start_paused = true)]
async fn a_freeze_time_of_zero_disables_the_freeze() {
    let bench = capped(breaker(|b| b.freeze_time(Duration::ZERO)));
    assert_eq!(bench.end(true, success), "a");
    assert_eq!(bench.out(), ["a"], "half-open");
    assert_eq!(bench.emitted(EventKind::CommonCause), [] as [&str; 0]);
}

#[tokio::test(start_paused = true)]
async fn the_last_endpoint_in_use_freezes_the_service_instead_of_opening() {
    let bench = Bench::of(breaker(|b| b), 1);
    bench.together(20, timeout);
    assert_eq!(bench.out(), [] as [&str; 0]);
    assert_eq!(bench.emitted(EventKind::CommonCause).len(), 1);
    assert_eq!(bench.emitted(EventKind::CircuitOpen), [] as [&str; 0]);

    // What went out by hard failures stays out.
    let bench = Bench::of(breaker(|b| b), 3);
    bench.together(30, only(&["a"], AttemptClass::NotSent));
    bench.together(10, only(&["b"], AttemptClass::Timeout));
    assert_eq!(bench.out(), ["a", "b"]);
    bench.together(5, timeout);
    assert_eq!(bench.out(), ["a"]);
    assert_eq!(bench.emitted(EventKind::CommonCause).len(), 1);
}

#[tokio::test(start_paused = true)]
async fn with_fail_fast_the_last_endpoint_opens_and_calls_are_refused() {
    let config = breaker(|b| b);
    let config = FailoverConfig::builder().circuit_breaker(config.circuit_breaker().clone()).fail_fast(true);
    let bench = Bench::of(config.build().expect("valid"), 1);
    bench.together(20, timeout);
    assert_eq!(bench.out(), ["a"]);
    assert!(bench.engine.pick(Tried::NONE, true).is_none());
    assert_eq!(Error::from(bench.engine.why_none()).code(), "CIRCUIT_OPEN");
    assert_eq!(bench.emitted(EventKind::CommonCause), [] as [&str; 0]);
}

#[tokio::test(start_paused = true)]
async fn endpoints_that_stop_while_others_answer_are_dead_and_go_out_beyond_the_cap() {
    let bench = Bench::of(breaker(|b| b), 10);
    stop(&bench, &["a", "b", "c", "d", "e", "f", "g", "h"]).await;
    assert_eq!(bench.out(), ["a", "b", "c", "d", "e", "f", "g", "h"]);
    assert_eq!(bench.engine.strain.unenforced(), 0);
    assert!(bench.engine.gate_is_open(), "their timeouts say nothing about the others");
}

#[tokio::test(start_paused = true)]
async fn endpoints_that_all_stop_together_are_overloaded_and_close_the_gate() {
    let bench = Bench::of(breaker(|b| b), 10);
    stop(&bench, &["a", "b", "c", "d", "e", "f", "g", "h", "i", "j"]).await;
    assert_eq!(bench.out().len(), 5);
    assert!(!bench.engine.gate_is_open());
}

#[tokio::test(start_paused = true)]
async fn successes_open_the_gate_without_another_failure_that_counts() {
    let bench = Bench::of(breaker(|b| b), 10);
    stop(&bench, &["a", "b", "c", "d", "e", "f", "g", "h", "i", "j"]).await;
    assert!(!bench.engine.gate_is_open());
    bench.together(300, success);
    assert!(bench.engine.gate_is_open(), "the retry of a failed probe call has somewhere to go");
}

/// Makes five calls per endpoint in half an attempt, and as many afterwards. Those to the `stopped`
/// endpoints time out, the others succeed at once.
async fn stop(bench: &Bench, stopped: &[&str]) {
    bench.together(100, success);
    pass(SECOND).await;
    let mut hang = Vec::new();
    for step in 0..10 {
        for _ in 0..10 {
            let pick = bench.engine.pick(Tried::NONE, true).expect("there");
            if stopped.contains(&bench.id(&pick).as_str()) {
                hang.push(pick);
            } else {
                bench.engine.report(pick, AttemptClass::Success);
            }
        }
        pass(ATTEMPT / if step == 4 { 2 } else { 100 }).await;
    }
    pass(ATTEMPT / 2).await;
    for pick in hang {
        bench.engine.report(pick, AttemptClass::Timeout);
    }
}
