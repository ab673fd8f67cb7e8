//! Test doubles for programs that use `failover`.
//!
//! A [`ScriptedProvider`] is a registry that follows its [`Script`]: it answers with endpoints,
//! with errors, with garbage, or not at all. It shows how a program behaves while its registry is
//! down, slow or wrong, without a server and in virtual time. Add this crate under
//! `[dev-dependencies]`.
//!
//! The crate has no features. It needs Rust 1.85.

mod scripted;

pub use scripted::{Script, ScriptedProvider, Step};
