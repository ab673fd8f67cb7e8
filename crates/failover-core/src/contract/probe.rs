//! Active health checks: what a probe is, and who runs them when. No sockets here; those are in `failover-probe`.

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

/// Asks an endpoint whether it works.
///
/// A closure is a probe:
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
    /// Asks it once. A probe that has found out that the endpoint does not work answers an error that says how.
    ///
    /// It need not mind the time: it is dropped when the health check's timeout has passed. What it asks for must be
    /// harmless however often it is asked, and a host name that it looks up itself must pass
    /// [`ProbeTarget::ensure_allowed`] before it connects.
    ///
    /// # Errors
    ///
    /// What the endpoint has answered instead of what it should, or why it has not answered at all.
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
        match self(Arc::clone(target.endpoint())).await {
            Ok(()) => Ok(ProbeOutcome::healthy("the probe succeeded")),
            Err(error) => Err(Error::new(ErrorKind::Connection, error.to_string())),
        }
    }
}

/// What a probe is to ask, and how.
#[derive(Clone, Debug)]
pub struct ProbeTarget {
    endpoint: Arc<Endpoint>,
    check: Arc<HealthCheck>,
    addresses: AddressPolicy,
}

impl ProbeTarget {
    /// An endpoint that the program itself names: any address is allowed.
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

    /// The endpoint.
    pub fn endpoint(&self) -> &Arc<Endpoint> {
        &self.endpoint
    }

    /// How it is asked; every value has a default.
    pub fn health_check(&self) -> &HealthCheck {
        &self.check
    }

    /// The rule for the addresses that the endpoint's source may name.
    pub(crate) fn addresses(&self) -> AddressPolicy {
        self.addresses
    }

    /// Checks the address that a host name was resolved to, right before it is connected to: a registry must not lead
    /// a probe to the cloud's metadata service or to this machine by way of a name.
    ///
    /// # Errors
    ///
    /// `Permission` when the endpoint's source may not name that address.
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

/// What a probe has found at an endpoint that works.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProbeOutcome {
    health: Health,
    evidence: String,
}

impl ProbeOutcome {
    /// It works; `evidence` says how that was seen, as in `200 OK in 3 ms`.
    pub fn healthy(evidence: impl Into<String>) -> Self {
        Self { health: Health::Healthy, evidence: one_line(evidence.into()) }
    }

    /// It works, but not well.
    pub fn degraded(evidence: impl Into<String>) -> Self {
        Self { health: Health::Degraded, evidence: one_line(evidence.into()) }
    }

    /// How well it works.
    pub fn health(&self) -> Health {
        self.health
    }

    /// How that was seen, on one line.
    pub fn evidence(&self) -> &str {
        &self.evidence
    }
}
