//! How long an attempt may take, and what its timeout proves.

use std::convert::Infallible;
use std::future::pending;
use std::time::Duration;

use failover_core::config::{CircuitBreakerConfig, CircuitBreakerConfigBuilder};
use failover_core::{AttemptClass, FailoverConfig, Outcome, ServiceHandle};
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::bench::{exact, ms, out, service};

/// Makes a call to endpoints that answer after `latency`, except one that hangs.
async fn call(service: &ServiceHandle, deadline: Option<Duration>, latency: Duration, hangs: &str) -> bool {
    let call = match deadline {
        Some(deadline) => service.call().deadline(deadline),
        None => service.call(),
    };
    let done = call.execute(async |attempt| {
        if attempt.id().as_str() == hangs {
            return pending().await;
        }
        sleep(latency).await;
        Ok::<_, Infallible>(())
    });
    done.await.is_ok()
}

#[tokio::test(start_paused = true)]
async fn a_deadline_of_twice_the_latency_fails_no_call() {
    let config = || FailoverConfig::builder().circuit_breaker(exact());
    let timeout = config().timeout(ms(100)).build();
    for (name, config, deadline) in [
        ("default", config().build(), Some(ms(100))),
        ("attempt_timeout", config().attempt_timeout(ms(1_000)).build(), Some(ms(100))),
        ("timeout", timeout, None),
        ("one retry", config().max_retries(1).build(), Some(ms(90))),
    ] {
        let service = service(config.expect("valid"), &[3]);
        let mut failed = 0;
        for _ in 0..300 {
            failed += u32::from(!call(&service, deadline, ms(50), "").await);
        }
        assert_eq!((failed, out(&service)), (0, vec![]), "{name}");
        assert_eq!(service.stats().retried, 0, "{name}");
    }
}

/// The time that each attempt of a call that nobody answers gets, in milliseconds.
async fn attempts(service: &ServiceHandle, deadline: u64) -> Vec<u128> {
    let error = service
        .call()
        .deadline(ms(deadline))
        .execute(async |_| pending::<Result<(), Infallible>>().await)
        .await
        .expect_err("no answer");
    error.attempts().iter().map(|attempt| attempt.duration.as_millis()).collect()
}

#[tokio::test(start_paused = true)]
async fn a_configured_attempt_timeout_is_honoured_up_to_the_time_that_is_left() {
    let config = FailoverConfig::builder().attempt_timeout(ms(80)).circuit_breaker(exact());
    let service = service(config.build().expect("valid"), &[3]);
    assert_eq!(attempts(&service, 100).await, [80, 20]);
    assert_eq!(attempts(&service, 50).await, [50]);
}

#[tokio::test(start_paused = true)]
async fn a_derived_attempt_timeout_is_the_share_or_three_times_the_usual_latency() {
    let fresh = || service(FailoverConfig::default(), &[3]);
    let service = fresh();
    // The latency is unknown: a share of a second or more is kept, a shorter one is not.
    let unknown = attempts(&service, 30_000).await;
    assert_eq!(unknown[..2], [10_000; 2]);
    assert_eq!(attempts(&service, 300).await, [300]);
    let service = fresh();
    for _ in 0..200 {
        assert!(call(&service, None, ms(50), "").await);
    }
    sleep(ms(1_000)).await;
    // Three times 50 ms, and the share where that is more.
    let known = attempts(&service, 300).await;
    assert!((140..=160).contains(&known[0]), "{known:?}");
    assert_eq!(attempts(&service, 3_000).await[0], 1_000);
}

/// Makes 100 calls per second, of which some have a deadline.
async fn load(service: &ServiceHandle, calls: u32, hangs: &'static str, deadline: fn(u32) -> Option<u64>) {
    let mut running = JoinSet::new();
    for n in 0..calls {
        let service = service.clone();
        running.spawn(async move { call(&service, deadline(n).map(ms), ms(50), hangs).await });
        sleep(ms(10)).await;
    }
    running.join_all().await;
}

#[tokio::test(start_paused = true)]
async fn callers_with_too_little_time_open_no_breaker() {
    let service = service(FailoverConfig::default(), &[3]);
    // The first callers as well, before the latency is known.
    load(&service, 3_000, "", |n| (n < 50 || n % 10 < 3).then_some(30)).await;
    assert_eq!(service.stats().endpoints.iter().map(|endpoint| endpoint.opened).sum::<u64>(), 0);
    assert!(service.stats().failed_requests > 900, "their calls do time out");
}

#[tokio::test(start_paused = true)]
async fn a_hanging_endpoint_is_found_by_callers_with_a_deadline() {
    let service = service(FailoverConfig::default(), &[5]);
    load(&service, 300, "", |_| Some(200)).await;
    assert_eq!(out(&service), [] as [&str; 0]);
    load(&service, 300, "e1", |_| Some(200)).await;
    assert_eq!(out(&service), ["e1"]);
}

#[tokio::test(start_paused = true)]
async fn a_timer_of_the_transport_counts_like_the_engines() {
    let service = service(FailoverConfig::default(), &[3]);
    for _ in 0..30 {
        let done = service.call().classify(|reply: Result<&(), &()>| match reply {
            Ok(()) => Outcome::Success,
            Err(()) => Outcome::Timeout,
        });
        let done = done.execute(async |attempt| if attempt.id().as_str() == "e1" { Err(()) } else { Ok(()) });
        for attempt in done.await.expect("another one answers").attempts.iter() {
            let expected = if attempt.endpoint.id().as_str() == "e1" {
                AttemptClass::Timeout
            } else {
                AttemptClass::Success
            };
            assert_eq!(attempt.class, expected);
        }
    }
    assert_eq!(out(&service), ["e1"]);
}

#[test]
fn a_wait_for_probe_calls_shorter_than_an_attempt_is_refused() {
    let breaker = |wait| CircuitBreakerConfig::builder().half_open_max_wait(wait).build().expect("valid");
    let config =
        |wait| FailoverConfig::builder().attempt_timeout(ms(2_000)).circuit_breaker(breaker(wait)).build();
    let error = config(ms(1_999)).expect_err("too short").to_string();
    assert!(error.starts_with("circuit_breaker.half_open_max_wait: 1.999s"), "{error}");
    assert!(error.contains("at least the attempt_timeout, 2s"), "{error}");
    config(ms(2_000)).expect("long enough");
}

#[test]
fn a_window_of_the_failure_rate_that_has_no_use_is_refused() {
    let breaker = || CircuitBreakerConfig::builder();
    let config = |breaker: CircuitBreakerConfigBuilder| {
        FailoverConfig::builder().attempt_timeout(ms(2_000)).circuit_breaker(breaker.build()?).build()
    };
    config(breaker().failure_rate(0.5).failure_rate_window(ms(2_000))).expect("as long as an attempt");
    for (wrong, expected) in [
        (breaker().failure_rate(0.5).failure_rate_window(ms(1_999)), "failure_rate_window: 1.999s"),
        (breaker().failure_rate(0.5).failure_rate_window(Duration::MAX), "failure_rate_window: "),
        (breaker().failure_rate(0.0), "failure_rate: 0"),
        (breaker().failure_rate(50.0), "failure_rate: 50"),
        (breaker().failure_rate(f64::NAN), "failure_rate: NaN"),
        (breaker().failure_rate(0.5).failure_rate_attempts(0), "failure_rate_attempts: 0"),
    ] {
        let error = config(wrong).expect_err(expected).to_string();
        assert!(error.starts_with(&format!("circuit_breaker.{expected}")), "{error}");
    }
}

#[test]
fn failing_fast_with_an_explicit_floor_is_refused() {
    let config = |floor: Option<u32>| {
        let breaker = CircuitBreakerConfig::builder().min_available(floor).build().expect("valid");
        FailoverConfig::builder().fail_fast(true).circuit_breaker(breaker).build()
    };
    for floor in [None, Some(0)] {
        config(floor).expect("no floor");
    }
    let error = config(Some(1)).expect_err("a contradiction").to_string();
    assert!(error.starts_with("circuit_breaker.min_available: 1"), "{error}");
}
