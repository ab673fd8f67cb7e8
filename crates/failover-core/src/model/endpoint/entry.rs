//! An endpoint with its source's claims.

use std::sync::Arc;

use crate::model::endpoint::Endpoint;
use crate::model::health::{Health, Lifecycle};

/// One endpoint of a set, with its source's claims.
///
/// serde reads and writes the endpoint's JSON object with the additional keys `health`, `draining`
/// and `maintenance`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointEntry {
    endpoint: Arc<Endpoint>,
    health: Health,
    lifecycle: Lifecycle,
}

impl EndpointEntry {
    /// Creates an entry in service with unknown health.
    pub fn new(endpoint: impl Into<Arc<Endpoint>>) -> Self {
        Self { endpoint: endpoint.into(), health: Health::default(), lifecycle: Lifecycle::default() }
    }

    /// Sets the health that its source claims.
    #[must_use]
    pub fn with_health(mut self, health: Health) -> Self {
        self.health = health;
        self
    }

    /// Sets the lifecycle that its source claims.
    #[must_use]
    pub fn with_lifecycle(mut self, lifecycle: Lifecycle) -> Self {
        self.lifecycle = lifecycle;
        self
    }

    /// Returns the endpoint.
    pub fn endpoint(&self) -> &Arc<Endpoint> {
        &self.endpoint
    }

    /// Returns the health that its source claims.
    pub fn health(&self) -> Health {
        self.health
    }

    /// Returns the lifecycle that its source claims.
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
