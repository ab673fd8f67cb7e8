//! A provider on a cluster in memory.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use failover_core::provider::{
    AddressTrust, ConfigKey, ConfigStore, ConfigStream, ConnectionInfo, ConnectionStatus, EndpointEntry,
    EndpointSet, Feature, Provider, ProviderInfo, Query, Registry, Revision, StoredConfig, WatchStream,
};
use failover_core::{Endpoint, EndpointId, Error, ErrorKind, Health, Lifecycle, ServiceName, async_trait};

use crate::MemoryCluster;
use crate::watch::Watch;

/// A provider backed by this process's memory.
///
/// It is open from the start. [`close`](Provider::close) ends its watches; every operation then
/// returns [`Shutdown`](ErrorKind::Shutdown) until [`connect`](Provider::connect) opens it again.
/// The cluster and its other providers are not affected. A clone is another provider on the same
/// cluster, open even if this one is closed.
///
/// It also stores configuration, at most 512 KiB per document, and every field of an endpoint,
/// including secret headers: nothing leaves the process. [`register`](Registry::register) resets an
/// endpoint to in service with unknown health; [`update`](Registry::update) keeps lifecycle and
/// health.
///
/// ```
/// use failover_core::{Endpoint, Lifecycle};
/// use failover_core::provider::Registry;
/// use failover_memory::MemoryProvider;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), failover_core::Error> {
/// let provider = MemoryProvider::new();
/// let endpoint = Endpoint::builder("users-1", "user-service", "10.0.0.1", 8080).build()?;
/// provider.register(&endpoint).await?;
/// provider.drain(endpoint.service(), endpoint.id()).await?;
/// let entry = provider.get(endpoint.service(), endpoint.id()).await?;
/// assert_eq!(entry.lifecycle(), Lifecycle::Draining);
/// # Ok(()) }
/// ```
pub struct MemoryProvider {
    cluster: MemoryCluster,
    /// Distinguishes its watches from those of other providers on the cluster.
    number: u64,
    open: AtomicBool,
}

impl MemoryCluster {
    /// Creates another provider on this cluster, open.
    pub fn provider(&self) -> MemoryProvider {
        MemoryProvider::on(self.clone())
    }
}

impl MemoryProvider {
    /// Creates a provider on a new cluster.
    pub fn new() -> Self {
        Self::on(MemoryCluster::new())
    }

    /// Returns the cluster.
    pub fn cluster(&self) -> &MemoryCluster {
        &self.cluster
    }

    /// Takes an endpoint out of new calls; calls in flight continue.
    /// [`set_lifecycle`](Registry::set_lifecycle) reverts this.
    ///
    /// # Errors
    ///
    /// Returns `NotFound` if the endpoint is not registered, and `Shutdown` after closing.
    ///
    /// # Cancel safety
    ///
    /// Safe: the first poll completes the operation.
    pub async fn drain(&self, service: &ServiceName, id: &EndpointId) -> Result<(), Error> {
        self.set_lifecycle(service, id, Lifecycle::Draining).await
    }

    pub(crate) fn on(cluster: MemoryCluster) -> Self {
        let number = cluster.number();
        Self { cluster, number, open: AtomicBool::new(true) }
    }

    fn is_open(&self) -> bool {
        self.open.load(Ordering::Acquire)
    }

    fn opened(&self) -> Result<&MemoryCluster, Error> {
        if self.is_open() {
            Ok(&self.cluster)
        } else {
            let message = "the memory provider is closed; connect opens it again";
            Err(Error::new(ErrorKind::Shutdown, message))
        }
    }
}

impl Default for MemoryProvider {
    fn default() -> Self {
        Self::new()
    }
}

impl Clone for MemoryProvider {
    fn clone(&self) -> Self {
        self.cluster.provider()
    }
}

impl fmt::Debug for MemoryProvider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryProvider")
            .field("cluster", &self.cluster)
            .field("open", &self.is_open())
            .finish_non_exhaustive()
    }
}

#[async_trait]
impl Provider for MemoryProvider {
    fn info(&self) -> ProviderInfo {
        let status =
            if self.is_open() { ConnectionStatus::Connected } else { ConnectionStatus::Disconnected };
        ProviderInfo::new("memory", env!("CARGO_PKG_VERSION"))
            .with_features([
                Feature::Registry,
                Feature::Watch,
                Feature::ConfigStore,
                Feature::WeightedRouting,
                Feature::GeographicRouting,
            ])
            .with_connection(ConnectionInfo::new(status))
            .with_trust(AddressTrust::InProcess)
    }

    async fn connect(&self) -> Result<(), Error> {
        self.cluster.connect(|| self.open.store(true, Ordering::Release));
        Ok(())
    }

    async fn ping(&self) -> Result<(), Error> {
        self.opened().map(drop)
    }

    async fn close(&self) -> Result<(), Error> {
        self.cluster.close(self.number, || self.open.store(false, Ordering::Release));
        Ok(())
    }

    async fn list(&self, query: &Query) -> Result<EndpointSet, Error> {
        Ok(self.opened()?.list(query))
    }

    fn watch(&self, query: &Query) -> Option<WatchStream<'_>> {
        let service = query.service_name()?;
        let watcher = self.cluster.enter(service, self.number, || self.is_open());
        Some(Box::pin(Watch::new(&self.cluster, service, watcher)))
    }

    fn registry(&self) -> Option<&dyn Registry> {
        Some(self)
    }

    fn config_store(&self) -> Option<&dyn ConfigStore> {
        Some(self)
    }
}

/// The first poll completes each operation, so dropping a future is safe at any time.
#[async_trait]
impl ConfigStore for MemoryProvider {
    async fn load(&self, key: &ConfigKey) -> Result<Option<StoredConfig>, Error> {
        Ok(self.opened()?.documents().load(key))
    }

    async fn store(
        &self,
        key: &ConfigKey,
        document: &str,
        expected: Option<&Revision>,
    ) -> Result<Revision, Error> {
        self.opened()?.documents().store(key, document, expected)
    }

    fn watch(&self) -> ConfigStream<'_> {
        Box::pin(self.cluster.documents().watch(self.number, || self.is_open()))
    }
}

/// The first poll completes each operation, so dropping a future is safe at any time.
#[async_trait]
impl Registry for MemoryProvider {
    async fn register(&self, endpoint: &Endpoint) -> Result<(), Error> {
        self.opened()?.put(EndpointEntry::new(endpoint.clone()));
        Ok(())
    }

    async fn update(&self, endpoint: &Endpoint) -> Result<(), Error> {
        let cluster = self.opened()?;
        let replacement = Arc::new(endpoint.clone());
        cluster.alter(endpoint.service(), endpoint.id(), |entry| {
            EndpointEntry::new(replacement).with_health(entry.health()).with_lifecycle(entry.lifecycle())
        })
    }

    async fn deregister(&self, service: &ServiceName, id: &EndpointId) -> Result<bool, Error> {
        Ok(self.opened()?.remove(service, id))
    }

    async fn get(&self, service: &ServiceName, id: &EndpointId) -> Result<EndpointEntry, Error> {
        self.opened()?.get(service, id)
    }

    async fn set_health(&self, service: &ServiceName, id: &EndpointId, health: Health) -> Result<(), Error> {
        self.opened()?.alter(service, id, |entry| entry.with_health(health))
    }

    async fn set_lifecycle(
        &self,
        service: &ServiceName,
        id: &EndpointId,
        lifecycle: Lifecycle,
    ) -> Result<(), Error> {
        self.opened()?.alter(service, id, |entry| entry.with_lifecycle(lifecycle))
    }
}
