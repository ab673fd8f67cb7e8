//! Calls that panic or are dropped.

use std::panic::AssertUnwindSafe;

use super::*;

#[tokio::test(start_paused = true)]
async fn a_panic_reaches_the_caller_and_leaves_nothing_behind() {
    let service = service(2);
    for early in [true, false] {
        let call = service.execute(async |_| -> Result<(), Infallible> {
            if !early {
                tokio::task::yield_now().await;
            }
            panic!("the caller's own")
        });
        let mut call = Box::pin(call);
        let caught = loop {
            let polled = std::panic::catch_unwind(AssertUnwindSafe(|| {
                call.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending()
            }));
            match polled {
                Ok(pending) => assert!(pending),
                Err(panic) => break panic,
            }
        };
        assert_eq!(caught.downcast_ref::<&str>(), Some(&"the caller's own"));
        drop(call);
        let stats = service.stats();
        assert_eq!((stats.in_flight, stats.total_requests), (0, 0));
    }
    for _ in 0..10_000 {
        answers(&service, true, &[Ok("yes")]).await.expect("others are not affected");
    }
}

/// Polls a call `limit` times and drops it; returns whether it completed before.
async fn dropped_after(service: &ServiceHandle, limit: usize) -> bool {
    let next = Cell::new(0);
    let mut call = Box::pin(service.call().execute(async |_| {
        next.set(next.get() + 1);
        polls(5).await;
        if next.get() == 3 { Ok(()) } else { Err("down") }
    }));
    for _ in 0..limit {
        let polled =
            std::future::poll_fn(|context| Poll::Ready(call.as_mut().poll(context).is_ready())).await;
        if polled {
            return true;
        }
        // Lets back-off and timers elapse.
        tokio::time::advance(Duration::from_millis(300)).await;
    }
    false
}

#[tokio::test(start_paused = true)]
async fn a_call_dropped_at_any_poll_leaves_nothing_behind() {
    let mut limit = 0;
    loop {
        let service = service(3);
        // Opens the breaker of one endpoint and waits for its open time, so that the call holds a
        // half-open permit as well.
        let victim = service.endpoints()[0].endpoint().id().clone();
        for _ in 0..15 {
            let pick = service.select().expect("available");
            let outcome = if *pick.endpoint().id() == victim { Outcome::Failure } else { Outcome::Success };
            pick.finish(outcome);
        }
        tokio::time::advance(Duration::from_secs(7)).await;
        let before = service.stats();
        let ended = dropped_after(&service, limit).await;
        let after = service.stats();
        assert_eq!(after.in_flight, 0, "dropped after {limit} polls");
        assert!(ended || after.total_requests == before.total_requests, "dropped after {limit} polls");
        // Tokens spent by earlier attempts of the same call stay spent: 5 for the retry that
        // failed.
        assert!(
            after.retry_tokens == 500 || after.retry_tokens == 495,
            "{} after {limit}",
            after.retry_tokens
        );
        if !ended {
            let permits = free_permits(&service, &victim);
            assert_eq!(permits, 3, "dropped after {limit} polls");
        }
        if ended {
            break;
        }
        limit += 1;
    }
    assert!(limit > 12, "every poll was tried: {limit}");
}
