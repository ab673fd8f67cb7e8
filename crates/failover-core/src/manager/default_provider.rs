//! What a manager does on its default provider.

use crate::config::FailoverConfig;
use crate::contract::provider::Query;
use crate::error::Error;
use crate::manager::FailoverManager;
use crate::manager::health::HealthReport;
use crate::manager::provider_scope::EndpointRef;
use crate::model::endpoint::{Endpoint, EndpointEntry};
use crate::model::health::{Health, Lifecycle};

impl FailoverManager {
    /// Writes an endpoint to the default provider, whether or not it is there already.
    ///
    /// # Errors
    ///
    /// As [`Registry::register`](crate::provider::Registry::register); `Unsupported` when the provider cannot be written to;
    /// `Timeout` after the manager's timeout.
    ///
    /// # Cancel safety
    ///
    /// A dropped future leaves the endpoint either written whole or not at all; doing it again is safe.
    pub async fn register_endpoint(&self, endpoint: Endpoint) -> Result<(), Error> {
        self.default_provider()?.register_endpoint(endpoint).await
    }

    /// Replaces an endpoint of the default provider that is there.
    ///
    /// # Errors
    ///
    /// `NotFound` when it is not there, else as [`register_endpoint`](Self::register_endpoint).
    ///
    /// # Cancel safety
    ///
    /// As [`register_endpoint`](Self::register_endpoint).
    pub async fn update_endpoint(&self, endpoint: Endpoint) -> Result<(), Error> {
        self.default_provider()?.update_endpoint(endpoint).await
    }

    /// Removes an endpoint from the default provider, and says whether it was there.
    ///
    /// # Errors
    ///
    /// `Validation` when an id alone is given and stands in several services, naming them; else as
    /// [`register_endpoint`](Self::register_endpoint).
    ///
    /// # Cancel safety
    ///
    /// A dropped future leaves the endpoint either removed or not; doing it again is safe.
    pub async fn deregister_endpoint(&self, which: impl Into<EndpointRef>) -> Result<bool, Error> {
        self.default_provider()?.deregister_endpoint(which).await
    }

    /// One endpoint of the default provider.
    ///
    /// # Errors
    ///
    /// `NotFound` when it is not there; `Validation` as [`deregister_endpoint`](Self::deregister_endpoint).
    ///
    /// # Cancel safety
    ///
    /// Safe: it only reads.
    pub async fn get_endpoint(&self, which: impl Into<EndpointRef>) -> Result<EndpointEntry, Error> {
        self.default_provider()?.get_endpoint(which).await
    }

    /// The endpoints of the default provider that match.
    ///
    /// # Errors
    ///
    /// When the provider did not give a whole answer.
    ///
    /// # Cancel safety
    ///
    /// Safe: it only reads.
    pub async fn list_endpoints(&self, query: &Query) -> Result<Vec<EndpointEntry>, Error> {
        self.default_provider()?.list_endpoints(query).await
    }

    /// Claims a health for an endpoint of the default provider.
    ///
    /// # Errors
    ///
    /// `NotFound` when it is not there; `Unsupported` where health is not for us to claim.
    ///
    /// # Cancel safety
    ///
    /// A dropped future leaves the claim either made or not; doing it again is safe.
    pub async fn set_health(&self, which: impl Into<EndpointRef>, health: Health) -> Result<(), Error> {
        self.default_provider()?.set_health(which, health).await
    }

    /// Takes an endpoint of the default provider out of new calls on purpose, or puts it back.
    ///
    /// # Errors
    ///
    /// `NotFound` when it is not there; `Unsupported` where the provider cannot say such a thing.
    ///
    /// # Cancel safety
    ///
    /// As [`set_health`](Self::set_health).
    pub async fn set_lifecycle(
        &self,
        which: impl Into<EndpointRef>,
        lifecycle: Lifecycle,
    ) -> Result<(), Error> {
        self.default_provider()?.set_lifecycle(which, lifecycle).await
    }

    /// Makes a configuration that of every service which has none of its own: stores it through the default provider,
    /// where that keeps configuration, and applies it live, here and in every process that watches. Endpoints keep
    /// their state; calls under way keep the configuration that they began with.
    ///
    /// # Errors
    ///
    /// `Validation` when its strategy lacks what it needs; `Unsupported` when the provider keeps configuration and this one
    /// has a strategy of the caller's own, which no other process could read; `Conflict` when others change it all the time;
    /// `Connection`, `Timeout` or `Permission` when the store does not take it: nothing is applied then.
    ///
    /// # Cancel safety
    ///
    /// A dropped future leaves it either stored, and then it is applied by those who watch, or not; doing it again is
    /// safe.
    pub async fn configure(&self, config: FailoverConfig) -> Result<(), Error> {
        self.default_provider()?.configure(config).await
    }

    /// As [`configure`](Self::configure), for one service.
    ///
    /// # Errors
    ///
    /// `Validation` for an invalid name, `NotFound` when the provider has no endpoint of the service; else as there.
    ///
    /// # Cancel safety
    ///
    /// As there.
    pub async fn configure_service(&self, service: &str, config: FailoverConfig) -> Result<(), Error> {
        self.default_provider()?.configure_service(service, config).await
    }

    /// The configuration of every service that has none of its own, as the default provider keeps it, or as the
    /// manager was built with.
    ///
    /// # Errors
    ///
    /// When the store did not answer, or what it keeps cannot be used.
    ///
    /// # Cancel safety
    ///
    /// Safe: it only reads.
    pub async fn get_config(&self) -> Result<FailoverConfig, Error> {
        self.default_provider()?.get_config().await
    }

    /// The configuration that counts for one service: its own, or else that of all.
    ///
    /// # Errors
    ///
    /// `Validation` for an invalid name, `NotFound` when the provider has no endpoint of the service; else as
    /// [`get_config`](Self::get_config).
    ///
    /// # Cancel safety
    ///
    /// Safe: it only reads.
    pub async fn get_service_config(&self, service: &str) -> Result<FailoverConfig, Error> {
        self.default_provider()?.get_service_config(service).await
    }

    /// Probes one endpoint of the default provider now, and answers with the finding and its evidence. One without a
    /// health check, or of a protocol that the manager has no probe for, is not probed: then it is what its registry and
    /// its calls say, and the report says so. What is found changes nothing about who is given calls.
    ///
    /// # Errors
    ///
    /// As [`get_endpoint`](Self::get_endpoint). That it is not healthy is no error.
    ///
    /// # Cancel safety
    ///
    /// Safe: a dropped future drops the probe.
    pub async fn health_check(&self, which: impl Into<EndpointRef>) -> Result<HealthReport, Error> {
        self.default_provider()?.health_check(which).await
    }

    /// As [`health_check`](Self::health_check) for every endpoint of the default provider, by service and id; as many
    /// at a time as [`max_probes`](crate::ManagerConfig::max_probes) says.
    ///
    /// # Errors
    ///
    /// As [`list_endpoints`](Self::list_endpoints).
    ///
    /// # Cancel safety
    ///
    /// Safe: a dropped future drops the probes.
    pub async fn health_check_all(&self) -> Result<Vec<HealthReport>, Error> {
        self.default_provider()?.health_check_all().await
    }
}
