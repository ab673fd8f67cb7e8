//! A manager of several providers and of the services that they list.

pub(crate) mod builder;
pub(crate) mod config_sync;
pub(crate) mod config_watch;
pub(crate) mod connecting;
pub(crate) mod deadline_retry;
pub(crate) mod default_provider;
pub(crate) mod documents;
pub(crate) mod endpoint_ref;
pub(crate) mod errors;
pub(crate) mod health;
pub(crate) mod inner;
pub(crate) mod provider_scope;
pub(crate) mod providers;
pub(crate) mod registration;
pub(crate) mod registration_state;
pub(crate) mod served;
pub(crate) mod service_discovery;
pub(crate) mod services;
pub(crate) mod sources;
pub(crate) mod supervision;
pub(crate) mod weak;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::client::service::ServiceHandle;
use crate::config::ManagerConfig;
use crate::contract::provider::{Provider, ProviderInfo, Query};
use crate::error::Error;
use crate::events::{Event, EventReceiver};
use crate::inspect::inspector::ServiceInspector;
use crate::inspect::stats::{ProviderStats, ServiceStats};
use crate::manager::inner::Inner;
use sources::{Request, Route};

pub use builder::ManagerBuilder;
pub use endpoint_ref::EndpointRef;
pub use health::HealthReport;
pub use provider_scope::ProviderScope;
pub use registration::Registration;
pub use registration_state::RegistrationState;
pub use sources::{ServiceSource, source};
pub use supervision::RegistrationWatch;
pub use weak::WeakManager;

/// Several providers, and the services that are discovered through them.
///
/// Cheap to clone. Discovery runs in tasks of the tokio runtime in which a service was first
/// requested. It ends with the last clone of the manager, or with [`close`](Self::close); the
/// remaining handles then keep using the last known endpoints and report that they are stale.
#[derive(Clone, Debug)]
pub struct FailoverManager(Arc<Inner>);

impl FailoverManager {
    /// Returns a builder, which requires only a provider.
    pub fn builder() -> ManagerBuilder {
        ManagerBuilder::default()
    }

    /// Returns the handle of a service, discovered through the default provider.
    ///
    /// All handles of a service share one discovery, one set of breakers and one set of counters.
    ///
    /// With [`fallback_enabled`](ManagerConfig::fallback_enabled), the other providers are
    /// fallbacks, in their order: their endpoints receive calls if too few of the default
    /// provider's are available, because it does not know the service, has never answered, or its
    /// endpoints are down. An unreachable provider alone changes nothing: its last answer is used.
    ///
    /// The first request for a service waits for an answer, at most `start_timeout`, and returns
    /// the handle either way; [`ready`](ServiceHandle::ready) waits for the answer itself.
    /// Discovery continues for a while (`keep_idle`) after the last handle is dropped, so that a
    /// lookup per request is cheap.
    ///
    /// # Errors
    ///
    /// Returns `Validation` for an invalid name, `NotFound` if there is no provider, `Conflict` if
    /// the service is already discovered through other providers, `Shutdown` if the manager is
    /// closed, and `Internal` outside of a tokio runtime.
    ///
    /// # Cancel safety
    ///
    /// Safe: a dropped future leaves the discovery running, as if its handle had been dropped.
    pub async fn service(&self, name: &str) -> Result<ServiceHandle, Error> {
        self.0.service(name, Route::Default(Query::all())).await
    }

    /// Returns the handle of the endpoints of a service that match a query, discovered through the
    /// default provider.
    ///
    /// Like [`service`](Self::service), with fewer endpoints, and kept up to date like it. Handles of
    /// equal queries share one discovery, one set of breakers and one set of counters; others of the
    /// same service have their own. The stored configuration is that of the service.
    ///
    /// ```
    /// # async fn example(manager: failover_core::FailoverManager) -> Result<(), failover_core::Error> {
    /// use failover_core::ServiceName;
    /// use failover_core::provider::Query;
    ///
    /// let users = ServiceName::new("user-service")?;
    /// let canary = manager.service_matching(Query::service(&users).tag("canary")).await?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// Returns `Validation` if the query names no service, and `Unsupported` if it has a namespace or
    /// a port and the default provider knows none; other providers that know none are no fallbacks.
    /// For other errors see [`service`](Self::service).
    ///
    /// # Cancel safety
    ///
    /// See [`service`](Self::service).
    pub async fn service_matching(&self, query: Query) -> Result<ServiceHandle, Error> {
        self.0.requested(Request::matching(query, None)?).await
    }

    /// Returns the handle of a service that is discovered through several sources.
    ///
    /// A source is a provider, and what the service is there: another name, a tag, a namespace, a
    /// port. Each has a tier: the endpoints of tier 0 receive calls first, those of the next tier if
    /// too few of them are available.
    ///
    /// ```
    /// # async fn example(manager: failover_core::FailoverManager) -> Result<(), failover_core::Error> {
    /// use failover_core::source;
    ///
    /// let users = manager.service_from("user-service", [("consul-dc1", 0), ("consul-dc2", 1)]).await?;
    /// let sources = [source("consul-dc1"), source("kubernetes").service("minio.storage:http")];
    /// let minio = manager.service_from("minio", sources).await?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// Returns `NotFound` if a provider does not exist, `Validation` if there is no source, if one
    /// occurs twice or if its provider cannot read the name of the service, and `Unsupported` if the
    /// provider knows no namespaces or ports. For other errors see [`service`](Self::service).
    ///
    /// # Cancel safety
    ///
    /// See [`service`](Self::service).
    pub async fn service_from<S: Into<ServiceSource>>(
        &self,
        name: &str,
        sources: impl IntoIterator<Item = S>,
    ) -> Result<ServiceHandle, Error> {
        self.0.service(name, Route::Through(sources.into_iter().map(Into::into).collect())).await
    }

    /// Returns the operations on the provider with this name.
    ///
    /// # Errors
    ///
    /// Returns `NotFound` if no provider has that name; the message lists the existing ones.
    pub fn provider(&self, provider: &str) -> Result<ProviderScope<'_>, Error> {
        Ok(ProviderScope::new(&self.0, self.0.named(provider)?))
    }

    /// Returns the operations on the default provider.
    ///
    /// # Errors
    ///
    /// Returns `NotFound` if there is no provider, or none with the configured name.
    pub fn default_provider(&self) -> Result<ProviderScope<'_>, Error> {
        Ok(ProviderScope::new(&self.0, self.0.default_provider()?))
    }

    /// Adds a provider under the name of its kind, and connects it.
    ///
    /// Waits for the connection at most `start_timeout`. An unreachable provider is not an error: it
    /// is connected again in the background, with a back-off of up to 30 s. If the configuration names no default provider, the first one is the default.
    ///
    /// # Errors
    ///
    /// Returns `Validation` if a provider of that name exists or the name is empty or contains `@`,
    /// `Shutdown` if the manager is closed, and `Internal` outside of a tokio runtime.
    ///
    /// # Cancel safety
    ///
    /// A dropped future leaves the provider registered, and its connection continues in the background.
    pub async fn register_provider(&self, provider: impl Provider) -> Result<(), Error> {
        self.0.register_provider(None, Arc::new(provider)).await
    }

    /// Adds a provider under the given name, and connects it.
    ///
    /// # Errors
    ///
    /// See [`register_provider`](Self::register_provider).
    ///
    /// # Cancel safety
    ///
    /// See [`register_provider`](Self::register_provider).
    pub async fn register_provider_as(
        &self,
        name: impl Into<String>,
        provider: impl Provider,
    ) -> Result<(), Error> {
        self.0.register_provider(Some(name.into()), Arc::new(provider)).await
    }

    /// Returns the providers' descriptions of themselves, by name.
    pub fn provider_infos(&self) -> BTreeMap<Arc<str>, ProviderInfo> {
        self.0.infos()
    }

    /// Returns the manager's configuration.
    pub fn config(&self) -> &ManagerConfig {
        &self.0.settings
    }

    /// Returns the names of the providers, in the order in which they were added.
    pub fn provider_names(&self) -> Vec<Arc<str>> {
        self.0.providers().iter().map(|named| Arc::clone(&named.name)).collect()
    }

    /// Returns the statistics of each service that is kept.
    pub fn stats(&self) -> Vec<ServiceStats> {
        // Read without the lock, which everybody who asks for a handle takes.
        let engines: Vec<_> = self.0.services().engines().cloned().collect();
        engines.iter().map(|engine| engine.stats()).collect()
    }

    /// Returns the services that are kept, by name and query, to look at and to operate.
    ///
    /// A service is kept from the first request for its handle until a while (`keep_idle`) after its
    /// last handle was dropped; an inspector does not prolong that.
    pub fn inspect(&self) -> Vec<ServiceInspector> {
        let mut engines: Vec<_> = self.0.services().engines().cloned().collect();
        engines.sort_by(|a, b| (a.name(), a.query()).cmp(&(b.name(), b.query())));
        engines.into_iter().map(ServiceInspector::new).collect()
    }

    /// Returns the statistics of each provider.
    pub fn provider_stats(&self) -> BTreeMap<Arc<str>, ProviderStats> {
        let now = self.0.clock.wall();
        let names = self.0.providers().iter().map(|named| Arc::clone(&named.name)).collect::<Vec<_>>();
        let mut all =
            names.into_iter().map(|name| (Arc::clone(&name), ProviderStats::new(name, now))).collect();
        let engines: Vec<_> = self.0.services().engines().cloned().collect();
        for engine in engines {
            engine.add_to_providers(&mut all);
        }
        all
    }

    /// Returns the newest events of all services, oldest first: at most `limit`.
    pub fn events(&self, limit: usize) -> Vec<Arc<Event>> {
        self.0.events.newest(limit)
    }

    /// Subscribes to the events of all services from now on.
    pub fn subscribe(&self) -> EventReceiver {
        self.0.events.subscribe()
    }

    /// Returns a reference that does not keep the manager, for a task that ends with it.
    pub fn downgrade(&self) -> WeakManager {
        WeakManager::new(Arc::downgrade(&self.0))
    }

    /// Returns whether [`close`](Self::close) was called.
    pub fn is_closed(&self) -> bool {
        self.0.closed.load(Ordering::Acquire)
    }

    /// Ends discovery and closes every provider, within a second.
    ///
    /// Calls in progress finish; handles keep using the last known endpoints. Closing twice is not
    /// an error.
    ///
    /// # Errors
    ///
    /// Returns an error if a provider did not close in time, or failed to close; all others are
    /// closed nevertheless.
    ///
    /// # Cancel safety
    ///
    /// A dropped future leaves discovery ended and some providers possibly open; calling it again
    /// closes them.
    pub async fn close(&self) -> Result<(), Error> {
        self.0.close().await
    }
}

#[cfg(test)]
mod tests;
