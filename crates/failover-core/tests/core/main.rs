//! Tests of the public API.

#![allow(clippy::disallowed_methods, reason = "tests measure time")]

mod allocation;
mod bench;
mod client;
mod counts;
mod documentation;
mod faults;
mod in_flight;
mod lists;
mod monotonic;
mod overload;
mod question_mark;
mod retries;
mod stall;
mod statistics;
mod timeouts;
mod unrepeatable;
