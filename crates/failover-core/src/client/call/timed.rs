//! A future with a timeout, whose timer is armed only if the future has to wait.

use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::task::Poll;
use std::time::Duration;

use tokio::task::unconstrained;

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

/// Waits for a future up to a time.
pub(super) async fn timed<F: Future>(future: F, until: Time, clock: &Clock) -> Result<F::Output, NoReply> {
    wait_for(pin!(future), || until, clock).await
}

/// Waits for a future up to a time, for which `waits` is asked once the future has to wait: an operation that is
/// ready at once must not pay for a timer (50 ns, or 150 ns on two threads, where timers share a lock).
#[allow(clippy::manual_async_fn, reason = "the future of an `async fn` has two places for each argument")]
fn wait_for<F: Future>(
    mut future: Pin<&mut F>,
    mut waits: impl FnMut() -> Time,
    clock: &Clock,
) -> impl Future<Output = Result<F::Output, NoReply>> {
    async move {
        let mut timer = pin!(None);
        poll_fn(|context| {
            if let Poll::Ready(output) = future.as_mut().poll(context) {
                return Poll::Ready(Ok(output));
            }
            if timer.is_none() {
                let until = waits();
                in_runtime()?;
                // A future that uses up the budget of its task must not keep the timer from expiring.
                let sleep = with_timer(|| unconstrained(tokio::time::sleep(until.since(clock.now()))))?;
                timer.set(Some(sleep));
            }
            let timer = timer.as_mut().as_pin_mut().expect("it was set just now");
            timer.poll(context).map(|()| Err(NoReply::Late))
        })
        .await
    }
}

/// Returns how late a timer may fire after an attempt of this length; one that fires later was held up
/// by a stall of this process.
pub(super) fn patience(lasts: Duration) -> Duration {
    STALL.max(lasts / 4)
}

/// Like [`wait_for`], for an attempt that may last this long. After a stall, replies that are waiting to be read
/// are read before the attempt is given up.
#[allow(clippy::manual_async_fn, reason = "the future of an `async fn` has two places for each argument")]
pub(super) fn attempt<F: Future>(
    mut future: Pin<&mut F>,
    mut waits: impl FnMut() -> Time,
    lasts: Duration,
    clock: &Clock,
) -> impl Future<Output = Result<F::Output, NoReply>> {
    async move {
        let mut until = Time::NEVER;
        let waits = || {
            until = waits();
            until
        };
        match wait_for(future.as_mut(), waits, clock).await {
            Err(NoReply::Late) if clock.now().since(until) > patience(lasts) => {}
            reply => return reply,
        }
        for _ in 0..TURNS {
            tokio::task::yield_now().await;
            let polled = poll_fn(|context| Poll::Ready(future.as_mut().poll(context))).await;
            if let Poll::Ready(output) = polled {
                return Ok(output);
            }
        }
        Err(NoReply::Stalled)
    }
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
