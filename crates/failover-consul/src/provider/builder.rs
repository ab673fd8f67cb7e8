//! Configuration of a provider.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use failover_core::{Endpoint, Error, ErrorKind};
use failover_provider_kit::{BaseUrl, Secret, Timing, Tls, TlsBuilder, TokenFile};

use super::env::{self, Variables};
use crate::provider::ConsulProvider;
use crate::settings::{Consistency, Origin, Settings, defaults};
use crate::token::TokenSource;

/// Builds a [`ConsulProvider`]. Unset options have their defaults; the environment is not read.
#[must_use = "a builder does nothing until `build` is called"]
#[allow(clippy::struct_excessive_bools, reason = "each is a switch of its own")]
pub struct ConsulBuilder {
    address: String,
    origin: Origin,
    tls: bool,
    token: Option<String>,
    token_file: Option<PathBuf>,
    ca_files: Vec<PathBuf>,
    client: Option<(PathBuf, PathBuf)>,
    tls_server_name: Option<String>,
    datacenter: Option<String>,
    namespace: Option<String>,
    consistency: Consistency,
    connections: usize,
    deadline: Duration,
    wait: Duration,
    poll: Duration,
    answer_bytes: usize,
    empty_grace: Duration,
    ttl: Duration,
    agent_checks: bool,
    deregister_after: Option<Duration>,
    ignore_node_checks: bool,
    passing_only: bool,
    near_agent: bool,
    secret_headers: bool,
    config_prefix: String,
    protocol: String,
    token_in_clear: bool,
}

impl ConsulProvider {
    /// Returns a builder with the defaults.
    pub fn builder() -> ConsulBuilder {
        ConsulBuilder::new()
    }

    /// Builds a provider from Consul's own environment variables; see [`ConsulBuilder::from_env`].
    ///
    /// # Errors
    ///
    /// Returns an error if a variable cannot be read or requests something unsupported.
    pub fn from_env() -> Result<Self, Error> {
        ConsulBuilder::from_env()?.build()
    }
}

impl ConsulBuilder {
    pub(crate) fn new() -> Self {
        Self {
            address: defaults::ADDRESS.to_owned(),
            origin: Origin::Default,
            tls: false,
            token: None,
            token_file: None,
            ca_files: Vec::new(),
            client: None,
            tls_server_name: None,
            datacenter: None,
            namespace: None,
            consistency: Consistency::Stale(defaults::MAX_STALE),
            connections: defaults::CONNECTIONS,
            deadline: defaults::DEADLINE,
            wait: defaults::WAIT,
            poll: defaults::POLL,
            answer_bytes: defaults::ANSWER_BYTES,
            empty_grace: defaults::EMPTY_GRACE,
            ttl: defaults::TTL,
            agent_checks: true,
            deregister_after: Some(defaults::DEREGISTER_AFTER),
            ignore_node_checks: false,
            passing_only: false,
            near_agent: false,
            secret_headers: false,
            config_prefix: defaults::CONFIG_PREFIX.to_owned(),
            protocol: defaults::PROTOCOL.to_owned(),
            token_in_clear: false,
        }
    }

    /// Returns a builder configured from Consul's own variables: `CONSUL_HTTP_ADDR`,
    /// `CONSUL_HTTP_SSL`, `CONSUL_HTTP_TOKEN`, `CONSUL_HTTP_TOKEN_FILE`, `CONSUL_CACERT`,
    /// `CONSUL_CLIENT_CERT`, `CONSUL_CLIENT_KEY`, `CONSUL_TLS_SERVER_NAME`, `CONSUL_DATACENTER` and
    /// `CONSUL_NAMESPACE`. An empty variable counts as unset. The token file takes precedence over
    /// the token, as in Consul.
    ///
    /// # Errors
    ///
    /// Returns an error if a value cannot be read; for `CONSUL_HTTP_SSL_VERIFY=false`,
    /// `CONSUL_CAPATH`, `CONSUL_HTTP_AUTH` and `CONSUL_PARTITION`, which are not supported; and if
    /// only one of `CONSUL_CLIENT_CERT` and `CONSUL_CLIENT_KEY` is set.
    pub fn from_env() -> Result<Self, Error> {
        let variables = env::read(|name| match std::env::var(name) {
            Ok(value) => Ok(Some(value)),
            Err(std::env::VarError::NotPresent) => Ok(None),
            Err(std::env::VarError::NotUnicode(_)) => {
                Err(Error::new(ErrorKind::Validation, format!("{name}: the value is not valid Unicode")))
            }
        })?;
        Ok(Self::from_variables(variables))
    }

    pub(super) fn from_variables(read: Variables) -> Self {
        let new = Self::new();
        Self {
            origin: read.address.as_ref().map_or(new.origin, |_| Origin::Environment),
            address: read.address.unwrap_or(new.address),
            tls: read.tls.unwrap_or(new.tls),
            token: read.token,
            token_file: read.token_file,
            ca_files: Vec::from_iter(read.ca_file),
            client: read.client_certificate,
            tls_server_name: read.tls_server_name,
            datacenter: read.datacenter,
            namespace: read.namespace,
            ..new
        }
    }

    /// Sets the agent's address: `127.0.0.1:8500` (the default), `[::1]:8500`, `consul.example`,
    /// `https://consul.example:8501/prefix`. Without a scheme the protocol is HTTP unless
    /// [`tls`](Self::tls) is set; without scheme and port, the port is 8500. Prefer a local agent:
    /// it outlives the loss of any server, and checks run where the endpoint is registered.
    pub fn address(mut self, address: impl Into<String>) -> Self {
        self.address = address.into();
        self.origin = Origin::Builder;
        self
    }

    /// Uses HTTPS whatever the address's scheme; default false.
    pub fn tls(mut self, tls: bool) -> Self {
        self.tls = tls;
        self
    }

    /// Sets the ACL token. It is sent in a header that is not logged, and only over HTTPS or to
    /// this machine, unless [`dangerous_token_over_http`](Self::dangerous_token_over_http) is set.
    pub fn token(mut self, token: impl Into<String>) -> Self {
        self.token = Some(token.into());
        self
    }

    /// Sets a file of at most 64 KiB that holds the ACL token, instead of [`token`](Self::token).
    /// It is read again every few seconds and whenever the token is refused; the request is then
    /// repeated if the file holds another token. While the file cannot be read or is empty, the
    /// previous token stays in use.
    pub fn token_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.token_file = Some(path.into());
        self
    }

    /// Adds a PEM file with one or more certificates of authorities. With at least one such file,
    /// the system's authorities are not trusted; without any, they are.
    pub fn ca_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.ca_files.push(path.into());
        self
    }

    /// Sets the client's certificate chain and private key (PKCS#8, SEC1 or PKCS#1), both PEM.
    pub fn client_certificate(mut self, certificate: impl Into<PathBuf>, key: impl Into<PathBuf>) -> Self {
        self.client = Some((certificate.into(), key.into()));
        self
    }

    /// Sets the name that the agent's certificate must be for; default the host of the address.
    pub fn tls_server_name(mut self, name: impl Into<String>) -> Self {
        self.tls_server_name = Some(name.into());
        self
    }

    /// Sets the datacenter to read from; default the agent's own. Endpoints can be registered only
    /// in the agent's own datacenter. For several datacenters, create one provider each and order
    /// them as the service's sources.
    pub fn datacenter(mut self, datacenter: impl Into<String>) -> Self {
        self.datacenter = Some(datacenter.into());
        self
    }

    /// Sets the namespace (Consul Enterprise); default none.
    pub fn namespace(mut self, namespace: impl Into<String>) -> Self {
        self.namespace = Some(namespace.into());
        self
    }

    /// Sets the consistency of watches; default stale by at most 10 s. One-time reads and writes go
    /// to the leader, unless this is [`Consistency::Consistent`].
    pub fn consistency(mut self, consistency: Consistency) -> Self {
        self.consistency = consistency;
        self
    }

    /// Sets the maximum of concurrent requests, 4 to 10 000; default 100 (an agent allows 200 per
    /// address, of all processes together). Up to a quarter of them, at most 16, are for requests
    /// other than watches, and a quarter of those for heartbeats; one in 25, at most 4, are for long
    /// polls of the agent that notice the loss of a registration. Services beyond the rest are polled,
    /// and so are those whose connection the agent refuses.
    pub fn connections(mut self, connections: usize) -> Self {
        self.connections = connections;
        self
    }

    /// Sets the time limit of a request that is not a watch, 1 s to 5 min; default 30 s. All
    /// requests of one registration share it. Without a quorum of servers, an agent needs 7 to 26 s
    /// to accept a registration.
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// Sets how long a watch waits for a change before it asks again, 1 s to 10 min; default 30 s.
    /// If the servers lose their data, a change can stay unseen for this long.
    pub fn wait(mut self, wait: Duration) -> Self {
        self.wait = wait;
        self
    }

    /// Sets the interval at which services beyond the [`connections`](Self::connections) are
    /// polled, 100 ms to 1 h; default 10 s, with a tenth of jitter.
    pub fn poll(mut self, poll: Duration) -> Self {
        self.poll = poll;
        self
    }

    /// Sets the maximum size of a response after decompression, 64 KiB to 1 GiB; default 64 MiB. 10
    /// 000 endpoints take 5 to 10 MiB.
    pub fn answer_bytes(mut self, bytes: usize) -> Self {
        self.answer_bytes = bytes;
        self
    }

    /// Sets how long an empty answer is held back after the servers went back to older data, up to
    /// 1 h; default 60 s. After an agent that was unreachable has returned, perhaps without its data,
    /// it is held back for this time or 15 s, whichever is shorter; after instances in service that went
    /// without a reason, for this time or 3 s.
    pub fn empty_grace(mut self, grace: Duration) -> Self {
        self.empty_grace = grace;
        self
    }

    /// Sets how long an endpoint without a check by the agent stays healthy after the last
    /// heartbeat, 10 s to 24 h; default 30 s. Heartbeats are sent three times as often.
    pub fn ttl(mut self, ttl: Duration) -> Self {
        self.ttl = ttl;
        self
    }

    /// Sets whether the agent runs the health checks of endpoints; default true. Set it to false if
    /// the agent cannot reach the endpoints; each then has a time to live.
    pub fn agent_checks(mut self, agent_checks: bool) -> Self {
        self.agent_checks = agent_checks;
        self
    }

    /// Sets after how long in critical state the agent deregisters an endpoint, at least 1 min (the
    /// agent looks every 30 s); `None` for never. Default 10 min. While this provider is alive, it
    /// registers such an endpoint again.
    pub fn deregister_critical_after(mut self, after: impl Into<Option<Duration>>) -> Self {
        self.deregister_after = after.into();
        self
    }

    /// Ignores the checks of an endpoint's node; default false. If an agent dies, Consul marks its
    /// node critical within seconds, although the programs on it may be alive; with true, their
    /// endpoints stay in rotation.
    pub fn ignore_node_checks(mut self, ignore: bool) -> Self {
        self.ignore_node_checks = ignore;
        self
    }

    /// Leaves out endpoints with any check that is not passing, as Consul's `?passing` does: degraded,
    /// unhealthy, draining and in maintenance; default false. The engine then cannot fall back on
    /// degraded endpoints, nor try unhealthy ones when there is nothing else: a service of which
    /// nothing passes is empty. [`get`](failover_core::provider::Registry::get) still finds them.
    pub fn passing_only(mut self, passing_only: bool) -> Self {
        self.passing_only = passing_only;
        self
    }

    /// Makes lists name the endpoints first that are nearest to the agent by Consul's measured round
    /// trips (`near=_agent`); default false. Watches are unaffected: a service's strategy orders its
    /// endpoints, and Consul's streaming cannot sort by distance.
    pub fn near_agent(mut self, near_agent: bool) -> Self {
        self.near_agent = near_agent;
        self
    }

    /// Sets whether the body and possibly secret headers of a health check are given to the agent,
    /// where every token that can read the service can read them; default false. With false, an
    /// endpoint whose check needs them is refused.
    pub fn store_secret_headers(mut self, store: bool) -> Self {
        self.secret_headers = store;
        self
    }

    /// Sets the protocol, as a URL scheme, of instances that were not registered by this library
    /// and do not state one; default `tcp`.
    pub fn default_protocol(mut self, protocol: impl Into<String>) -> Self {
        self.protocol = protocol.into();
        self
    }

    /// Sets the key-value path of the configuration; default `failover/config`.
    pub fn config_prefix(mut self, prefix: impl Into<String>) -> Self {
        self.config_prefix = prefix.into();
        self
    }

    /// Allows sending the token over plain HTTP to another machine, where anyone on the path can
    /// read it; default false.
    pub fn dangerous_token_over_http(mut self, allow: bool) -> Self {
        self.token_in_clear = allow;
        self
    }

    /// Validates the values and reads the certificates. Does not connect.
    ///
    /// # Errors
    ///
    /// Returns an error for the first invalid value or unreadable file. The token is never shown.
    pub fn build(self) -> Result<ConsulProvider, Error> {
        let address = self.base_url()?;
        let timing = Timing::tokio();
        let token = match (&self.token, &self.token_file) {
            (Some(_), Some(_)) => {
                let message = "token and token_file: give one of them";
                return Err(Error::new(ErrorKind::Validation, message));
            }
            (Some(token), None) => {
                Secret::parse(token, "token")?.map_or(TokenSource::None, TokenSource::Text)
            }
            (None, Some(path)) => TokenSource::File(TokenFile::open(path, timing.clone())?),
            (None, None) => TokenSource::None,
        };
        if token.is_some() && !address.keeps_secrets() && !self.token_in_clear {
            let wanted = "an https address where there is a token: over http everyone on the way reads it \
                          (dangerous_token_over_http allows that)";
            return Err(Error::invalid(self.address_field(), address.as_str(), wanted));
        }
        if let Consistency::Stale(most) = self.consistency {
            range("consistency", most, Duration::from_millis(100), Duration::from_secs(86_400))?;
        }
        let second = Duration::from_secs(1);
        range("deadline", self.deadline, second, second * 300)?;
        range("wait", self.wait, second, second * 600)?;
        range("poll", self.poll, second / 10, second * 3600)?;
        range("empty_grace", self.empty_grace, Duration::ZERO, second * 3600)?;
        range("ttl", self.ttl, second * 10, second * 86_400)?;
        if let Some(after) = self.deregister_after {
            range("deregister_critical_after", after, second * 60, second * 86_400 * 30)?;
        }
        if !(4..=10_000).contains(&self.connections) {
            return Err(Error::invalid("connections", self.connections, "4 to 10000"));
        }
        if !(64 << 10..=1 << 30).contains(&self.answer_bytes) {
            return Err(Error::invalid("answer_bytes", self.answer_bytes, "65536 to 1073741824 bytes"));
        }
        for (field, value) in [("datacenter", &self.datacenter), ("namespace", &self.namespace)] {
            if let Some(value) = value.as_ref().filter(|value| !is_name(value)) {
                return Err(Error::invalid(
                    field,
                    value,
                    "letters, digits, underscores and hyphens, at most 128",
                ));
            }
        }
        let prefix = self.config_prefix.trim_matches('/');
        if prefix.len() > 256 || !prefix.split('/').all(is_path_segment) {
            let wanted = "letters, digits, dots, underscores and hyphens, with a / between them";
            return Err(Error::invalid("config_prefix", &self.config_prefix, wanted));
        }
        // Applies the model's own rule for protocols.
        Endpoint::builder("a", "a", "localhost", 1).protocol(&self.protocol).build()?;
        let tls = self.tls_settings(address.is_https())?;
        let settings = Settings {
            address,
            origin: self.origin,
            token,
            datacenter: self.datacenter,
            namespace: self.namespace,
            consistency: self.consistency,
            connections: self.connections,
            deadline: self.deadline,
            wait: self.wait,
            poll: self.poll,
            answer_bytes: self.answer_bytes,
            empty_grace: self.empty_grace,
            ttl: self.ttl,
            agent_checks: self.agent_checks,
            deregister_after: self.deregister_after,
            ignore_node_checks: self.ignore_node_checks,
            passing_only: self.passing_only,
            near_agent: self.near_agent,
            secret_headers: self.secret_headers,
            config_prefix: prefix.to_owned(),
            protocol: self.protocol.to_ascii_lowercase(),
        };
        ConsulProvider::new(settings, tls, timing)
    }

    /// Returns the name of what an invalid address was set with.
    fn address_field(&self) -> &'static str {
        match self.origin {
            Origin::Environment => "CONSUL_HTTP_ADDR",
            _ => "address",
        }
    }

    fn base_url(&self) -> Result<BaseUrl, Error> {
        // An error of the parser would show it, and what it holds can be a secret.
        if self.address.contains(['?', '#']) {
            let wanted = "an address without a query; a token has options of its own (token, token_file)";
            return Err(Error::invalid(
                self.address_field(),
                "one with a query or fragment (not shown)",
                wanted,
            ));
        }
        BaseUrl::parse(self.address_field(), &self.address, defaults::PORT, self.tls)
    }

    /// Returns the TLS settings of an `https` address.
    fn tls_settings(&self, https: bool) -> Result<Option<Tls>, Error> {
        let is_set = !self.ca_files.is_empty() || self.client.is_some() || self.tls_server_name.is_some();
        if !https && is_set {
            let message =
                "certificates or tls_server_name are set, but the address is http: they would not be used";
            return Err(Error::new(ErrorKind::Validation, message));
        }
        let mut tls = self.ca_files.iter().fold(Tls::builder(), TlsBuilder::ca_file);
        if let Some((certificate, key)) = &self.client {
            tls = tls.client_certificate(certificate, key);
        }
        if let Some(name) = &self.tls_server_name {
            tls = tls.server_name(name);
        }
        https.then(|| tls.build()).transpose().map_err(|error| match &self.tls_server_name {
            Some(_) if error.to_string().starts_with("server_name") => error.context("tls_server_name"),
            _ => error,
        })
    }
}

/// Omits the token.
impl fmt::Debug for ConsulBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // An address that is not validated yet may contain a password.
        let address = self.base_url();
        f.debug_struct("ConsulBuilder")
            .field("address", &address.as_ref().map_or("<not an address>", BaseUrl::as_str))
            .field("token", &self.token.as_ref().map(|_| "<redacted>"))
            .field("token_file", &self.token_file)
            .field("ca_files", &self.ca_files)
            .field("client_certificate", &self.client.as_ref().map(|(certificate, _)| certificate))
            .field("tls_server_name", &self.tls_server_name)
            .field("datacenter", &self.datacenter)
            .field("namespace", &self.namespace)
            .field("consistency", &self.consistency)
            .field("connections", &self.connections)
            .field("deadline", &self.deadline)
            .field("wait", &self.wait)
            .field("ttl", &self.ttl)
            .finish_non_exhaustive()
    }
}

fn range(field: &str, value: Duration, least: Duration, most: Duration) -> Result<(), Error> {
    if (least..=most).contains(&value) {
        return Ok(());
    }
    Err(Error::invalid(field, format!("{value:?}"), &format!("{least:?} to {most:?}")))
}

fn is_name(text: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_');
    (1..=128).contains(&text.len()) && text.bytes().all(allowed)
}

fn is_path_segment(segment: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    !segment.is_empty() && segment.bytes().all(allowed) && !segment.contains("..") && segment != "."
}

#[cfg(test)]
mod tests;
