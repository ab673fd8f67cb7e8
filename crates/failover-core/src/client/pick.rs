//! An endpoint in the caller's hands, for who owns its transport.

use std::sync::{Arc, OnceLock};

use crate::contract::classify::Outcome;
use crate::engine::attempt_guard::AttemptGuard;
use crate::engine::{Engine, RawPick};
use crate::model::endpoint::Endpoint;

/// An endpoint for one call, in flight until it is finished or dropped.
///
/// It borrows the handle, so that picking writes no count that all threads share; use
/// [`select_owned`](crate::ServiceHandle::select_owned) to move it elsewhere. Dropped without
/// [`finish`](Self::finish), the call counts as cancelled: neither success nor failure.
#[derive(Debug)]
#[must_use = "dropped at once, the pick is a cancelled call"]
pub struct Pick<'a> {
    guard: AttemptGuard<&'a Engine>,
    endpoint: OnceLock<Arc<Endpoint>>,
}

/// As [`Pick`], free of the handle that it came from.
#[derive(Debug)]
#[must_use = "dropped at once, the pick is a cancelled call"]
pub struct OwnedPick {
    guard: AttemptGuard<Arc<Engine>>,
    endpoint: OnceLock<Arc<Endpoint>>,
}

impl<'a> Pick<'a> {
    #[inline]
    pub(crate) fn new(engine: &'a Engine, pick: RawPick) -> Self {
        Self { guard: AttemptGuard::new(engine, pick), endpoint: OnceLock::new() }
    }

    /// Where to send the call.
    pub fn endpoint(&self) -> &Arc<Endpoint> {
        self.endpoint.get_or_init(|| self.guard.endpoint())
    }

    /// Says how the call went.
    #[inline]
    pub fn finish(self, outcome: Outcome) {
        self.guard.finish(outcome);
    }
}

impl OwnedPick {
    pub(crate) fn new(engine: Arc<Engine>, pick: RawPick) -> Self {
        Self { guard: AttemptGuard::new(engine, pick), endpoint: OnceLock::new() }
    }

    /// Where to send the call.
    pub fn endpoint(&self) -> &Arc<Endpoint> {
        self.endpoint.get_or_init(|| self.guard.endpoint())
    }

    /// Says how the call went.
    #[inline]
    pub fn finish(self, outcome: Outcome) {
        self.guard.finish(outcome);
    }
}
