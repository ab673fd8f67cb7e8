//! How an endpoint returns: after which time, by how many probe calls, and by which calls.

use super::classes::only;
use super::*;

/// Makes an endpoint fail until it is out, and returns how long its breaker stays open.
fn open(bench: &Bench, id: &str) -> Duration {
    for _ in 0..100 {
        if bench.out().is_empty() {
            bench.call(&[id]);
        }
    }
    match bench.availability(id) {
        // The breaker stores whole microseconds, rounded down.
        Availability::Out { cause: UnavailableCause::BreakerOpen { retry_in } } => {
            retry_in + Duration::from_nanos(1)
        }
        other => panic!("{id} is {other:?}"),
    }
}

/// Makes 20 calls in each 100 ms until no endpoint is out. Returns the number of calls to `id`, and
/// the time from the first to the last of them.
async fn recover(bench: &Bench, id: &str) -> (usize, Duration) {
    let (mut probes, mut first) = (0, None);
    for _ in 0..10_000 {
        for _ in 0..20 {
            if bench.out().is_empty() {
                return (probes, first.map_or(Duration::ZERO, |at| bench.engine.clock.now().since(at)));
            }
            if bench.call(&[]).as_deref() == Some(id) {
                probes += 1;
                first = first.or(Some(bench.engine.clock.now()));
            }
        }
        pass(SECOND / 10).await;
    }
    panic!("{id} does not return");
}

#[tokio::test(start_paused = true)]
async fn an_endpoint_that_fails_again_soon_stays_out_longer_and_proves_more() {
    let bench = Bench::with(&["a", "b", "c"]);
    for (seconds, probes, spaced) in [(5, 2, 500), (10, 4, 1_500), (20, 8, 3_500), (40, 8, 3_500)] {
        assert_eq!(open(&bench, "b"), seconds * SECOND);
        let expected = (probes, Duration::from_millis(spaced));
        assert_eq!(recover(&bench, "b").await, expected, "half a second apart");
    }
}

#[tokio::test(start_paused = true)]
async fn each_minute_in_use_halves_the_next_open_time() {
    let bench = Bench::with(&["a", "b", "c"]);
    for seconds in [5, 10, 20] {
        assert_eq!(open(&bench, "b"), seconds * SECOND);
        recover(&bench, "b").await;
    }
    pass(119 * SECOND).await;
    assert_eq!(open(&bench, "b"), 20 * SECOND, "40 s without the minute");
    recover(&bench, "b").await;
    pass(120 * SECOND).await;
    assert_eq!(open(&bench, "b"), 10 * SECOND);
    recover(&bench, "b").await;
    pass(300 * SECOND).await;
    assert_eq!(open(&bench, "b"), 5 * SECOND);
}

#[tokio::test(start_paused = true)]
async fn configured_numbers_replace_the_spacing_and_the_growth() {
    let bench = Bench::new(breaker(|b| b.half_open_max_calls(2).success_threshold(3)));
    bench.publish(["a", "b", "c"].map(|id| entry(id, 0)));
    for seconds in [5, 10, 20] {
        assert_eq!(open(&bench, "b"), seconds * SECOND);
        pass(seconds * SECOND).await;
        let picks: Vec<_> = (0..10).map(|_| bench.engine.pick(Tried::NONE, true).expect("there")).collect();
        let probes = picks.iter().filter(|pick| bench.id(pick) == "b").count();
        assert_eq!(probes, 2, "at a time");
        for pick in picks {
            bench.engine.report(pick, AttemptClass::Success);
        }
        assert_eq!(bench.out(), ["b"]);
        bench.calls(10, &[]);
        assert_eq!(bench.out(), [] as [&str; 0], "the third one, without a pause");
    }
}

#[tokio::test(start_paused = true)]
async fn calls_that_cannot_be_repeated_bring_an_endpoint_back() {
    let bench = Bench::with(&["a", "b", "c"]);
    assert_eq!(open(&bench, "b"), 5 * SECOND);
    let mut waited = Duration::ZERO;
    while !bench.out().is_empty() {
        pass(SECOND / 10).await;
        waited += SECOND / 10;
        bench.end(false, only(&[], AttemptClass::Failure));
        assert!(waited < 12 * SECOND, "{waited:?}");
    }
    assert!(waited > 10 * SECOND, "a call that can be repeated goes first: {waited:?}");
}

#[tokio::test(start_paused = true)]
async fn a_probe_call_of_twice_the_default_wait_is_waited_for() {
    let breaker = CircuitBreakerConfig::builder().jitter(0.0).build().expect("valid");
    let config = FailoverConfig::builder().timeout(120 * SECOND).attempt_timeout(60 * SECOND);
    let bench = Bench::new(config.circuit_breaker(breaker).build().expect("valid"));
    bench.publish(["a", "b", "c"].map(|id| entry(id, 0)));
    open(&bench, "b");
    pass(5 * SECOND).await;
    let probe = bench.engine.pick(Tried::NONE, true).expect("there");
    assert_eq!(bench.id(&probe), "b");
    for _ in 0..59 {
        pass(SECOND).await;
        bench.calls(10, &[]);
    }
    assert_eq!(bench.engine.stats().endpoints[1].opened, 1, "the round does not expire");
    bench.engine.report(probe, AttemptClass::Success);
    bench.calls(10, &[]);
    assert_eq!(bench.out(), [] as [&str; 0], "both probe calls count");
}
