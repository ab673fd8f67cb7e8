//! Several providers and all the services that they know, in one place.

pub(crate) mod builder;
pub(crate) mod config_sync;
pub(crate) mod deadline_retry;
pub(crate) mod default_provider;
pub(crate) mod documents;
pub(crate) mod errors;
pub(crate) mod health;
pub(crate) mod inner;
pub(crate) mod provider_scope;
pub(crate) mod providers;
pub(crate) mod registration;
pub(crate) mod served;
pub(crate) mod service_discovery;
pub(crate) mod services;

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::client::service::ServiceHandle;
use crate::config::ManagerConfig;
use crate::contract::provider::{Provider, ProviderInfo};
use crate::error::Error;
use crate::events::{Event, EventReceiver};
use crate::inspect::stats::{ProviderStats, ServiceStats};
use crate::manager::inner::Inner;
use providers::Named;
use services::Route;

pub use builder::ManagerBuilder;
pub use health::HealthReport;
pub use provider_scope::{EndpointRef, ProviderScope};
pub use registration::Registration;

/// Several providers, and the services that are discovered through them.
///
/// Cheap to clone. Discovery runs in tasks of the tokio runtime that a service was first asked for in, and ends with
/// the last clone of the manager, or with [`close`](Self::close): a handle that is left goes on with what it knows,
/// and says that it is stale.
#[derive(Clone, Debug)]
pub struct FailoverManager(Arc<Inner>);

impl FailoverManager {
    /// A builder; giving it a provider is all that is needed.
    pub fn builder() -> ManagerBuilder {
        ManagerBuilder::default()
    }

    /// A service, discovered through the default provider. All its handles share one discovery, one set of breakers
    /// and one set of counts.
    ///
    /// With [`fallback_enabled`](ManagerConfig::fallback_enabled), the other providers stand in for it, in their order:
    /// their endpoints are given calls where too few of its own are available, because it does not know the service,
    /// has never answered, or its endpoints are down. A provider that is merely out of reach changes nothing: what it
    /// said last is served.
    ///
    /// The first time it waits for an answer, at most `start_timeout`, and returns the handle either way:
    /// [`ready`](ServiceHandle::ready) tells which. What was found stays for a while after the last handle is gone, so
    /// that a look-up for each request costs nothing.
    ///
    /// # Errors
    ///
    /// `Validation` for an invalid name, `NotFound` when there is no provider, `Conflict` when the service is discovered
    /// through other providers already, `Shutdown` when the manager is closed, `Internal` outside of a tokio runtime.
    ///
    /// # Cancel safety
    ///
    /// Safe: a dropped future leaves the discovery running, as if its handle had been dropped.
    pub async fn service(&self, name: &str) -> Result<ServiceHandle, Error> {
        self.0.service(name, Route::Default).await
    }

    /// A service whose endpoints come from several providers, each with its tier: the endpoints of tier 0 are given
    /// calls first, those of the next tier where too few of them are available.
    ///
    /// ```
    /// # async fn example(manager: failover_core::FailoverManager) -> Result<(), failover_core::Error> {
    /// let users = manager.service_from("user-service", [("consul-dc1", 0), ("consul-dc2", 1)]).await?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// `NotFound` when one of the providers is not there, `Validation` when none is named, or one twice; else as
    /// [`service`](Self::service).
    ///
    /// # Cancel safety
    ///
    /// As [`service`](Self::service).
    pub async fn service_from<P: AsRef<str>>(
        &self,
        name: &str,
        sources: impl IntoIterator<Item = (P, u32)>,
    ) -> Result<ServiceHandle, Error> {
        let providers = self.0.providers();
        let mut route: Vec<(Named, u32)> = Vec::new();
        for (provider, tier) in sources {
            let named = providers.named(provider.as_ref())?.clone();
            if route.iter().any(|(other, _)| other.name == named.name) {
                return Err(Error::invalid(
                    "sources",
                    format!("\"{}\" twice", named.name),
                    "each provider once",
                ));
            }
            route.push((named, tier));
        }
        if route.is_empty() {
            return Err(Error::invalid("sources", "none", "at least one provider and its tier"));
        }
        self.0.service(name, Route::Through(route)).await
    }

    /// The operations on one provider, by its name.
    ///
    /// # Errors
    ///
    /// `NotFound` when no provider has that name; the message lists those that there are.
    pub fn provider(&self, provider: &str) -> Result<ProviderScope<'_>, Error> {
        Ok(ProviderScope::new(&self.0, self.0.named(provider)?))
    }

    /// The operations on the default provider.
    ///
    /// # Errors
    ///
    /// `NotFound` when there is no provider, or none of the name that the settings give.
    pub fn default_provider(&self) -> Result<ProviderScope<'_>, Error> {
        Ok(ProviderScope::new(&self.0, self.0.default_provider()?))
    }

    /// Adds a provider under the name of its kind, and connects it: waits for that at most `start_timeout`. One that
    /// cannot be reached is no error. Where the default provider is not named, the first one is it.
    ///
    /// # Errors
    ///
    /// `Validation` when there is a provider of that name, `Shutdown` when the manager is closed, `Internal` outside of
    /// a tokio runtime.
    ///
    /// # Cancel safety
    ///
    /// A dropped future leaves the provider registered, perhaps not connected yet: what needs it connects it.
    pub async fn register_provider(&self, provider: impl Provider) -> Result<(), Error> {
        self.0.register_provider(None, Arc::new(provider)).await
    }

    /// As [`register_provider`](Self::register_provider), under a name of its own.
    ///
    /// # Errors
    ///
    /// As there.
    ///
    /// # Cancel safety
    ///
    /// As there.
    pub async fn register_provider_as(
        &self,
        name: impl Into<String>,
        provider: impl Provider,
    ) -> Result<(), Error> {
        self.0.register_provider(Some(name.into()), Arc::new(provider)).await
    }

    /// What the providers say of themselves, by name.
    pub fn provider_infos(&self) -> BTreeMap<Arc<str>, ProviderInfo> {
        self.0.infos()
    }

    /// The settings that it was built with.
    pub fn config(&self) -> &ManagerConfig {
        &self.0.settings
    }

    /// The names of the providers, in the order in which they were given.
    pub fn provider_names(&self) -> Vec<Arc<str>> {
        self.0.providers().iter().map(|named| Arc::clone(&named.name)).collect()
    }

    /// What has been counted so far, for each service that is kept.
    pub fn stats(&self) -> Vec<ServiceStats> {
        self.0.services().engines().map(|engine| engine.stats()).collect()
    }

    /// What has been counted so far, for each provider.
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

    /// The newest events of all services, oldest first: at most `limit`.
    pub fn events(&self, limit: usize) -> Vec<Arc<Event>> {
        self.0.events.newest(limit)
    }

    /// Hears the events of all services from now on.
    pub fn subscribe(&self) -> EventReceiver {
        self.0.events.subscribe()
    }

    /// Ends discovery and closes every provider, within a second. Calls under way finish; handles go on with what
    /// they know. Doing it twice is no error.
    ///
    /// # Errors
    ///
    /// When a provider did not close in time, or with an error; all the others are closed even so.
    ///
    /// # Cancel safety
    ///
    /// A dropped future leaves discovery ended, and some providers perhaps not closed; doing it again closes them.
    pub async fn close(&self) -> Result<(), Error> {
        self.0.close().await
    }
}

#[cfg(test)]
mod tests;
