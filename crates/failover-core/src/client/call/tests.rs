use std::cell::Cell;
use std::convert::Infallible;
use std::future::{Future, pending};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

mod condition;
mod dropped;
mod kept;
mod reasons;
mod rush;
mod waiting;

use super::*;
use crate::client::service::ServiceHandle;
use crate::config::{BackoffConfig, CircuitBreakerConfig, FailoverConfig, RetryBudgetConfig};
use crate::contract::classify::Outcome;
use crate::error::ErrorKind;
use crate::events::EventKind;
use crate::model::attempt_class::AttemptClass;
use crate::runtime::clock::Clock;
use crate::runtime::random::Random;

type Reply = Result<&'static str, &'static str>;

fn service_with(config: FailoverConfig, count: usize) -> ServiceHandle {
    ServiceHandle::builder("users")
        .endpoints((0..count).map(|n| format!("http://10.0.0.{n}:80")))
        .config(config)
        .clock(Clock::tokio())
        .random(Random::seeded(1))
        .build()
        .expect("valid")
}

fn service(count: usize) -> ServiceHandle {
    service_with(FailoverConfig::default(), count)
}

/// Classifies by the text of the reply.
fn by_word(reply: Result<&&'static str, &&'static str>) -> Outcome {
    match reply {
        Ok(&"rejected") | Err(&"rejected") => Outcome::Rejected,
        Ok(&"failure") => Outcome::Failure,
        Ok(_) => Outcome::Success,
        Err(&"overload") => Outcome::Overload(None),
        Err(&"busy") => Outcome::Overload(Some(Duration::from_secs(2))),
        Err(&"not sent") => Outcome::NotSent,
        Err(&"local") => Outcome::Local,
        Err(&"timeout") => Outcome::Timeout,
        Err(_) => Outcome::Failure,
    }
}

/// Makes a call whose attempts answer these words in turn.
async fn answers(
    service: &ServiceHandle,
    idempotent: bool,
    words: &[Reply],
) -> Result<Completed<&'static str>, CallError<&'static str, &'static str>> {
    let next = Cell::new(0);
    service
        .call()
        .idempotent(idempotent)
        .classify(by_word)
        .execute(async |_| {
            let word = words[next.get()];
            next.set(next.get() + 1);
            word
        })
        .await
}

#[tokio::test(start_paused = true)]
async fn a_call_may_bring_its_own_configuration() {
    let users = service_with(FailoverConfig::default(), 3);
    let own = FailoverConfig::builder()
        .strategy(crate::StrategyKind::IpHash)
        .max_retries(5)
        .timeout(Duration::from_secs(9))
        .build()
        .expect("valid");
    let begun = tokio::time::Instant::now();
    let hang = users
        .call()
        .config(&own)
        .execute(async |_| std::future::pending::<Result<(), Infallible>>().await)
        .await;
    let error = hang.expect_err("no endpoint answers");
    assert_eq!((error.attempts().len(), begun.elapsed()), (6, Duration::from_secs(9)));
    // Per-call options override its settings, in either order.
    for call in [users.call().max_retries(0).config(&own), users.call().config(&own).max_retries(0)] {
        assert_eq!(call.execute(async |_| Err::<(), _>("no")).await.expect_err("fails").attempts().len(), 1);
    }
    let users = service_with(FailoverConfig::default(), 3);
    // The algorithm applies to this call alone: the same key gets the same endpoint; other calls
    // continue in turn.
    let home = |call: crate::Call<'_, crate::OkIsSuccess>| {
        call.config(&own).key("session-42").select().expect("there are some").endpoint().id().clone()
    };
    let first = home(users.call());
    assert!((0..20).all(|_| home(users.call()) == first));
    let in_turn: std::collections::BTreeSet<_> =
        (0..3).map(|_| users.select().expect("there are some").endpoint().id().clone()).collect();
    assert_eq!(in_turn.len(), 3);
    assert_eq!(users.config().max_retries(), 2);
}

#[tokio::test(start_paused = true)]
async fn an_attempt_that_fails_is_made_elsewhere_at_once() {
    let service = service(3);
    let began = tokio::time::Instant::now();
    let done = answers(&service, true, &[Err("down"), Ok("yes")]).await.expect("the second attempt");
    assert_eq!(done.value, "yes");
    assert_eq!(done.attempts.len(), 2);
    assert_eq!(began.elapsed(), Duration::ZERO);
    let records: Vec<_> = done.attempts.iter().collect();
    assert_ne!(records[0].endpoint.id(), records[1].endpoint.id());
    assert_eq!((records[0].class, records[1].class), (AttemptClass::Failure, AttemptClass::Success));
    assert_eq!(records[1].endpoint.id(), done.endpoint.id());
    let stats = service.stats();
    assert_eq!(
        (stats.retried, stats.failovers, stats.failed_requests, stats.successful_requests),
        (1, 1, 0, 1)
    );
    let events = service.events(10);
    assert_eq!(events.iter().filter(|event| event.kind == EventKind::Failover).count(), 1, "{events:?}");
}

#[tokio::test(start_paused = true)]
async fn each_outcome_is_retried_or_not_as_its_table_says() {
    // Reply, attempts of an idempotent call, attempts of a call that is not, and whether the reply
    // counts against the endpoint.
    let table: [(Reply, usize, usize, bool); 9] = [
        (Err("down"), 3, 1, true),
        (Ok("failure"), 3, 1, true),
        (Err("overload"), 3, 1, true),
        (Err("not sent"), 3, 3, true),
        (Err("local"), 3, 1, false),
        (Err("timeout"), 3, 1, true),
        (Err("rejected"), 1, 1, false),
        (Ok("rejected"), 1, 1, false),
        (Ok("yes"), 1, 1, false),
    ];
    for (word, idempotent, not_idempotent, blamed) in table {
        for (may_repeat, expected) in [(true, idempotent), (false, not_idempotent)] {
            let service = service(3);
            let attempts = match answers(&service, may_repeat, &[word; 4]).await {
                Ok(done) => done.attempts.len(),
                Err(error) => error.attempts().len(),
            };
            assert_eq!(attempts, expected, "{word:?}, idempotent: {may_repeat}");
            let failures: u64 = service.stats().endpoints.iter().map(|endpoint| endpoint.failures).sum();
            assert_eq!(failures > 0, blamed, "{word:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_timeout_of_the_transport_counts_as_one_of_the_engine() {
    let service = service(3);
    let error = answers(&service, true, &[Err("timeout"); 3]).await.expect_err("all time out");
    assert!(error.attempts().iter().all(|attempt| attempt.class == AttemptClass::Timeout), "{error}");
    assert_eq!(error.last_error(), Some(&"timeout"), "the transport's own error is kept");
    let stats = service.stats();
    let timeouts: u64 = stats.endpoints.iter().map(|endpoint| endpoint.timeouts).sum();
    assert_eq!(timeouts, 3);
    let events = service.events(usize::MAX);
    assert!(events.iter().any(|event| event.kind == EventKind::Timeout), "{events:?}");
}

#[tokio::test(start_paused = true)]
async fn a_rejected_reply_is_a_reply_and_a_rejected_error_is_an_error() {
    let service = service(2);
    let done = answers(&service, true, &[Ok("rejected")]).await.expect("a reply");
    assert_eq!(done.attempts.last().class, AttemptClass::Rejected);
    let error = answers(&service, true, &[Err("rejected")]).await.expect_err("an error");
    assert!(matches!(error.reason(), StopReason::Rejected));
    assert_eq!((error.last_error(), error.kind()), (Some(&"rejected"), ErrorKind::Validation));
    let stats = service.stats();
    assert_eq!((stats.rejected_requests, stats.failed_requests, stats.total_requests), (2, 0, 2));
}

#[tokio::test(start_paused = true)]
async fn the_error_names_every_attempt_and_why_there_was_no_further_one() {
    let service = service(3);
    let error = answers(&service, true, &[Err("one"), Err("two"), Err("three")]).await.expect_err("all fail");
    assert_eq!(error.last_error(), Some(&"three"));
    assert_eq!(error.kind(), ErrorKind::RetryExhausted);
    let text = error.to_string();
    assert!(text.starts_with("users: 3 attempts failed (10.0.0."), "{text}");
    assert!(text.ends_with("max_retries is 2"), "{text}");
    let json = serde_json::to_value(error.to_error()).expect("serialises");
    assert_eq!((&json["type"], &json["code"]), (&"retry_exhausted".into(), &"RETRY_EXHAUSTED".into()));
    let details = &json["details"];
    assert_eq!(details["stopped"], serde_json::json!({"kind": "max_retries", "max_retries": 2}));
    assert_eq!(details["attempts"][2]["class"], "failure");
    let ids: std::collections::HashSet<_> =
        error.attempts().iter().map(|a| a.endpoint.id().clone()).collect();
    assert_eq!(ids.len(), 3);
    assert_eq!(service.stats().failed_requests, 1);
}

#[tokio::test(start_paused = true)]
async fn later_retries_back_off_and_so_does_the_first_with_nowhere_else_to_go() {
    for (count, waits) in [(3, 1), (1, 2)] {
        let backoff = BackoffConfig::builder().max_delay(Duration::from_secs(2)).build().expect("valid");
        let config = FailoverConfig::builder()
            .retry_delay(Duration::from_secs(1))
            .backoff(backoff)
            .build()
            .expect("valid");
        let service = service_with(config, count);
        let began = tokio::time::Instant::now();
        answers(&service, true, &[Err("down"); 3]).await.expect_err("all fail");
        let limit = if waits == 1 { Duration::from_secs(1) } else { Duration::from_secs(3) };
        assert!(began.elapsed() > Duration::ZERO && began.elapsed() <= limit, "{:?}", began.elapsed());
    }
}

#[tokio::test(start_paused = true)]
async fn the_only_endpoint_is_given_the_time_it_asked_for() {
    let service = service(1);
    let began = tokio::time::Instant::now();
    answers(&service, true, &[Err("busy"), Ok("yes")]).await.expect("the second attempt");
    assert_eq!(began.elapsed(), Duration::from_secs(2));
}

#[tokio::test(start_paused = true)]
async fn an_attempt_that_hangs_ends_in_time_and_the_call_goes_elsewhere() {
    let service = service(3);
    let hanging = AtomicU32::new(1);
    let began = tokio::time::Instant::now();
    let done = service
        .call()
        .attempt_timeout(Duration::from_millis(250))
        .execute(async |attempt| {
            assert_eq!(attempt.time_left(), Duration::from_millis(250));
            if hanging.fetch_sub(1, Ordering::Relaxed) == 1 {
                pending::<()>().await;
            }
            Ok::<_, Infallible>(attempt.number())
        })
        .await
        .expect("the second attempt");
    assert_eq!(done.value, 2);
    assert!(began.elapsed().as_millis().abs_diff(250) <= 1, "{:?}", began.elapsed());
    assert_eq!(done.attempts.iter().next().map(|record| record.class), Some(AttemptClass::Timeout));
}

#[tokio::test(start_paused = true)]
async fn a_call_ends_at_its_deadline_whatever_the_operation_does() {
    for (deadline, attempts) in [(Duration::from_millis(800), 3), (Duration::from_millis(1), 3)] {
        let service = service(4);
        let began = tokio::time::Instant::now();
        let error = service
            .call()
            .deadline(deadline)
            .execute(async |_| pending::<Result<(), Infallible>>().await)
            .await
            .expect_err("never ready");
        assert!(began.elapsed() <= deadline + Duration::from_millis(5), "{:?}", began.elapsed());
        assert!(error.attempts().len() <= attempts);
        assert!(error.last_error().is_none());
    }
}

#[tokio::test(start_paused = true)]
async fn no_attempt_begins_that_the_deadline_leaves_no_time_for() {
    let config = FailoverConfig::builder().retry_delay(Duration::from_secs(60)).build().expect("valid");
    let service = service_with(config, 1);
    let began = tokio::time::Instant::now();
    let error = service
        .call()
        .deadline(Duration::from_millis(10))
        .execute(async |_| Err::<(), _>("down"))
        .await
        .expect_err("no time");
    assert!(matches!(error.reason(), StopReason::Deadline), "{error}");
    assert_eq!(error.kind(), ErrorKind::Timeout);
    assert_eq!(began.elapsed(), Duration::ZERO, "it does not wait for what cannot be");
}

#[tokio::test(start_paused = true)]
async fn retries_end_when_the_budget_is_empty_and_successes_fill_it() {
    let budget = RetryBudgetConfig::builder().capacity(10).build().expect("valid");
    let breaker = CircuitBreakerConfig::builder().enabled(false).build().expect("valid");
    let config =
        FailoverConfig::builder().retry_budget(budget).circuit_breaker(breaker).build().expect("valid");
    let service = service_with(config, 3);
    let error = answers(&service, true, &[Err("down"); 3]).await.expect_err("both retries are paid for");
    assert!(matches!(error.reason(), StopReason::MaxRetries { .. }));
    let error = answers(&service, true, &[Err("down"); 3]).await.expect_err("nothing is left");
    assert!(matches!(error.reason(), StopReason::Budget), "{error}");
    assert_eq!(error.attempts().len(), 1);
    for _ in 0..5 {
        answers(&service, true, &[Ok("yes")]).await.expect("succeeds");
    }
    assert_eq!(service.stats().retry_tokens, 5);
    answers(&service, true, &[Err("down"), Ok("yes")]).await.expect("one retry is paid for");
    assert_eq!(service.stats().retry_tokens, 5, "one that succeeds gives it back");
}

#[tokio::test(start_paused = true)]
async fn an_operation_that_is_given_once_runs_once() {
    let service = service(3);
    let owned = String::from("given away");
    let done = service.execute_once(async move |_| Ok::<_, Infallible>(owned)).await.expect("succeeds");
    assert_eq!(done.value, "given away");
    let error = service.execute_once(async move |_| Err::<(), _>("down")).await.expect_err("one attempt");
    assert_eq!(error.attempts().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn without_an_endpoint_a_call_fails_at_once_with_the_reason_or_waits_up_to_its_deadline() {
    let service = ServiceHandle::builder("users").clock(Clock::tokio()).build().expect("valid");
    let error = service.execute(async |_| Ok::<_, Infallible>(())).await.expect_err("none");
    assert_eq!((error.kind(), error.code()), (ErrorKind::NoEndpoints, "NO_ENDPOINTS"));
    assert!(error.to_string().contains("no endpoint is registered"), "{error}");
    let began = tokio::time::Instant::now();
    let call = service.call().wait_ready(true).deadline(Duration::from_secs(3));
    let error = call.execute(async |_| Ok::<_, Infallible>(())).await.expect_err("none in time");
    assert_eq!(error.kind(), ErrorKind::NoEndpoints);
    assert!(began.elapsed().as_secs_f64() - 3.0 < 0.005, "{:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_call_that_waits_goes_on_as_soon_as_there_is_an_endpoint() {
    let service = ServiceHandle::builder("users").clock(Clock::tokio()).build().expect("valid");
    let engine = service.engine();
    let source = engine.add_source(Arc::from("late"), 0);
    let mut call = pin!(service.call().wait_ready(true).execute(async |_| Ok::<_, Infallible>("yes")));
    assert!(call.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
    let endpoint =
        crate::model::endpoint::Endpoint::builder("a", "users", "10.0.0.1", 80).build().expect("valid");
    engine.publish(source, vec![crate::model::endpoint::EndpointEntry::new(endpoint)], false, Duration::ZERO);
    assert_eq!(call.await.expect("there is one now").value, "yes");
}

#[test]
fn outside_a_runtime_what_is_ready_works_and_what_waits_is_a_typed_error() {
    let service = ServiceHandle::fixed("users", ["10.0.0.1:80"]).expect("valid");
    let mut context = Context::from_waker(Waker::noop());
    let mut ready = pin!(service.execute(async |_| Ok::<_, Infallible>("yes")));
    let Poll::Ready(done) = ready.as_mut().poll(&mut context) else { panic!("nothing to wait for") };
    assert_eq!(done.expect("succeeds").value, "yes");
    let mut waits = pin!(service.execute(async |_| pending::<Result<(), Infallible>>().await));
    let Poll::Ready(result) = waits.as_mut().poll(&mut context) else { panic!("it cannot wait") };
    let error = result.expect_err("no timer");
    assert!(matches!(error.reason(), StopReason::NoRuntime));
    assert_eq!(error.code(), "NO_RUNTIME");
    assert_eq!(service.stats().in_flight, 0);
}

#[test]
fn in_a_runtime_without_timers_what_waits_is_a_typed_error() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let service = ServiceHandle::fixed("users", ["10.0.0.1:80"]).expect("valid");
    runtime.block_on(async {
        service.execute(async |_| Ok::<_, String>("yes")).await.expect("what is ready needs no timer");
        let waits = service.execute(async |_| pending::<Result<(), String>>().await).await;
        assert_eq!(waits.expect_err("no timer").code(), "NO_RUNTIME");
    });
    assert_eq!(service.stats().in_flight, 0);
}

fn without_floor(fail_fast: bool) -> FailoverConfig {
    let breaker = CircuitBreakerConfig::builder().min_available(0).jitter(0.0).build().expect("valid");
    FailoverConfig::builder().circuit_breaker(breaker).fail_fast(fail_fast).build().expect("valid")
}

fn break_all(service: &ServiceHandle) {
    while let Ok(pick) = service.select() {
        pick.finish(Outcome::Failure);
        if service
            .stats()
            .endpoints
            .iter()
            .all(|endpoint| endpoint.breaker != crate::inspect::BreakerState::Closed)
        {
            return;
        }
    }
}

/// Resolves after `count` polls, waking itself at once.
async fn polls(count: u32) {
    for _ in 0..count {
        tokio::task::yield_now().await;
    }
}

/// Returns the number of free half-open permits, unless the breaker is open again.
fn free_permits(service: &ServiceHandle, id: &crate::model::endpoint::EndpointId) -> usize {
    let view = service.engine().view();
    let of = view.endpoints().find(|of| of.slot.endpoint.id() == id).expect("is there");
    match of.breaker.phase {
        crate::engine::breaker::Phase::HalfOpen { calls, .. } => 3 - calls as usize,
        _ => 3,
    }
}

#[tokio::test]
async fn ten_thousand_calls_at_once_leave_the_counts_exact() {
    let service = ServiceHandle::fixed("users", (0..10).map(|n| format!("10.0.0.{n}:80"))).expect("valid");
    let tasks: Vec<_> = (0..10_000)
        .map(|n| {
            let service = service.clone();
            tokio::spawn(async move {
                service
                    .execute(async |_| {
                        polls(3).await;
                        if n % 100 == 0 { Err("down") } else { Ok(()) }
                    })
                    .await
                    .is_ok()
            })
        })
        .collect();
    let mut succeeded = 0;
    for task in tasks {
        succeeded += u64::from(task.await.expect("no panic"));
    }
    let stats = service.stats();
    assert_eq!((stats.in_flight, stats.total_requests), (0, 10_000));
    assert_eq!((stats.successful_requests, stats.failed_requests), (succeeded, 100));
}

#[tokio::test(start_paused = true)]
async fn what_the_classifier_calls_a_success_is_an_answer_even_if_it_is_an_error() {
    let service = service(3);
    let call = service.call().classify(|_: Result<&(), &&str>| Outcome::Success);
    let error =
        call.execute(async |_| Err::<(), _>("not found, which is fine")).await.expect_err("its own error");
    assert!(matches!(error.reason(), StopReason::Answered), "{error}");
    assert_eq!((error.code(), error.attempts().len()), ("ANSWERED", 1));
    let stats = service.stats();
    assert_eq!((stats.total_requests, stats.successful_requests, stats.failed_requests), (1, 1, 0));
}

#[tokio::test(start_paused = true)]
async fn every_opening_of_a_breaker_is_counted_and_emitted() {
    let service = service_with(without_floor(true), 1);
    break_all(&service);
    for _ in 0..3 {
        tokio::time::advance(Duration::from_secs(61)).await;
        service.select().expect("a probe call").finish(Outcome::Failure);
    }
    let events = service.events(usize::MAX);
    let opened = events.iter().filter(|event| event.kind == EventKind::CircuitOpen).count() as u64;
    assert_eq!((service.stats().endpoints[0].opened, opened), (4, 4));
}

#[test]
fn a_call_that_never_waits_lets_others_run_between_its_attempts() {
    let backoff = BackoffConfig::builder().max_delay(Duration::ZERO).build().expect("valid");
    let budget = RetryBudgetConfig::builder().enabled(false).build().expect("valid");
    let config = FailoverConfig::builder().retry_delay(Duration::ZERO).backoff(backoff).retry_budget(budget);
    let service = ServiceHandle::builder("users").endpoint("10.0.0.1:80");
    let service = service.config(config.build().expect("valid")).build().expect("valid");
    let attempts = Cell::new(0);
    let mut call = pin!(service.call().max_retries(u32::MAX).execute(async |_| {
        attempts.set(attempts.get() + 1);
        Err::<(), _>("down")
    }));
    let mut polls = 0;
    while call.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending() {
        polls += 1;
    }
    assert_eq!(attempts.get(), 21, "no call has more than 20 retries");
    assert_eq!(polls, 20, "others had a turn before each retry");
}

#[tokio::test(start_paused = true)]
async fn an_attempt_has_its_share_of_the_time_unless_it_is_given_another() {
    let seconds = Duration::from_secs;
    let given = FailoverConfig::builder().attempt_timeout(seconds(2)).build().expect("valid");
    let (shared, given) = (service(3), service_with(given, 3));
    let left = async |call: Call<'_, crate::OkIsSuccess>| {
        call.execute(async |attempt| Ok::<_, Infallible>(attempt.time_left())).await.expect("succeeds").value
    };
    for (call, expected) in [
        (shared.call(), seconds(10)),
        (shared.call().max_retries(0), seconds(30)),
        (shared.call().deadline(seconds(6)), seconds(2)),
        (shared.call().deadline(seconds(6)).attempt_timeout(seconds(5)), seconds(5)),
        (shared.call().deadline(seconds(6)).attempt_timeout(seconds(60)), seconds(6)),
        (given.call(), seconds(2)),
        (given.call().deadline(seconds(3)), seconds(2)),
        (given.call().deadline(seconds(1)), seconds(1)),
        // The share is short, and the service has answered too few calls to say how long it takes.
        (shared.call().deadline(seconds(2)), seconds(2)),
        (given.call().deadline(seconds(60)), seconds(2)),
    ] {
        let shown = format!("{call:?}");
        assert_eq!(left(call).await, expected, "{shown}");
    }
    let once = shared.execute_once(async |attempt: Attempt| Ok::<_, Infallible>(attempt.time_left()));
    assert_eq!(once.await.expect("succeeds").value, seconds(30), "the only attempt has all of it");
}
