//! A caller's operation, moved to another endpoint when an attempt fails.

pub(crate) mod attempt;
pub(crate) mod builder;
pub(crate) mod error;
pub(crate) mod options;
pub(crate) mod run;
pub(crate) mod spans;
pub(crate) mod timed;
pub(crate) mod timer;

pub use attempt::{Attempt, AttemptRecord, Attempts, Completed};
pub use builder::Call;
pub use error::{CallError, StopReason};

#[cfg(test)]
mod tests;
