//! The layer and its parts on real servers, and on services that check how they are called.

#![allow(clippy::disallowed_methods, reason = "real servers take real time")]

mod bodies;
mod discover;
mod faults;
mod per_endpoint;
mod readiness;
mod support;
mod tls;
