//! Test doubles for programs that use `failover`.
//!
//! A [`ScriptedProvider`] is a registry that does what its [`Script`] says: it answers with endpoints, with errors,
//! with garbage, or not at all. It shows what a program does while its registry is down, slow or wrong, without a
//! server and in virtual time. Depend on this crate under `[dev-dependencies]`.
//!
//! There are no features. It needs Rust 1.85.

mod scripted;

pub use scripted::{Script, ScriptedProvider, Step};
