//! What a service counts by the call, not by the attempt.

use std::sync::atomic::AtomicU64;

use crate::runtime::clock::Clock;

/// What is counted by the call, not by the attempt. Written only when a call does not succeed at once.
#[derive(Debug, Default)]
pub(crate) struct CallCounts {
    pub(crate) failed: AtomicU64,
    /// How often the caller's own strategy failed.
    pub(crate) strategy_faults: AtomicU64,
    pub(crate) retried: AtomicU64,
    pub(crate) failovers: AtomicU64,
    pub(crate) refused: AtomicU64,
    /// Wall time in milliseconds since 1970; 0 for never.
    pub(crate) last_failover: AtomicU64,
    pub(crate) last_recovery: AtomicU64,
}

impl CallCounts {
    pub(crate) fn now(clock: &Clock) -> u64 {
        let since = clock.wall().duration_since(std::time::SystemTime::UNIX_EPOCH).unwrap_or_default();
        // 0 stands for never.
        (since.as_millis() as u64).max(1)
    }
}
