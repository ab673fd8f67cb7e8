//! What a provider says of itself.

use std::sync::Arc;

use serde::Serialize;

/// What a provider is and can do, and how its connection is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ProviderInfo {
    kind: Arc<str>,
    version: Arc<str>,
    features: Vec<Feature>,
    connection: ConnectionInfo,
    trust: AddressTrust,
}

impl ProviderInfo {
    /// A provider of this kind (`consul`, `kubernetes`, …) and version. It is trusted least until it says otherwise.
    pub fn new(kind: impl Into<Arc<str>>, version: impl Into<Arc<str>>) -> Self {
        Self {
            kind: kind.into(),
            version: version.into(),
            features: Vec::new(),
            connection: ConnectionInfo::new(ConnectionStatus::Disconnected),
            trust: AddressTrust::Remote,
        }
    }

    /// Sets what it can do.
    pub fn with_features(mut self, features: impl IntoIterator<Item = Feature>) -> Self {
        self.features = features.into_iter().collect();
        self
    }

    /// Adds features that are not stated yet.
    pub(crate) fn and_features(mut self, features: impl IntoIterator<Item = Feature>) -> Self {
        for feature in features {
            if !self.features.contains(&feature) {
                self.features.push(feature);
            }
        }
        self
    }

    /// Sets how its connection is.
    pub fn with_connection(mut self, connection: ConnectionInfo) -> Self {
        self.connection = connection;
        self
    }

    /// Sets which addresses it may name.
    pub fn with_trust(mut self, trust: AddressTrust) -> Self {
        self.trust = trust;
        self
    }

    /// What kind of provider it is; also the name it gets when the manager is given none.
    pub fn kind(&self) -> &str {
        &self.kind
    }

    /// The version of the provider crate.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// What it can do.
    pub fn features(&self) -> &[Feature] {
        &self.features
    }

    /// How its connection is.
    pub fn connection(&self) -> &ConnectionInfo {
        &self.connection
    }

    /// Which addresses it may name.
    pub fn trust(&self) -> AddressTrust {
        self.trust
    }
}

/// How the connection to a registry is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ConnectionInfo {
    status: ConnectionStatus,
    #[serde(skip_serializing_if = "Option::is_none")]
    address: Option<Arc<str>>,
}

impl ConnectionInfo {
    /// A connection in this state.
    pub fn new(status: ConnectionStatus) -> Self {
        Self { status, address: None }
    }

    /// Sets where the registry is, without credentials.
    pub fn with_address(mut self, address: impl Into<Arc<str>>) -> Self {
        self.address = Some(address.into());
        self
    }

    /// Whether it stands.
    pub fn status(&self) -> ConnectionStatus {
        self.status
    }

    /// Where the registry is.
    pub fn address(&self) -> Option<&str> {
        self.address.as_deref()
    }
}

/// Whether a connection stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ConnectionStatus {
    /// The registry has answered last time.
    Connected,
    /// Nothing has been asked yet, or it was closed.
    Disconnected,
    /// The first answer is awaited.
    Connecting,
    /// The registry did not answer last time.
    Error,
}

/// What a provider can do, by the names of the Go package and three for the optional traits.
///
/// A provider states the features of its own. The features that the engine gives to every provider (load balancing,
/// circuit breaking, retries, timeouts, monitoring, custom strategies) are added by
/// [`FailoverManager::provider_infos`](crate::FailoverManager::provider_infos) and
/// [`ProviderScope::info`](crate::ProviderScope::info), and so is [`HealthCheck`](Self::HealthCheck) for a manager
/// with probes. The last three are for providers of platforms that have them; no provider of this workspace does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Feature {
    /// Endpoints can be registered: [`Registry`](super::Registry).
    Registry,
    /// Changes are pushed: [`Provider::watch`](super::Provider::watch).
    Watch,
    /// Configuration is stored: [`ConfigStore`](super::ConfigStore).
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
    /// Selection can follow a [`Strategy`](crate::Strategy) of the caller's own.
    CustomStrategy,
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
    /// What the engine gives to every provider.
    pub(crate) const OF_ENGINE: [Self; 6] = [
        Self::LoadBalancing,
        Self::CircuitBreaker,
        Self::Retry,
        Self::Timeout,
        Self::Monitoring,
        Self::CustomStrategy,
    ];
}

/// Which addresses a provider may name; what it may not is rejected entry by entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum AddressTrust {
    /// The program itself wrote the endpoints: any address.
    InProcess,
    /// A registry on this machine's loopback interface, as in development: loopback addresses, too.
    Loopback,
    /// A registry elsewhere: no loopback address unless that is switched on.
    Remote,
}
