//! The provider.

use std::collections::HashSet;
use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use failover_core::provider::{EndpointSet, Provider, ProviderInfo, Query, WatchStream};
use failover_core::{Endpoint, Error, async_trait};
use failover_provider_kit::Polled;

use crate::family::Family;
use crate::resolver::{Resolver, System};
use crate::source::{DnsSource, Plan, Search, dns_name};

const TIMEOUT: Duration = Duration::from_secs(3);
const MAX_TTL: Duration = Duration::from_secs(24 * 60 * 60);
/// The questions that follow each other in one answer: for SRV records, their targets, and search domains.
const ROUNDS: u32 = 3;

/// Endpoints from DNS: the name of a service is a DNS name, or a part of one.
///
/// ```no_run
/// use failover_core::FailoverManager;
/// use failover_dns::DnsProvider;
///
/// # async fn example() -> Result<(), failover_core::Error> {
/// let dns = DnsProvider::builder().suffix("prod.svc.cluster.local").port(8080).protocol("http").build()?;
/// let manager = FailoverManager::builder().provider(dns).build().await?;
/// // Asks for user-service.prod.svc.cluster.local.
/// let users = manager.service("user-service").await?;
/// # Ok(()) }
/// ```
///
/// One task per service asks again when the time to live has passed. Dropping a future leaves nothing
/// behind. The provider is read-only, and cannot list all services. What answers mean: see
/// [the crate](crate).
pub struct DnsProvider(Polled<DnsSource>);

impl DnsProvider {
    /// Returns a builder.
    pub fn builder() -> DnsProviderBuilder {
        DnsProviderBuilder::default()
    }
}

impl fmt::Debug for DnsProvider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DnsProvider")
            .field("servers", &self.info().connection().address())
            .finish_non_exhaustive()
    }
}

/// A builder of a [`DnsProvider`]. One of [`port`](Self::port), [`srv`](Self::srv) and
/// [`srv_prefix`](Self::srv_prefix) has to be set.
#[derive(Clone, Debug)]
#[must_use = "a builder does nothing until it builds"]
pub struct DnsProviderBuilder {
    port: Option<u16>,
    prefix: Option<String>,
    suffix: Option<String>,
    protocol: Option<String>,
    family: Family,
    servers: Vec<SocketAddr>,
    search: bool,
    domains: Option<Vec<String>>,
    timeout: Duration,
    max_ttl: Duration,
    loopback: Vec<String>,
}

impl Default for DnsProviderBuilder {
    fn default() -> Self {
        Self {
            port: None,
            prefix: None,
            suffix: None,
            protocol: None,
            family: Family::Both,
            servers: Vec::new(),
            search: false,
            domains: None,
            timeout: TIMEOUT,
            max_ttl: MAX_TTL,
            loopback: Vec::new(),
        }
    }
}

impl DnsProviderBuilder {
    /// Asks for A and AAAA records, with this port for all, 1 to 65535.
    pub fn port(mut self, port: u16) -> Self {
        self.port = Some(port);
        self
    }

    /// Asks for SRV records of the name as it is: `_http._tcp.user-service.example.com`.
    pub fn srv(self) -> Self {
        self.srv_prefix("")
    }

    /// Asks for SRV records of the name below a prefix: with `_http._tcp`, `user-service` is
    /// `_http._tcp.user-service`.
    pub fn srv_prefix(mut self, prefix: impl Into<String>) -> Self {
        self.prefix = Some(prefix.into());
        self
    }

    /// Appends a domain to the names of services: with `prod.svc.cluster.local`, `user-service` is
    /// `user-service.prod.svc.cluster.local`. Such a name is complete; search domains do not apply.
    pub fn suffix(mut self, suffix: impl Into<String>) -> Self {
        self.suffix = Some(suffix.into());
        self
    }

    /// Sets the protocol of the endpoints. Default: `http`, `https`, `grpc` or `grpcs` if the SRV prefix
    /// begins with its name, such as `_http._tcp`; otherwise `tcp`.
    pub fn protocol(mut self, protocol: impl Into<String>) -> Self {
        self.protocol = Some(protocol.into());
        self
    }

    /// Sets which addresses are asked for. Default: both families, and an answer needs both.
    pub fn family(mut self, family: Family) -> Self {
        self.family = family;
        self
    }

    /// Adds a name server. Default: those of the system's configuration. That is read once, when the
    /// provider is built.
    pub fn nameserver(mut self, server: SocketAddr) -> Self {
        self.servers.push(server);
        self
    }

    /// Sets whether a name is tried below the search domains. Default: `false`.
    ///
    /// Without it, a name that only a search domain resolves is an error that says the full name.
    pub fn search(mut self, search: bool) -> Self {
        self.search = search;
        self
    }

    /// Sets the search domains. Default: those of the system's configuration.
    pub fn search_domains<D: Into<String>>(mut self, domains: impl IntoIterator<Item = D>) -> Self {
        self.domains = Some(domains.into_iter().map(Into::into).collect());
        self
    }

    /// Sets the limit of one question, 10 ms to 60 s, 3 s by default. The servers share it: each has an
    /// equal part. An answer that takes several questions has three times as long.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Sets the longest time to live that is honoured, 250 ms to 24 h, 24 h by default.
    pub fn max_ttl(mut self, ttl: Duration) -> Self {
        self.max_ttl = ttl;
        self
    }

    /// Allows loopback addresses for a full name, such as `dev.example.com`.
    pub fn allow_loopback(mut self, name: impl Into<String>) -> Self {
        self.loopback.push(name.into());
        self
    }

    /// Validates the values, and reads the system's configuration where it is needed.
    ///
    /// # Errors
    ///
    /// Returns `Validation` for the first invalid value, and `Connection` if no name server is set and the
    /// system's configuration names none.
    pub fn build(self) -> Result<DnsProvider, Error> {
        match (self.port, &self.prefix) {
            (Some(0), _) => return Err(Error::invalid("port", 0, "a number from 1 to 65535")),
            (Some(_), None) | (None, Some(_)) => {}
            (Some(port), Some(_)) => {
                return Err(Error::invalid("port", port, "a port or SRV records, which name the ports"));
            }
            (None, None) => return Err(Error::invalid("port", "", "a port, or ask for SRV records")),
        }
        within("timeout", self.timeout, Duration::from_millis(10), Duration::from_secs(60))?;
        within("max_ttl", self.max_ttl, Duration::from_millis(250), MAX_TTL)?;
        if let Some(server) = self.servers.iter().find(|server| server.port() == 0) {
            return Err(Error::invalid("nameserver", server, "a port from 1 to 65535, usually 53"));
        }
        let prefix = self.prefix.map_or_else(String::new, |prefix| prefix.trim_matches('.').to_owned());
        let protocol = self.protocol.unwrap_or_else(|| protocol_of(&prefix).to_owned());
        Endpoint::builder("protocol", "protocol", "protocol", 1).protocol(&protocol).build()?;
        if !prefix.is_empty() {
            dns_name("srv_prefix", &prefix)?;
        }
        let suffix = self.suffix.map(|suffix| suffix.trim_matches('.').to_owned());
        suffix.as_deref().map(|suffix| dns_name("suffix", suffix)).transpose()?;
        let system = match System::read() {
            Ok(system) => system,
            Err(error) if self.servers.is_empty() => return Err(error),
            // With a server, the search domains alone are missing.
            Err(_) => System { ndots: 1, ..System::default() },
        };
        let domains = match self.domains {
            Some(domains) => {
                let name = |domain: &String| dns_name("search domain", domain);
                domains.iter().map(name).collect::<Result<_, Error>>()?
            }
            None => system.search,
        };
        let servers = if self.servers.is_empty() { system.servers } else { self.servers };
        let mut loopback = HashSet::new();
        for name in self.loopback {
            dns_name("allow_loopback", &name)?;
            loopback.insert(name.trim_end_matches('.').to_ascii_lowercase());
        }
        let plan = Plan {
            port: self.port,
            prefix: if prefix.is_empty() { prefix } else { format!("{prefix}.") },
            suffix,
            protocol,
            family: self.family,
            search: Search { enabled: self.search, domains, ndots: system.ndots },
            max_ttl: self.max_ttl,
            loopback,
        };
        let source = DnsSource::new(Resolver::new(&servers, self.timeout)?, plan);
        Ok(DnsProvider(Polled::new(source).timeout(ROUNDS * self.timeout)))
    }
}

fn within(field: &str, value: Duration, least: Duration, most: Duration) -> Result<(), Error> {
    if (least..=most).contains(&value) {
        return Ok(());
    }
    Err(Error::invalid(field, format_args!("{value:?}"), &format!("{least:?} to {most:?}")))
}

/// Returns the protocol that the first label of a prefix names.
pub(crate) fn protocol_of(prefix: &str) -> &'static str {
    let label = prefix.split('.').next().unwrap_or_default();
    ["http", "https", "grpc", "grpcs"]
        .into_iter()
        .find(|known| label.strip_prefix('_').is_some_and(|label| label.eq_ignore_ascii_case(known)))
        .unwrap_or("tcp")
}

#[async_trait]
impl Provider for DnsProvider {
    fn info(&self) -> ProviderInfo {
        self.0.info()
    }

    async fn connect(&self) -> Result<(), Error> {
        self.0.connect().await
    }

    async fn ping(&self) -> Result<(), Error> {
        self.0.ping().await
    }

    async fn close(&self) -> Result<(), Error> {
        self.0.close().await
    }

    async fn list(&self, query: &Query) -> Result<EndpointSet, Error> {
        self.0.list(query).await
    }

    fn watch(&self, query: &Query) -> Option<WatchStream<'_>> {
        self.0.watch(query)
    }
}
