//! Overload answers: an endpoint that gives nothing else, and one that asks for a pause.

use super::classes::{only, success};
use super::*;

/// Calls until the endpoint gets a call, which it answers with a request for a pause.
fn ask(bench: &Bench, id: &str, pause: Duration) {
    for _ in 0..1_000 {
        let pick = bench.engine.pick(Tried::NONE, true).expect("available");
        if bench.id(&pick) == id {
            bench.engine.charge(pick.state(), pause);
            bench.engine.report(pick, AttemptClass::Overload);
            return;
        }
        bench.engine.report(pick, AttemptClass::Success);
    }
    panic!("{id} gets no call");
}

/// Makes one call per endpoint in each step of the time.
async fn run(bench: &Bench, time: Duration, step: Duration, ends: impl Fn(&str) -> AttemptClass) {
    let mut left = time;
    while left > Duration::ZERO {
        for _ in 0..bench.engine.snapshot().slots.len() {
            bench.end(true, &ends);
        }
        pass(step).await;
        left -= step;
    }
}

fn paused(bench: &Bench, id: &str) -> Option<Duration> {
    match bench.availability(id) {
        Availability::Out { cause: UnavailableCause::Paused { retry_in } } => Some(retry_in),
        _ => None,
    }
}

#[tokio::test(start_paused = true)]
async fn a_pause_is_kept_by_all_calls_while_others_are_in_use() {
    let bench = Bench::with(&["a", "b", "c"]);
    ask(&bench, "b", 7 * SECOND);
    assert_eq!(paused(&bench, "b"), Some(7 * SECOND));
    let ejected = bench.emitted(EventKind::EndpointEjected);
    assert_eq!(ejected.len(), 1, "{ejected:?}");
    for _ in 0..69 {
        pass(SECOND / 10).await;
        assert_eq!(bench.calls(20, &[]).get("b"), None);
    }
    assert_eq!(bench.emitted(EventKind::EndpointReadmitted), [] as [&str; 0]);
    pass(SECOND / 10).await;
    let counts = bench.calls(300, &[]);
    assert!(counts["b"] >= 100, "its share, without probe calls: {counts:?}");
    assert_eq!(bench.availability("b"), Availability::In { pinned: false });
    assert_eq!(bench.emitted(EventKind::EndpointReadmitted).len(), 1);
    assert_eq!(bench.emitted(EventKind::CircuitOpen), [] as [&str; 0]);
}

#[tokio::test(start_paused = true)]
async fn a_pause_lasts_a_minute_at_most() {
    let bench = Bench::with(&["a", "b", "c"]);
    ask(&bench, "b", 3_600 * SECOND);
    assert_eq!(paused(&bench, "b"), Some(60 * SECOND));
    pass(59 * SECOND).await;
    assert_eq!(bench.calls(20, &[]).get("b"), None);
    pass(SECOND).await;
    assert!(bench.calls(20, &[])["b"] > 0);
}

#[tokio::test(start_paused = true)]
async fn if_all_ask_for_a_pause_none_gets_one() {
    let bench = Bench::with(&["a", "b", "c"]);
    for id in ["a", "b"] {
        ask(&bench, id, 20 * SECOND);
        assert!(paused(&bench, id).is_some());
    }
    ask(&bench, "c", 20 * SECOND);
    assert_eq!(bench.emitted(EventKind::CommonCause).len(), 1);
    let even = BTreeMap::from(["a", "b", "c"].map(|id| (id.to_owned(), 10)));
    assert_eq!(bench.calls(30, &[]), even);
    // Further requests are ignored during the freeze.
    ask(&bench, "a", 20 * SECOND);
    assert_eq!(paused(&bench, "a"), None);
    pass(30 * SECOND).await;
    ask(&bench, "a", 20 * SECOND);
    assert_eq!(paused(&bench, "a"), Some(20 * SECOND));
}

#[tokio::test(start_paused = true)]
async fn a_pause_ends_when_the_other_endpoints_go_out() {
    let bench = Bench::with(&["a", "b"]);
    ask(&bench, "a", 60 * SECOND);
    let counts = bench.calls(5, &["b"]);
    assert_eq!(counts, BTreeMap::from([("b".into(), 5)]));
    assert_eq!(bench.out(), ["b"]);
    assert_eq!(paused(&bench, "a"), None);
    assert!(bench.calls(20, &["b"])["a"] >= 19);
}

#[tokio::test(start_paused = true)]
async fn an_endpoint_that_answers_only_with_overload_for_three_seconds_goes_out() {
    let bench = Bench::with(&["a", "b", "c"]);
    let overloaded = only(&["b"], AttemptClass::Overload);
    run(&bench, 3 * SECOND, SECOND / 10, &overloaded).await;
    assert_eq!(bench.out(), [] as [&str; 0]);
    run(&bench, SECOND / 2, SECOND / 10, &overloaded).await;
    assert_eq!(bench.out(), ["b"]);
    assert_eq!(bench.engine.stats().failed_requests, 0);
}

#[tokio::test(start_paused = true)]
async fn the_three_seconds_begin_with_the_first_overload_answer() {
    let bench = Bench::with(&["a", "b", "c"]);
    run(&bench, 4 * SECOND, SECOND, only(&["b"], AttemptClass::Overload)).await;
    assert_eq!(bench.out(), [] as [&str; 0], "four answers");
    run(&bench, SECOND, SECOND, only(&["b"], AttemptClass::Overload)).await;
    assert_eq!(bench.out(), ["b"], "five answers over four seconds");
}

#[tokio::test(start_paused = true)]
async fn an_endpoint_that_succeeds_now_and_then_is_not_taken_out_for_overload() {
    let bench = Bench::with(&["a", "b", "c"]);
    for _ in 0..10 {
        run(&bench, 2 * SECOND, SECOND / 10, only(&["b"], AttemptClass::Overload)).await;
        bench.together(3, success);
    }
    // Neither many answers in a short time nor few in a long time suffice.
    for _ in 0..10 {
        run(&bench, 8 * SECOND, 4 * SECOND, only(&["b"], AttemptClass::Overload)).await;
        bench.together(3, success);
    }
    assert_eq!(bench.emitted(EventKind::CircuitOpen), [] as [&str; 0]);
}

#[tokio::test(start_paused = true)]
async fn overload_answers_of_all_keep_none_out_for_longer_than_five_seconds_after_them() {
    for count in [3, 10] {
        let bench = Bench::of(breaker(|b| b), count);
        run(&bench, 90 * SECOND, SECOND / 10, |_| AttemptClass::Overload).await;
        assert!(bench.out().len() <= usize::from(count) / 2, "of {count}: {:?}", bench.out());
        run(&bench, 5 * SECOND, SECOND / 10, success).await;
        assert_eq!(bench.out(), [] as [&str; 0], "of {count}");
    }
}
