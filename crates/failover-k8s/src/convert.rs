//! Converts endpoints to and from `EndpointSlices`. Kubernetes' own terms are confined to this
//! module.
//!
//! A slice written by this crate holds one endpoint, both in Kubernetes' fields and whole in an
//! annotation. If both state a value, the slice's address, port, zone and conditions take
//! precedence, because users may have edited them; the annotation provides everything else, and
//! addresses that Kubernetes rejects (loopback, host names).

mod conditions;
mod document;
mod port;
mod read;
mod write;

#[cfg(test)]
mod tests;

pub(crate) use document::{claims, is_expired};
pub(crate) use port::of_service;
pub(crate) use read::{Candidate, Family, Slice, read};
pub(crate) use write::{Owner, address_type, amend, expire, slice};
