//! A picked endpoint, for a caller that owns its transport.

use std::future::Future;
use std::sync::{Arc, OnceLock};

use crate::contract::classify::Classified;
use crate::engine::attempt_guard::AttemptGuard;
use crate::engine::{Engine, RawPick};
use crate::model::endpoint::Endpoint;

/// An endpoint for one call, in flight until the pick is finished or dropped.
///
/// Borrows the handle, so that picking writes no counter that all threads share; use
/// [`select_owned`](crate::ServiceHandle::select_owned) to move the pick elsewhere. A pick that is
/// dropped without [`finish`](Self::finish) counts as cancelled: neither success nor failure.
#[derive(Debug)]
#[must_use = "dropped at once, the pick is a cancelled call"]
pub struct Pick<'a> {
    guard: AttemptGuard<&'a Engine>,
    endpoint: OnceLock<Arc<Endpoint>>,
}

/// A [`Pick`] that does not borrow the handle.
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

    /// Returns the endpoint to send the call to.
    pub fn endpoint(&self) -> &Arc<Endpoint> {
        self.endpoint.get_or_init(|| self.guard.endpoint())
    }

    /// Waits until the endpoint leaves the service, moves to another address, or is drained.
    ///
    /// For connections that outlive a call, such as streams and web sockets: the future borrows
    /// nothing. It is ready at once if that has happened already. It never completes if
    /// discovery ends first, since nothing is known of the endpoint then.
    ///
    /// # Cancel safety
    ///
    /// Safe: a dropped future has no effect.
    pub fn departed(&self) -> impl Future<Output = ()> + Send + use<> {
        self.endpoint().departed()
    }

    /// Records the outcome of the call: an [`Outcome`](crate::Outcome), a pair of an outcome and a
    /// reason, or a [`Classified`].
    #[inline]
    pub fn finish(self, outcome: impl Into<Classified>) {
        self.guard.finish(outcome.into());
    }
}

impl OwnedPick {
    pub(crate) fn new(engine: Arc<Engine>, pick: RawPick) -> Self {
        Self { guard: AttemptGuard::new(engine, pick), endpoint: OnceLock::new() }
    }

    /// Returns the endpoint to send the call to.
    pub fn endpoint(&self) -> &Arc<Endpoint> {
        self.endpoint.get_or_init(|| self.guard.endpoint())
    }

    /// Waits until the endpoint leaves the service, moves to another address, or is drained.
    ///
    /// For connections that outlive a call, such as streams and web sockets: the future borrows
    /// nothing. It is ready at once if that has happened already. It never completes if
    /// discovery ends first, since nothing is known of the endpoint then.
    ///
    /// # Cancel safety
    ///
    /// Safe: a dropped future has no effect.
    pub fn departed(&self) -> impl Future<Output = ()> + Send + use<> {
        self.endpoint().departed()
    }

    /// Records the outcome of the call: an [`Outcome`](crate::Outcome), a pair of an outcome and a
    /// reason, or a [`Classified`].
    #[inline]
    pub fn finish(self, outcome: impl Into<Classified>) {
        self.guard.finish(outcome.into());
    }
}
