//! A future with a timeout, whose timer is armed only if the future has to wait.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::task::Poll;
use std::time::Duration;

use crate::client::call::timer::Timer;
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
    wait_for(pin!(future), || until.since(clock.now()), clock).await
}

/// Waits for a future as long as `waits` says, which is asked once the future has to wait: an operation that is
/// ready at once must not pay for a timer.
#[allow(clippy::manual_async_fn, reason = "the future of an `async fn` has two places for each argument")]
fn wait_for<F: Future>(
    mut future: Pin<&mut F>,
    mut waits: impl FnMut() -> Duration,
    clock: &Clock,
) -> impl Future<Output = Result<F::Output, NoReply>> {
    async move {
        let mut timer: Option<Timer> = None;
        poll_fn(|context| {
            if let Poll::Ready(output) = future.as_mut().poll(context) {
                // A test in virtual time may wait until its runtime has no timer.
                if let Some(timer) = timer.take().filter(|_| clock.is_system()) {
                    timer.keep();
                }
                return Poll::Ready(Ok(output));
            }
            if timer.is_none() {
                timer = Some(Timer::after(waits()).ok_or(NoReply::NoRuntime)?);
            }
            timer.as_mut().expect("it was set just now").poll(context).map(|()| Err(NoReply::Late))
        })
        .await
    }
}

/// Returns how late a timer may fire after an attempt of this length; one that fires later was held up
/// by a stall of this process.
pub(super) fn patience(lasts: Duration) -> Duration {
    STALL.max(lasts / 4)
}

/// Like [`wait_for`], for an attempt that may last this long; `waits` says until when, and how long that is.
/// After a stall, replies that are waiting to be read are read before the attempt is given up.
#[allow(clippy::manual_async_fn, reason = "the future of an `async fn` has two places for each argument")]
pub(super) fn attempt<F: Future>(
    mut future: Pin<&mut F>,
    mut waits: impl FnMut() -> (Time, Duration),
    lasts: Duration,
    clock: &Clock,
) -> impl Future<Output = Result<F::Output, NoReply>> {
    async move {
        let mut until = Time::NEVER;
        let waits = || {
            let left;
            (until, left) = waits();
            left
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
    let mut timer = Timer::after(duration).ok_or(NoReply::NoRuntime)?;
    poll_fn(|context| timer.poll(context)).await;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::call::timer::kept;

    #[tokio::test(start_paused = true)]
    async fn in_virtual_time_no_timer_outlives_its_attempt() {
        for (clock, outlives) in [(Clock::tokio(), 0), (Clock::system(), 1)] {
            let until = clock.now() + Duration::from_secs(1);
            timed(tokio::task::yield_now(), until, &clock).await.expect("it waits once");
            assert_eq!(kept(), outlives, "{clock}");
        }
    }
}
