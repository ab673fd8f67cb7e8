//! An endpoint in the caller's hands, for who owns its transport.

use std::ops::Deref;
use std::sync::atomic::Ordering;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use crate::cell::Verdict;
use crate::clock::Time;
use crate::endpoint::Endpoint;
use crate::engine::{Choice, Engine};
use crate::outcome::Outcome;

/// A choice that ends in any case: reported, or cancelled when it is dropped.
#[derive(Debug)]
pub(crate) struct Held<E: Deref<Target = Engine>> {
    engine: E,
    choice: Option<Choice>,
}

impl<E: Deref<Target = Engine>> Held<E> {
    pub(crate) fn new(engine: E, choice: Choice) -> Self {
        Self { engine, choice: Some(choice) }
    }

    pub(crate) fn endpoint(&self) -> Arc<Endpoint> {
        self.engine.slab.cell(self.cell()).endpoint()
    }

    pub(crate) fn cell(&self) -> u32 {
        self.choice.as_ref().expect("a choice is taken only by what consumes it").cell()
    }

    /// Ends the attempt and says how long it took.
    #[inline]
    pub(crate) fn end(mut self, verdict: Verdict) -> Duration {
        Duration::from_nanos(self.report(verdict))
    }

    #[inline]
    fn report(&mut self, verdict: Verdict) -> u64 {
        self.choice.take().map_or(0, |choice| self.engine.report(choice, verdict))
    }

    /// When the attempt began.
    pub(crate) fn began(&self) -> Time {
        self.choice.as_ref().map_or(Time::NEVER, Choice::began)
    }

    pub(crate) fn tell_moved(&mut self) {
        if let Some(choice) = &mut self.choice {
            self.engine.tell_moved(choice);
        }
    }

    /// Ends a call that is a single attempt.
    #[inline]
    fn finish(mut self, outcome: Outcome) {
        let verdict = Verdict::from(outcome);
        if let Outcome::Overload(Some(pause)) = outcome {
            self.engine.charge(self.cell(), pause);
        }
        match verdict {
            Verdict::Success => self.engine.budget.deposit(|| self.engine.call_policy().budget),
            Verdict::Rejected => {}
            _ => {
                self.engine.calls.failed.fetch_add(1, Ordering::Relaxed);
            }
        }
        self.report(verdict);
    }
}

impl<E: Deref<Target = Engine>> Drop for Held<E> {
    fn drop(&mut self) {
        if let Some(choice) = self.choice.take() {
            self.engine.cancel(choice);
        }
    }
}

/// An endpoint for one call, in flight until it is finished or dropped.
///
/// It borrows the handle, so that picking writes no count that all threads share; use
/// [`select_owned`](crate::ServiceHandle::select_owned) to move it elsewhere. Dropped without
/// [`finish`](Self::finish), the call counts as cancelled: neither success nor failure.
#[derive(Debug)]
#[must_use = "dropped at once, the pick is a cancelled call"]
pub struct Pick<'a> {
    held: Held<&'a Engine>,
    endpoint: OnceLock<Arc<Endpoint>>,
}

/// As [`Pick`], free of the handle that it came from.
#[derive(Debug)]
#[must_use = "dropped at once, the pick is a cancelled call"]
pub struct OwnedPick {
    held: Held<Arc<Engine>>,
    endpoint: OnceLock<Arc<Endpoint>>,
}

impl<'a> Pick<'a> {
    #[inline]
    pub(crate) fn new(engine: &'a Engine, choice: Choice) -> Self {
        Self { held: Held::new(engine, choice), endpoint: OnceLock::new() }
    }

    /// Where to send the call.
    pub fn endpoint(&self) -> &Arc<Endpoint> {
        self.endpoint.get_or_init(|| self.held.endpoint())
    }

    /// Says how the call went.
    #[inline]
    pub fn finish(self, outcome: Outcome) {
        self.held.finish(outcome);
    }
}

impl OwnedPick {
    pub(crate) fn new(engine: Arc<Engine>, choice: Choice) -> Self {
        Self { held: Held::new(engine, choice), endpoint: OnceLock::new() }
    }

    /// Where to send the call.
    pub fn endpoint(&self) -> &Arc<Endpoint> {
        self.endpoint.get_or_init(|| self.held.endpoint())
    }

    /// Says how the call went.
    #[inline]
    pub fn finish(self, outcome: Outcome) {
        self.held.finish(outcome);
    }
}
