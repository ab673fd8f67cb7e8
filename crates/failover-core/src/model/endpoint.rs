//! An instance of a service.

pub(crate) mod address;
pub(crate) mod builder;
pub(crate) mod connect_to;
pub(crate) mod departure;
pub(crate) mod entry;
pub(crate) mod id;
pub(crate) mod json;
pub(crate) mod limits;
pub(crate) mod place;
pub(crate) mod url;

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::SystemTime;

pub use builder::EndpointBuilder;
pub use connect_to::ConnectTo;
pub use entry::EndpointEntry;
pub use id::{EndpointId, ServiceName};

use crate::model::health_check::HealthCheck;
use departure::{Attached, Departure, Owner};

/// An instance of a service. Immutable; a changed endpoint is a new value.
///
/// serde reads and writes the JSON names of the Go package (`id name address port protocol
/// health_check metadata tags weight priority created_at updated_at`), and `server_name region
/// zone`. `null` and Go's zero values read as absent; an unknown key is an error that names it. An
/// intended weight of 0 is written with `"zero_weight": true`, because Go writes 0 for an unset
/// weight.
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
    attached: Attached,
}

impl Endpoint {
    /// Returns a builder, which validates the values when it builds.
    pub fn builder(
        id: impl Into<String>,
        service: impl Into<String>,
        address: impl Into<String>,
        port: u16,
    ) -> EndpointBuilder {
        EndpointBuilder::new(id.into(), service.into(), address.into(), port)
    }

    /// Returns a builder with these values.
    pub fn to_builder(&self) -> EndpointBuilder {
        EndpointBuilder::from_endpoint(self)
    }

    /// Returns the id, unique within one source of the service.
    pub fn id(&self) -> &EndpointId {
        &self.id
    }

    /// Returns the name of the service; `name` in JSON.
    pub fn service(&self) -> &ServiceName {
        &self.service
    }

    /// Returns the host name or IP address, without brackets.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Returns the IP address, if the address is one.
    pub fn ip(&self) -> Option<IpAddr> {
        self.ip
    }

    /// Returns the port, 1 to 65535.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Returns the protocol, in lower case, as the scheme of a URL. Default: `tcp`.
    pub fn protocol(&self) -> &str {
        &self.protocol
    }

    /// Returns the name for TLS and the `Host` header, if it differs from the address.
    pub fn server_name(&self) -> Option<&str> {
        self.server_name.as_deref()
    }

    /// Returns the settings of its health check.
    pub fn health_check(&self) -> Option<&HealthCheck> {
        self.health_check.as_ref()
    }

    /// Returns its metadata.
    pub fn metadata(&self) -> &BTreeMap<String, String> {
        &self.metadata
    }

    /// Returns its tags, in their original order.
    pub fn tags(&self) -> &[String] {
        &self.tags
    }

    /// Returns its weight relative to the other endpoints. Default: 1.
    ///
    /// 0 means no new calls under algorithms that use weights.
    pub fn weight(&self) -> u32 {
        self.weight
    }

    /// Returns its priority: endpoints with a lower number come first. Default: 0.
    pub fn priority(&self) -> u32 {
        self.priority
    }

    /// Returns its region.
    pub fn region(&self) -> Option<&str> {
        self.region.as_deref()
    }

    /// Returns its zone.
    pub fn zone(&self) -> Option<&str> {
        self.zone.as_deref()
    }

    /// Returns when it was first registered, if its source reports it.
    pub fn created_at(&self) -> Option<SystemTime> {
        self.created_at
    }

    /// Returns when it was last registered, if its source reports it.
    pub fn updated_at(&self) -> Option<SystemTime> {
        self.updated_at
    }

    /// Returns `host:port`, with an IPv6 address in brackets.
    pub fn authority(&self) -> String {
        match self.ip {
            Some(IpAddr::V6(_)) => Authority(self).to_string(),
            _ => host_port(&self.address, self.port),
        }
    }

    /// Returns the socket address, if the address is an IP address.
    pub fn socket_addr(&self) -> Option<SocketAddr> {
        self.ip.map(|ip| SocketAddr::new(ip, self.port))
    }

    /// Returns `protocol://host:port` and the path, which may have a query.
    ///
    /// Inserts a missing `/` before the path. The host is the address, so that a client connects to
    /// this endpoint and no other. Where the certificate is for the server name, use
    /// [`connect_to`](Self::connect_to).
    pub fn url(&self, path: &str) -> String {
        self.url_as(&self.protocol, path)
    }

    /// Returns `scheme://host:port` and the path, for a client that does not know the endpoint's
    /// protocol as a scheme: `grpc` is `http` to tonic, and `tcp` may be `https` to reqwest.
    ///
    /// ```
    /// # use failover_core::Endpoint;
    /// let endpoint = Endpoint::builder("users-1", "users", "10.0.0.1", 8443).protocol("grpcs").build()?;
    /// assert_eq!(endpoint.url_as("https", "/users/7"), "https://10.0.0.1:8443/users/7");
    /// # Ok::<(), failover_core::Error>(())
    /// ```
    pub fn url_as(&self, scheme: &str, path: &str) -> String {
        url_of(scheme, Authority(self), path)
    }
}

impl Endpoint {
    /// Returns a copy at another port of the same address.
    pub(crate) fn at_port(&self, port: u16) -> Self {
        Self { port, ..self.clone() }
    }
}

/// What an engine attaches to an endpoint of its service.
impl Endpoint {
    /// Returns the departure of an endpoint that belongs to a service.
    pub(crate) fn departure(&self) -> Option<&Arc<Departure>> {
        self.attached.departure()
    }

    /// Returns the endpoint as one of this service, with the departure of its stay if that has one: the
    /// same value, or a copy if the value belongs to another service or to an earlier stay.
    pub(crate) fn attached_to(
        self: &Arc<Self>,
        owner: &Arc<Owner>,
        departure: Option<&Arc<Departure>>,
    ) -> Arc<Self> {
        if self.attached.attach(owner, departure) {
            return Arc::clone(self);
        }
        let own = Self::clone(self);
        own.attached.attach(owner, departure);
        Arc::new(own)
    }

    /// Returns the index of the slot in which the endpoint was found last. It may be there no longer.
    pub(crate) fn last_slot(&self) -> u32 {
        self.attached.last_slot()
    }

    /// Remembers the index of the slot in which the endpoint was found.
    pub(crate) fn found_in(&self, slot: u32) {
        self.attached.found_in(slot);
    }

    /// Waits until the endpoint leaves its service or is drained.
    pub(crate) fn departed(&self) -> impl Future<Output = ()> + Send + use<> {
        self.attached.wait()
    }
}

/// `id (protocol://host:port)`
impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({}://{})", self.id, self.protocol, Authority(self))
    }
}

/// Returns `host:port` as formatting does, at a fifth of its instructions and in a string without spare room:
/// HTTP clients need it for each request.
fn host_port(host: &str, port: u16) -> String {
    let mut digits = [b'0'; 5];
    let (mut first, mut rest) = (digits.len(), port);
    while rest > 0 || first == digits.len() {
        first -= 1;
        digits[first] += (rest % 10) as u8;
        rest /= 10;
    }
    let mut text = String::with_capacity(host.len() + 1 + digits.len() - first);
    text.push_str(host);
    text.push(':');
    text.push_str(std::str::from_utf8(&digits[first..]).expect("digits are ASCII"));
    text
}

fn url_of(scheme: &str, authority: impl fmt::Display, path: &str) -> String {
    let slash = if path.starts_with('/') { "" } else { "/" };
    format!("{scheme}://{authority}{slash}{path}")
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
