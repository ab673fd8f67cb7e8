//! The state of a registration, as a pure state machine.

use std::fmt;

use crate::contract::provider::RegistrationStatus;
use crate::error::Error;
use crate::events::EventKind;

/// The state of a registration of this process.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum RegistrationState {
    /// It was not registered yet: `register_in_background` is about to do that.
    Registering,
    /// The registry has it.
    Registered,
    /// The registry has lost it; it is being registered again.
    Lost,
    /// The registry does not answer, or refuses it. It is tried again until that succeeds.
    Failing {
        /// The last error.
        error: Error,
    },
    /// Another process has registered an endpoint with its id. This process leaves that one alone from
    /// now on: it does not register again, and closing the guard does nothing.
    TakenOver {
        /// The other process, as far as it is known.
        by: String,
    },
    /// It was closed.
    Closed,
}

impl fmt::Display for RegistrationState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Registering => f.write_str("not registered yet"),
            Self::Registered => f.write_str("registered"),
            Self::Lost => f.write_str("lost by the registry; registering it again"),
            Self::Failing { error } => write!(f, "failing: {error}"),
            Self::TakenOver { by } => write!(f, "taken over by {by}"),
            Self::Closed => f.write_str("closed"),
        }
    }
}

/// What happens after a look at the registry, or after an attempt to register.
#[derive(Debug)]
pub(super) struct Step {
    /// The new state, if it differs.
    pub(super) state: Option<RegistrationState>,
    /// The event about it, with its reason.
    pub(super) event: Option<(EventKind, String)>,
    pub(super) register: bool,
}

/// Returns what follows from `found`, given the state before.
pub(super) fn after(before: &RegistrationState, found: Result<RegistrationStatus, Error>) -> Step {
    use RegistrationState as State;
    let step = |state, kind, reason: String, register| Step {
        state: Some(state),
        event: Some((kind, reason)),
        register,
    };
    let same = |register| Step { state: None, event: None, register };
    match (before, found) {
        (State::TakenOver { .. } | State::Closed, _)
        | (State::Registered, Ok(RegistrationStatus::Registered)) => same(false),
        (State::Registering | State::Lost, Ok(RegistrationStatus::Missing)) => same(true),
        (State::Registered, Ok(RegistrationStatus::Restored { after })) => {
            let reason = format!("registered again by its provider: {after}");
            Step { state: None, event: Some((EventKind::Registered, reason)), register: false }
        }
        (State::Registering, Ok(RegistrationStatus::Registered | RegistrationStatus::Restored { .. })) => {
            step(State::Registered, EventKind::Registered, "registered".to_owned(), false)
        }
        (State::Lost, Ok(RegistrationStatus::Registered | RegistrationStatus::Restored { .. })) => {
            let reason = "registered again, after the registry had lost it".to_owned();
            step(State::Registered, EventKind::Registered, reason, false)
        }
        (
            State::Failing { error },
            Ok(RegistrationStatus::Registered | RegistrationStatus::Restored { .. }),
        ) => {
            let reason = format!("registered, after: {error}");
            step(State::Registered, EventKind::Registered, reason, false)
        }
        (_, Ok(RegistrationStatus::Missing)) => {
            let reason = "the registry does not have it any more; registering it again".to_owned();
            step(State::Lost, EventKind::RegistrationLost, reason, true)
        }
        (_, Ok(RegistrationStatus::TakenOver { by })) => {
            let reason = format!("{by} has registered this id since; this process gives it up");
            step(State::TakenOver { by }, EventKind::RegistrationTakenOver, reason, false)
        }
        (State::Failing { .. }, Err(error)) => {
            Step { state: Some(State::Failing { error }), event: None, register: false }
        }
        (_, Err(error)) => {
            let reason = format!("{error}; trying again");
            step(State::Failing { error }, EventKind::RegistrationFailed, reason, false)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    fn failure() -> Error {
        Error::new(ErrorKind::Connection, "refused")
    }

    #[test]
    fn each_change_is_an_event_and_nothing_else_is() {
        use EventKind::{Registered, RegistrationFailed, RegistrationLost, RegistrationTakenOver};
        use RegistrationState as State;
        use RegistrationStatus as Found;
        let taken = || Found::TakenOver { by: "10.0.0.9:80".to_owned() };
        let restored = || Found::Restored { after: "it was deleted".to_owned() };
        let failing = || State::Failing { error: failure() };
        for (before, found, state, event, register) in [
            (State::Registering, Ok(Found::Missing), "", None, true),
            (State::Registering, Ok(Found::Registered), "registered", Some(Registered), false),
            (State::Registering, Err(failure()), "failing: refused", Some(RegistrationFailed), false),
            (State::Registered, Ok(Found::Registered), "", None, false),
            (State::Registered, Ok(restored()), "", Some(Registered), false),
            (State::Lost, Ok(restored()), "registered", Some(Registered), false),
            (State::Registering, Ok(restored()), "registered", Some(Registered), false),
            (failing(), Ok(restored()), "registered", Some(Registered), false),
            (State::Closed, Ok(restored()), "", None, false),
            (State::Registered, Ok(Found::Missing), "lost by", Some(RegistrationLost), true),
            (State::Registered, Ok(taken()), "taken over by", Some(RegistrationTakenOver), false),
            (State::Registered, Err(failure()), "failing: refused", Some(RegistrationFailed), false),
            (State::Lost, Ok(Found::Missing), "", None, true),
            (State::Lost, Ok(Found::Registered), "registered", Some(Registered), false),
            (State::Lost, Ok(taken()), "taken over by", Some(RegistrationTakenOver), false),
            (State::Lost, Err(failure()), "failing: refused", Some(RegistrationFailed), false),
            (failing(), Ok(Found::Registered), "registered", Some(Registered), false),
            (failing(), Ok(Found::Missing), "lost by", Some(RegistrationLost), true),
            (failing(), Ok(taken()), "taken over by", Some(RegistrationTakenOver), false),
            (failing(), Err(failure()), "failing: refused", None, false),
            (State::TakenOver { by: String::new() }, Ok(Found::Missing), "", None, false),
            (State::TakenOver { by: String::new() }, Err(failure()), "", None, false),
            (State::Closed, Ok(Found::Missing), "", None, false),
        ] {
            let shown = format!("{before}, {found:?}");
            let step = after(&before, found);
            let new = step.state.as_ref().map(ToString::to_string).unwrap_or_default();
            assert!(new.starts_with(state) && new.is_empty() == state.is_empty(), "{shown}: {new}");
            assert_eq!((step.event.map(|(kind, _)| kind), step.register), (event, register), "{shown}");
        }
    }
}
