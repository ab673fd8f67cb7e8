//! Faults inside the client, each with its number in the fault matrix.

use std::convert::Infallible;
use std::future::{Future, pending};
use std::panic::AssertUnwindSafe;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Waker};
use std::time::Duration;

use failover_core::config::{BackoffConfig, CircuitBreakerConfig, LoadBalancerConfig, RetryBudgetConfig};
use failover_core::{Clock, FailoverConfig, ManagerConfig, Outcome, ServiceHandle, StopReason, StrategyKind};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

fn service(config: FailoverConfig, endpoints: usize) -> ServiceHandle {
    ServiceHandle::builder("users")
        .endpoints((0..endpoints).map(|n| format!("10.0.0.{n}:80")))
        .config(config)
        .build()
        .expect("valid")
}

fn in_virtual_time(config: FailoverConfig, endpoints: usize) -> ServiceHandle {
    ServiceHandle::builder("users")
        .endpoints((0..endpoints).map(|n| format!("10.0.0.{n}:80")))
        .config(config)
        .clock(Clock::tokio())
        .build()
        .expect("valid")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn c2_operations_that_panic_reach_their_callers_and_harm_no_other_call() {
    let service = service(FailoverConfig::default(), 3);
    let mut calls = JoinSet::new();
    for n in 0..11_000 {
        let service = service.clone();
        calls.spawn(async move {
            service
                .execute(async |_| {
                    tokio::task::yield_now().await;
                    assert!(n % 11 != 0, "a bug in the operation");
                    Ok::<_, Infallible>(())
                })
                .await
                .is_ok()
        });
    }
    let (mut good, mut panicked) = (0, 0);
    while let Some(done) = calls.join_next().await {
        match done {
            Ok(true) => good += 1,
            Ok(false) => panic!("a call failed that had no reason to"),
            Err(error) => {
                let payload = error.into_panic();
                assert_eq!(payload.downcast_ref::<&str>(), Some(&"a bug in the operation"));
                panicked += 1;
            }
        }
    }
    assert_eq!((good, panicked), (10_000, 1_000));
    let stats = service.stats();
    assert_eq!((stats.in_flight, stats.successful_requests, stats.cancelled), (0, 10_000, 1_000));
    assert_eq!(stats.endpoints.iter().map(|endpoint| endpoint.failures).sum::<u64>(), 0);
}

#[tokio::test]
async fn c3_a_classifier_that_panics_leaves_nothing_behind() {
    let service = service(FailoverConfig::default(), 1);
    for _ in 0..10 {
        let call = service
            .call()
            .classify(|_: Result<&(), &Infallible>| -> Outcome { panic!("a bug in the classifier") });
        let mut future = Box::pin(call.execute(async |_| Ok::<_, Infallible>(())));
        let panicked = std::panic::catch_unwind(AssertUnwindSafe(|| {
            let _ = future.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        }));
        assert!(panicked.is_err(), "the panic reaches the caller");
    }
    assert_eq!(service.stats().in_flight, 0);
    service.execute(async |_| Ok::<_, Infallible>(())).await.expect("the next call is as any other");
}

#[tokio::test(start_paused = true)]
async fn c3_a_listener_that_never_reads_holds_up_no_call() {
    let config = FailoverConfig::builder().max_retries(1).build().expect("valid");
    let service = in_virtual_time(config, 10);
    let mut sleeper = service.subscribe();
    for n in 0..20_000_u32 {
        let done = service
            .execute(async |attempt| if n % 7 == 0 && attempt.number() == 1 { Err("once") } else { Ok(()) })
            .await;
        done.expect("the second attempt succeeds");
    }
    let mut heard = 0;
    while sleeper.try_recv().is_some() {
        heard += 1;
    }
    assert!(heard <= 256 && sleeper.missed() > 1_000, "{heard} heard, {} missed", sleeper.missed());
}

#[test]
fn c5_a_handle_is_used_and_dropped_outside_a_runtime_and_in_two_of_them() {
    let service = service(FailoverConfig::default(), 3);
    service.select().expect("no runtime is needed").finish(Outcome::Success);
    for _ in 0..2 {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.expect("a runtime");
        let (hanging, used) = (service.clone(), service.clone());
        runtime.spawn(async move {
            hanging.execute(async |_| pending::<Result<(), Infallible>>().await).await.is_ok()
        });
        runtime
            .block_on(used.execute(async |_| {
                sleep(Duration::from_millis(1)).await;
                Ok::<_, Infallible>(())
            }))
            .expect("succeeds");
        let begun = std::time::Instant::now();
        runtime.shutdown_timeout(Duration::from_secs(1));
        assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
        assert_eq!(service.stats().in_flight, 0, "what hung is cancelled");
    }
    let pick = service.select_owned().expect("available");
    drop(service);
    pick.finish(Outcome::Failure);
}

/// Decisions based on the wall clock would be wrong whenever it is set; only one place reads it,
/// for display.
#[test]
fn c6_nothing_but_the_clock_reads_a_clock() {
    fn scan(directory: &Path, found: &mut Vec<String>) {
        for entry in std::fs::read_dir(directory).expect("readable") {
            let path = entry.expect("readable").path();
            if path.is_dir() {
                scan(&path, found);
            } else if !path.ends_with("clock.rs") {
                let text = std::fs::read_to_string(&path).expect("text");
                // A file's tests are at its end.
                let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
                let is_test = path.components().any(|part| part.as_os_str() == "tests")
                    || path.file_name().is_some_and(|name| name == "tests.rs");
                if !is_test && (code.contains("SystemTime::now") || code.contains("Instant::now")) {
                    found.push(path.display().to_string());
                }
            }
        }
    }
    let mut found = Vec::new();
    scan(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut found);
    assert!(found.is_empty(), "{found:?}");
}

#[test]
fn c7_times_and_numbers_that_mean_nothing_are_refused_by_name() {
    const LONG: Duration = Duration::MAX;
    let breaker = CircuitBreakerConfig::builder;
    let refused: Vec<(&str, Result<(), failover_core::Error>)> = vec![
        ("timeout", FailoverConfig::builder().timeout(Duration::ZERO).build().map(drop)),
        ("timeout", FailoverConfig::builder().timeout(LONG).build().map(drop)),
        ("attempt_timeout", FailoverConfig::builder().attempt_timeout(Duration::ZERO).build().map(drop)),
        ("attempt_timeout", FailoverConfig::builder().attempt_timeout(LONG).build().map(drop)),
        ("max_retries", FailoverConfig::builder().max_retries(u32::MAX).build().map(drop)),
        ("retry_delay", FailoverConfig::builder().retry_delay(LONG).build().map(drop)),
        ("circuit_breaker.failure_threshold", breaker().failure_threshold(0).build().map(drop)),
        ("circuit_breaker.recovery_timeout", breaker().recovery_timeout(Duration::ZERO).build().map(drop)),
        ("circuit_breaker.recovery_timeout", breaker().recovery_timeout(LONG).build().map(drop)),
        ("circuit_breaker.half_open_max_calls", breaker().half_open_max_calls(0).build().map(drop)),
        ("circuit_breaker.success_threshold", breaker().success_threshold(0).build().map(drop)),
        ("circuit_breaker.jitter", breaker().jitter(f64::NAN).build().map(drop)),
        ("circuit_breaker.jitter", breaker().jitter(-0.1).build().map(drop)),
        ("backoff.multiplier", BackoffConfig::builder().multiplier(f64::NAN).build().map(drop)),
        ("backoff.multiplier", BackoffConfig::builder().multiplier(f64::INFINITY).build().map(drop)),
        ("backoff.max_delay", BackoffConfig::builder().max_delay(LONG).build().map(drop)),
        ("retry_budget.capacity", RetryBudgetConfig::builder().capacity(0).build().map(drop)),
        ("retry_attempts", ManagerConfig::builder().retry_attempts(0).build().map(drop)),
        ("poll_interval", ManagerConfig::builder().poll_interval(Duration::ZERO).build().map(drop)),
        ("keep_idle", ManagerConfig::builder().keep_idle(LONG).build().map(drop)),
    ];
    for (field, result) in refused {
        let error = result.expect_err(field).to_string();
        assert!(error.starts_with(&format!("{field}: ")), "{field}: {error}");
    }
    let most = LoadBalancerConfig::builder().build();
    most.expect("the defaults are allowed");
}

#[tokio::test(start_paused = true)]
async fn c7_a_deadline_without_an_end_and_one_of_nothing_are_what_they_say() {
    let service = in_virtual_time(FailoverConfig::default(), 2);
    let done = service.call().deadline(Duration::MAX).execute(async |_| Ok::<_, Infallible>(())).await;
    done.expect("there is time");
    let error = service.call().deadline(Duration::ZERO).execute(async |_| Ok::<(), Infallible>(())).await;
    let error = error.expect_err("there is none");
    assert!(error.attempts().is_empty(), "nothing was begun");
}

/// The two configurations differ in two values, so that a mixture would be noticed.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn c9_a_call_goes_by_one_configuration_while_it_is_swapped() {
    let config = |retries: u32, seconds: u64| {
        let builder = FailoverConfig::builder().max_retries(retries).retry_delay(Duration::ZERO);
        let budget = RetryBudgetConfig::builder().enabled(false).build().expect("valid");
        let breaker = CircuitBreakerConfig::builder().enabled(false).build().expect("valid");
        builder
            .timeout(Duration::from_secs(seconds))
            .attempt_timeout(Duration::from_secs(seconds))
            .retry_budget(budget)
            .circuit_breaker(breaker)
            .build()
            .expect("valid")
    };
    let (one, other) = (config(0, 100), config(3, 1_000));
    let service = service(one.clone(), 3);
    let swapped = Arc::new(AtomicU64::new(0));
    let swapper = {
        let (service, swapped) = (service.clone(), Arc::clone(&swapped));
        tokio::spawn(async move {
            loop {
                for config in [&other, &one] {
                    service.configure(config.clone()).expect("configures");
                    swapped.fetch_add(1, Ordering::Relaxed);
                    tokio::task::yield_now().await;
                }
            }
        })
    };
    let mut calls = JoinSet::new();
    for _ in 0..4 {
        let service = service.clone();
        calls.spawn(async move {
            for _ in 0..2_000 {
                let left = Mutex::new(Vec::new());
                let done = service
                    .execute(async |attempt| {
                        left.lock().expect("no panic").push(attempt.time_left().as_secs());
                        tokio::task::yield_now().await;
                        Err::<(), _>("always")
                    })
                    .await;
                assert!(done.is_err());
                let left = left.into_inner().expect("no panic");
                let all =
                    |seconds: std::ops::RangeInclusive<u64>| left.iter().all(|left| seconds.contains(left));
                let one = left.len() == 1 && all(90..=100);
                let other = left.len() == 4 && all(990..=1_000);
                assert!(one || other, "a mixture: {left:?}");
            }
        });
    }
    while let Some(done) = calls.join_next().await {
        done.expect("no panic");
    }
    swapper.abort();
    assert!(swapped.load(Ordering::Relaxed) > 10);
    assert_eq!(service.stats().in_flight, 0);
    assert_eq!(service.stats().total_requests, 8_000, "no call is lost");
}

#[tokio::test(start_paused = true)]
async fn c9_a_configuration_that_changes_nothing_tells_nothing_and_keeps_an_open_time() {
    let service = in_virtual_time(FailoverConfig::default(), 2);
    for _ in 0..5 {
        service.select().expect("available").finish(Outcome::Failure);
        service.select().expect("available").finish(Outcome::Success);
    }
    let emitted = service.events(usize::MAX).len();
    let before = service.stats().endpoints.iter().map(|e| e.availability).collect::<Vec<_>>();
    service.configure(FailoverConfig::default()).expect("configures");
    assert_eq!(service.stats().endpoints.iter().map(|e| e.availability).collect::<Vec<_>>(), before);
    assert_eq!(service.events(usize::MAX).len(), emitted, "no event is emitted");
    // A configuration with a change emits an event and keeps the breaker's state.
    let other = FailoverConfig::builder().max_retries(1).build().expect("valid");
    service.configure(other).expect("configures");
    assert_eq!(service.stats().endpoints.iter().map(|e| e.availability).collect::<Vec<_>>(), before);
    assert_eq!(service.events(usize::MAX).len(), emitted + 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn c10_ten_thousand_calls_at_once_are_spread_evenly_and_all_end() {
    let config = FailoverConfig::builder().strategy(StrategyKind::LeastConnections).build().expect("valid");
    let service = service(config, 10);
    let (gate, _) = tokio::sync::broadcast::channel::<()>(1);
    let begun = Arc::new(AtomicU64::new(0));
    let mut calls = JoinSet::new();
    for _ in 0..10_000 {
        let (service, mut gate, begun) = (service.clone(), gate.subscribe(), Arc::clone(&begun));
        calls.spawn(async move {
            let done = service.execute_once(async |_| {
                begun.fetch_add(1, Ordering::Relaxed);
                let _ = gate.recv().await;
                Ok::<_, Infallible>(())
            });
            done.await.is_ok()
        });
    }
    while begun.load(Ordering::Relaxed) < 10_000 {
        tokio::task::yield_now().await;
    }
    let stats = service.stats();
    assert_eq!(stats.in_flight, 10_000);
    let most = stats.endpoints.iter().map(|endpoint| endpoint.in_flight).max();
    assert!(most <= Some(2_000), "{most:?} of 1 000 each");
    drop(gate);
    while let Some(good) = calls.join_next().await {
        assert!(good.expect("no panic"));
    }
    let stats = service.stats();
    assert_eq!((stats.in_flight, stats.successful_requests), (0, 10_000));
}

#[tokio::test(start_paused = true)]
async fn c12_a_call_may_be_made_and_the_service_changed_inside_a_call() {
    let service = in_virtual_time(FailoverConfig::default(), 3);
    let done = service
        .execute(async |_| {
            let inner = service.execute(async |attempt| Ok::<_, Infallible>(attempt.port())).await;
            let pick = service.select().expect("available");
            let config = FailoverConfig::builder().max_retries(1).build().expect("valid");
            service.configure(config).expect("configures");
            assert!(service.stats().in_flight >= 2);
            assert!(!service.endpoints().is_empty() && service.explain().endpoints.len() == 3);
            pick.finish(Outcome::Success);
            inner.map(|done| done.value)
        })
        .await;
    assert_eq!(done.expect("succeeds").value, 80);
    assert_eq!((service.stats().in_flight, service.stats().total_requests), (0, 3));
}

#[tokio::test(start_paused = true)]
async fn c13_a_call_ends_at_its_deadline_though_no_attempt_ever_answers() {
    let config = FailoverConfig::builder()
        .timeout(Duration::from_secs(3))
        .attempt_timeout(Duration::from_millis(900))
        .max_retries(20)
        .build()
        .expect("valid");
    let service = in_virtual_time(config, 5);
    let given = Mutex::new(Vec::new());
    let begun = Instant::now();
    let done = service
        .execute(async |attempt| {
            given.lock().expect("no panic").push(attempt.time_left());
            pending::<Result<(), Infallible>>().await
        })
        .await;
    let took = begun.elapsed();
    assert!(took <= Duration::from_millis(3_005), "{took:?}");
    let error = done.expect_err("nothing answers");
    assert!(matches!(error.reason(), StopReason::Deadline), "{error}");
    let given = given.into_inner().expect("no panic");
    assert!((3..=4).contains(&given.len()), "{given:?}");
    assert!(given.iter().all(|left| !left.is_zero()), "no attempt begins without time: {given:?}");
    assert_eq!(service.stats().in_flight, 0);
}
