//! From a provider to the engine: one task for each service and source, shared by all handles.

mod driver;
mod guarded;
pub(crate) mod ingest;

pub(crate) use driver::{Driver, Pace};
