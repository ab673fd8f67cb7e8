//! Who is picked among equals.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize};

use super::{Algorithm, defaults};
use crate::document::{self, Document, Raw};
use crate::endpoint::EndpointId;
use crate::error::Error;

/// Who is picked among the endpoints that are equal to the strategy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LoadBalancerConfig {
    #[serde(skip_serializing_if = "Option::is_none")]
    algorithm: Option<Algorithm>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    weights: BTreeMap<EndpointId, u32>,
    sticky: bool,
}

impl LoadBalancerConfig {
    /// A builder that holds the defaults.
    pub fn builder() -> LoadBalancerConfigBuilder {
        LoadBalancerConfigBuilder { algorithm: None, weights: BTreeMap::new(), sticky: defaults::STICKY }
    }

    /// A builder that holds these values.
    pub fn to_builder(&self) -> LoadBalancerConfigBuilder {
        LoadBalancerConfigBuilder {
            algorithm: self.algorithm,
            weights: self.weights.iter().map(|(id, weight)| (id.into(), *weight)).collect(),
            sticky: self.sticky,
        }
    }

    /// The algorithm, if one is given; default the one of the strategy's name.
    pub fn algorithm(&self) -> Option<Algorithm> {
        self.algorithm
    }

    /// Weights by endpoint id, each instead of the endpoint's own; 0 asks for no new calls.
    pub fn weights(&self) -> &BTreeMap<EndpointId, u32> {
        &self.weights
    }

    /// Whether calls with the same key stay on one endpoint while it is available; default false.
    pub fn sticky(&self) -> bool {
        self.sticky
    }

    pub(super) fn from_raw(raw: Raw) -> Result<Self, Error> {
        let mut fields = Document::open(raw, SECTION, "load balancer", &["algorithm", "weights", "sticky"])?;
        let mut builder = Self::builder();
        builder.algorithm = match fields.take("algorithm") {
            None => None,
            Some(Raw::Text(word)) if word.is_empty() => None,
            Some(raw) => Some(Algorithm::from_raw(&fields.path("algorithm"), &raw)?),
        };
        for (id, weight) in fields.object("weights")? {
            let weight = document::whole(&document::path(WEIGHTS, &id), &weight, &(0..=u32::MAX))?;
            builder.weights.insert(id, weight);
        }
        if let Some(sticky) = fields.flag("sticky")? {
            builder.sticky = sticky;
        }
        builder.build()
    }
}

impl Default for LoadBalancerConfig {
    fn default() -> Self {
        Self { algorithm: None, weights: BTreeMap::new(), sticky: defaults::STICKY }
    }
}

impl<'de> Deserialize<'de> for LoadBalancerConfig {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        document::deserialize(deserializer, Self::from_raw)
    }
}

/// Builds a [`LoadBalancerConfig`]; what is not set has its default.
#[derive(Clone, Debug)]
#[must_use = "a builder does nothing until `build` is called"]
pub struct LoadBalancerConfigBuilder {
    algorithm: Option<Algorithm>,
    weights: BTreeMap<String, u32>,
    sticky: bool,
}

impl LoadBalancerConfigBuilder {
    /// The algorithm; default the one of the strategy's name.
    pub fn algorithm(mut self, algorithm: impl Into<Option<Algorithm>>) -> Self {
        self.algorithm = algorithm.into();
        self
    }

    /// Adds the weight of one endpoint, instead of its own; 0 asks for no new calls.
    pub fn weight(mut self, id: impl Into<String>, weight: u32) -> Self {
        self.weights.insert(id.into(), weight);
        self
    }

    /// Replaces all weights.
    pub fn weights<K: Into<String>>(mut self, weights: impl IntoIterator<Item = (K, u32)>) -> Self {
        self.weights = weights.into_iter().map(|(id, weight)| (id.into(), weight)).collect();
        self
    }

    /// Whether calls with the same key stay on one endpoint while it is available; default false.
    pub fn sticky(mut self, sticky: bool) -> Self {
        self.sticky = sticky;
        self
    }

    /// Checks the values.
    pub fn build(self) -> Result<LoadBalancerConfig, Error> {
        let checked = |(id, weight)| {
            let id = EndpointId::new(id).map_err(|error| error.in_place(WEIGHTS))?;
            Ok((id, weight))
        };
        Ok(LoadBalancerConfig {
            algorithm: self.algorithm,
            weights: self.weights.into_iter().map(checked).collect::<Result<_, Error>>()?,
            sticky: self.sticky,
        })
    }
}

const SECTION: &str = "load_balancer";
const WEIGHTS: &str = "load_balancer.weights";
