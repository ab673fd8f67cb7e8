//! Connections to an endpoint whose server has a name of its own.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};

use crate::model::endpoint::{Endpoint, url_of};

/// How to connect to an endpoint by its server name: where to connect, and which name to ask for.
///
/// A certificate is issued for a name, and a registry often lists an IP address. A client then has to
/// connect to the address and ask for the name, in TLS and in the `Host` header: what curl calls
/// `--connect-to`. [`url`](Self::url) contains the name, so a client that resolves it itself would
/// reach any server of that name instead of this endpoint. Tell it the address, as for reqwest:
///
/// ```
/// # use failover_core::{Endpoint, PerEndpoint, ServiceHandle};
/// # mod reqwest {
/// #     pub struct Client;
/// #     impl Client {
/// #         pub fn builder() -> Self { Self }
/// #         pub fn resolve_to_addrs(self, _: &str, _: &[std::net::SocketAddr]) -> Self { self }
/// #         pub fn build(self) -> std::io::Result<Self> { Ok(self) }
/// #         pub fn get(&self, _: String) -> Self { Self }
/// #         pub async fn send(self) -> std::io::Result<()> { Ok(()) }
/// #     }
/// # }
/// # async fn example(users: ServiceHandle) -> Result<(), Box<dyn std::error::Error>> {
/// let clients = PerEndpoint::new(&users);
/// users
///     .execute(async |endpoint| {
///         let to = endpoint.connect_to();
///         let client = clients
///             .get_or_try_init(&endpoint, || async {
///                 let addresses: Vec<_> = tokio::net::lookup_host(to.address()).await?.collect();
///                 reqwest::Client::builder().resolve_to_addrs(to.name(), &addresses).build()
///             })
///             .await?;
///         client.get(to.url("/users/7")).send().await
///     })
///     .await?;
/// # Ok(()) }
/// ```
///
/// The same code serves endpoints without a server name, for which [`name`](Self::name) is the
/// address.
#[derive(Clone, Copy, Debug)]
pub struct ConnectTo<'a> {
    endpoint: &'a Endpoint,
}

impl Endpoint {
    /// Returns how to connect to the endpoint by its server name.
    pub fn connect_to(&self) -> ConnectTo<'_> {
        ConnectTo { endpoint: self }
    }
}

impl<'a> ConnectTo<'a> {
    /// Returns the name that TLS verifies: the server name, or the address if there is none.
    pub fn name(&self) -> &'a str {
        self.endpoint.server_name().unwrap_or(self.endpoint.address())
    }

    /// Returns the host and port to connect to, for `lookup_host` and `TcpStream::connect`.
    ///
    /// A client asks for the [`name`](Self::name) on that connection.
    pub fn address(&self) -> (&'a str, u16) {
        (self.endpoint.address(), self.endpoint.port())
    }

    /// Returns `name:port`, for `Host` and `:authority`, with an IPv6 address in brackets.
    pub fn authority(&self) -> String {
        HostPort(self.name(), self.endpoint.port()).to_string()
    }

    /// Returns `protocol://name:port` and the path, which may have a query.
    ///
    /// Inserts a missing `/` before the path.
    pub fn url(&self, path: &str) -> String {
        self.url_as(self.endpoint.protocol(), path)
    }

    /// Returns `scheme://name:port` and the path, for a client that does not know the endpoint's
    /// protocol as a scheme.
    pub fn url_as(&self, scheme: &str, path: &str) -> String {
        url_of(scheme, HostPort(self.name(), self.endpoint.port()), path)
    }
}

struct HostPort<'a>(&'a str, u16);

impl fmt::Display for HostPort<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.parse::<Ipv6Addr>() {
            Ok(ip) => write!(f, "[{}]:{}", IpAddr::V6(ip), self.1),
            Err(_) => write!(f, "{}:{}", self.0, self.1),
        }
    }
}
