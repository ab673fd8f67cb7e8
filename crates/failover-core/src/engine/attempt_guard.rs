//! A guard for an attempt in flight, which always ends: reported or cancelled.

use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use crate::contract::classify::{Classified, Outcome};
use crate::engine::{Engine, RawPick};
use crate::model::attempt_class::AttemptClass;
use crate::model::endpoint::Endpoint;
use crate::runtime::clock::Time;

/// A pick that always ends: reported, or cancelled on drop.
#[derive(Debug)]
pub(crate) struct AttemptGuard<E: Deref<Target = Engine>> {
    engine: E,
    pick: Option<RawPick>,
}

impl<E: Deref<Target = Engine>> AttemptGuard<E> {
    pub(crate) fn new(engine: E, pick: RawPick) -> Self {
        Self { engine, pick: Some(pick) }
    }

    pub(crate) fn endpoint(&self) -> Arc<Endpoint> {
        self.engine.slab.state(self.state()).endpoint()
    }

    pub(crate) fn state(&self) -> u32 {
        self.pick.as_ref().expect("the pick is taken only by methods that consume the guard").state()
    }

    /// Ends the attempt and returns its duration.
    #[inline]
    pub(crate) fn end(mut self, class: impl Into<Option<AttemptClass>>) -> Duration {
        Duration::from_nanos(self.report(class.into()))
    }

    #[inline]
    fn report(&mut self, class: Option<AttemptClass>) -> u64 {
        self.pick.take().map_or(0, |pick| self.engine.report(pick, class))
    }

    /// When the attempt began.
    pub(crate) fn began(&self) -> Time {
        self.pick.as_ref().map_or(Time::NEVER, RawPick::began)
    }

    /// Makes the attempt, which has to wait, stand for itself in the durations of a rush. If its start was
    /// not read from the clock, that is now. Returns by how much it was set later.
    #[inline]
    pub(crate) fn wait(&mut self) -> Duration {
        let before = self.began();
        if let Some(pick) = &mut self.pick {
            pick.time_alone(|| self.engine.clock().now());
        }
        self.began().since(before)
    }

    /// Makes the attempt stand for itself in the durations of a rush, although it has ended without a wait.
    #[cold]
    pub(crate) fn time_alone(&mut self) {
        if let Some(pick) = &mut self.pick {
            let began = pick.began();
            pick.time_alone(|| began);
        }
    }

    pub(crate) fn emit_transition(&mut self) {
        if let Some(pick) = &mut self.pick {
            self.engine.emit_transition(pick);
        }
    }

    /// Ends a call that is a single attempt.
    #[inline]
    pub(crate) fn finish(mut self, classified: Classified) {
        let (outcome, reason) = classified.into_parts();
        let class = AttemptClass::from(outcome);
        if class.is_failure() {
            self.engine.note_failure(self.state(), class, reason);
        } else {
            // Here, so that a success knows that there is none.
            drop(reason);
        }
        if let Outcome::Overload(Some(pause)) = outcome {
            self.engine.charge(self.state(), pause);
        }
        self.engine.accounts.end_single(class, || self.engine.call_policy().budget);
        self.report(Some(class));
    }
}

impl<E: Deref<Target = Engine>> Drop for AttemptGuard<E> {
    fn drop(&mut self) {
        if let Some(pick) = self.pick.take() {
            self.engine.cancel(pick);
        }
    }
}
