//! The atomics of what many threads decide together: those of the standard library, or those of loom, which tries every
//! order of events (`cargo xtask loom`).

#[cfg(all(test, failover_loom))]
pub(crate) use loom::sync::atomic::{AtomicU32, AtomicU64, Ordering};
#[cfg(not(all(test, failover_loom)))]
pub(crate) use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
