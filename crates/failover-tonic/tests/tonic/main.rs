//! The channel on real tonic servers: in processes that are killed and frozen, and in this one.

#![allow(clippy::disallowed_methods, reason = "real servers take real time")]

mod deadlines;
mod faults;
mod greeter;
mod hostile;
mod processes;
mod server;
mod streams;
mod tls;
