//! The runtime environment: time, randomness, tasks, and containment of panics.

pub(crate) mod backoff;
pub(crate) mod catch_panic;
pub(crate) mod clock;
pub(crate) mod random;
pub(crate) mod require;
pub(crate) mod rush;
pub(crate) mod sync;
pub(crate) mod task;
