//! One place where a service can be called.

pub(crate) mod address;
pub(crate) mod builder;
pub(crate) mod entry;
pub(crate) mod id;
pub(crate) mod json;
pub(crate) mod limits;
pub(crate) mod url;

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::time::SystemTime;

pub use builder::EndpointBuilder;
pub use entry::EndpointEntry;
pub use id::{EndpointId, ServiceName};

use crate::model::health_check::HealthCheck;

/// One place where a service can be called. It never changes; a changed endpoint is a new value.
///
/// serde reads and writes the JSON names of the Go package (`id name address port protocol health_check metadata
/// tags weight priority created_at updated_at`), and `server_name region zone`. `null` and Go's zero values read
/// as absent; an unknown key is an error that names it. A weight of 0 that is meant is written with
/// `"zero_weight": true` beside it, because Go writes 0 for a weight that nobody set.
///
/// ```
/// # use failover_core::Endpoint;
/// let endpoint = Endpoint::builder("users-1", "user-service", "10.0.0.1", 8080).protocol("http").build()?;
/// assert_eq!(endpoint.url("/users/7"), "http://10.0.0.1:8080/users/7");
/// # Ok::<(), failover_core::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    id: EndpointId,
    service: ServiceName,
    address: String,
    ip: Option<IpAddr>,
    port: u16,
    protocol: String,
    server_name: Option<String>,
    health_check: Option<HealthCheck>,
    metadata: BTreeMap<String, String>,
    tags: Vec<String>,
    weight: u32,
    priority: u32,
    region: Option<String>,
    zone: Option<String>,
    created_at: Option<SystemTime>,
    updated_at: Option<SystemTime>,
}

impl Endpoint {
    /// A builder; the values are checked when it builds.
    pub fn builder(
        id: impl Into<String>,
        service: impl Into<String>,
        address: impl Into<String>,
        port: u16,
    ) -> EndpointBuilder {
        EndpointBuilder::new(id.into(), service.into(), address.into(), port)
    }

    /// A builder that holds these values.
    pub fn to_builder(&self) -> EndpointBuilder {
        EndpointBuilder::from_endpoint(self)
    }

    /// What tells it from the other endpoints of its service.
    pub fn id(&self) -> &EndpointId {
        &self.id
    }

    /// The service that it belongs to; `name` in JSON.
    pub fn service(&self) -> &ServiceName {
        &self.service
    }

    /// A host name or an IP address, without brackets.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// The address, if it is an IP address.
    pub fn ip(&self) -> Option<IpAddr> {
        self.ip
    }

    /// The port, 1 to 65535.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The protocol, in lower case, as the scheme of a URL; default `tcp`.
    pub fn protocol(&self) -> &str {
        &self.protocol
    }

    /// The name for TLS and for the `Host` header, when it is not the address.
    pub fn server_name(&self) -> Option<&str> {
        self.server_name.as_deref()
    }

    /// How it is asked whether it works.
    pub fn health_check(&self) -> Option<&HealthCheck> {
        self.health_check.as_ref()
    }

    /// What else its owner says about it.
    pub fn metadata(&self) -> &BTreeMap<String, String> {
        &self.metadata
    }

    /// Its tags, in their owner's order.
    pub fn tags(&self) -> &[String] {
        &self.tags
    }

    /// Its share of the calls relative to the others; default 1. 0 asks for no new calls where weights count.
    pub fn weight(&self) -> u32 {
        self.weight
    }

    /// Its tier: those with a lower number come first; default 0.
    pub fn priority(&self) -> u32 {
        self.priority
    }

    /// The region that it runs in.
    pub fn region(&self) -> Option<&str> {
        self.region.as_deref()
    }

    /// The zone that it runs in.
    pub fn zone(&self) -> Option<&str> {
        self.zone.as_deref()
    }

    /// When it was first registered, if its source says so.
    pub fn created_at(&self) -> Option<SystemTime> {
        self.created_at
    }

    /// When it was last registered, if its source says so.
    pub fn updated_at(&self) -> Option<SystemTime> {
        self.updated_at
    }

    /// `host:port`, an IPv6 address in brackets.
    pub fn authority(&self) -> String {
        Authority(self).to_string()
    }

    /// The address and port for a socket, if the address is an IP address.
    pub fn socket_addr(&self) -> Option<SocketAddr> {
        self.ip.map(|ip| SocketAddr::new(ip, self.port))
    }

    /// `protocol://host:port` and the path, which may have a query; a `/` is put in where it is missing.
    pub fn url(&self, path: &str) -> String {
        let slash = if path.starts_with('/') { "" } else { "/" };
        format!("{}://{}{slash}{path}", self.protocol, Authority(self))
    }
}

/// `id (protocol://host:port)`
impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({}://{})", self.id, self.protocol, Authority(self))
    }
}

struct Authority<'a>(&'a Endpoint);

impl fmt::Display for Authority<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.ip {
            Some(IpAddr::V6(ip)) => write!(f, "[{ip}]:{}", self.0.port),
            _ => write!(f, "{}:{}", self.0.address, self.0.port),
        }
    }
}

#[cfg(test)]
mod tests;
