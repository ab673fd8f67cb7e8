//! The contract of 0.2 under the names of 0.1: the types are the same, so that a provider that asks for
//! 0.1 is one of 0.2.

pub use next::*;

/// What 0.2 calls otherwise keeps its name here.
pub use next::retry_after as parse_retry_after;
