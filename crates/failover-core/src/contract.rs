//! The traits that other crates implement: providers, probes, strategies and classifiers; and the
//! policy for the addresses that a provider may list.

pub(crate) mod address_policy;
pub(crate) mod classify;
pub(crate) mod probe;
pub(crate) mod provider;
pub(crate) mod strategy;
