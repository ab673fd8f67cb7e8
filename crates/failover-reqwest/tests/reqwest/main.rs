//! The client and the middleware on real servers.

#![allow(clippy::disallowed_methods, reason = "real servers take real time")]

mod bodies;
mod faults;
mod names;
mod support;
mod tls;
