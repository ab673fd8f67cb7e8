//! The atomics used where several threads decide together: those of the standard library or, under
//! `cargo xtask loom`, those of loom, which tries every interleaving.

#[cfg(all(test, failover_loom))]
pub(crate) use loom::sync::atomic::{AtomicU32, AtomicU64, Ordering};
#[cfg(not(all(test, failover_loom)))]
pub(crate) use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
