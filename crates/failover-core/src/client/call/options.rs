//! The per-call options of a call.

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
}
