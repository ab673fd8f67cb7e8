//! Active health checks. The crate `failover-probe` contains the probes that use sockets.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use async_trait::async_trait;

use crate::contract::address_policy::AddressPolicy;
use crate::contract::provider::AddressTrust;
use crate::error::{Error, ErrorKind, one_line};
use crate::model::endpoint::Endpoint;
use crate::model::health::Health;
use crate::model::health_check::HealthCheck;

/// Checks whether an endpoint works.
///
/// A closure is a probe. The endpoint that it receives has the port of its health check, if that
/// has one:
///
/// ```
/// # use std::sync::Arc;
/// # use failover_core::{Endpoint, FailoverManager};
/// # async fn query(_: &str, _: &str) -> Result<(), std::io::Error> { Ok(()) }
/// let builder = FailoverManager::builder().probe("postgres", |endpoint: Arc<Endpoint>| async move {
///     query(&endpoint.authority(), "SELECT 1").await
/// });
/// ```
#[async_trait]
pub trait Probe: Send + Sync + 'static {
    /// Probes the endpoint once. Returns an error with the reason if it does not work.
    ///
    /// The future needs no timeout of its own: it is dropped after the health check's timeout. The
    /// request must be harmless when repeated, and the probe must pass each address of a host name
    /// that it resolves itself to [`ProbeTarget::ensure_allowed`] before it connects.
    ///
    /// # Errors
    ///
    /// Returns the unexpected answer, or the reason for a missing one.
    async fn probe(&self, target: &ProbeTarget) -> Result<ProbeOutcome, Error>;
}

#[async_trait]
impl<F, Fut, E> Probe for F
where
    F: Fn(Arc<Endpoint>) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<(), E>> + Send,
    E: fmt::Display + Send,
{
    async fn probe(&self, target: &ProbeTarget) -> Result<ProbeOutcome, Error> {
        match self(target.probed()).await {
            Ok(()) => Ok(ProbeOutcome::healthy("the probe succeeded")),
            Err(error) => Err(Error::new(ErrorKind::Connection, error.to_string())),
        }
    }
}

/// The endpoint and the settings of a probe.
#[derive(Clone, Debug)]
pub struct ProbeTarget {
    endpoint: Arc<Endpoint>,
    check: Arc<HealthCheck>,
    addresses: AddressPolicy,
}

impl ProbeTarget {
    /// Creates a target from an endpoint of the program itself: every address is allowed.
    pub fn new(endpoint: impl Into<Arc<Endpoint>>) -> Self {
        Self::within(endpoint.into(), AddressPolicy::IN_PROCESS)
    }

    pub(crate) fn within(endpoint: Arc<Endpoint>, addresses: AddressPolicy) -> Self {
        let check = Arc::new(endpoint.health_check().cloned().unwrap_or_default());
        Self { endpoint, check, addresses }
    }

    /// The same endpoint, as named by a registry that is trusted so far: see
    /// [`ManagerBuilder::allow_loopback`](crate::ManagerBuilder::allow_loopback).
    pub fn with_trust(self, trust: AddressTrust, allow_loopback: bool) -> Self {
        Self { addresses: AddressPolicy::new(trust, allow_loopback), ..self }
    }

    /// Returns the endpoint.
    pub fn endpoint(&self) -> &Arc<Endpoint> {
        &self.endpoint
    }

    /// Returns the settings of the probe; every value has a default.
    pub fn health_check(&self) -> &HealthCheck {
        &self.check
    }

    /// Returns the port to probe: that of the health check, or else that of the endpoint.
    pub fn port(&self) -> u16 {
        self.check.port().unwrap_or(self.endpoint.port())
    }

    /// Returns `host:port` to probe, with an IPv6 address in brackets.
    pub fn authority(&self) -> String {
        self.probed().authority()
    }

    /// Returns the endpoint, at the port to probe.
    fn probed(&self) -> Arc<Endpoint> {
        match self.check.port() {
            Some(port) if port != self.endpoint.port() => Arc::new(self.endpoint.at_port(port)),
            _ => Arc::clone(&self.endpoint),
        }
    }

    /// Returns the policy for the addresses that the endpoint's source may list.
    pub(crate) fn addresses(&self) -> AddressPolicy {
        self.addresses
    }

    /// Checks a resolved address, right before connecting to it.
    ///
    /// It prevents a registry from directing a probe by a host name to the cloud's metadata service
    /// or to this machine.
    ///
    /// # Errors
    ///
    /// Returns `Permission` if the endpoint's source may not list that address.
    pub fn ensure_allowed(&self, ip: IpAddr) -> Result<(), Error> {
        match self.addresses.refuses(ip) {
            None => Ok(()),
            Some(why) => {
                let message = format!("{} is at {ip}, which {why}", self.endpoint.address());
                Err(Error::new(ErrorKind::Permission, message).with_code("ADDRESS_REFUSED"))
            }
        }
    }
}

/// The result of a probe of a working endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProbeOutcome {
    health: Health,
    evidence: String,
}

impl ProbeOutcome {
    /// Healthy, with the evidence, such as `200 OK in 3 ms`.
    pub fn healthy(evidence: impl Into<String>) -> Self {
        Self { health: Health::Healthy, evidence: one_line(evidence.into()) }
    }

    /// Working, but degraded.
    pub fn degraded(evidence: impl Into<String>) -> Self {
        Self { health: Health::Degraded, evidence: one_line(evidence.into()) }
    }

    /// Returns the health.
    pub fn health(&self) -> Health {
        self.health
    }

    /// Returns the evidence, on one line.
    pub fn evidence(&self) -> &str {
        &self.evidence
    }
}
