//! The caller's side: service handles, picks, calls and per-endpoint values.

pub(crate) mod call;
pub(crate) mod changes;
pub(crate) mod in_flight;
pub(crate) mod per_endpoint;
pub(crate) mod pick;
pub(crate) mod service;
