//! The tables of other systems' breakers, by calls through the engine with explicit values.

use super::classes::success;
use super::*;
use crate::model::breaker_state::BreakerState;

fn state(bench: &Bench, id: &str) -> BreakerState {
    let stats = bench.engine.stats();
    stats.endpoints.iter().find(|endpoint| endpoint.id == *id).expect("present").breaker
}

/// Makes a call, which must go to `b`, that ends with this class.
fn probe(bench: &Bench, class: impl Into<Option<AttemptClass>>) {
    let pick = bench.engine.pick(Tried::NONE, true).expect("available");
    assert_eq!(bench.id(&pick), "b");
    bench.engine.report(pick, class);
}

/// Makes calls, none of which may go to `b`.
fn is_shut(bench: &Bench) {
    for _ in 0..20 {
        assert_eq!(bench.end(true, success), "a");
    }
}

/// Linkerd's `consecutive_failures` policy with two failures and a back-off of 1 s.
#[tokio::test(start_paused = true)]
async fn linkerds_consecutive_failures() {
    let linkerd = |b: crate::config::CircuitBreakerConfigBuilder| {
        b.failure_threshold(2).recovery_timeout(SECOND).half_open_max_calls(1).success_threshold(1)
    };
    let bench = Bench::new(breaker(linkerd));
    bench.publish([entry("a", 0), entry("b", 0)]);
    let picks: Vec<_> = (0..6).map(|_| bench.engine.pick(Tried::NONE, true).expect("there")).collect();
    let (b, a): (Vec<_>, Vec<_>) = picks.into_iter().partition(|pick| bench.id(pick) == "b");
    for pick in a {
        bench.engine.report(pick, AttemptClass::Success);
    }
    let mut b = b.into_iter();
    let mut end = |class| bench.engine.report(b.next().expect("three"), class);
    end(AttemptClass::Failure);
    assert_eq!(state(&bench, "b"), BreakerState::Closed);
    end(AttemptClass::Failure);
    assert_eq!(state(&bench, "b"), BreakerState::Open);
    is_shut(&bench);

    pass(SECOND).await;
    let only = bench.engine.pick(Tried::NONE, true).expect("there");
    assert_eq!(bench.id(&only), "b");
    is_shut(&bench);
    bench.engine.report(only, AttemptClass::Failure);
    assert_eq!(state(&bench, "b"), BreakerState::Open);
    end(AttemptClass::Success);
    assert_eq!(state(&bench, "b"), BreakerState::Open, "a late success is ignored");
    pass(SECOND).await;
    is_shut(&bench);
    pass(SECOND).await;
    probe(&bench, AttemptClass::Success);
    assert_eq!(state(&bench, "b"), BreakerState::Closed, "after 2 s, one success opens the gate");
}

fn resilience4j() -> Bench {
    let bench = Bench::new(breaker(|b| b.half_open_max_calls(4).success_threshold(4)));
    bench.publish([entry("a", 0), entry("b", 0)]);
    bench.calls(20, &["b"]);
    bench
}

/// resilience4j's half-open state with four permits and a wait of 5 s.
#[tokio::test(start_paused = true)]
async fn resilience4js_half_open_state_has_exactly_four_permits() {
    let bench = resilience4j();
    pass(Duration::from_millis(4_990)).await;
    is_shut(&bench);
    pass(Duration::from_millis(10)).await;
    let mut picks: Vec<_> = (0..4).map(|_| bench.engine.pick(Tried::NONE, true).expect("there")).collect();
    assert!(picks.iter().all(|pick| bench.id(pick) == "b"));
    is_shut(&bench);
    // A released permit admits one more.
    bench.engine.cancel(picks.pop().expect("four"));
    pass(Duration::from_millis(50)).await;
    picks.push(bench.engine.pick(Tried::NONE, true).expect("there"));
    assert_eq!(bench.id(&picks[3]), "b");
    is_shut(&bench);
    for pick in picks {
        assert_eq!(state(&bench, "b"), BreakerState::HalfOpen);
        bench.engine.report(pick, AttemptClass::Success);
    }
    assert_eq!(state(&bench, "b"), BreakerState::Closed);
}

#[tokio::test(start_paused = true)]
async fn resilience4js_closing_resets_the_metrics_and_each_transition_is_published_once() {
    let bench = resilience4j();
    pass(5 * SECOND).await;
    (0..4).for_each(|_| probe(&bench, AttemptClass::Success));
    assert_eq!(state(&bench, "b"), BreakerState::Closed);
    // Four failures are one too few to open it again.
    assert_eq!(bench.calls(8, &["b"]).get("b"), Some(&4));
    assert_eq!(state(&bench, "b"), BreakerState::Closed);
    let published = [EventKind::CircuitOpen, EventKind::CircuitHalfOpen, EventKind::CircuitClose];
    assert_eq!(published.map(|kind| bench.emitted(kind).len()), [1, 1, 1]);
}

#[tokio::test(start_paused = true)]
async fn resilience4js_ignored_errors_return_the_permit_and_do_not_count() {
    for ignored in [Some(AttemptClass::Local), None] {
        let bench = resilience4j();
        pass(5 * SECOND).await;
        (0..3).for_each(|_| probe(&bench, AttemptClass::Success));
        for _ in 0..10 {
            probe(&bench, ignored);
            assert_eq!(state(&bench, "b"), BreakerState::HalfOpen, "{ignored:?}");
            pass(Duration::from_millis(50)).await;
        }
        probe(&bench, AttemptClass::Success);
        assert_eq!(state(&bench, "b"), BreakerState::Closed, "{ignored:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_failure_in_the_half_open_state_opens_again() {
    for class in [AttemptClass::Failure, AttemptClass::Timeout, AttemptClass::Overload, AttemptClass::NotSent]
    {
        let bench = resilience4j();
        pass(5 * SECOND).await;
        (0..3).for_each(|_| probe(&bench, AttemptClass::Success));
        probe(&bench, class);
        assert_eq!(state(&bench, "b"), BreakerState::Open, "{class}");
        is_shut(&bench);
    }
}
