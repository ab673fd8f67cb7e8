//! Decisions of an operator.

use super::*;
use crate::engine::ejections::{EjectionReason, Ejections};
use crate::model::forced::Forced;

fn forced(bench: &Bench, id: &str, forced: Forced, time: Duration) {
    bench.engine.force(id, forced, time).expect("the endpoint exists");
}

#[tokio::test(start_paused = true)]
async fn forced_out_gets_no_call_until_the_time_has_passed() {
    let bench = Bench::with(&["a", "b", "c"]);
    forced(&bench, "b", Forced::Out, 10 * SECOND);
    let cause = UnavailableCause::ForcedOut { retry_in: 10 * SECOND };
    assert_eq!(bench.availability("b"), Availability::Out { cause });
    assert_eq!(bench.calls(30, &[]).get("b"), None);
    pass(9 * SECOND).await;
    assert_eq!(bench.calls(30, &[]).get("b"), None);
    pass(SECOND).await;
    let counts = bench.calls(30, &[]);
    assert!(counts["b"] >= 10, "{counts:?}");
    assert_eq!(bench.emitted(EventKind::EndpointEjected).len(), 1);
    assert_eq!(bench.emitted(EventKind::EndpointReadmitted).len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_time_of_zero_ends_it_and_all_forced_out_is_an_error() {
    let bench = Bench::with(&["a", "b"]);
    for id in ["a", "b"] {
        forced(&bench, id, Forced::Out, 60 * SECOND);
    }
    assert_eq!(bench.call(&[]), None);
    let none = bench.engine.why_none();
    assert!(none.to_string().contains("a: forced out"), "{none}");
    forced(&bench, "a", Forced::Out, Duration::ZERO);
    assert_eq!(bench.calls(10, &[])["a"], 10);
}

#[tokio::test(start_paused = true)]
async fn forced_in_closes_the_breaker_and_keeps_it_closed() {
    let bench = Bench::with(&["a", "b"]);
    bench.calls(20, &["b"]);
    assert!(!bench.availability("b").is_in());
    forced(&bench, "b", Forced::In, 10 * SECOND);
    assert_eq!(bench.calls(100, &["b"])["b"], 50);
    assert!(bench.engine.stats().unenforced > 40);
    pass(11 * SECOND).await;
    assert!(bench.calls(100, &["b"])["b"] <= 5);
    assert!(!bench.availability("b").is_in());
}

#[tokio::test(start_paused = true)]
async fn observed_stays_in_and_is_counted() {
    let bench = Bench::with(&["a", "b"]);
    forced(&bench, "b", Forced::Observe, 10 * SECOND);
    assert_eq!(bench.calls(100, &["b"])["b"], 50);
    assert_eq!(bench.engine.stats().unenforced, 46, "from the fifth failure on");
}

#[tokio::test(start_paused = true)]
async fn ejections_are_counted_by_reason_whether_they_were_enforced_or_not() {
    let bench = Bench::with(&["a", "b", "c", "d"]);
    forced(&bench, "a", Forced::Out, 10 * SECOND);
    forced(&bench, "a", Forced::Out, Duration::ZERO);
    forced(&bench, "b", Forced::Observe, 10 * SECOND);
    bench.calls(100, &["b", "c"]);
    let d = bench
        .engine
        .view()
        .endpoints()
        .find(|of| of.slot.endpoint.id().as_str() == "d")
        .map(|of| of.slot.state);
    bench.engine.pause(d.expect("listed"), 30 * SECOND);
    let found = bench.engine.stats().ejections;
    let counts: Vec<_> = Ejections::reasons()
        .map(|reason| (reason.as_str(), found.enforced(reason), found.unenforced(reason)))
        .filter(|(_, enforced, unenforced)| enforced + unenforced > 0)
        .collect();
    let held = found.unenforced(EjectionReason::Failures);
    assert_eq!(counts, [("failures", 1, held), ("retry_after", 1, 0), ("forced", 1, 0)]);
    assert!(held > 10, "{held}");
    let json = serde_json::to_value(found).expect("JSON");
    assert_eq!((&json["enforced"]["forced"], &json["unenforced"]["forced"]), (&1.into(), &0.into()));
}

#[tokio::test(start_paused = true)]
async fn a_breaker_that_opened_while_it_was_forced_out_returns_by_probe_calls() {
    let bench = Bench::with(&["a", "b"]);
    bench.calls(20, &["b"]);
    forced(&bench, "b", Forced::Out, 10 * SECOND);
    pass(10 * SECOND).await;
    for _ in 0..3 {
        bench.calls(10, &[]);
        pass(SECOND / 2).await;
    }
    assert_eq!(bench.calls(10, &[])["b"], 5);
}

#[tokio::test(start_paused = true)]
async fn an_unknown_endpoint_and_a_time_without_end_are_refused() {
    let bench = Bench::with(&["a"]);
    let error = bench.engine.force("ghost", Forced::Out, SECOND).expect_err("unknown");
    assert_eq!(error.kind(), ErrorKind::NotFound);
    let error = bench.engine.force("a", Forced::Out, Duration::MAX).expect_err("too long");
    assert_eq!(error.kind(), ErrorKind::Validation);
    assert!(error.to_string().contains("at most 24 h"), "{error}");
}
