//! What code outside of this crate implements: providers, probes, strategies and classifiers; and the rule for
//! the addresses that a provider may name.

pub(crate) mod address_policy;
pub(crate) mod classify;
pub(crate) mod probe;
pub(crate) mod provider;
pub(crate) mod strategy;
