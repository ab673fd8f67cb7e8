//! The last failure of an endpoint, for explanations and events. Only failures write it.

use std::sync::{Mutex, PoisonError};

use crate::contract::classify::reason::Reason;
use crate::model::attempt_class::AttemptClass;
use crate::runtime::clock::Time;

/// How the last attempt that failed ended, and when.
#[derive(Clone, Debug)]
pub(crate) struct Noted {
    pub(crate) class: AttemptClass,
    pub(crate) reason: Option<Reason>,
    pub(crate) at: Time,
}

#[derive(Debug, Default)]
pub(crate) struct LastFailure(Mutex<Option<Noted>>);

impl LastFailure {
    /// Never waits: while another thread holds the lock, that thread's failure is as good as this one.
    pub(crate) fn note(&self, noted: Noted) {
        if let Ok(mut last) = self.0.try_lock() {
            *last = Some(noted);
        }
    }

    pub(crate) fn get(&self) -> Option<Noted> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn clear(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}
