//! A source of endpoints that can only be asked.

use failover_core::provider::{EndpointSet, ProviderInfo};
use failover_core::{Error, ErrorKind, ServiceName, async_trait};

/// A read-only source of endpoints that can only be asked: a name service, a document, a list behind a
/// URL. [`Polled`](crate::Polled) makes a provider of it.
///
/// The futures are dropped when their time is up, or their provider is closed, and have to leave nothing
/// behind.
///
/// ```
/// use std::time::Duration;
///
/// use failover_core::provider::{AddressTrust, EndpointSet, ProviderInfo};
/// use failover_core::{Endpoint, Error, ServiceHandle, ServiceName, async_trait};
/// use failover_provider_kit::{Polled, Source};
///
/// /// Resolves the names of services as the system does.
/// struct Hosts {
///     port: u16,
/// }
///
/// #[async_trait]
/// impl Source for Hosts {
///     fn info(&self) -> ProviderInfo {
///         // Only who may change this machine's files can name its loopback address.
///         ProviderInfo::new("hosts", "1.0.0").with_trust(AddressTrust::Loopback)
///     }
///
///     async fn fetch(&self, service: &ServiceName) -> Result<EndpointSet, Error> {
///         let found = tokio::net::lookup_host((service.as_str(), self.port)).await;
///         let found = found.map_err(|error| Error::unreachable(service, error))?;
///         let mut set = EndpointSet::new([]).with_ttl(Duration::from_secs(5));
///         for address in found {
///             let id = address.ip().to_string();
///             match Endpoint::builder(&id, service.as_str(), &id, self.port).build() {
///                 Ok(endpoint) => set.push(endpoint.into()),
///                 Err(error) => set.reject(id, error),
///             }
///         }
///         Ok(set)
///     }
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Error> {
/// let manager = failover_core::FailoverManager::builder().provider(Polled::new(Hosts { port: 80 })).build().await?;
/// let service: ServiceHandle = manager.service("localhost").await?;
/// assert!(service.select().is_ok());
/// # Ok(()) }
/// ```
#[async_trait]
pub trait Source: Send + Sync + 'static {
    /// Returns the kind, the version, the trust in addresses and the features of this source, at once.
    ///
    /// [`Polled`](crate::Polled) adds [`Feature::Watch`](failover_core::provider::Feature::Watch), and the
    /// state of the connection, whose address is kept.
    fn info(&self) -> ProviderInfo;

    /// Returns all endpoints of a service.
    ///
    /// [`EndpointSet::with_ttl`] says when to ask again, from 250 ms to 24 h; a shorter or longer time is
    /// taken for these. An answer that repeats the one before, such as one to `If-None-Match`, is the same set
    /// again. Fetches of one service may run at the same time, for a watch and for a list: a source that
    /// remembers answers lets no older one replace a newer one. A service that the source does not know is
    /// [`EndpointSet::unknown_service`]; an answer that is not whole is an error, and never an empty set.
    ///
    /// # Errors
    ///
    /// Returns an error if the source has given no whole answer.
    async fn fetch(&self, service: &ServiceName) -> Result<EndpointSet, Error>;

    /// Returns the names of all services, for a query without one. The default is `Unsupported`.
    ///
    /// # Errors
    ///
    /// See [`fetch`](Self::fetch).
    async fn services(&self) -> Result<Vec<ServiceName>, Error> {
        let message = format!("{}: it cannot list all services; name one", self.info().kind());
        Err(Error::new(ErrorKind::Unsupported, message))
    }

    /// Checks whether the source answers, for [`Provider::connect`](failover_core::provider::Provider::connect)
    /// and `ping`. The default does not ask it. Where the protocol has no request for it, any cheap one will do,
    /// and any answer that is no refusal or fault of the server is good.
    ///
    /// # Errors
    ///
    /// See [`fetch`](Self::fetch).
    async fn ping(&self) -> Result<(), Error> {
        Ok(())
    }

    /// Completes when an answer may have changed before its time to live has passed, such as when a file
    /// is written. The default never completes.
    ///
    /// The future is polled before each [`fetch`](Self::fetch), and has to notice what happens from then
    /// on. Fetches that it causes are at least 50 ms apart.
    async fn changed(&self) {
        std::future::pending::<()>().await;
    }
}

/// Lets an author keep a shared reference to a source.
#[async_trait]
impl<S: Source + ?Sized> Source for std::sync::Arc<S> {
    fn info(&self) -> ProviderInfo {
        (**self).info()
    }

    async fn fetch(&self, service: &ServiceName) -> Result<EndpointSet, Error> {
        (**self).fetch(service).await
    }

    async fn services(&self) -> Result<Vec<ServiceName>, Error> {
        (**self).services().await
    }

    async fn ping(&self) -> Result<(), Error> {
        (**self).ping().await
    }

    async fn changed(&self) {
        (**self).changed().await;
    }
}
