//! A service with a fixed list of endpoints.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use crate::client::service::ServiceHandle;
use crate::config::FailoverConfig;
use crate::contract::address_policy::AddressPolicy;
use crate::contract::provider::EndpointSet;
use crate::engine::Engine;
use crate::error::Error;
use crate::model::endpoint::{Endpoint, EndpointEntry, ServiceName};
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

/// Builds a [`ServiceHandle`] with a fixed list of endpoints.
#[derive(Debug)]
#[must_use = "a builder does nothing until it builds"]
pub struct ServiceBuilder {
    service: Result<ServiceName, Error>,
    endpoints: Vec<Result<Endpoint, Error>>,
    config: FailoverConfig,
    clock: Option<Clock>,
    random: Random,
}

impl ServiceBuilder {
    pub(super) fn new(service: &str) -> Self {
        Self {
            service: ServiceName::new(service),
            endpoints: Vec::new(),
            config: FailoverConfig::default(),
            clock: None,
            random: Random::system(),
        }
    }

    /// Adds an endpoint.
    pub fn endpoint(mut self, endpoint: impl IntoEndpoint) -> Self {
        if let Ok(service) = &self.service {
            self.endpoints.push(endpoint.into_endpoint(service));
        }
        self
    }

    /// Adds several endpoints.
    pub fn endpoints<I>(self, endpoints: I) -> Self
    where
        I: IntoIterator,
        I::Item: IntoEndpoint,
    {
        endpoints.into_iter().fold(self, Self::endpoint)
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

    /// Builds the handle.
    ///
    /// # Errors
    ///
    /// Returns `Validation` if the name or an endpoint is invalid, two endpoints have one id or one
    /// address and port, naming them, or if the strategy of the configuration lacks a required part.
    pub fn build(self) -> Result<ServiceHandle, Error> {
        let service = self.service?;
        let entries = self
            .endpoints
            .into_iter()
            .map(|endpoint| endpoint.map(EndpointEntry::new))
            .collect::<Result<Vec<_>, _>>()?;
        let sifted = crate::discovery::validate::validate(
            &service,
            EndpointSet::new(entries),
            AddressPolicy::IN_PROCESS,
        );
        // An error in a fixed list is an error of the program, so it is returned at once.
        if let Some(rejected) = sifted.rejected.kept().first() {
            return Err(rejected.error().clone().context(rejected.what()));
        }
        let mut places = HashSet::with_capacity(sifted.entries.len());
        for entry in &sifted.entries {
            let endpoint = entry.endpoint();
            if !places.insert(endpoint.place()) {
                let value = format!("{} twice", endpoint.authority());
                return Err(Error::invalid("endpoints", value, "each address and port once"));
            }
        }
        drop(places);
        let clock = self.clock.unwrap_or_else(Clock::system);
        let engine = Engine::new(service, Arc::new(self.config), clock, self.random, None)?;
        let source = engine.add_source(Arc::from("fixed"), 0);
        engine.publish(source, sifted.entries, false, Duration::ZERO);
        Ok(ServiceHandle::new(Arc::new(engine), None))
    }
}
