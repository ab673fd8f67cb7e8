//! The kit itself: a test that relies on it must not pass because the kit did nothing.

#![allow(clippy::disallowed_methods, reason = "a trickle is slow in real time")]

mod fault;
mod servers;
