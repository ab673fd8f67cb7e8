//! Shared by the examples: a steady load, its counts, the classification of HTTP replies, and servers
//! in processes of their own.
//!
//! The use of the library is shown in the examples themselves.

#![allow(clippy::disallowed_methods, reason = "programs that measure, in real time")]

mod caller;
mod load;
mod outcome;
mod say;
mod server;

pub use caller::{Caller, Finished, all_are_known};
pub use load::{Load, Shares, p99_ms};
pub use outcome::HttpRules;
pub use say::say;
pub use server::{Server, listen};
