//! A stall of this process: timers that fire late prove nothing.

use std::convert::Infallible;
use std::future::pending;
use std::time::Duration;

use failover_core::events::EventKind;
use failover_core::{AttemptClass, FailoverConfig, ServiceHandle};
use tokio::sync::oneshot;
use tokio::task::{JoinSet, yield_now};
use tokio::time::{advance, sleep};

use crate::bench::{emitted, ms, out, service};

fn stalling(attempt: Duration, endpoints: usize) -> ServiceHandle {
    let config = FailoverConfig::builder().attempt_timeout(attempt).max_retries(0).build();
    service(config.expect("valid"), &[endpoints])
}

/// Starts 200 calls that are not answered, lets this process stall so that their timers fire `late`,
/// and returns the classes of their attempts.
async fn stall(service: &ServiceHandle, attempt: Duration, late: Duration) -> Vec<AttemptClass> {
    let mut calls = JoinSet::new();
    for _ in 0..200 {
        let service = service.clone();
        calls
            .spawn(async move { service.execute(async |_| pending::<Result<(), Infallible>>().await).await });
    }
    while service.stats().in_flight < 200 {
        yield_now().await;
    }
    advance(attempt + late).await;
    let ended = calls.join_all().await;
    ended.into_iter().map(|done| done.expect_err("no answer").attempts()[0].class).collect()
}

#[tokio::test(start_paused = true)]
async fn no_endpoint_goes_out_because_this_process_stalled_and_one_event_says_so() {
    for late in [5, 30] {
        let service = stalling(ms(1_000), 10);
        let classes = stall(&service, ms(1_000), Duration::from_secs(late)).await;
        assert_eq!(classes.len(), 200);
        assert!(classes.iter().all(|class| *class == AttemptClass::Local));
        let stats = service.stats();
        assert_eq!(stats.endpoints.iter().map(|endpoint| endpoint.opened).sum::<u64>(), 0);
        assert_eq!(stats.endpoints.iter().map(|endpoint| endpoint.failures).sum::<u64>(), 0);
        assert_eq!(emitted(&service, EventKind::ProcessStalled), 1, "{late} s");
        assert_eq!(emitted(&service, EventKind::Timeout), 0);
        // The next stall has an event of its own.
        stall(&service, ms(1_000), Duration::from_secs(late)).await;
        assert_eq!(emitted(&service, EventKind::ProcessStalled), 2);
    }
}

#[tokio::test(start_paused = true)]
async fn a_timer_is_late_after_a_quarter_of_the_attempt_and_250_milliseconds_at_least() {
    for (attempt, late, stalled) in
        [(100, 240, false), (100, 260, true), (4_000, 960, false), (4_000, 1_040, true)]
    {
        let service = stalling(ms(attempt), 10);
        let classes = stall(&service, ms(attempt), ms(late)).await;
        let expected = if stalled { AttemptClass::Local } else { AttemptClass::Timeout };
        assert!(classes.iter().all(|class| *class == expected), "{attempt} ms, {late} ms late");
        assert_eq!(out(&service).is_empty(), stalled, "{attempt} ms, {late} ms late");
        assert_eq!(emitted(&service, EventKind::ProcessStalled), usize::from(stalled));
    }
}

#[tokio::test(start_paused = true)]
async fn a_reply_that_waits_to_be_read_wins_over_the_late_timer() {
    let service = stalling(ms(1_000), 3);
    let call = tokio::spawn({
        let service = service.clone();
        async move {
            service
                .execute(async |_| {
                    // The reply passes through two tasks of the transport.
                    let (read, reads) = oneshot::channel();
                    let (parsed, parses) = oneshot::channel();
                    tokio::spawn(async move {
                        sleep(ms(900)).await;
                        read.send("reply").ok();
                    });
                    tokio::spawn(async move { parsed.send(reads.await).ok() });
                    parses.await.expect("sent")
                })
                .await
        }
    });
    yield_now().await;
    yield_now().await;
    advance(Duration::from_secs(30)).await;
    let done = call.await.expect("no panic").expect("the reply");
    assert_eq!(done.value, "reply");
    assert_eq!(done.attempts.last().class, AttemptClass::Success);
    assert_eq!(emitted(&service, EventKind::ProcessStalled), 1);
}
