//! Calls with a condition of their own for a retry.

use super::*;
use crate::client::call::StopReason;

/// Makes a call that may be repeated until this many attempts have begun.
async fn repeatable(service: &ServiceHandle, until: u32, word: &'static str) -> CallError<&'static str, ()> {
    let begun = Arc::new(AtomicU32::new(0));
    let seen = Arc::clone(&begun);
    let reply = |_: Result<&(), &&'static str>| by_word(Err(&word));
    let call = service.call().classify(reply).retry_if(move || seen.load(Ordering::Relaxed) < until);
    let result = call
        .execute(async |_| {
            begun.fetch_add(1, Ordering::Relaxed);
            if word == "hangs" { pending().await } else { Err(word) }
        })
        .await;
    result.expect_err("all attempts fail")
}

#[tokio::test(start_paused = true)]
async fn a_call_that_cannot_be_repeated_ends_whatever_the_failure_was() {
    for word in ["failure", "overload", "not sent", "local", "timeout", "hangs"] {
        let service = service(3);
        let error = repeatable(&service, 1, word).await;
        assert_eq!(error.attempts().len(), 1, "{word}");
        assert!(matches!(error.reason(), StopReason::NotRepeatable), "{word}: {error}");
        assert!(error.to_string().ends_with("the request cannot be repeated"), "{error}");
        assert_eq!(service.stats().retried, 0, "no retry was paid for");
    }
    let error = repeatable(&service(3), 2, "failure").await;
    assert_eq!(error.attempts().len(), 2, "the condition is evaluated after each attempt");
    let error = repeatable(&service(3), 9, "failure").await;
    assert!(matches!(error.reason(), StopReason::MaxRetries { .. }), "{error}");
}
