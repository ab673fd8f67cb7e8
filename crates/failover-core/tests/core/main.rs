//! The crate as its users see it.

mod allocation;
mod faults;
