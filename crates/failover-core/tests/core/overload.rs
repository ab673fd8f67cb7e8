//! Retries while a service is overloaded: the gate, the budget, and what the caller learns.

use std::cell::{Cell, RefCell};
use std::time::Duration;

use failover_core::config::RetryBudgetConfigBuilder;
use failover_core::config::{CircuitBreakerConfig, CircuitBreakerConfigBuilder, RetryBudgetConfig};
use failover_core::{CallError, FailoverConfig, Outcome, ServiceHandle, StopReason};
use tokio::time::{advance, sleep};

use crate::bench::{as_said, ms, service};

/// A configuration without a wait between retries, and with a breaker that no failure opens.
fn config(
    budget: impl FnOnce(RetryBudgetConfigBuilder) -> RetryBudgetConfigBuilder,
    breaker: impl FnOnce(CircuitBreakerConfigBuilder) -> CircuitBreakerConfigBuilder,
) -> FailoverConfig {
    FailoverConfig::builder()
        .retry_delay(ms(0))
        .retry_budget(budget(RetryBudgetConfig::builder()).build().expect("valid"))
        .circuit_breaker(breaker(CircuitBreakerConfig::builder()).build().expect("valid"))
        .build()
        .expect("valid")
}

/// Makes a call whose attempts end as `ends` gives for the endpoint. Returns the ids of the endpoints
/// called, and the error.
async fn call(
    service: &ServiceHandle,
    ends: impl Fn(&str) -> Outcome,
) -> (Vec<String>, Option<CallError<Outcome>>) {
    let called = RefCell::new(Vec::new());
    let done = service.call().classify(as_said).execute(async |attempt| {
        called.borrow_mut().push(attempt.id().to_string());
        match ends(attempt.id().as_str()) {
            Outcome::Success => Ok(()),
            other => Err(other),
        }
    });
    let error = done.await.err();
    (called.into_inner(), error)
}

#[tokio::test(start_paused = true)]
async fn after_a_tenth_of_ambiguous_failures_only_hard_failures_are_retried() {
    for ambiguous in [Outcome::Timeout, Outcome::Overload(None)] {
        let service = service(config(|b| b, |b| b.failure_threshold(1_000)), &[10]);
        // Two calls with three attempts each are six failures, and 0.98^6 = 0.886.
        for _ in 0..2 {
            assert_eq!(call(&service, |_| ambiguous).await.0.len(), 3);
        }
        let (called, error) = call(&service, |_| ambiguous).await;
        let error = error.expect("it fails");
        assert_eq!(called.len(), 1, "{error}");
        assert!(matches!(error.reason(), StopReason::Gate), "{error}");
        assert_eq!(error.code(), "RETRY_GATE_CLOSED");
        let (called, error) = call(&service, |_| Outcome::Failure).await;
        assert_eq!((called.len(), error.expect("it fails").code()), (3, "RETRY_EXHAUSTED"));

        // A hundred successes and one failure: less than a tenth.
        for _ in 0..100 {
            call(&service, |_| Outcome::Success).await;
        }
        assert_eq!(call(&service, |_| ambiguous).await.0.len(), 3);
    }
}

#[tokio::test(start_paused = true)]
async fn a_share_of_one_disables_the_gate() {
    let service = service(config(|b| b.max_ambiguous(1.0), |b| b.failure_threshold(1_000)), &[10]);
    for _ in 0..30 {
        let (called, error) = call(&service, |_| Outcome::Timeout).await;
        assert_eq!((called.len(), error.expect("it fails").code()), (3, "RETRY_EXHAUSTED"));
    }
}

#[tokio::test(start_paused = true)]
async fn a_share_of_zero_retries_after_no_ambiguous_failure() {
    let service = service(config(|b| b.max_ambiguous(0.0), |b| b), &[10]);
    let (called, error) = call(&service, |_| Outcome::Timeout).await;
    assert_eq!((called.len(), error.expect("it fails").code()), (1, "RETRY_GATE_CLOSED"));
    assert_eq!(call(&service, |_| Outcome::NotSent).await.0.len(), 3);
}

#[tokio::test(start_paused = true)]
async fn an_empty_budget_has_a_code_of_its_own() {
    let service = service(config(|b| b.capacity(10).retry_cost(5), |b| b.failure_threshold(1_000)), &[10]);
    let (called, error) = call(&service, |_| Outcome::Failure).await;
    assert_eq!((called.len(), error.expect("it fails").code()), (3, "RETRY_EXHAUSTED"));
    let (called, error) = call(&service, |_| Outcome::Failure).await;
    let error = error.expect("it fails");
    assert!(matches!(error.reason(), StopReason::Budget), "{error}");
    assert_eq!((called.len(), error.code()), (1, "RETRY_BUDGET_EMPTY"));
}

#[tokio::test(start_paused = true)]
async fn a_retry_goes_to_the_standby_when_the_gate_of_its_own_tier_is_closed() {
    let service = service(config(|b| b, |b| b.failure_threshold(1_000)), &[10, 1]);
    let primaries_fail = |id: &str| if id == "e10" { Outcome::Success } else { Outcome::Timeout };
    let mut before = Vec::new();
    for _ in 0..3 {
        let (called, error) = call(&service, primaries_fail).await;
        assert!(error.is_none(), "the last retry goes to the standby");
        before.push(called.len());
    }
    assert_eq!(before, [3; 3], "two primaries, then the standby");
    for _ in 0..20 {
        let (called, error) = call(&service, primaries_fail).await;
        assert!(error.is_none());
        assert_eq!((called.len(), called[1].as_str()), (2, "e10"), "{called:?}");
    }
    // A hard failure is retried in its own tier.
    let (called, _) =
        call(&service, |id| if id == "e10" { Outcome::Success } else { Outcome::Failure }).await;
    assert_eq!(called.len(), 3, "{called:?}");
}

/// The last five hundred of many calls that fail: one call of `spacing` gets no answer in time at first,
/// the others take this long.
async fn stray_timeouts(service: &ServiceHandle, spacing: u32, answer: Duration) -> u32 {
    let mut failed = 0;
    for number in 0..2_000 {
        let lost = Cell::new(number % spacing == 0);
        let done = service.call().classify(as_said).execute(async |_| {
            let lost = lost.take();
            sleep(if lost { ms(1_000) } else { answer }).await;
            if lost { Err(Outcome::Timeout) } else { Ok(()) }
        });
        failed += u32::from(done.await.is_err() && number >= 1_500);
    }
    failed
}

#[tokio::test(start_paused = true)]
async fn timeouts_of_one_endpoint_after_the_other_end_retries_where_answers_are_slow() {
    let default = || config(|b| b, |b| b);
    for (config, spacing, answer, failed) in [
        // 4.8 % is less than the tenth that closes the gate where answers are quick.
        (default(), 21, 100, 0..=0),
        (default(), 21, 300, 23..=24),
        // Fewer than one of fifty are never too many.
        (default(), 71, 300, 0..=0),
        (config(|b| b.max_ambiguous(1.0), |b| b), 21, 300, 0..=0),
    ] {
        let config = config.to_builder().attempt_timeout(ms(1_000)).build().expect("valid");
        let service = service(config, &[10]);
        let found = stray_timeouts(&service, spacing, ms(answer)).await;
        assert!(failed.contains(&found), "1 of {spacing}, {answer} ms: {found} calls failed");
        let rules = service.explain().rules;
        assert_eq!((rules.slow_answers, rules.retry_gate_closed), (answer == 300, found > 0));
        assert_eq!(rules.to_string().contains("attempts while answers are slow"), found > 0, "{rules}");
    }
}

#[tokio::test(start_paused = true)]
async fn timeouts_of_an_endpoint_that_is_on_its_way_out_do_not_close_the_gate() {
    for class in [Outcome::Timeout, Outcome::Overload(None)] {
        let service = service(config(|b| b, |b| b), &[3]);
        let mut failed = 0;
        for _ in 0..1_000 {
            let ends = |id: &str| if id == "e1" { class } else { Outcome::Success };
            failed += usize::from(call(&service, ends).await.1.is_some());
            advance(ms(10)).await;
        }
        assert_eq!(failed, 0, "{class:?}");
    }
}

/// Twenty endpoints get a call each in 2 s. The gate counts the first overload answers of those that
/// answer nothing else, and takes them back at the second ones, if the tier has others that answer.
#[tokio::test(start_paused = true)]
async fn overload_answers_of_endpoints_that_answer_nothing_else_soon_let_retries_through() {
    let service = service(config(|b| b, |b| b), &[20]);
    let ends = |id: &str| {
        let half = id.trim_start_matches('e').parse::<u32>().expect("a number") > 10;
        if half { Outcome::Overload(None) } else { Outcome::Success }
    };
    let mut failed = Vec::new();
    for number in 0..200 {
        if call(&service, ends).await.1.is_some() {
            failed.push(number);
        }
        advance(ms(100)).await;
    }
    assert!(failed.len() < 15 && failed.iter().all(|number| *number < 45), "{failed:?}");
}

/// Picks until `e1` is picked, which answers with a request for a pause.
fn ask(service: &ServiceHandle, pause: Duration) {
    for _ in 0..1_000 {
        let pick = service.select().expect("available");
        if pick.endpoint().id().as_str() == "e1" {
            return pick.finish(Outcome::Overload(Some(pause)));
        }
        pick.finish(Outcome::Success);
    }
    panic!("e1 gets no call");
}

#[tokio::test(start_paused = true)]
async fn a_pause_that_one_caller_is_asked_for_is_kept_by_all_callers() {
    let service = service(FailoverConfig::default(), &[3]);
    ask(&service, ms(7_000));
    let other = service.clone();
    for _ in 0..69 {
        advance(ms(100)).await;
        for _ in 0..5 {
            assert_ne!(call(&other, |_| Outcome::Success).await.0, ["e1"]);
            let pick = service.select().expect("available");
            assert_ne!(pick.endpoint().id().as_str(), "e1");
            pick.finish(Outcome::Success);
        }
    }
    advance(ms(100)).await;
    assert_eq!(call(&other, |_| Outcome::Success).await.0, ["e1"]);
}
