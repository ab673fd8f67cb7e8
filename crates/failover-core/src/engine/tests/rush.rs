//! While a thread makes many calls, not all of them are timed, and nothing else changes.

use super::*;
use crate::config::{Algorithm, LoadBalancerConfig, OutlierConfig};
use crate::runtime::rush::{SPAN, Timing};

const MICROSECOND: Duration = Duration::from_micros(1);
const MILLISECOND: Duration = Duration::from_millis(1);

fn bench(algorithm: Algorithm, slow_call: Option<Duration>) -> Bench {
    let balancer = LoadBalancerConfig::builder().algorithm(algorithm).build().expect("valid");
    let outliers = OutlierConfig::builder().slow_call(slow_call).build().expect("valid");
    let breaker = CircuitBreakerConfig::builder().jitter(0.0).recovery_timeout(100 * SECOND);
    let config = FailoverConfig::builder()
        .load_balancer(balancer)
        .outlier_detection(outliers)
        .circuit_breaker(breaker.max_recovery_timeout(200 * SECOND).build().expect("valid"));
    let bench = Bench::new(config.build().expect("valid"));
    bench.publish(["a", "b", "c", "d"].map(|id| entry(id, 0)));
    bench
}

/// Makes this many calls at one moment, and returns how many of them were timed.
fn timed(bench: &Bench, calls: usize) -> usize {
    let timed = |_: &usize| {
        let pick = bench.engine.pick(Tried::NONE, true).expect("available");
        let timed = pick.timing() != Timing::Skipped;
        bench.engine.report(pick, AttemptClass::Success);
        timed
    };
    (0..calls).filter(timed).count()
}

#[tokio::test(start_paused = true)]
async fn one_call_of_eight_is_timed_in_a_rush_and_every_call_counts() {
    let bench = bench(Algorithm::RoundRobin, None);
    assert_eq!(timed(&bench, 48 + 8_000), 48 + 1_000);
    let stats = bench.engine.stats();
    assert_eq!(stats.total_requests, 8_048);
    assert!(stats.endpoints.iter().all(|of| of.attempts == 2_012), "{stats:?}");
    assert_eq!(durations(&bench), 8_048, "each timed call stands for {SPAN}");
    // Each endpoint has its share of them, although their number divides eight.
    for of in &stats.endpoints {
        assert!((1_700..2_300).contains(&of.durations.count()), "{of:?}");
    }
    pass(4 * MILLISECOND).await;
    assert_eq!(timed(&bench, 48), 48, "the next tick");
    let by_latency = self::bench(Algorithm::PeakEwma, None);
    assert_eq!(timed(&by_latency, 48 + 8_000), 48 + 1_000);
}

#[tokio::test(start_paused = true)]
async fn where_something_depends_on_times_each_call_is_timed() {
    assert_eq!(timed(&bench(Algorithm::RoundRobin, Some(SECOND)), 1_000), 1_000);
    let after_a_failure = bench(Algorithm::RoundRobin, None);
    after_a_failure.call(&["a", "b", "c", "d"]);
    assert_eq!(timed(&after_a_failure, 1_000), 1_000);
    pass(61 * SECOND).await;
    assert!(timed(&after_a_failure, 1_000) < 200);
}

/// Returns the number of durations on record.
fn durations(bench: &Bench) -> u64 {
    bench.engine.stats().endpoints.iter().map(|of| of.durations.count()).sum()
}

#[tokio::test(start_paused = true)]
async fn a_call_stands_for_itself_alone_where_each_is_timed() {
    let after_a_failure = bench(Algorithm::RoundRobin, None);
    after_a_failure.call(&["a", "b", "c", "d"]);
    timed(&after_a_failure, 1_000);
    assert_eq!(durations(&after_a_failure), 1_001);
    let tiers = bench(Algorithm::RoundRobin, None);
    tiers.publish([entry("a", 0), entry("b", 1)]);
    assert_eq!(timed(&tiers, 1_000), 1_000);
    assert_eq!(durations(&tiers), 1_000);
}

#[tokio::test(start_paused = true)]
async fn a_call_that_is_not_timed_fails_like_any_other() {
    let bench = bench(Algorithm::RoundRobin, None);
    timed(&bench, 100);
    let picks: Vec<_> = (0..40).map(|_| bench.engine.pick(Tried::NONE, true).expect("available")).collect();
    assert!(picks.iter().any(|pick| pick.timing() == Timing::Skipped));
    for pick in picks {
        let failed = bench.id(&pick) == "b";
        bench.engine.report(pick, if failed { AttemptClass::Failure } else { AttemptClass::Success });
    }
    assert!(!bench.availability("b").is_in());
    let stats = bench.engine.stats();
    let attempts: Vec<_> = stats.endpoints.iter().map(|of| (of.attempts, of.failures)).collect();
    assert_eq!(attempts, [(35, 0), (35, 10), (35, 0), (35, 0)]);
}

/// Opens the breaker of `b` for 100 s, and returns a bench a few milliseconds before their end.
async fn nearly_due() -> (Bench, crate::runtime::clock::Time) {
    let bench = bench(Algorithm::RoundRobin, None);
    bench.calls(100, &["b"]);
    assert!(!bench.availability("b").is_in());
    let due = bench.engine.clock.now() + 100 * SECOND;
    pass(Duration::from_millis(99_990)).await;
    (bench, due)
}

#[tokio::test(start_paused = true)]
async fn an_endpoint_is_tried_again_within_twenty_milliseconds_of_its_time_at_any_rate_of_calls() {
    for (rate, every) in [(1_000_000, MICROSECOND), (50_000, 20 * MICROSECOND), (1_000, MILLISECOND)] {
        let (bench, due) = nearly_due().await;
        let mut skipped = false;
        let tried = loop {
            let now = bench.engine.clock.now();
            assert!(now < due + 20 * MILLISECOND, "{rate} calls a second");
            let pick = bench.engine.pick(Tried::NONE, true).expect("available");
            skipped |= pick.timing() == Timing::Skipped;
            let id = bench.id(&pick);
            bench.engine.report(pick, AttemptClass::Success);
            if id == "b" {
                break now;
            }
            pass(every).await;
        };
        assert!(tried >= due, "{rate} calls a second");
        assert_eq!(skipped, rate > 10_000, "{rate} calls a second");
    }
    let (bench, due) = nearly_due().await;
    let before = bench.calls(100, &[]);
    pass(SECOND).await;
    assert!(!before.contains_key("b") && bench.engine.clock.now() > due);
    assert_eq!(bench.call(&[]).as_deref(), Some("b"), "the first call, at one a second");
}
