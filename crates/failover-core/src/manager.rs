//! Several providers and all the services that they know, in one place.

mod builder;
mod scope;
mod services;
mod task;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::clock::Clock;
use crate::config::FailoverConfig;
use crate::duration::rough;
use crate::endpoint::{Endpoint, EndpointEntry, ServiceName};
use crate::error::{Error, ErrorKind};
use crate::events::{Event, EventLog, Events};
use crate::health::{Health, Lifecycle};
use crate::provider::{Provider, Query};
use crate::random::Random;
use crate::service::ServiceHandle;
use crate::stats::ServiceStats;
use services::Services;

use builder::no_runtime;

pub use builder::ManagerBuilder;
pub use scope::{EndpointRef, ProviderScope};

/// Several providers, and the services that are discovered through them.
///
/// Cheap to clone. Discovery runs in tasks of the tokio runtime that a service was first asked for in, and ends with
/// the last clone of the manager, or with [`close`](Self::close): a handle that is left goes on with what it knows,
/// and says that it is stale.
#[derive(Clone, Debug)]
pub struct FailoverManager(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    providers: Vec<Named>,
    default: Option<Arc<str>>,
    settings: Settings,
    config: Arc<FailoverConfig>,
    clock: Clock,
    random: Random,
    events: Arc<EventLog>,
    services: Mutex<Services>,
    closed: AtomicBool,
}

/// A provider and the name that it goes by.
#[derive(Clone)]
struct Named {
    name: Arc<str>,
    provider: Arc<dyn Provider>,
}

impl std::fmt::Debug for Named {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The provider itself may hold credentials, and need not be able to show itself.
        f.debug_struct("Named").field("name", &self.name).finish_non_exhaustive()
    }
}

#[derive(Clone, Copy, Debug)]
struct Settings {
    start_timeout: Duration,
    timeout: Duration,
    keep_idle: Duration,
    poll_interval: Duration,
    allow_loopback: bool,
}

impl FailoverManager {
    /// A builder; giving it a provider is all that is needed.
    pub fn builder() -> ManagerBuilder {
        ManagerBuilder::default()
    }

    /// A service, discovered through the default provider. All its handles share one discovery, one set of breakers
    /// and one set of counts.
    ///
    /// The first time it waits for the provider's first answer, at most `start_timeout`, and returns the handle either
    /// way: [`ready`](ServiceHandle::ready) tells which. What was found stays for a while after the last handle is
    /// gone, so that a look-up for each request costs nothing.
    ///
    /// # Errors
    ///
    /// `Validation` for an invalid name, `NotFound` when there is no provider, `Shutdown` when the manager is closed,
    /// `Internal` outside of a tokio runtime.
    ///
    /// # Cancel safety
    ///
    /// Safe: a dropped future leaves the discovery running, as if its handle had been dropped.
    pub async fn service(&self, name: &str) -> Result<ServiceHandle, Error> {
        let named = self.0.default_provider()?.clone();
        self.0.service(name, named).await
    }

    /// The operations on one provider, by its name.
    ///
    /// # Errors
    ///
    /// `NotFound` when no provider has that name; the message lists those that there are.
    pub fn on(&self, provider: &str) -> Result<ProviderScope<'_>, Error> {
        Ok(ProviderScope::new(&self.0, self.0.named(provider)?))
    }

    fn on_default(&self) -> Result<ProviderScope<'_>, Error> {
        Ok(ProviderScope::new(&self.0, self.0.default_provider()?))
    }

    /// Writes an endpoint to the default provider, whether or not it is there already.
    ///
    /// # Errors
    ///
    /// As [`Registry::register`](crate::Registry::register); `Unsupported` when the provider cannot be written to;
    /// `Timeout` after the manager's timeout.
    ///
    /// # Cancel safety
    ///
    /// A dropped future leaves the endpoint either written whole or not at all; doing it again is safe.
    pub async fn register_endpoint(&self, endpoint: Endpoint) -> Result<(), Error> {
        self.on_default()?.register_endpoint(endpoint).await
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
        self.on_default()?.update_endpoint(endpoint).await
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
        self.on_default()?.deregister_endpoint(which).await
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
        self.on_default()?.get_endpoint(which).await
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
        self.on_default()?.list_endpoints(query).await
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
        self.on_default()?.set_health(which, health).await
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
        self.on_default()?.set_lifecycle(which, lifecycle).await
    }

    /// The names of the providers, in the order in which they were given.
    pub fn providers(&self) -> impl Iterator<Item = &str> {
        self.0.providers.iter().map(|named| &*named.name)
    }

    /// What has been counted so far, for each service that is kept.
    pub fn stats(&self) -> Vec<ServiceStats> {
        self.0.services().engines().map(|engine| engine.stats()).collect()
    }

    /// The newest events of all services, oldest first: at most `limit`.
    pub fn events(&self, limit: usize) -> Vec<Arc<Event>> {
        self.0.events.newest(limit)
    }

    /// Hears the events of all services from now on.
    pub fn subscribe(&self) -> Events {
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

impl Inner {
    fn default_provider(&self) -> Result<&Named, Error> {
        match &self.default {
            Some(name) => self.named(name),
            None => Err(Error::new(ErrorKind::NotFound, "the manager has no provider; give its builder one")),
        }
    }

    fn named(&self, name: &str) -> Result<&Named, Error> {
        self.providers.iter().find(|named| &*named.name == name).ok_or_else(|| {
            let known: Vec<_> = self.providers.iter().map(|named| format!("\"{}\"", named.name)).collect();
            let message = format!("no provider is named \"{name}\"; there are {}", known.join(", "));
            Error::new(ErrorKind::NotFound, message).with_detail("provider", name)
        })
    }

    fn ensure_open(&self) -> Result<(), Error> {
        if self.closed.load(Ordering::Acquire) { Err(closed_error()) } else { Ok(()) }
    }

    /// Runs an operation of a provider within the manager's timeout.
    async fn within<T>(
        &self,
        what: &str,
        operation: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        self.ensure_open()?;
        tokio::runtime::Handle::try_current().map_err(|_| no_runtime(what))?;
        let limit = self.settings.timeout;
        tokio::time::timeout(limit, operation).await.unwrap_or_else(|_| {
            let message = format!("{what}: no answer in {}; it may have been done even so", rough(limit));
            Err(Error::new(ErrorKind::Timeout, message))
        })
    }

    async fn close(&self) -> Result<(), Error> {
        const LIMIT: Duration = Duration::from_millis(900);
        let runtime = tokio::runtime::Handle::try_current();
        self.closed.store(true, Ordering::Release);
        self.end_discovery();
        runtime.map_err(|_| no_runtime("closing the providers"))?;
        let mut closing = tokio::task::JoinSet::new();
        for Named { name, provider } in self.providers.clone() {
            closing.spawn(async move {
                match tokio::time::timeout(LIMIT, provider.close()).await {
                    Ok(result) => result.map_err(|error| error.in_place(format!("provider {name}"))),
                    Err(_) => {
                        let message = format!("provider {name}: it did not close in {}", rough(LIMIT));
                        Err(Error::new(ErrorKind::Timeout, message))
                    }
                }
            });
        }
        let mut first = Ok(());
        while let Some(ended) = closing.join_next().await {
            let result = ended.unwrap_or_else(|panic| {
                Err(Error::new(ErrorKind::Internal, format!("a provider panicked while closing: {panic}")))
            });
            first = first.and(result);
        }
        first
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.end_discovery();
    }
}

fn closed_error() -> Error {
    Error::new(ErrorKind::Shutdown, "the failover manager is closed")
}

/// The name of a service, for errors that are about one.
fn service_name(name: &str) -> Result<ServiceName, Error> {
    ServiceName::new(name)
}

#[cfg(test)]
mod tests;
