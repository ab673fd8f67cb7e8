//! What a failed call keeps of the operation's replies and errors.

use super::*;

/// A body: neither `Sync`, nor `Clone`, nor `Debug`.
struct Body(Cell<u16>);

enum Step {
    Reply(u16),
    Fail(&'static str),
    Hang,
}

/// Makes a call whose attempts take these steps. Every reply counts as a failure.
async fn failing(steps: &[Step]) -> CallError<&'static str, Body> {
    let next = Cell::new(0);
    let result = service(4)
        .call()
        .max_retries(steps.len() as u32 - 1)
        .attempt_timeout(Duration::from_millis(100))
        .classify(|_: Result<&Body, &&str>| Outcome::Failure)
        .execute(async |_| {
            let step = &steps[next.get()];
            next.set(next.get() + 1);
            match step {
                Step::Reply(status) => Ok(Body(Cell::new(*status))),
                Step::Fail(why) => Err(*why),
                Step::Hang => pending().await,
            }
        })
        .await;
    result.err().expect("every attempt fails")
}

#[tokio::test(start_paused = true)]
async fn neither_a_timeout_nor_an_error_erases_the_last_reply() {
    for (steps, status, error) in [
        (vec![Step::Reply(500), Step::Hang], Some(500), None),
        (vec![Step::Reply(500), Step::Fail("refused"), Step::Hang], Some(500), Some("refused")),
        (vec![Step::Reply(500), Step::Reply(503), Step::Hang], Some(503), None),
        (vec![Step::Reply(503)], Some(503), None),
        (vec![Step::Hang, Step::Hang], None, None),
    ] {
        let mut call = failing(&steps).await;
        assert_eq!(call.last_error().copied(), error, "{call}");
        assert_eq!(call.last_reply().map(|body| body.0.get()), status, "{call}");
        assert_eq!(call.into_last_reply().map(|body| body.0.get()), status);
    }
}

#[tokio::test(start_paused = true)]
async fn neither_a_timeout_nor_a_reply_erases_the_last_error() {
    for steps in [
        vec![Step::Fail("certificate expired"), Step::Hang],
        vec![Step::Fail("certificate expired"), Step::Reply(500), Step::Hang],
        vec![Step::Fail("refused"), Step::Fail("certificate expired"), Step::Hang, Step::Hang],
    ] {
        let call = failing(&steps).await;
        assert_eq!(call.last_error(), Some(&"certificate expired"), "{call}");
        assert_eq!(call.into_last_error(), Some("certificate expired"));
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_is_an_error_keeps_the_reply_before_it() {
    let words: [Reply; 2] = [Ok("failure"), Err("rejected")];
    let call = answers(&service(2), true, &words).await.expect_err("rejected");
    assert!(matches!(call.reason(), StopReason::Rejected));
    assert_eq!(call.last_error(), Some(&"rejected"));
    assert_eq!(call.into_last_reply(), Some("failure"));
}

#[tokio::test(start_paused = true)]
async fn a_call_without_endpoints_after_a_reply_keeps_it() {
    let service = service_with(without_floor(true), 1);
    let mut failures = 0;
    let last = loop {
        let answer = answers(&service, true, &[Ok("failure"); 3]).await.expect_err("fails");
        failures += 1;
        if matches!(answer.reason(), StopReason::NoEndpoints(_)) && !answer.attempts().is_empty() {
            break answer;
        }
        assert!(failures < 10, "{answer}");
    };
    assert_eq!(last.into_last_reply(), Some("failure"));
}

#[test]
fn the_error_of_a_call_is_small_and_can_be_sent_whatever_it_keeps() {
    fn is_error<E: std::error::Error + Send + Sync + 'static>() {}
    is_error::<CallError<String, Body>>();
    assert_eq!(size_of::<CallError<[u8; 1000], [u8; 1000]>>(), size_of::<usize>());
}
