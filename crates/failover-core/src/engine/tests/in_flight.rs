//! Calls in flight: the configured limit, and how round robin avoids busy endpoints.

use super::*;
use crate::config::LoadBalancerConfig;

#[tokio::test(start_paused = true)]
async fn full_endpoints_are_no_reason_to_use_one_that_its_source_reports_as_unhealthy() {
    let balancer = LoadBalancerConfig::builder().max_in_flight(2).build().expect("valid");
    let bench = Bench::new(FailoverConfig::builder().load_balancer(balancer).build().expect("valid"));
    bench.publish([entry("a", 0), entry("b", 0).with_health(Health::Unhealthy)]);
    let held: Vec<_> = (0..2).filter_map(|_| bench.engine.pick(Tried::NONE, true)).collect();
    assert!(held.iter().all(|pick| bench.id(pick) == "a"), "{held:?}");
    assert!(bench.engine.pick(Tried::NONE, true).is_none());
    assert_eq!(bench.engine.why_none().code(), "OVERLOADED");
}

#[tokio::test(start_paused = true)]
async fn a_probe_call_waits_for_room_and_gives_its_permit_back() {
    let balancer = LoadBalancerConfig::builder().max_in_flight(1).build().expect("valid");
    let config = breaker(|b| b).to_builder().load_balancer(balancer).build().expect("valid");
    let bench = Bench::new(config);
    bench.publish([entry("a", 0), entry("b", 0)]);
    let mut picks: Vec<_> = (0..2).filter_map(|_| bench.engine.pick(Tried::NONE, true)).collect();
    picks.sort_by_key(|pick| bench.id(pick));
    let held = picks.pop().expect("two");
    bench.engine.report(picks.pop().expect("two"), AttemptClass::Success);
    let state = held.state();
    for _ in 0..5 {
        let admission = bench.engine.slab.state(state).breaker().admit_if_closed().expect("closed");
        bench.engine.update_breaker(
            state,
            breaker::Input::Failure(admission),
            Some(strain::Evidence::Hard),
            bench.engine.clock.now(),
        );
    }
    assert!(!bench.availability("b").is_in());
    pass(6 * SECOND).await;
    assert_eq!(bench.calls(5, &[])["a"], 5, "b is at its limit");
    bench.engine.cancel(held);
    pass(2 * SECOND).await;
    assert_eq!(bench.calls(5, &[])["b"], 1, "a probe call");
    assert_eq!(bench.emitted(EventKind::CircuitHalfOpen).len(), 1);
}

#[tokio::test(start_paused = true)]
async fn for_a_minute_after_a_timeout_round_robin_passes_over_every_busier_endpoint() {
    for class in [AttemptClass::Timeout, AttemptClass::Overload, AttemptClass::Failure] {
        let bench = Bench::with(&["a", "b", "c"]);
        let mut picks: Vec<_> = (0..3).filter_map(|_| bench.engine.pick(Tried::NONE, true)).collect();
        picks.sort_by_key(|pick| bench.id(pick));
        let held = picks.remove(0);
        bench.engine.report(picks.remove(0), AttemptClass::Success);
        bench.engine.report(picks.remove(0), AttemptClass::Success);
        let share = || bench.calls(30, &[]).get("a").copied().unwrap_or(0);
        assert_eq!(share(), 10, "one call more is not far more");
        let failed = bench.engine.pick(Tried::NONE, true).expect("available");
        bench.engine.report(failed, class);
        pass(Duration::from_millis(10)).await;
        let expected = if class == AttemptClass::Failure { 10 } else { 0 };
        assert_eq!(share(), expected, "{class}");
        pass(61 * SECOND).await;
        bench.calls(3, &[]);
        assert_eq!(share(), 10, "{class}");
        bench.engine.cancel(held);
    }
}
