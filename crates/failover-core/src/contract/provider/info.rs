//! A provider's description of itself.

use std::sync::Arc;

use serde::Serialize;

/// A provider's kind, features and connection state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ProviderInfo {
    kind: Arc<str>,
    version: Arc<str>,
    features: Vec<Feature>,
    connection: ConnectionInfo,
    trust: AddressTrust,
}

impl ProviderInfo {
    /// Describes a provider of this kind (`consul`, `kubernetes`, …) and version.
    ///
    /// Its address trust is the lowest until it is set.
    pub fn new(kind: impl Into<Arc<str>>, version: impl Into<Arc<str>>) -> Self {
        Self {
            kind: kind.into(),
            version: version.into(),
            features: Vec::new(),
            connection: ConnectionInfo::new(ConnectionStatus::Disconnected),
            trust: AddressTrust::Remote,
        }
    }

    /// Sets the features.
    pub fn with_features(mut self, features: impl IntoIterator<Item = Feature>) -> Self {
        self.features = features.into_iter().collect();
        self
    }

    /// Adds the features that are not listed yet.
    pub(crate) fn and_features(mut self, features: impl IntoIterator<Item = Feature>) -> Self {
        for feature in features {
            if !self.features.contains(&feature) {
                self.features.push(feature);
            }
        }
        self
    }

    /// Sets the state of the connection.
    pub fn with_connection(mut self, connection: ConnectionInfo) -> Self {
        self.connection = connection;
        self
    }

    /// Sets which addresses the provider may list.
    pub fn with_trust(mut self, trust: AddressTrust) -> Self {
        self.trust = trust;
        self
    }

    /// Returns the kind of provider, which is also its default name in a manager.
    pub fn kind(&self) -> &str {
        &self.kind
    }

    /// Returns the version of the provider crate.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// Returns the features.
    pub fn features(&self) -> &[Feature] {
        &self.features
    }

    /// Returns the state of the connection.
    pub fn connection(&self) -> &ConnectionInfo {
        &self.connection
    }

    /// Returns which addresses the provider may list.
    pub fn trust(&self) -> AddressTrust {
        self.trust
    }
}

/// The connection to a registry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ConnectionInfo {
    status: ConnectionStatus,
    #[serde(skip_serializing_if = "Option::is_none")]
    address: Option<Arc<str>>,
}

impl ConnectionInfo {
    /// Creates a connection in this state.
    pub fn new(status: ConnectionStatus) -> Self {
        Self { status, address: None }
    }

    /// Sets the address of the registry, without credentials.
    pub fn with_address(mut self, address: impl Into<Arc<str>>) -> Self {
        self.address = Some(address.into());
        self
    }

    /// Returns the state of the connection.
    pub fn status(&self) -> ConnectionStatus {
        self.status
    }

    /// Returns the address of the registry.
    pub fn address(&self) -> Option<&str> {
        self.address.as_deref()
    }
}

/// The state of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ConnectionStatus {
    /// The last request was answered.
    Connected,
    /// Nothing has been requested yet, or the provider is closed.
    Disconnected,
    /// The first answer is pending.
    Connecting,
    /// The last request was not answered.
    Error,
}

/// What a provider can do, by the names of the Go package, three for the optional traits, and two for
/// parts of a query.
///
/// A provider states the features of its own. The features that the engine gives to every provider
/// (load balancing, circuit breaking, retries, timeouts, monitoring, custom strategies) are added
/// by [`FailoverManager::provider_infos`](crate::FailoverManager::provider_infos) and
/// [`ProviderScope::info`](crate::ProviderScope::info), and so is
/// [`HealthCheck`](Self::HealthCheck) for a manager with probes. The last three are for providers
/// of platforms that have them; no provider of this workspace does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Feature {
    /// Registers endpoints: [`Registry`](super::Registry).
    Registry,
    /// Pushes changes: [`Provider::watch`](super::Provider::watch).
    Watch,
    /// Stores configuration: [`ConfigStore`](super::ConfigStore).
    ConfigStore,
    /// The health of endpoints is checked, by the registry or by probes of this process.
    HealthCheck,
    /// Calls are balanced over the endpoints.
    LoadBalancing,
    /// Each endpoint has a circuit breaker.
    CircuitBreaker,
    /// Failed calls are retried.
    Retry,
    /// Calls and attempts have a timeout.
    Timeout,
    /// Calls are counted, and changes emit events.
    Monitoring,
    /// A custom [`Strategy`](crate::Strategy) can pick endpoints.
    CustomStrategy,
    /// Queries can select a namespace.
    Namespaces,
    /// Queries can choose one of several ports.
    Ports,
    /// The weights of endpoints are kept.
    WeightedRouting,
    /// The regions and zones of endpoints are kept.
    GeographicRouting,
    /// Calls go through a service mesh.
    ServiceMesh,
    /// Services grow and shrink with their load.
    AutoScaling,
    /// Traffic moves between versions of a service.
    TrafficShifting,
}

impl Feature {
    /// The features that the engine adds to every provider.
    pub(crate) const OF_ENGINE: [Self; 6] = [
        Self::LoadBalancing,
        Self::CircuitBreaker,
        Self::Retry,
        Self::Timeout,
        Self::Monitoring,
        Self::CustomStrategy,
    ];
}

/// Which addresses a provider may list. Each entry with another address is rejected.
///
/// The trust depends on who can write the data, not on where the socket is. An agent or a proxy on
/// this machine that serves what other machines have registered is [`Remote`](Self::Remote): its
/// entry `127.0.0.1` means the machine that wrote it, and calls to it would reach whatever listens
/// here. The host names that mean the loopback address (`localhost`, every name below it, and the
/// aliases in common hosts files) count as loopback addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum AddressTrust {
    /// The program itself configured the endpoints: every address.
    InProcess,
    /// Only programs on this machine write the data, as in development: loopback addresses, too.
    Loopback,
    /// Other machines can write the data: no loopback addresses, unless
    /// [`ManagerBuilder::allow_loopback`](crate::ManagerBuilder::allow_loopback) allows them.
    Remote,
}
