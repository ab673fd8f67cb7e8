//! The reasons of failed attempts, in records, errors, events and explanations.

use super::*;
use crate::contract::classify::Classified;

/// Classifies statuses, and names them.
fn by_status(reply: Result<&u16, &String>) -> Classified {
    match reply {
        Ok(status) => Classified::from_http_status(*status, None),
        Err(why) => (Outcome::NotSent, why.clone()).into(),
    }
}

/// Makes a call whose attempts answer these in turn.
async fn call(
    service: &ServiceHandle,
    replies: &[Result<u16, String>],
) -> Result<Completed<u16>, CallError<String, u16>> {
    let next = Cell::new(0);
    let call = service.call().max_retries(replies.len() as u32 - 1).classify(by_status);
    call.execute(async |_| {
        next.set(next.get() + 1);
        replies[next.get() - 1].clone()
    })
    .await
}

#[tokio::test(start_paused = true)]
async fn records_errors_and_events_say_why_an_attempt_failed() {
    let service = service(3);
    let error = call(&service, &[Ok(500), Err("connection refused".to_owned()), Ok(503)])
        .await
        .expect_err("all fail");
    let reasons: Vec<_> = error.attempts().iter().map(|attempt| attempt.reason()).collect();
    assert_eq!(reasons, [Some("500"), Some("connection refused"), Some("503")]);
    let text = error.to_string();
    for part in ["failure (500) after", "not_sent (connection refused) after", "overload (503) after"] {
        assert!(text.contains(part), "{text}");
    }
    let json = serde_json::to_value(error.to_error()).expect("serialises");
    assert_eq!(json["details"]["attempts"][1]["reason"], "connection refused");
    let events = service.events(usize::MAX);
    let failovers: Vec<_> = events.iter().filter(|event| event.kind == EventKind::Failover).collect();
    assert_eq!(failovers.len(), 2);
    assert!(failovers[0].reason.ends_with("failure (500) after 0s"), "{}", failovers[0].reason);
    assert_eq!(failovers[1].details["last_failure"], "connection refused");
}

#[tokio::test(start_paused = true)]
async fn the_reason_of_an_error_is_its_text_unless_a_classifier_gives_another() {
    let service = service(3);
    let call = service.execute(async |_| Err::<(), _>(std::io::Error::other("broken\npipe")));
    let done = call.await.expect_err("fails");
    assert!(done.attempts().iter().all(|attempt| attempt.reason() == Some("broken\\u{a}pipe")));
    let done = service.call().classify(|_: Result<&(), &&str>| Outcome::Failure);
    let done = done.execute(async |_| Err::<(), _>("down")).await.expect_err("fails");
    assert!(done.attempts().iter().all(|attempt| attempt.reason().is_none()), "{done}");
    let rejected = call_of(&service, 404).await.expect("a reply");
    assert_eq!(rejected.attempts.last().reason(), Some("404"));
    let succeeded = call_of(&service, 200).await.expect("a reply");
    assert_eq!(succeeded.attempts.last().reason(), None);
}

async fn call_of(service: &ServiceHandle, reply: u16) -> Result<Completed<u16>, CallError<String, u16>> {
    call(service, &[Ok(reply)]).await
}

#[tokio::test(start_paused = true)]
async fn an_endpoint_that_is_out_is_explained_with_its_last_reason() {
    let service = service_with(without_floor(true), 1);
    for _ in 0..5 {
        call_of(&service, 500).await.expect_err("fails");
    }
    tokio::time::advance(Duration::from_secs(1)).await;
    let explained = service.explain();
    let last = explained.endpoints[0].last_failure.as_ref().expect("it has failed");
    assert_eq!((last.class, last.reason.as_deref()), (AttemptClass::Failure, Some("500")));
    assert_eq!(last.ago, Duration::from_secs(1));
    let text = explained.to_string();
    assert!(text.contains("because circuit_open: too many failures (last: 500); next probe call"), "{text}");
    assert!(text.contains("last failure: failure (500) 1s ago"), "{text}");
    let opened = service.events(usize::MAX);
    let opened = opened.iter().find(|event| event.kind == EventKind::CircuitOpen).expect("emitted");
    assert_eq!(opened.details["last_failure"], "500");

    // A probe call that fails otherwise replaces the reason; a pick can give one as well.
    tokio::time::advance(Duration::from_secs(10)).await;
    let pick = service.select().expect("a probe call");
    pick.finish((Outcome::NotSent, "connection refused".to_owned()));
    let text = service.explain().to_string();
    assert!(text.contains("probe call failed (last: connection refused)"), "{text}");
    assert!(text.contains("last failure: not_sent (connection refused) 0s ago"), "{text}");
}

#[tokio::test(start_paused = true)]
async fn an_attempt_without_an_answer_is_the_last_failure_and_has_no_older_reason() {
    let service = service(1);
    call_of(&service, 500).await.expect_err("fails");
    let call = service.call().max_retries(0).attempt_timeout(Duration::from_millis(100));
    call.execute(async |_| pending::<Result<(), Infallible>>().await).await.expect_err("late");
    let last = service.explain().endpoints[0].last_failure.clone().expect("it has failed");
    assert_eq!((last.class, last.reason), (AttemptClass::Timeout, None));
}

#[test]
fn neither_a_cancelled_nor_a_local_attempt_is_a_failure_of_the_endpoint() {
    let service = service(1);
    drop(service.select());
    service.select().expect("available").finish((Outcome::Local, "no file descriptors".to_owned()));
    service.select().expect("available").finish((Outcome::Rejected, "404".to_owned()));
    assert!(service.explain().endpoints[0].last_failure.is_none());
}

#[test]
fn an_endpoint_that_takes_the_state_of_another_has_not_failed() {
    let service = ServiceHandle::builder("users").clock(Clock::system()).build().expect("valid");
    let engine = service.engine();
    let source = engine.add_source(Arc::from("registry"), 0);
    let publish = |id: &str| {
        let endpoint = crate::model::endpoint::Endpoint::builder(id, "users", "10.0.0.1", 80);
        let entry = crate::model::endpoint::EndpointEntry::new(endpoint.build().expect("valid"));
        engine.publish(source, vec![entry], true, Duration::ZERO);
    };
    publish("a");
    service.select().expect("available").finish((Outcome::Failure, "500".to_owned()));
    let state = engine.snapshot().slots[0].state;
    for id in ["b", "c"] {
        publish(id);
    }
    let snapshot = engine.snapshot();
    assert_eq!((snapshot.slots.len(), snapshot.slots[0].state), (1, state), "the state is used again");
    assert!(service.explain().endpoints[0].last_failure.is_none());
}
