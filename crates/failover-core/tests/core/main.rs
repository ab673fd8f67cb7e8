//! Tests of the public API.

#![allow(clippy::disallowed_methods, reason = "tests measure time")]

mod allocation;
mod client;
mod documentation;
mod faults;
mod statistics;
