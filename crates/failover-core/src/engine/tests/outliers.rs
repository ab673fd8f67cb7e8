//! An endpoint that fails clearly more often than the others goes out.

use super::*;
use crate::config::{OutlierConfig, OutlierConfigBuilder};

/// The ids of ten endpoints.
const TEN: [&str; 10] = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j"];

fn bench(ids: &[&str], change: impl FnOnce(OutlierConfigBuilder) -> OutlierConfigBuilder) -> Bench {
    // The score of the breaker, which counts failures as well, takes no endpoint out.
    let breaker =
        CircuitBreakerConfig::builder().jitter(0.0).failure_threshold(10_000).recovery_timeout(30 * SECOND);
    let config = FailoverConfig::builder()
        .circuit_breaker(breaker.build().expect("valid"))
        .outlier_detection(change(OutlierConfig::builder()).build().expect("valid"));
    let bench = Bench::new(config.build().expect("valid"));
    bench.publish(ids.iter().map(|id| entry(id, 0)));
    bench
}

/// Makes 20 calls per second and endpoint. The endpoints named by `fails` fail each `nth` attempt
/// with this class.
async fn run(bench: &Bench, seconds: u32, fails: &[&str], nth: usize, class: AttemptClass) {
    let mut attempts = BTreeMap::<_, usize>::new();
    let endpoints = bench.engine.snapshot().slots.len();
    for _ in 0..20 * seconds {
        for _ in 0..endpoints {
            let pick = bench.engine.pick(Tried::NONE, true).expect("available");
            let id = bench.id(&pick);
            let attempt = attempts.entry(id.clone()).or_default();
            *attempt += 1;
            let failed = fails.contains(&id.as_str()) && *attempt % nth == 0;
            bench.engine.report(pick, if failed { class } else { AttemptClass::Success });
        }
        pass(SECOND / 20).await;
    }
}

fn is_out(bench: &Bench, id: &str) -> bool {
    !bench.availability(id).is_in()
}

#[tokio::test(start_paused = true)]
async fn one_of_ten_with_a_tenth_of_errors_goes_out_within_one_interval_and_a_probe_call_returns_it() {
    let bench = bench(&TEN, |b| b);
    run(&bench, 1, &["d"], 10, AttemptClass::Failure).await;
    assert!(!is_out(&bench, "d"));
    run(&bench, 10, &["d"], 10, AttemptClass::Failure).await;
    assert!(is_out(&bench, "d"));
    let ejected = bench.emitted(EventKind::EndpointEjected);
    assert_eq!(ejected.len(), 1, "{ejected:?}");
    assert!(ejected[0].contains("90.0 % of its attempts succeeded"), "{ejected:?}");
    assert!(bench.emitted(EventKind::CircuitOpen)[0].contains("more failures than the other endpoints"));
    run(&bench, 32, &[], 1, AttemptClass::Failure).await;
    assert!(!is_out(&bench, "d"));
}

#[tokio::test(start_paused = true)]
async fn what_most_endpoints_do_is_no_outlier() {
    let bench = bench(&["a", "b", "c", "d", "e"], |b| b);
    run(&bench, 60, &["a", "b", "c", "d"], 10, AttemptClass::Failure).await;
    assert_eq!(bench.emitted(EventKind::EndpointEjected), [] as [&str; 0]);
}

#[tokio::test(start_paused = true)]
async fn timeouts_are_no_evidence_against_one_endpoint() {
    let bench = bench(&TEN, |b| b);
    run(&bench, 60, &["d"], 10, AttemptClass::Timeout).await;
    assert_eq!(bench.emitted(EventKind::EndpointEjected), [] as [&str; 0]);
}

#[tokio::test(start_paused = true)]
async fn a_tenth_of_the_endpoints_may_be_out_at_the_same_time() {
    for (share, most) in [(0.1, 1), (0.2, 2), (0.0, 0)] {
        let bench = bench(&TEN, |b| b.max_ejected(share));
        run(&bench, 25, &["d", "e"], 5, AttemptClass::Failure).await;
        let out = ["d", "e"].into_iter().filter(|id| is_out(&bench, id)).count();
        assert_eq!(out, most, "{share}");
    }
    let off = bench(&TEN, |b| b.enabled(false));
    run(&off, 25, &["d"], 5, AttemptClass::Failure).await;
    assert!(!is_out(&off, "d"));
}

/// The example of gRPC's A50: three endpoints, of which one fails, and a threshold of 50 %.
#[tokio::test(start_paused = true)]
async fn grpcs_failure_percentage_with_a_cap_of_a_tenth_ejects_one_of_three() {
    for (share, out) in [(0.1, true), (0.0, false)] {
        let bench = bench(&["a", "b", "c"], |b| {
            b.min_endpoints(3).min_attempts(5).failure_percentage(50.0).max_ejected(share)
        });
        run(&bench, 12, &["b"], 1, AttemptClass::Failure).await;
        assert_eq!(is_out(&bench, "b"), out, "{share}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_last_endpoint_of_a_tier_is_no_outlier() {
    let bench = bench(&[], |b| b.min_endpoints(2).failure_percentage(40.0));
    bench.publish([entry("a", 0), entry("b", 1), entry("c", 1)]);
    for call in 0..1_000 {
        let first = bench.engine.pick(Tried::NONE, true).expect("available");
        assert_eq!(bench.id(&first), "a");
        let tried = [first.state()];
        bench.engine.report(first, if call % 2 == 0 { AttemptClass::Failure } else { AttemptClass::Success });
        // The last retry of a call goes to the next tier.
        let last = bench.engine.pick(Tried::of(&tried), false).expect("available");
        assert_ne!(bench.id(&last), "a");
        bench.engine.report(last, AttemptClass::Success);
        pass(SECOND / 40).await;
    }
}

/// Envoy's ejections take 10, 20, 30 s and so on up to 300 s. These double: each one ends with probe calls
/// that fail, and an endpoint that stays down gets fewer of them.
#[tokio::test(start_paused = true)]
async fn an_outlier_that_stays_one_is_out_for_longer_and_longer_up_to_the_maximum() {
    let bench = bench(&TEN, |b| b);
    let breaker = bench.engine.config().circuit_breaker().to_builder();
    let breaker = breaker.recovery_timeout(10 * SECOND).max_recovery_timeout(300 * SECOND);
    let config = FailoverConfig::builder().circuit_breaker(breaker.build().expect("valid"));
    bench.engine.configure(Arc::new(config.build().expect("valid"))).expect("supported");
    run(&bench, 700, &["d"], 1, AttemptClass::Failure).await;
    let events = bench.engine.events.newest(usize::MAX);
    let opened = events.iter().filter(|event| event.kind == EventKind::CircuitOpen);
    let mut waits: Vec<_> = opened
        .map(|event| event.details["retry_in_ms"].as_u64().expect("a number").div_ceil(1_000))
        .collect();
    waits.sort_unstable();
    assert_eq!(waits, [10, 20, 40, 80, 160, 300, 300]);
}
