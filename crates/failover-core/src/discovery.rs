//! From a provider to the engine: one task for each service and source, shared by all handles.

pub(crate) mod address;
pub(crate) mod change;
mod driver;
mod guarded;
pub(crate) mod ingest;
mod sink;

pub(crate) use address::AddressPolicy;
pub(crate) use driver::{Driver, Pace};
pub(crate) use guarded::guarded;
pub(crate) use sink::Sink;
