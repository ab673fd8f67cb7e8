//! A service with a fixed list of endpoints.

use std::sync::Arc;

use crate::client::service::ServiceHandle;
use crate::client::service::fixed::{FixedList, Origin};
use crate::config::FailoverConfig;
use crate::contract::probe::Probe;
use crate::engine::Engine;
use crate::error::Error;
use crate::model::endpoint::{Endpoint, ServiceName};
use crate::model::health_check::HealthCheck;
use crate::probing::probes::ProbesByProtocol;
use crate::runtime::clock::Clock;
use crate::runtime::random::Random;

/// Converts into an endpoint of a fixed list.
///
/// Implemented for `http://10.0.0.1:8080`, `10.0.0.1:8080`, and [`Endpoint`].
pub trait IntoEndpoint: sealed::Sealed {
    /// Converts into an endpoint of this service.
    ///
    /// # Errors
    ///
    /// Returns `Validation` if the value is not an endpoint.
    fn into_endpoint(self, service: &ServiceName) -> Result<Endpoint, Error>;
}

mod sealed {
    pub trait Sealed {}
    impl Sealed for &str {}
    impl Sealed for String {}
    impl Sealed for &String {}
    impl Sealed for crate::model::endpoint::Endpoint {}
}

impl IntoEndpoint for &str {
    fn into_endpoint(self, service: &ServiceName) -> Result<Endpoint, Error> {
        Endpoint::from_url(service, self)
    }
}

impl IntoEndpoint for String {
    fn into_endpoint(self, service: &ServiceName) -> Result<Endpoint, Error> {
        Endpoint::from_url(service, &self)
    }
}

impl IntoEndpoint for &String {
    fn into_endpoint(self, service: &ServiceName) -> Result<Endpoint, Error> {
        Endpoint::from_url(service, self)
    }
}

impl IntoEndpoint for Endpoint {
    fn into_endpoint(self, _service: &ServiceName) -> Result<Endpoint, Error> {
        Ok(self)
    }
}

/// Builds a [`ServiceHandle`] with a list of endpoints that the program itself has.
#[derive(Debug)]
#[must_use = "a builder does nothing until it builds"]
pub struct ServiceBuilder {
    service: Result<ServiceName, Error>,
    endpoints: Vec<Result<Arc<Endpoint>, Error>>,
    config: FailoverConfig,
    clock: Option<Clock>,
    random: Random,
    probes: ProbesByProtocol,
    health_check: Option<HealthCheck>,
}

impl ServiceBuilder {
    pub(super) fn new(service: &str) -> Self {
        Self {
            service: ServiceName::new(service),
            endpoints: Vec::new(),
            config: FailoverConfig::default(),
            clock: None,
            random: Random::system(),
            probes: ProbesByProtocol::default(),
            health_check: None,
        }
    }

    /// Adds an endpoint.
    pub fn endpoint(mut self, endpoint: impl IntoEndpoint) -> Self {
        if let Ok(service) = &self.service {
            self.endpoints.push(endpoint.into_endpoint(service).map(Arc::new));
        }
        self
    }

    /// Adds several endpoints.
    pub fn endpoints<I>(mut self, endpoints: I) -> Self
    where
        I: IntoIterator,
        I::Item: IntoEndpoint,
    {
        if let Ok(service) = &self.service {
            let read = |endpoint: I::Item| endpoint.into_endpoint(service).map(Arc::new);
            self.endpoints.extend(endpoints.into_iter().map(read));
        }
        self
    }

    /// Sets the configuration.
    pub fn config(mut self, config: FailoverConfig) -> Self {
        self.config = config;
        self
    }

    /// Sets the clock; [`Clock::system`] unless set.
    pub fn clock(mut self, clock: Clock) -> Self {
        self.clock = Some(clock);
        self
    }

    /// Sets the source of randomness; [`Random::system`] unless set.
    pub fn random(mut self, random: Random) -> Self {
        self.random = random;
        self
    }

    /// Adds a probe for the endpoints of a protocol, such as `"http"` or `"postgres"`.
    ///
    /// Each endpoint of that protocol is then probed in the background while a handle of the service
    /// exists: by its own health check, or by [`health_check`](Self::health_check) if it has none. A
    /// later probe for the same protocol replaces this one.
    ///
    /// ```
    /// use std::sync::Arc;
    ///
    /// use failover_core::{Endpoint, ServiceHandle};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), failover_core::Error> {
    /// let databases = ServiceHandle::builder("orders-db")
    ///     .endpoints(["postgres://10.0.0.1:5432", "postgres://10.0.0.2:5432"])
    ///     .probe("postgres", |endpoint: Arc<Endpoint>| async move {
    ///         tokio::net::TcpStream::connect(endpoint.authority()).await.map(drop)
    ///     })
    ///     .build()?;
    /// # Ok(()) }
    /// ```
    pub fn probe(self, protocol: impl Into<String>, probe: impl Probe) -> Self {
        self.probes([(protocol, Arc::new(probe) as Arc<dyn Probe>)])
    }

    /// Adds several probes, such as the ready-made ones of `failover-probe`.
    pub fn probes<P: Into<String>>(mut self, probes: impl IntoIterator<Item = (P, Arc<dyn Probe>)>) -> Self {
        self.probes.add(probes);
        self
    }

    /// Sets the health check of the endpoints that have none. Default: [`HealthCheck::default`] for
    /// those that a probe is added for.
    pub fn health_check(mut self, check: HealthCheck) -> Self {
        self.health_check = Some(check);
        self
    }

    /// Builds the handle.
    ///
    /// With a probe, it spawns a task in the current tokio runtime, which ends with the last handle.
    /// A configuration that does not say whether to probe (`probe_endpoints`) is taken to say yes.
    ///
    /// # Errors
    ///
    /// Returns `Validation` if the name or an endpoint is invalid, two endpoints have one id or one
    /// address and port, naming them, or if the strategy of the configuration lacks a required part.
    /// With a probe, returns `Internal` outside of a tokio runtime (code `NO_RUNTIME`), and in one
    /// without timers (code `NO_TIMER`; with `panic = "abort"`, the latter aborts).
    pub fn build(self) -> Result<ServiceHandle, Error> {
        let service = self.service?;
        let clock = self.clock.unwrap_or_else(Clock::system);
        let config = if self.probes.is_empty() { self.config } else { self.config.probing_by_default() };
        let engine = Arc::new(Engine::new(service, Arc::new(config), clock, self.random, None)?);
        let list = FixedList::start(&engine, self.probes, self.health_check)?;
        list.replace(&engine, self.endpoints)?;
        Ok(ServiceHandle::new(engine, Origin::Fixed(Arc::new(list))))
    }
}
