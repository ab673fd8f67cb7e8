//! The algorithm `first`.

use super::*;
use crate::config::LoadBalancerConfig;
use crate::engine::algorithm::PickOptions;
use crate::model::forced::Forced;

fn first(build: impl FnOnce(LoadBalancerConfig) -> LoadBalancerConfig) -> FailoverConfig {
    let balancer = LoadBalancerConfig::builder().algorithm(Algorithm::First).build().expect("valid");
    breaker(|b| b).to_builder().load_balancer(build(balancer)).build().expect("valid")
}

/// A primary `p` of priority 0, and the standbys `a` and `b` of priority 1.
fn databases() -> Bench {
    let bench = Bench::new(first(|b| b));
    bench.publish(entries());
    bench
}

fn entries() -> [EndpointEntry; 3] {
    [entry("p", 0), entry("a", 1), entry("b", 1)]
}

fn all(id: &str, calls: usize) -> BTreeMap<String, usize> {
    [(id.to_owned(), calls)].into()
}

fn moves(bench: &Bench) -> Vec<String> {
    bench.emitted(EventKind::LoadBalance).into_iter().filter(|line| line.contains("from now on")).collect()
}

#[tokio::test(start_paused = true)]
async fn all_calls_stay_on_one_endpoint_until_it_is_out_and_then_on_the_next() {
    let bench = databases();
    assert_eq!(bench.calls(100, &[]), all("p", 100));
    assert_eq!(bench.calls(5, &["p"]), all("p", 5));
    assert_eq!(bench.calls(100, &[]), all("a", 100));
    assert_eq!(moves(&bench).len(), 1, "{:?}", moves(&bench));
    assert!(bench.engine.explain().to_string().contains("all calls go to a until it is out"));

    // The primary works again. It gets no calls, also not as a probe call, after any time.
    for _ in 0..100 {
        pass(30 * SECOND).await;
        assert_eq!(bench.calls(10, &[]), all("a", 10));
    }
    // The registry's news do not move the calls either.
    bench.publish([entry("0", 0), entry("p", 0), entry("a", 1), entry("b", 1)]);
    assert_eq!(bench.calls(10, &[]), all("a", 10));
    bench.publish([entry("p", 0), entry("b", 1)]);
    assert_eq!(bench.calls(10, &[]), all("b", 10), "the primary is still out");
    assert_eq!(moves(&bench).len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_retry_goes_elsewhere_and_moves_no_other_call() {
    let bench = databases();
    for _ in 0..4 {
        let pick = bench.engine.pick(Tried::NONE, true).expect("available");
        let tried = [pick.state()];
        bench.engine.report(pick, AttemptClass::Failure);
        let retry = bench.engine.pick(Tried::of(&tried), true).expect("available");
        assert_eq!(bench.id(&retry), "a");
        bench.engine.report(retry, AttemptClass::Success);
        // Successes of the others keep it in use.
        assert_eq!(bench.calls(3, &[]), all("p", 3));
    }
    assert_eq!(moves(&bench).len(), 0);
}

#[tokio::test(start_paused = true)]
async fn when_all_are_out_whichever_returns_is_used() {
    for (fail_fast, returns) in [(false, "p"), (false, "b"), (true, "p"), (true, "a")] {
        let config = first(|b| b).to_builder().fail_fast(fail_fast).build().expect("valid");
        let bench = Bench::new(config);
        bench.publish(entries());
        bench.calls(60, &["p", "a", "b"]);
        let others: Vec<_> = ["p", "a", "b"].into_iter().filter(|id| *id != returns).collect();
        for _ in 0..300 {
            pass(SECOND).await;
            bench.calls(3, &others);
        }
        assert_eq!(bench.calls(20, &others), all(returns, 20), "fail_fast {fail_fast}");
    }
}

#[tokio::test(start_paused = true)]
async fn one_that_asked_for_a_pause_is_used_again_if_no_other_is_left() {
    let bench = databases();
    let pick = bench.engine.pick(Tried::NONE, true).expect("available");
    let number = pick.state();
    bench.engine.report(pick, AttemptClass::Overload);
    bench.engine.charge(number, 10 * SECOND);
    assert_eq!(bench.calls(10, &[]), all("a", 10));
    pass(20 * SECOND).await;
    assert_eq!(bench.calls(10, &[]), all("a", 10));
    bench.publish([entry("p", 0)]);
    assert_eq!(bench.calls(10, &[]), all("p", 10));
}

#[tokio::test(start_paused = true)]
async fn a_limit_of_calls_in_flight_refuses_and_does_not_use_a_standby() {
    let bench = Bench::new(first(|b| b.to_builder().max_in_flight(2).build().expect("valid")));
    bench.publish(entries());
    let held: Vec<_> = (0..2).filter_map(|_| bench.engine.pick(Tried::NONE, true)).collect();
    assert!(held.iter().all(|pick| bench.id(pick) == "p"));
    assert!(bench.engine.pick(Tried::NONE, true).is_none());
    assert_eq!(bench.engine.why_none().code(), "OVERLOADED");
}

#[tokio::test(start_paused = true)]
async fn failures_in_a_row_do_not_spread_the_calls_while_the_endpoint_is_in_use() {
    let bench = Bench::new(first(|b| b));
    bench.publish([entry("p", 0), entry("a", 0)]);
    assert_eq!(bench.calls(5, &["p", "a"]), all("a", 5));
    assert_eq!(bench.calls(1, &["a"]), all("p", 1));
}

#[tokio::test(start_paused = true)]
async fn a_session_moves_with_all_other_calls() {
    let bench = Bench::new(first(|b| b.to_builder().sticky(true).build().expect("valid")));
    bench.publish(entries());
    let keyed = || {
        let pick = bench.engine.pick_with(Tried::NONE, true, PickOptions::keyed(b"x")).expect("available");
        let id = bench.id(&pick);
        bench.engine.report(pick, AttemptClass::Success);
        id
    };
    assert_eq!(keyed(), "p");
    bench.engine.force("p", Forced::Out, 10 * SECOND).expect("known");
    assert_eq!(bench.calls(1, &[]), all("a", 1));
    bench.engine.force("p", Forced::In, 10 * SECOND).expect("known");
    assert_eq!(keyed(), "a");
}

#[tokio::test(start_paused = true)]
async fn one_call_can_ask_for_it() {
    let bench = Bench::new(breaker(|b| b));
    bench.publish(["c", "d", "e"].map(|id| entry(id, 0)));
    let options = PickOptions { algorithm: Some(Algorithm::First), ..PickOptions::NONE };
    let call = || {
        let pick = bench.engine.pick_with(Tried::NONE, true, options).expect("available");
        let id = bench.id(&pick);
        bench.engine.report(pick, AttemptClass::Success);
        id
    };
    assert_eq!(call(), "c");
    bench.engine.force("c", Forced::Out, 10 * SECOND).expect("known");
    assert_eq!(call(), "d");
    bench.engine.force("c", Forced::In, 10 * SECOND).expect("known");
    assert_eq!(call(), "d");
    assert_eq!(bench.calls(30, &[]).len(), 3, "other calls do as configured");
}
