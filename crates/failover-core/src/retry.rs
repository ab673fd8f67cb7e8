//! When another attempt is worth it: the budget that pays for it and the time to wait before it.

pub(crate) mod backoff;
pub(crate) mod budget;
