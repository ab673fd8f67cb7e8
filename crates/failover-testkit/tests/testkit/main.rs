//! Tests of the kit itself: a test that uses it must not pass because the kit did nothing.

#![allow(clippy::disallowed_methods, reason = "a trickle is slow in real time")]

mod fault;
mod servers;
