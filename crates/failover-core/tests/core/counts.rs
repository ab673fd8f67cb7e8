//! What programs read of the statistics: counts by class, durations in fixed buckets, and windows.

use std::time::Duration;

use failover_core::inspect::{AttemptCounts, Durations};
use failover_core::{AttemptClass, Clock, FailoverConfig, Outcome, Random, ServiceHandle};
use serde_json::Value;
use tokio::time::{advance, sleep};

const MILLISECOND: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);

fn service(endpoints: u8, retries: u32) -> ServiceHandle {
    let config = FailoverConfig::builder().max_retries(retries).build().expect("valid");
    ServiceHandle::builder("users")
        .endpoints((1..=endpoints).map(|last| format!("10.0.0.{last}:80")))
        .config(config)
        .clock(Clock::tokio())
        .random(Random::seeded(7))
        .build()
        .expect("valid")
}

async fn pick(users: &ServiceHandle, took: Duration, outcome: Outcome) {
    let pick = users.select().expect("available");
    advance(took).await;
    pick.finish(outcome);
}

fn classes(counts: &AttemptCounts) -> [u64; 8] {
    use AttemptClass::{Failure, Local, NotSent, Overload, Rejected, Success, Timeout};
    let of = [Success, Failure, Timeout, Overload, NotSent, Rejected, Local].map(|class| counts.of(class));
    std::array::from_fn(|index| of.get(index).copied().unwrap_or(counts.cancelled()))
}

#[tokio::test(start_paused = true)]
async fn attempts_are_counted_by_class_for_each_endpoint_and_for_the_service() {
    let users = service(1, 0);
    let outcomes = [
        Outcome::Success,
        Outcome::Failure,
        Outcome::Timeout,
        Outcome::Overload(None),
        Outcome::NotSent,
        Outcome::Rejected,
        Outcome::Local,
    ];
    for (outcome, times) in outcomes.into_iter().zip(1..) {
        for _ in 0..times {
            pick(&users, MILLISECOND, outcome).await;
            // Otherwise the endpoint goes out, and its probe calls come in their own time.
            pick(&users, MILLISECOND, Outcome::Success).await;
        }
    }
    for _ in 0..8 {
        drop(users.select().expect("available"));
    }
    let stats = users.stats();
    let expected = [1 + 28, 2, 3, 4, 5, 6, 7, 8];
    assert_eq!(classes(&stats.attempts), expected);
    assert_eq!(classes(&stats.endpoints[0].by_class), expected);
    assert_eq!(classes(&stats.last_minute.attempts), expected);
    assert_eq!((stats.attempts.failures(), stats.attempts.total()), (2 + 3 + 4 + 5, 64));
    let json = serde_json::to_value(&stats).expect("JSON");
    for (name, count) in
        ["success", "failure", "timeout", "overload", "not_sent", "rejected", "local", "cancelled"]
            .into_iter()
            .zip(expected)
    {
        assert_eq!(json["attempts"][name], count, "{name}");
        assert_eq!(json["endpoints"][0]["by_class"][name], count, "{name}");
    }
    // Those of an endpoint that has left stay with the service.
    users.replace_endpoints(["10.0.0.2:80"]).expect("valid");
    let after = users.stats();
    assert_eq!(classes(&after.attempts), expected);
    assert_eq!(after.attempt_durations, stats.attempt_durations);
    assert_eq!(after.call_durations, stats.call_durations);
}

/// Checks that no number is below that of an earlier reading.
fn grew(what: &str, before: &Durations, now: &Durations) {
    assert!(now.sum() >= before.sum(), "{what}: {before:?}, then {now:?}");
    let pairs = before.buckets().zip(now.buckets());
    for (before, now) in pairs {
        assert!(now.count >= before.count, "{what}, {:?}: {before:?}, then {now:?}", now.at_most);
    }
    assert!(now.count() >= before.count(), "{what}");
}

#[tokio::test(start_paused = true)]
async fn durations_in_buckets_never_decrease_and_count_every_attempt() {
    let users = service(2, 0);
    // Two endpoints in turn, and more different durations than the histogram can count without halving.
    let durations =
        [3, 7, 12, 14, 17, 18, 20, 24, 29, 31, 34, 38, 43, 47, 51, 60, 66, 72, 80, 95, 110, 130, 150];
    let mut before = users.stats();
    let (mut calls, mut exact) = (0_u64, Duration::ZERO);
    for round in 0..6_000_u32 {
        for millis in durations {
            let took = MILLISECOND * millis * if round % 100 == 0 { 40 } else { 1 };
            pick(&users, took, Outcome::Success).await;
            (calls, exact) = (calls + 1, exact + took);
        }
        if round % 50 < 2 {
            let stats = users.stats();
            grew("attempts", &before.attempt_durations, &stats.attempt_durations);
            grew("calls", &before.call_durations, &stats.call_durations);
            for (before, now) in before.endpoints.iter().zip(&stats.endpoints) {
                grew("an endpoint", &before.durations, &now.durations);
            }
            assert_eq!(stats.call_durations.count(), calls);
            assert!(calls.abs_diff(stats.attempt_durations.count()) * 1_000 <= calls, "{round}");
            before = stats;
        }
    }
    for (what, durations) in [("attempts", before.attempt_durations), ("calls", before.call_durations)] {
        let sum = durations.sum();
        assert!(sum.abs_diff(exact) < exact / 25, "{what}: {sum:?} of {exact:?}");
        let up_to = |bound| durations.buckets().find(|b| b.at_most == bound).expect("a bound").count;
        // Three of 23 are at most 12 ms, except in every hundredth round.
        let share = up_to(10 * MILLISECOND) as f64 / calls as f64;
        assert!((share - 0.99 * 2.0 / 23.0).abs() < 0.003, "{what}: {share}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_was_before_the_first_reading_counts_as_well() {
    let users = service(1, 0);
    for round in 0..40_000 {
        // Ninety buckets of percentiles, far more than can hold many counts, within less than a second.
        pick(&users, Duration::from_nanos(1.05_f64.powi(round % 90) as u64 * 1_000), Outcome::Success).await;
    }
    let stats = users.stats();
    let counted = stats.attempt_durations.count();
    assert!(counted.abs_diff(40_000) <= 20, "{counted}");
    assert_eq!(stats.call_durations.count(), 40_000);
}

#[tokio::test(start_paused = true)]
async fn a_call_takes_as_long_as_all_its_attempts_and_the_waits_between() {
    let users = service(2, 1);
    let done = users.execute(async |_| {
        sleep(40 * MILLISECOND).await;
        Ok::<_, String>(())
    });
    done.await.expect("succeeds at once");
    let slow = users.execute(async |attempt| {
        sleep(300 * MILLISECOND).await;
        if attempt.number() == 1 { Err("refused") } else { Ok(()) }
    });
    slow.await.expect("succeeds at the second attempt");
    let failed = users.execute(async |_| {
        sleep(60 * MILLISECOND).await;
        Err::<(), _>("refused")
    });
    failed.await.expect_err("fails twice");
    let rejected = users.with_classifier(|reply: Result<&(), &String>| match reply {
        Ok(()) => Outcome::Success,
        Err(_) => Outcome::Rejected,
    });
    let answered = rejected.execute(async |_| {
        sleep(8 * MILLISECOND).await;
        Err::<(), _>("bad request".to_owned())
    });
    answered.await.expect_err("rejected");
    let stats = rejected.stats();
    assert_eq!((stats.total_requests, stats.call_durations.count(), stats.attempts.total()), (4, 4, 6));
    let up_to = |millis: u32| {
        let bound = MILLISECOND * millis;
        stats.call_durations.buckets().find(|bucket| bucket.at_most == bound).expect("a bound").count
    };
    // 8, 40, twice 60 with the wait before the retry, and twice 300.
    assert_eq!([5, 10, 25, 50, 100, 250, 500, 1_000].map(up_to), [0, 1, 1, 2, 2, 3, 3, 4]);
    rejected.replace_endpoints(Vec::<String>::new()).expect("valid");
    let refused = rejected.execute(async |_| Ok::<_, String>(()));
    refused.await.expect_err("there is no endpoint");
    let after = rejected.stats();
    assert_eq!((after.total_requests, after.call_durations.count(), after.refused), (5, 5, 1));
}

#[tokio::test(start_paused = true)]
async fn windows_tell_the_last_ten_seconds_and_the_last_minute() {
    let users = service(3, 0);
    let second = |outcome| {
        let users = &users;
        async move {
            for _ in 0..10 {
                pick(users, 2 * MILLISECOND, outcome).await;
                advance(98 * MILLISECOND).await;
            }
        }
    };
    for _ in 0..5 {
        second(Outcome::Success).await;
    }
    let young = users.stats();
    assert_eq!((young.last_minute.length, young.last_minute.attempts.total()), (5 * SECOND, 50));
    for _ in 0..300 {
        second(Outcome::Success).await;
    }
    for _ in 0..20 {
        second(Outcome::Rejected).await;
    }
    for _ in 0..15 {
        second(Outcome::Success).await;
    }
    let stats = users.stats();
    let (ten, minute) = (stats.last_ten_seconds, stats.last_minute);
    assert!((10 * SECOND..=12 * SECOND).contains(&ten.length), "{:?}", ten.length);
    assert!((60 * SECOND..=67 * SECOND).contains(&minute.length), "{:?}", minute.length);
    for window in [ten, minute] {
        let expected = window.length.as_secs_f64() * 10.0;
        assert!((window.attempts.total() as f64 - expected).abs() <= 2.0, "{window:?}");
        // The durations of up to six attempts on an endpoint are recorded later.
        let durations = window.call_durations.expect("few endpoints");
        assert!((durations.count() as f64 - expected).abs() <= 20.0, "{window:?}");
    }
    assert_eq!(ten.attempts.of(AttemptClass::Rejected), 0);
    assert_eq!(minute.attempts.of(AttemptClass::Rejected), 200);
    // Somebody who reads once a second sees the end of the calls as well.
    for _ in 0..15 {
        sleep(SECOND).await;
        users.stats();
    }
    let quiet = users.stats();
    assert_eq!((quiet.last_ten_seconds.attempts.total(), quiet.last_ten_seconds.refused), (0, 0));
    assert!(quiet.last_minute.attempts.total() > 400);
}

#[tokio::test(start_paused = true)]
async fn windows_of_a_large_service_have_durations_for_those_who_read_regularly() {
    let users = service(100, 0);
    let mut counted = None;
    for second in 0..40 {
        for _ in 0..1_000 {
            pick(&users, MILLISECOND, Outcome::Success).await;
        }
        if second >= 19 {
            let ten = users.stats().last_ten_seconds;
            assert!((10_000..=12_000).contains(&ten.attempts.total()), "{ten:?}");
            counted = ten.call_durations.map(|durations| durations.count());
        }
        match second {
            19 => assert_eq!(counted, None, "nobody has read before"),
            32.. => {
                assert!(counted.is_some_and(|counted| (9_000..=13_000).contains(&counted)), "{counted:?}");
            }
            _ => {}
        }
    }
}

#[tokio::test(start_paused = true)]
async fn failures_end_a_reading_so_that_windows_hold_at_low_rates_too() {
    // So few calls on each of twenty endpoints that none of them has other work with a success.
    let users = service(20, 0);
    for second in 0..40 {
        let outcome = if second % 5 == 0 && second < 25 { Outcome::Failure } else { Outcome::Success };
        pick(&users, MILLISECOND, outcome).await;
        advance(999 * MILLISECOND).await;
    }
    let stats = users.stats();
    assert_eq!(stats.last_minute.attempts.failures(), 5);
    let ten = stats.last_ten_seconds;
    // The reading came with the last one, which was counted as a call already and not as an attempt.
    assert_eq!((ten.attempts.failures(), ten.failed_requests), (1, 0));
    assert!((19 * SECOND..=21 * SECOND).contains(&ten.length), "{:?}", ten.length);
}

/// Returns the paths of all numbers of seconds without a text beside them, and of texts without a
/// number.
fn alone(path: &str, value: &Value, into: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            for (key, value) in fields {
                let other = key.strip_suffix("_seconds").map_or(format!("{key}_seconds"), str::to_owned);
                let is_text = value.as_str().is_some_and(|text| {
                    text.starts_with(|c: char| c.is_ascii_digit())
                        && ["ns", "us", "\u{b5}s", "ms", "s"].iter().any(|unit| text.ends_with(unit))
                });
                if is_text && !fields.contains_key(&other) {
                    into.push(format!("{path}.{key}"));
                }
                alone(&format!("{path}.{key}"), value, into);
            }
        }
        Value::Array(values) => values.iter().for_each(|value| alone(path, value, into)),
        _ => {}
    }
}

#[tokio::test(start_paused = true)]
async fn json_has_the_seconds_as_numbers_beside_the_texts() {
    let users = service(2, 0);
    for _ in 0..20 {
        let done = users.execute(async |_| {
            sleep(1_500 * MILLISECOND).await;
            Err::<(), _>("refused")
        });
        let _ = done.await;
    }
    let (stats, explained) = (users.stats(), users.explain());
    let stats = serde_json::to_value(&stats).expect("JSON");
    let explained = serde_json::to_value(&explained).expect("JSON");
    let mut without = Vec::new();
    alone("stats", &stats, &mut without);
    alone("explain", &explained, &mut without);
    assert_eq!(without, Vec::<String>::new());
    assert_eq!((&stats["uptime"], &stats["uptime_seconds"]), (&"30s".into(), &30.0.into()));
    let p50 = stats["latency"]["p50_seconds"].as_f64().expect("a number");
    assert!((p50 - 1.5).abs() < 0.03, "{p50}");
    let sum = stats["call_durations"]["sum_seconds"].as_f64().expect("a number");
    assert!((sum - 30.0).abs() < 0.6, "{sum}");
    assert_eq!(stats["call_durations"]["buckets"].as_array().map(Vec::len), Some(14));
    assert!(explained["endpoints"][0]["since_seconds"].is_number(), "{explained}");
    assert!(explained["endpoints"][0]["last_failure"]["ago_seconds"].is_number(), "{explained}");
}

#[test]
fn readings_never_decrease_while_threads_call() {
    let users = ServiceHandle::fixed("users", ["10.0.0.1:80", "10.0.0.2:80"]).expect("valid");
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        let callers: Vec<_> = (0..3)
            .map(|thread| {
                let users = &users;
                scope.spawn(move || {
                    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
                    runtime.expect("builds").block_on(async {
                        for call in 0..3_000_u32 {
                            let answered =
                                users.execute(async |attempt| match (call % 5, attempt.number()) {
                                    (0, 1) => Err(format!("a failure of {thread}")),
                                    _ => Ok(()),
                                });
                            let _ = answered.await;
                        }
                    });
                })
            })
            .collect();
        scope.spawn(|| {
            let mut before = users.stats();
            while !done.load(std::sync::atomic::Ordering::Relaxed) {
                let now = users.stats();
                grew("attempts", &before.attempt_durations, &now.attempt_durations);
                grew("calls", &before.call_durations, &now.call_durations);
                before = now;
            }
        });
        for caller in callers {
            caller.join().expect("no panic");
        }
        done.store(true, std::sync::atomic::Ordering::Relaxed);
    });
    let (total, counted) = (users.stats().total_requests, users.stats().call_durations.count());
    assert_eq!(total, 9_000);
    // Threads that do nothing else lose the most.
    assert!((1_500..=10_000).contains(&counted), "{counted}");
}
