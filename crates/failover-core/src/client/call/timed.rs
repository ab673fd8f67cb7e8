//! A future with a timeout, whose timer is armed only if the future has to wait.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use crate::runtime::clock::{Clock, Time};

/// The reason for a missing result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NoReply {
    /// The timeout has passed.
    Late,
    /// The operation waits, and there is no tokio runtime to end the wait.
    NoRuntime,
}

/// Polls once without a timer, because an operation that is ready at once must not pay for one (50
/// ns, or 150 ns on two threads, where timers share a lock).
pub(super) async fn timed<F: Future>(future: F, until: Time, clock: &Clock) -> Result<F::Output, NoReply> {
    let mut future = pin!(future);
    if let Poll::Ready(output) = poll_fn(|context| Poll::Ready(future.as_mut().poll(context))).await {
        return Ok(output);
    }
    in_runtime()?;
    tokio::time::timeout(until.since(clock.now()), future).await.map_err(|_| NoReply::Late)
}

/// Waits for the duration.
pub(super) async fn wait(duration: Duration) -> Result<(), NoReply> {
    in_runtime()?;
    tokio::time::sleep(duration).await;
    Ok(())
}

fn in_runtime() -> Result<(), NoReply> {
    tokio::runtime::Handle::try_current().map(drop).map_err(|_| NoReply::NoRuntime)
}
