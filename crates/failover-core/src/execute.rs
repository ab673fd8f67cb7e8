//! A caller's operation, moved to another endpoint when an attempt fails.

mod attempt;
mod call;
mod call_error;
mod run;
mod timed;

pub use attempt::{Attempt, AttemptClass, AttemptRecord, Attempts, Done};
pub use call::Call;
pub use call_error::{CallError, StopReason};

#[cfg(test)]
mod tests;
