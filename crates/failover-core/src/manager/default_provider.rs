//! The manager's operations on its default provider, and on the provider that `id@source` names.

use crate::config::FailoverConfig;
use crate::contract::provider::{EndpointSet, Query};
use crate::error::Error;
use crate::manager::FailoverManager;
use crate::manager::endpoint_ref::EndpointRef;
use crate::manager::health::HealthReport;
use crate::model::endpoint::{Endpoint, EndpointEntry};
use crate::model::health::{Health, Lifecycle};

impl FailoverManager {
    /// Writes an endpoint to the default provider, whether or not it exists.
    ///
    /// # Errors
    ///
    /// Returns `Validation` (code `ADDRESS_REFUSED`) for an address that no caller could use, such as
    /// `0.0.0.0`, a multicast address, or one of a cloud's metadata service; `Unsupported` if the
    /// provider is read-only, and `Timeout` after the manager's timeout. For other errors see [`Registry::register`](crate::provider::Registry::register).
    ///
    /// # Cancel safety
    ///
    /// A dropped future leaves the endpoint either written completely or not at all; retrying is
    /// safe.
    pub async fn register_endpoint(&self, endpoint: Endpoint) -> Result<(), Error> {
        self.default_provider()?.register_endpoint(endpoint).await
    }

    /// Replaces an existing endpoint of the default provider.
    ///
    /// # Errors
    ///
    /// Returns `NotFound` if it does not exist. For other errors see
    /// [`register_endpoint`](Self::register_endpoint).
    ///
    /// # Cancel safety
    ///
    /// See [`register_endpoint`](Self::register_endpoint).
    pub async fn update_endpoint(&self, endpoint: Endpoint) -> Result<(), Error> {
        self.default_provider()?.update_endpoint(endpoint).await
    }

    /// Removes an endpoint from the default provider, or from the one that `id@source` names. Returns
    /// whether it existed.
    ///
    /// # Errors
    ///
    /// Returns `Validation` if only an id is given and several services have it, or endpoints of
    /// several providers of a service that this manager discovers, naming them. For other errors see [`register_endpoint`](Self::register_endpoint).
    ///
    /// # Cancel safety
    ///
    /// A dropped future leaves the endpoint either removed or not; retrying is safe.
    pub async fn deregister_endpoint(&self, which: impl Into<EndpointRef>) -> Result<bool, Error> {
        let (scope, which) = self.default_provider()?.locate(which.into()).await?;
        scope.deregister_endpoint(which).await
    }

    /// Returns one endpoint of the default provider, or of the one that `id@source` names.
    ///
    /// # Errors
    ///
    /// Returns `NotFound` if it does not exist, and `Validation` if the id is ambiguous: see
    /// [`deregister_endpoint`](Self::deregister_endpoint).
    ///
    /// # Cancel safety
    ///
    /// Safe: it only reads.
    pub async fn get_endpoint(&self, which: impl Into<EndpointRef>) -> Result<EndpointEntry, Error> {
        let (scope, which) = self.default_provider()?.locate(which.into()).await?;
        scope.get_endpoint(which).await
    }

    /// Returns the endpoints of the default provider that match the query, and what it left out.
    ///
    /// [`EndpointSet::rejected`] names the entries that could not be read, with the reasons.
    ///
    /// # Errors
    ///
    /// Returns an error if the provider did not give a complete answer.
    ///
    /// # Cancel safety
    ///
    /// Safe: it only reads.
    pub async fn list_endpoints(&self, query: &Query) -> Result<EndpointSet, Error> {
        self.default_provider()?.list_endpoints(query).await
    }

    /// Sets the health of an endpoint of the default provider, or of the one that `id@source` names.
    ///
    /// # Errors
    ///
    /// Returns `NotFound` if it does not exist, `Unsupported` if the registry does not accept health
    /// from clients, and `Validation` if the id is ambiguous: see
    /// [`deregister_endpoint`](Self::deregister_endpoint).
    ///
    /// # Cancel safety
    ///
    /// A dropped future leaves the health either set or not; retrying is safe.
    pub async fn set_health(&self, which: impl Into<EndpointRef>, health: Health) -> Result<(), Error> {
        let (scope, which) = self.default_provider()?.locate(which.into()).await?;
        scope.set_health(which, health).await
    }

    /// Sets the lifecycle of an endpoint: in service, draining or in maintenance.
    ///
    /// The endpoint is one of the default provider, or of the one that `id@source` names.
    ///
    /// # Errors
    ///
    /// Returns `NotFound` if it does not exist, `Unsupported` if the provider cannot store a
    /// lifecycle, and `Validation` if the id is ambiguous: see
    /// [`deregister_endpoint`](Self::deregister_endpoint).
    ///
    /// # Cancel safety
    ///
    /// See [`set_health`](Self::set_health).
    pub async fn set_lifecycle(
        &self,
        which: impl Into<EndpointRef>,
        lifecycle: Lifecycle,
    ) -> Result<(), Error> {
        let (scope, which) = self.default_provider()?.locate(which.into()).await?;
        scope.set_lifecycle(which, lifecycle).await
    }

    /// Sets the configuration of all services without one of their own.
    ///
    /// Stores it through the default provider, if that has a store, and applies it live, here and
    /// in every process that watches the store. Endpoints keep their state; calls in progress keep
    /// the configuration that they started with.
    ///
    /// # Errors
    ///
    /// Returns `Validation` if its strategy lacks a required part; `Unsupported` if the provider
    /// has a store and the configuration has a custom strategy, which no other process could read;
    /// `Conflict` if concurrent changes prevail; `Connection`, `Timeout` or `Permission` if the
    /// store does not accept it. After an error of the store, nothing is applied.
    ///
    /// # Cancel safety
    ///
    /// A dropped future leaves the configuration either stored, and then applied by all watchers,
    /// or not; retrying is safe.
    pub async fn configure(&self, config: FailoverConfig) -> Result<(), Error> {
        self.default_provider()?.configure(config).await
    }

    /// Sets the configuration of one service, like [`configure`](Self::configure).
    ///
    /// The values that were set on its builder are stored; the others are inherited from the
    /// configuration of all services and from the manager's own.
    ///
    /// # Errors
    ///
    /// Returns `Validation` for an invalid name. For other errors see [`configure`](Self::configure).
    ///
    /// # Cancel safety
    ///
    /// See [`configure`](Self::configure).
    pub async fn configure_service(&self, service: &str, config: FailoverConfig) -> Result<(), Error> {
        self.default_provider()?.configure_service(service, config).await
    }

    /// Returns the configuration of all services without one of their own.
    ///
    /// It is the default provider's stored one, or else the manager's.
    ///
    /// # Errors
    ///
    /// Returns an error if the store did not answer, or its document cannot be used.
    ///
    /// # Cancel safety
    ///
    /// Safe: it only reads.
    pub async fn get_config(&self) -> Result<FailoverConfig, Error> {
        self.default_provider()?.get_config().await
    }

    /// Returns the configuration of one service: its own, or else that of all services.
    ///
    /// # Errors
    ///
    /// Returns `Validation` for an invalid name. For other errors see [`get_config`](Self::get_config).
    ///
    /// # Cancel safety
    ///
    /// Safe: it only reads.
    pub async fn get_service_config(&self, service: &str) -> Result<FailoverConfig, Error> {
        self.default_provider()?.get_service_config(service).await
    }

    /// Probes one endpoint of the default provider now, and returns its health with evidence.
    ///
    /// An endpoint without a health check, or with a protocol for which the manager has no probe,
    /// is not probed; the report then shows the health that its registry claims and its calls have
    /// shown. The result does not change the routing of calls.
    ///
    /// # Errors
    ///
    /// See [`get_endpoint`](Self::get_endpoint). An unhealthy endpoint is not an error.
    ///
    /// # Cancel safety
    ///
    /// Safe: a dropped future drops the probe.
    pub async fn health_check(&self, which: impl Into<EndpointRef>) -> Result<HealthReport, Error> {
        let (scope, which) = self.default_provider()?.locate(which.into()).await?;
        scope.health_check(which).await
    }

    /// Probes every endpoint of the default provider, like [`health_check`](Self::health_check).
    ///
    /// Reports are ordered by service and id. At most
    /// [`max_probes`](crate::ManagerConfig::max_probes) probes run concurrently.
    ///
    /// # Errors
    ///
    /// See [`list_endpoints`](Self::list_endpoints).
    ///
    /// # Cancel safety
    ///
    /// Safe: a dropped future drops the probes.
    pub async fn health_check_all(&self) -> Result<Vec<HealthReport>, Error> {
        self.default_provider()?.health_check_all().await
    }
}
