//! The engine of `failover` in virtual time, from a seed: what callers see of a fault, beside other policies.
//!
//! Depend on this crate to find out what a fault does to your own fleet, before it happens; a program that makes calls
//! depends on `failover`. The engine is the real one, driven through its public interface; endpoints, load and faults
//! are modelled.
//!
//! # How time passes
//!
//! The simulator keeps its own queue of events in nanoseconds and moves tokio's paused clock exactly to the next one.
//! Tokio's timers fire at whole milliseconds, and so do the engine's time limits and waits, as in production; what is
//! modelled is exact. The same seed gives the same log of events, which [`Report::hash`] sums up.
//!
//! It needs Rust 1.85.

#![cfg_attr(test, allow(clippy::float_cmp, reason = "tests compare exact figures"))]

pub mod effect;
mod fault;
pub mod html;
pub mod judge;
mod peer;
mod policy;
mod record;
mod registry;
pub mod rows;
mod run;
mod scenario;
mod server;
mod service_time;
pub mod shrink;
pub mod summary;
mod world;

#[cfg(test)]
mod tests;

pub use peer::{Balancer, Check, Peer};
pub use policy::Policy;
pub use record::{Report, Second};
pub use run::run;
pub use scenario::{Scenario, ScenarioFile};

/// Nanoseconds since the beginning of a run.
pub(crate) type Nanos = u64;
