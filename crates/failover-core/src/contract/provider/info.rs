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
    trust: Trust,
}

impl ProviderInfo {
    /// A provider of this kind (`consul`, `kubernetes`, …) and version. It is trusted least until it says otherwise.
    pub fn new(kind: impl Into<Arc<str>>, version: impl Into<Arc<str>>) -> Self {
        Self {
            kind: kind.into(),
            version: version.into(),
            features: Vec::new(),
            connection: ConnectionInfo::new(ConnectionStatus::Disconnected),
            trust: Trust::Remote,
        }
    }

    /// Sets what it can do.
    pub fn with_features(mut self, features: impl IntoIterator<Item = Feature>) -> Self {
        self.features = features.into_iter().collect();
        self
    }

    /// Sets how its connection is.
    pub fn with_connection(mut self, connection: ConnectionInfo) -> Self {
        self.connection = connection;
        self
    }

    /// Sets which addresses it may name.
    pub fn with_trust(mut self, trust: Trust) -> Self {
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
    pub fn trust(&self) -> Trust {
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

/// What a provider can do. The names are those of the Go package, and three for the optional traits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Feature {
    /// It can be written to: [`Registry`](super::Registry).
    Registry,
    /// It pushes changes: [`Provider::watch`](super::Provider::watch).
    Watch,
    /// It keeps configuration: [`ConfigStore`](super::ConfigStore).
    ConfigStore,
    /// It checks the health of endpoints itself.
    HealthCheck,
    /// Its endpoints can be balanced over.
    LoadBalancing,
    /// Its endpoints have breakers.
    CircuitBreaker,
    /// Its calls are retried.
    Retry,
    /// Its calls end in time.
    Timeout,
    /// Its calls are counted.
    Monitoring,
    /// It works with a strategy of the caller's.
    CustomStrategy,
    /// It keeps the weights of endpoints.
    WeightedRouting,
    /// It knows the zones of endpoints.
    GeographicRouting,
    /// It is part of a service mesh.
    ServiceMesh,
    /// It grows and shrinks services.
    AutoScaling,
    /// It moves traffic between versions.
    TrafficShifting,
}

/// Which addresses a provider may name; what it may not is rejected entry by entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Trust {
    /// The program itself wrote the endpoints: any address.
    InProcess,
    /// A registry on this machine's loopback interface, as in development: loopback addresses, too.
    Loopback,
    /// A registry elsewhere: no loopback address unless that is switched on.
    Remote,
}
