//! Active health checks: when to probe, and what a series of outcomes means.

pub(crate) mod probes;
pub(crate) mod scheduler;
pub(crate) mod thresholds;
