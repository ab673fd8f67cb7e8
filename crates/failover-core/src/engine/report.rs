//! What a call that has ended tells the engine.

use std::time::Duration;

use crate::engine::breaker::atomic::Change;
use crate::engine::breaker::{Admission, Decision, Input};
use crate::engine::state::EndpointState;
use crate::engine::state::ewma::{LONGEST_PENALTY, PENALTY};
use crate::engine::{Engine, RawPick, Transition};
use crate::model::attempt_class::AttemptClass;
use crate::model::breaker_state::BreakerState;
use crate::runtime::clock::Time;

/// Before an endpoint is probed again, after a probe call that has shown nothing.
const PAUSE: Duration = Duration::from_millis(50);

impl Engine {
    /// Ends an attempt: counts it, feeds the breaker, and returns how many nanoseconds the attempt took. Without a class
    /// the attempt was cancelled: neither success nor failure.
    #[inline]
    pub(crate) fn report(&self, mut pick: RawPick, class: impl Into<Option<AttemptClass>>) -> u64 {
        let class = class.into();
        self.emit_transition(&mut pick);
        let (number, admission, began) = (pick.state(), pick.admission(), pick.began());
        let state = self.slab.state(number);
        let now = self.clock.now();
        let took = now.nanos_since(began);
        // The breaker first: once the call has ended, the cell may be another endpoint's.
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

    /// An endpoint has asked to be left alone for so long: that counts as the time of its attempt.
    pub(crate) fn charge(&self, state: u32, pause: Duration) {
        self.slab.state(state).ewma().raise_to(pause.min(LONGEST_PENALTY), self.clock.now());
    }

    /// The call was dropped: neither success nor failure.
    #[cold]
    pub(crate) fn cancel(&self, pick: RawPick) {
        self.report(pick, None);
    }

    /// Tells what a choice did to the breaker. Where the call may take long, that is as soon as it is chosen.
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
            // Too busy is no fault, but an endpoint that is still too busy is not back, either.
            Some(AttemptClass::Overload) if admission.permit => Input::Failure(admission),
            // No blame, and an answer even so: that is what a probe call is to find out.
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
            // The permit is free. If the call has shown nothing, not for the very next one: a caller whose calls all
            // end like that must not send every one of them here.
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

/// What an attempt without a good answer says of the time that one takes.
#[cold]
fn penalise(state: &EndpointState, class: Option<AttemptClass>, took: u64, now: Time) {
    let took = Duration::from_nanos(took);
    match class {
        // It would have taken longer than that.
        None => state.ewma().raise_to(took, now),
        Some(AttemptClass::Local) => {}
        _ => state.ewma().raise_to(took.max(PENALTY), now),
    }
}
