//! The per-call options of a call.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::engine::algorithm::PickOptions;
use crate::engine::policy::CallPolicy;

#[derive(Clone, Debug, Default)]
pub(super) struct CallOptions {
    pub(super) deadline: Option<Duration>,
    pub(super) attempt_timeout: Option<Duration>,
    pub(super) max_retries: Option<u32>,
    pub(super) not_idempotent: bool,
    pub(super) wait_ready: bool,
    pub(super) pick: PickOptions,
    /// Boxed, because it is large and rare.
    pub(super) policy: Option<Box<CallPolicy>>,
    pub(super) retry_if: Option<Condition>,
}

/// A condition of the caller's own for a retry.
#[derive(Clone)]
pub(super) struct Condition(Arc<dyn Fn() -> bool + Send + Sync>);

impl Condition {
    pub(super) fn new(holds: impl Fn() -> bool + Send + Sync + 'static) -> Self {
        Self(Arc::new(holds))
    }

    pub(super) fn holds(&self) -> bool {
        (self.0)()
    }
}

impl fmt::Debug for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Condition").finish_non_exhaustive()
    }
}
