//! An attempt in flight: it ends in any case, reported or cancelled.

use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::contract::classify::Outcome;
use crate::engine::state::Verdict;
use crate::engine::{Choice, Engine};
use crate::model::endpoint::Endpoint;
use crate::runtime::clock::Time;

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
    pub(crate) fn finish(mut self, outcome: Outcome) {
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
