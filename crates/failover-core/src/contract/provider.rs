//! The contract between the engine and a source of endpoints.
//!
//! A provider crate depends on `failover-core` alone, implements [`Provider`], and offers what more
//! it can do through the optional traits: [`Registry`] to write endpoints, [`ConfigStore`] to keep
//! configuration. What a provider cannot do at all is absent; what it cannot do for this endpoint
//! is an error of kind [`Unsupported`](crate::ErrorKind::Unsupported) that says why.

pub(crate) mod info;
pub(crate) mod query;
pub(crate) mod registration;
pub(crate) mod set;
pub(crate) mod store;

use std::pin::Pin;
use std::sync::Arc;

use async_trait::async_trait;

use crate::error::{Error, ErrorKind};
use crate::model::endpoint::{Endpoint, EndpointEntry, EndpointId, ServiceName};
use crate::model::health::{Health, Lifecycle};

pub use info::{AddressTrust, ConnectionInfo, ConnectionStatus, Feature, ProviderInfo};
pub use query::{PortChoice, Query};
pub use registration::RegistrationStatus;
pub(crate) use set::Rejections;
pub use set::{EndpointSet, RejectedEntry, Revision};
pub use store::{ConfigKey, ConfigSet, ConfigStore, ConfigStream, StoredConfig};

/// The trait of [`WatchStream`], for providers that write their own streams.
pub use futures_core::Stream;

/// A stream of complete answers; the newest replaces the others. Continues after an error.
pub type WatchStream<'a> = Pin<Box<dyn Stream<Item = Result<EndpointSet, Error>> + Send + 'a>>;

/// A source of endpoints: a registry, a file, a name service.
///
/// Every call has a deadline of the caller's; an implementation sets its own, shorter ones as well,
/// and leaves nothing behind when a future is dropped: what only reads is cancel safe, what writes
/// has then written whole or not at all. Nothing here may hold a secret in `Debug`, in an error or
/// in a log.
#[async_trait]
pub trait Provider: Send + Sync + 'static {
    /// Returns the provider's description of itself. Answers at once, from memory.
    fn info(&self) -> ProviderInfo;

    /// Connects or reconnects. Connecting twice is not an error.
    ///
    /// # Errors
    ///
    /// Returns `Connection` or `Timeout` if the registry is unreachable, and `Permission` if it
    /// refuses the credentials.
    async fn connect(&self) -> Result<(), Error>;

    /// Checks whether the registry responds. The engine asks only for
    /// [`ProviderScope::ping`](crate::ProviderScope::ping).
    ///
    /// # Errors
    ///
    /// See [`connect`](Self::connect).
    async fn ping(&self) -> Result<(), Error>;

    /// Ends background tasks and closes the connection. Closing twice is not an error.
    ///
    /// # Errors
    ///
    /// Returns an error if the registry could not be notified; all local work has ended
    /// nevertheless.
    async fn close(&self) -> Result<(), Error>;

    /// Returns the matching endpoints, with the source's claims about them.
    ///
    /// A service that the registry does not know is [`EndpointSet::unknown_service`], not an error,
    /// and an error is never an empty set.
    ///
    /// # Errors
    ///
    /// Returns an error if the registry did not give a complete answer.
    async fn list(&self, query: &Query) -> Result<EndpointSet, Error>;

    /// Watches the endpoints of one service: the current ones and every change.
    ///
    /// The first item arrives as soon as the registry answers. An error is an item: the stream
    /// continues, with its own back-off, and ends only when the provider is closed. An answer that
    /// repeats the previous one shows that the registry still answers; the age of the endpoints
    /// counts from it. Returns `None` if this provider cannot watch; the engine then polls
    /// [`list`](Self::list), after each answer's [time to live](EndpointSet::with_ttl).
    ///
    /// The query names a service. The engine drops the endpoints that do not have its tags and
    /// metadata, so a stream may list all endpoints of the service. A namespace or a port occurs only
    /// if [`info`](Self::info) states [`Feature::Namespaces`] or [`Feature::Ports`].
    fn watch(&self, query: &Query) -> Option<WatchStream<'_>> {
        let _ = query;
        None
    }

    /// Returns the query for a service as the users of this provider name it
    /// ([`ServiceSource::service`](crate::ServiceSource::service)).
    ///
    /// A provider overrides this for a compact form, such as `users.shop:http` for a Service, its
    /// namespace and its port. The default takes the whole text for the name of the service.
    ///
    /// # Errors
    ///
    /// Returns `Validation` if the text names no service.
    fn query(&self, service: &str) -> Result<Query, Error> {
        ServiceName::new(service).map(|service| Query::service(&service))
    }

    /// Returns the provider's registry, if it can write endpoints.
    fn registry(&self) -> Option<&dyn Registry> {
        None
    }

    /// Returns the provider's configuration store, if it has one.
    fn config_store(&self) -> Option<&dyn ConfigStore> {
        None
    }
}

/// Lets callers keep a shared reference to a provider.
#[async_trait]
impl<P: Provider + ?Sized> Provider for Arc<P> {
    fn info(&self) -> ProviderInfo {
        (**self).info()
    }

    async fn connect(&self) -> Result<(), Error> {
        (**self).connect().await
    }

    async fn ping(&self) -> Result<(), Error> {
        (**self).ping().await
    }

    async fn close(&self) -> Result<(), Error> {
        (**self).close().await
    }

    async fn list(&self, query: &Query) -> Result<EndpointSet, Error> {
        (**self).list(query).await
    }

    fn watch(&self, query: &Query) -> Option<WatchStream<'_>> {
        (**self).watch(query)
    }

    fn query(&self, service: &str) -> Result<Query, Error> {
        (**self).query(service)
    }

    fn registry(&self) -> Option<&dyn Registry> {
        (**self).registry()
    }

    fn config_store(&self) -> Option<&dyn ConfigStore> {
        (**self).config_store()
    }
}

/// A provider that can write endpoints.
///
/// Every field of the model is read back as it was written: durations in milliseconds, secret
/// headers and bodies of health checks only if storing them is enabled.
#[async_trait]
pub trait Registry: Send + Sync {
    /// Writes an endpoint, whether or not it exists.
    ///
    /// # Errors
    ///
    /// Returns `Conflict` if another owner has that id, where that is visible, and `Unsupported` if
    /// this registry cannot store one of the endpoint's fields, naming it.
    ///
    /// # Cancel safety
    ///
    /// A dropped future leaves the endpoint either written completely or not at all; retrying is
    /// safe.
    async fn register(&self, endpoint: &Endpoint) -> Result<(), Error>;

    /// Replaces an existing endpoint. Its claims of health and lifecycle are kept.
    ///
    /// # Errors
    ///
    /// Returns `NotFound` if it does not exist. For other errors see [`register`](Self::register).
    async fn update(&self, endpoint: &Endpoint) -> Result<(), Error>;

    /// Removes an endpoint. Returns whether it existed; a missing one is not an error.
    ///
    /// # Errors
    ///
    /// Returns `Conflict` if it has another owner, where that is visible.
    async fn deregister(&self, service: &ServiceName, id: &EndpointId) -> Result<bool, Error>;

    /// Returns one endpoint with the claims about it.
    ///
    /// # Errors
    ///
    /// Returns `NotFound` if it does not exist.
    async fn get(&self, service: &ServiceName, id: &EndpointId) -> Result<EndpointEntry, Error>;

    /// Returns what became of an endpoint that this process has registered.
    ///
    /// The manager asks about every 10 s for each endpoint that it keeps registered. The default reads
    /// the endpoint and compares it ([`RegistrationStatus::compare`]). A registry that knows owners, or
    /// a provider that looks after its registrations anyway, answers better, and without a request.
    ///
    /// # Errors
    ///
    /// Returns an error if the registry did not answer.
    async fn registration(&self, endpoint: &Endpoint) -> Result<RegistrationStatus, Error> {
        RegistrationStatus::of_read(endpoint, self.get(endpoint.service(), endpoint.id()).await)
    }

    /// Sets the health of an endpoint.
    ///
    /// # Errors
    ///
    /// Returns `NotFound` if it does not exist, and `Unsupported` if the registry does not accept
    /// health from clients.
    async fn set_health(&self, service: &ServiceName, id: &EndpointId, health: Health) -> Result<(), Error> {
        let _ = health;
        Err(unsupported("set_health", service, id))
    }

    /// Sets the lifecycle of an endpoint: in service, draining or in maintenance.
    ///
    /// # Errors
    ///
    /// Returns `NotFound` if it does not exist, and `Unsupported` if this registry cannot store a
    /// lifecycle.
    async fn set_lifecycle(
        &self,
        service: &ServiceName,
        id: &EndpointId,
        lifecycle: Lifecycle,
    ) -> Result<(), Error> {
        let _ = lifecycle;
        Err(unsupported("set_lifecycle", service, id))
    }
}

fn unsupported(operation: &str, service: &ServiceName, id: &EndpointId) -> Error {
    let message = format!("{operation} of {service}/{id}: not supported by this provider");
    Error::new(ErrorKind::Unsupported, message).with_detail("operation", operation)
}
