//! The contract between the engine and whatever knows where endpoints are.
//!
//! A provider crate depends on `failover-core` alone, implements [`Provider`], and offers what more it can do
//! through the optional traits: [`Registry`] to write endpoints, [`ConfigStore`] to keep configuration. What a
//! provider cannot do at all is absent; what it cannot do for this endpoint is an error of kind
//! [`Unsupported`](crate::ErrorKind::Unsupported) that says why.

pub(crate) mod info;
pub(crate) mod query;
pub(crate) mod set;
pub(crate) mod store;

use std::pin::Pin;
use std::sync::Arc;

use async_trait::async_trait;
use futures_core::Stream;

use crate::error::{Error, ErrorKind};
use crate::model::endpoint::{Endpoint, EndpointEntry, EndpointId, ServiceName};
use crate::model::health::{Health, Lifecycle};

pub use info::{AddressTrust, ConnectionInfo, ConnectionStatus, Feature, ProviderInfo};
pub use query::Query;
pub(crate) use set::Rejections;
pub use set::{EndpointSet, RejectedEntry, Revision};
pub use store::{ConfigKey, ConfigStore, ConfigStream, StoredConfig};

/// A stream of whole answers, newest wins. It goes on after an error.
pub type WatchStream<'a> = Pin<Box<dyn Stream<Item = Result<EndpointSet, Error>> + Send + 'a>>;

/// Where endpoints come from: a registry, a file, a name service.
///
/// Every call has a deadline of the caller's; an implementation sets its own, shorter ones as well, and leaves
/// nothing behind when a future is dropped: what only reads is cancel safe, what writes has then written whole or not
/// at all. Nothing here may hold a secret in `Debug`, in an error or in a log.
#[async_trait]
pub trait Provider: Send + Sync + 'static {
    /// What it is, what it can do, and how its connection is. Answers at once, from memory.
    fn info(&self) -> ProviderInfo;

    /// Connects, or connects again. Doing it twice is no error.
    ///
    /// # Errors
    ///
    /// `Connection` or `Timeout` when the registry cannot be reached, `Permission` when it refuses the credentials.
    async fn connect(&self) -> Result<(), Error>;

    /// Asks the registry whether it is there.
    ///
    /// # Errors
    ///
    /// As [`connect`](Self::connect).
    async fn ping(&self) -> Result<(), Error>;

    /// Ends what runs in the background and lets go of the connection. Doing it twice is no error.
    ///
    /// # Errors
    ///
    /// When something that the registry should know could not be told to it; everything local has ended even so.
    async fn close(&self) -> Result<(), Error>;

    /// The endpoints that match, with the source's claims about them.
    ///
    /// A service that the registry does not know is [`EndpointSet::unknown_service`], not an error, and an error
    /// is never an empty set.
    ///
    /// # Errors
    ///
    /// When the registry did not give a whole answer.
    async fn list(&self, query: &Query) -> Result<EndpointSet, Error>;

    /// The endpoints of one service, now and at every change.
    ///
    /// The first item comes as soon as the registry answers. An error is an item: the stream goes on, with its own
    /// back-off, and ends only when the provider is closed. `None` when this provider cannot watch: the engine
    /// then asks [`list`](Self::list) again and again.
    fn watch(&self, service: &ServiceName) -> Option<WatchStream<'_>> {
        let _ = service;
        None
    }

    /// The part that writes endpoints, if this provider has one.
    fn registry(&self) -> Option<&dyn Registry> {
        None
    }

    /// The part that keeps configuration, if this provider has one.
    fn config_store(&self) -> Option<&dyn ConfigStore> {
        None
    }
}

/// A provider that its user keeps a hand on.
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

    fn watch(&self, service: &ServiceName) -> Option<WatchStream<'_>> {
        (**self).watch(service)
    }

    fn registry(&self) -> Option<&dyn Registry> {
        (**self).registry()
    }

    fn config_store(&self) -> Option<&dyn ConfigStore> {
        (**self).config_store()
    }
}

/// A provider that endpoints can be written to.
///
/// Every field of the model comes back as it was written: times in milliseconds, secret headers and bodies of
/// health checks only where that was switched on.
#[async_trait]
pub trait Registry: Send + Sync {
    /// Writes an endpoint, whether or not it is there already.
    ///
    /// # Errors
    ///
    /// `Conflict` when somebody else owns that id, where that can be seen; `Unsupported` when this registry has no
    /// place for one of the endpoint's fields, naming it.
    ///
    /// # Cancel safety
    ///
    /// A dropped future leaves the endpoint either written whole or not at all; doing it again is safe.
    async fn register(&self, endpoint: &Endpoint) -> Result<(), Error>;

    /// Replaces an endpoint that is there. Claims of health and lifecycle stay.
    ///
    /// # Errors
    ///
    /// `NotFound` when it is not there, else as [`register`](Self::register).
    async fn update(&self, endpoint: &Endpoint) -> Result<(), Error>;

    /// Removes an endpoint, and says whether it was there: that it was not is no error.
    ///
    /// # Errors
    ///
    /// `Conflict` when somebody else owns it, where that can be seen.
    async fn deregister(&self, service: &ServiceName, id: &EndpointId) -> Result<bool, Error>;

    /// One endpoint with the claims about it.
    ///
    /// # Errors
    ///
    /// `NotFound` when it is not there.
    async fn get(&self, service: &ServiceName, id: &EndpointId) -> Result<EndpointEntry, Error>;

    /// Claims a health for an endpoint.
    ///
    /// # Errors
    ///
    /// `NotFound` when it is not there; `Unsupported` where health is not for us to claim.
    async fn set_health(&self, service: &ServiceName, id: &EndpointId, health: Health) -> Result<(), Error> {
        let _ = health;
        Err(unsupported("set_health", service, id))
    }

    /// Takes an endpoint out of new calls on purpose, or puts it back.
    ///
    /// # Errors
    ///
    /// `NotFound` when it is not there; `Unsupported` where this registry cannot say such a thing.
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
