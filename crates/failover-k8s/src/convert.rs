//! Between endpoints and `EndpointSlices`. The words of Kubernetes end here.
//!
//! A slice that this crate writes holds one endpoint: as Kubernetes knows it, and whole in an annotation. Where both say
//! something, address, port, zone and conditions of the slice count, since somebody may have edited them; the annotation
//! counts for everything else, and for addresses that Kubernetes does not take (loopback, host names).

mod conditions;
mod document;
mod read;
mod write;

#[cfg(test)]
mod tests;

pub(crate) use document::{claims, is_expired};
pub(crate) use read::{Candidate, Family, Slice, read};
pub(crate) use write::{Owner, address_type, amend, expire, slice};
