//! Keeps the engine's endpoints up to date from providers: one task per service and source, shared
//! by all handles.

pub(crate) mod diff;
pub(crate) mod driver;
pub(crate) mod sink;
pub(crate) mod validate;

pub(crate) use driver::{Driver, Pace};
pub(crate) use sink::{Answered, Sink, Update};
