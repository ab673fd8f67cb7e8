//! A future with a timeout, whose timer is armed only if the future has to wait.

use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::task::Poll;
use std::time::Duration;

use crate::runtime::clock::{Clock, Time};

/// The reason for a missing result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NoReply {
    /// The timeout has passed.
    Late,
    /// The timeout has passed, and this process noticed it much later: it was stopped or starved in
    /// between, so that the missing result proves nothing.
    Stalled,
    /// The operation waits, and there is no tokio runtime with timers to end the wait.
    NoRuntime,
}

/// The least time by which a timer must be late to show a stall.
const STALL: Duration = Duration::from_millis(250);
/// The number of turns that the runtime gets to read replies after a stall.
const TURNS: u32 = 4;

/// Polls once without a timer, because an operation that is ready at once must not pay for one (50
/// ns, or 150 ns on two threads, where timers share a lock).
pub(super) async fn timed<F: Future>(future: F, until: Time, clock: &Clock) -> Result<F::Output, NoReply> {
    let mut future = pin!(future);
    if let Poll::Ready(output) = poll_once(future.as_mut()).await {
        return Ok(output);
    }
    wait_for(future, until, clock).await
}

/// Waits for a future that was pending when this task polled it just now.
///
/// The future has the task's waker, and is polled again once that was woken: the first poll here only arms the
/// timer, because a request's future is a deep one.
async fn wait_for<F: Future>(
    mut future: Pin<&mut F>,
    until: Time,
    clock: &Clock,
) -> Result<F::Output, NoReply> {
    in_runtime()?;
    let mut just_polled = true;
    let again = poll_fn(|context| {
        if std::mem::take(&mut just_polled) {
            return Poll::Pending;
        }
        future.as_mut().poll(context)
    });
    let timeout = with_timer(|| tokio::time::timeout(until.since(clock.now()), again))?;
    timeout.await.map_err(|_| NoReply::Late)
}

/// Returns how late a timer may fire after an attempt of this length; one that fires later was held up
/// by a stall of this process.
pub(super) fn patience(lasts: Duration) -> Duration {
    STALL.max(lasts / 4)
}

/// Like [`timed`], for an attempt that may last this long. After a stall, replies that are waiting to
/// be read are read before the attempt is given up.
pub(super) async fn attempt<F: Future>(
    future: F,
    until: Time,
    lasts: Duration,
    clock: &Clock,
) -> Result<F::Output, NoReply> {
    let mut future = pin!(future);
    match poll_once(future.as_mut()).await {
        Poll::Ready(output) => Ok(output),
        Poll::Pending => rest(future, until, lasts, clock).await,
    }
}

/// Polls a future once.
#[inline]
pub(super) async fn poll_once<F: Future>(mut future: Pin<&mut F>) -> Poll<F::Output> {
    poll_fn(|context| Poll::Ready(future.as_mut().poll(context))).await
}

/// Like [`attempt`], for a future that has been polled.
pub(super) async fn rest<F: Future>(
    mut future: Pin<&mut F>,
    until: Time,
    lasts: Duration,
    clock: &Clock,
) -> Result<F::Output, NoReply> {
    match wait_for(future.as_mut(), until, clock).await {
        Err(NoReply::Late) if clock.now().since(until) > patience(lasts) => {}
        reply => return reply,
    }
    for _ in 0..TURNS {
        tokio::task::yield_now().await;
        if let Poll::Ready(output) = poll_once(future.as_mut()).await {
            return Ok(output);
        }
    }
    Err(NoReply::Stalled)
}

/// Waits for the duration.
pub(super) async fn wait(duration: Duration) -> Result<(), NoReply> {
    in_runtime()?;
    with_timer(|| tokio::time::sleep(duration))?.await;
    Ok(())
}

/// Creates a timer. tokio has no query for a runtime without timers, and panics instead.
fn with_timer<T>(create: impl FnOnce() -> T) -> Result<T, NoReply> {
    catch_unwind(AssertUnwindSafe(create)).map_err(|_| NoReply::NoRuntime)
}

fn in_runtime() -> Result<(), NoReply> {
    tokio::runtime::Handle::try_current().map(drop).map_err(|_| NoReply::NoRuntime)
}
