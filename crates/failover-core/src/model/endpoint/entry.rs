//! An endpoint, and what its source says about it.

use std::sync::Arc;

use crate::model::endpoint::Endpoint;
use crate::model::health::{Health, Lifecycle};

/// One endpoint of a set, with what its source claims about it.
///
/// serde reads and writes the endpoint's own JSON object with `health`, `draining` and
/// `maintenance` in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointEntry {
    endpoint: Arc<Endpoint>,
    health: Health,
    lifecycle: Lifecycle,
}

impl EndpointEntry {
    /// An entry in service, of unknown health.
    pub fn new(endpoint: impl Into<Arc<Endpoint>>) -> Self {
        Self { endpoint: endpoint.into(), health: Health::default(), lifecycle: Lifecycle::default() }
    }

    /// With what its source says about its health.
    #[must_use]
    pub fn with_health(mut self, health: Health) -> Self {
        self.health = health;
        self
    }

    /// With what its source says about whether it takes calls.
    #[must_use]
    pub fn with_lifecycle(mut self, lifecycle: Lifecycle) -> Self {
        self.lifecycle = lifecycle;
        self
    }

    /// The endpoint.
    pub fn endpoint(&self) -> &Arc<Endpoint> {
        &self.endpoint
    }

    /// How well it is, as its source claims.
    pub fn health(&self) -> Health {
        self.health
    }

    /// Whether its source takes it out of new calls on purpose.
    pub fn lifecycle(&self) -> Lifecycle {
        self.lifecycle
    }
}

impl From<Endpoint> for EndpointEntry {
    fn from(endpoint: Endpoint) -> Self {
        Self::new(endpoint)
    }
}

impl From<Arc<Endpoint>> for EndpointEntry {
    fn from(endpoint: Arc<Endpoint>) -> Self {
        Self::new(endpoint)
    }
}
