//! The timer of an attempt, which outlives it.

use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::runtime::{Handle, Id};
use tokio::task::unconstrained;
use tokio::time::Sleep;

use crate::runtime::clock;

/// The most timers that a thread keeps.
const KEPT: usize = 32;

thread_local! {
    static SPARE: RefCell<Vec<Timer>> = const { RefCell::new(Vec::new()) };
}

/// A timer of the current runtime.
///
/// An attempt seldom needs its timer. tokio takes a lock to register one and to remove it, but moves a
/// registered one to a later time without; so a timer that has not expired is kept for a later attempt. Until
/// then it may wake the task that it was for, once. It holds the handle of its runtime until this thread ends or an
/// attempt waits here in another runtime.
pub(super) struct Timer {
    sleep: Pin<Box<Sleep>>,
    runtime: Id,
}

impl Timer {
    /// Creates a timer that expires after this time; `None` without a runtime with timers.
    pub(super) fn after(time: Duration) -> Option<Self> {
        let runtime = Handle::try_current().ok()?.id();
        let spare = SPARE.try_with(|spare| spare.borrow_mut().pop()).ok().flatten();
        let spare = spare.filter(|spare| spare.runtime == runtime).zip(clock::after(time));
        if let Some((mut spare, at)) = spare {
            spare.sleep.as_mut().reset(at);
            return Some(spare);
        }
        // tokio has no query for a runtime without timers, and panics instead.
        let sleep = catch_unwind(AssertUnwindSafe(|| tokio::time::sleep(time))).ok()?;
        Some(Self { sleep: Box::pin(sleep), runtime })
    }

    pub(super) fn poll(&mut self, context: &mut Context<'_>) -> Poll<()> {
        // A future that uses up the budget of its task must not keep the timer from expiring.
        pin!(unconstrained(self.sleep.as_mut())).poll(context)
    }

    /// Keeps the timer for a later attempt.
    pub(super) fn keep(self) {
        // Dropped at the end, if at all: its waker may drop a task, and this list is in use until then.
        let mut timer = Some(self);
        let _ = SPARE.try_with(|spare| {
            let mut spare = spare.borrow_mut();
            if spare.len() < KEPT {
                spare.extend(timer.take());
            }
        });
    }
}

/// Returns how many timers this thread keeps.
#[cfg(test)]
pub(super) fn kept() -> usize {
    SPARE.with_borrow(Vec::len)
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::*;

    /// Returns a timer that a task has waited for.
    async fn polled(time: Duration) -> Timer {
        let mut timer = Timer::after(time).expect("a runtime with timers");
        assert!(expires_after(&mut timer, Duration::ZERO).await.is_pending());
        timer
    }

    async fn expires_after(timer: &mut Timer, time: Duration) -> Poll<()> {
        tokio::time::advance(time).await;
        poll_fn(|context| Poll::Ready(timer.poll(context))).await
    }

    fn place(timer: &Timer) -> *const Sleep {
        &raw const *timer.sleep
    }

    const SECOND: Duration = Duration::from_secs(1);

    #[tokio::test(start_paused = true)]
    async fn a_kept_timer_expires_at_its_new_time() {
        for (kept_after, next) in [(SECOND * 6, SECOND * 10), (SECOND, SECOND * 2), (SECOND * 20, SECOND * 5)]
        {
            let timer = polled(SECOND * 10).await;
            let first = place(&timer);
            timer.keep();
            tokio::time::advance(kept_after).await;
            let mut again = Timer::after(next).expect("a runtime with timers");
            assert_eq!(place(&again), first, "no other one was made");
            assert!(expires_after(&mut again, next * 9 / 10).await.is_pending(), "{kept_after:?} {next:?}");
            assert!(expires_after(&mut again, next * 2 / 10).await.is_ready(), "{kept_after:?} {next:?}");
        }
    }

    #[test]
    fn a_timer_stays_in_its_runtime() {
        let runtime = || {
            tokio::runtime::Builder::new_current_thread()
                .enable_time()
                .start_paused(true)
                .build()
                .expect("a runtime")
        };
        let one = runtime();
        one.block_on(async { polled(SECOND).await.keep() });
        runtime().block_on(async {
            let mut other = polled(SECOND).await;
            assert!(kept() == 0, "that of another runtime is dropped");
            assert!(expires_after(&mut other, SECOND * 2).await.is_ready());
            other.keep();
        });
        // The runtime of the one that is kept has ended.
        one.block_on(async {
            assert!(expires_after(&mut polled(SECOND).await, SECOND * 2).await.is_ready());
        });
    }

    #[tokio::test(start_paused = true)]
    async fn a_thread_keeps_a_bounded_number() {
        let mut timers = Vec::new();
        for _ in 0..KEPT * 3 {
            timers.push(polled(SECOND).await);
        }
        timers.into_iter().for_each(Timer::keep);
        assert_eq!(kept(), KEPT);
    }

    #[tokio::test(start_paused = true)]
    async fn a_time_beyond_the_clock_does_not_overflow() {
        polled(SECOND).await.keep();
        assert!(expires_after(&mut polled(Duration::MAX).await, SECOND).await.is_pending());
    }

    #[test]
    fn without_a_runtime_with_timers_there_is_none() {
        assert!(Timer::after(SECOND).is_none());
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        runtime.block_on(async { assert!(Timer::after(SECOND).is_none()) });
    }
}
