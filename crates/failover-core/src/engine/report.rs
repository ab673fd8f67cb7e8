//! Records the result of an attempt.

use std::time::Duration;

use crate::engine::breaker::atomic::Change;
use crate::engine::breaker::{Admission, Decision, Input};
use crate::engine::state::EndpointState;
use crate::engine::state::ewma::{LONGEST_PENALTY, PENALTY};
use crate::engine::{Engine, RawPick, Transition};
use crate::model::attempt_class::AttemptClass;
use crate::model::breaker_state::BreakerState;
use crate::runtime::clock::Time;

/// The pause before an endpoint is probed again after an inconclusive probe call.
const PAUSE: Duration = Duration::from_millis(50);

impl Engine {
    /// Ends an attempt: counts it, updates the breaker, and returns its duration in nanoseconds.
    /// Without a class the attempt was cancelled, which is neither a success nor a failure.
    #[inline]
    pub(crate) fn report(&self, mut pick: RawPick, class: impl Into<Option<AttemptClass>>) -> u64 {
        let class = class.into();
        self.emit_transition(&mut pick);
        let (number, admission, began) = (pick.state(), pick.admission(), pick.began());
        let state = self.slab.state(number);
        let now = self.clock.now();
        let took = now.nanos_since(began);
        // The breaker comes first: once the call has ended, the state may be reused for another
        // endpoint.
        if class != Some(AttemptClass::Success) || admission.permit || !state.breaker().is_quiet() {
            self.update_breaker(number, admission, class, now);
        }
        match class {
            Some(AttemptClass::Success | AttemptClass::Rejected) => state.ewma().update(took, now),
            _ => penalise(state, class, took, now),
        }
        state.end(class, took);
        took
    }

    /// Records that an endpoint has requested a pause, which counts as the latency of its attempt.
    pub(crate) fn charge(&self, state: u32, pause: Duration) {
        self.slab.state(state).ewma().raise_to(pause.min(LONGEST_PENALTY), self.clock.now());
    }

    /// Ends a call that was dropped, which is neither a success nor a failure.
    #[cold]
    pub(crate) fn cancel(&self, pick: RawPick) {
        self.report(pick, None);
    }

    /// Emits the event of the change that a pick made to the breaker. A call that may take long
    /// does this as soon as the pick is made.
    #[inline]
    pub(crate) fn emit_transition(&self, pick: &mut RawPick) {
        match pick.take_transition() {
            Transition::No => {}
            transition => {
                self.emit_half_open(self.slab.state(pick.state()), transition == Transition::HalfOpenEarly);
            }
        }
    }

    #[cold]
    fn update_breaker(&self, number: u32, admission: Admission, class: Option<AttemptClass>, now: Time) {
        let event = match class {
            Some(AttemptClass::Success) => Input::Success(admission),
            Some(AttemptClass::Failure | AttemptClass::Timeout | AttemptClass::NotSent) => {
                Input::Failure(admission)
            }
            // Overload is not a failure, but an endpoint that is still overloaded has not
            // recovered.
            Some(AttemptClass::Overload) if admission.permit => Input::Failure(admission),
            // A rejected request is still an answer, which is what a probe call needs.
            Some(AttemptClass::Rejected) if admission.permit => Input::Success(admission),
            _ if admission.permit => Input::Release(admission),
            _ => return,
        };
        let state = self.slab.state(number);
        let unit = self.random.unit();
        let (decision, change) = state.breaker().apply(event, now, &self.breaker_rules(), unit);
        if let Some(change) = change {
            return self.transition(number, state, change);
        }
        if decision == Decision::Ignored && state.take_expired() {
            self.emit_half_open_expired(state);
        }
        if admission.permit {
            // The permit is free again. After an inconclusive probe call, the next one waits:
            // otherwise a caller whose calls are all inconclusive would send every one of them to
            // this endpoint.
            match class {
                Some(AttemptClass::Success | AttemptClass::Rejected) => self.probe_from(now),
                _ => self.probe_after(now, PAUSE),
            }
        }
    }

    fn transition(&self, number: u32, state: &EndpointState, change: Change) {
        let to = change.to.state();
        if to == BreakerState::Closed {
            state.count_recovered();
        } else if to == BreakerState::Open {
            state.count_opened();
        }
        self.breaker_changed(number, change);
    }
}

/// Updates the average latency after an attempt without a good answer.
#[cold]
fn penalise(state: &EndpointState, class: Option<AttemptClass>, took: u64, now: Time) {
    let took = Duration::from_nanos(took);
    match class {
        // A lower bound: the attempt would have taken longer.
        None => state.ewma().raise_to(took, now),
        Some(AttemptClass::Local) => {}
        _ => state.ewma().raise_to(took.max(PENALTY), now),
    }
}
