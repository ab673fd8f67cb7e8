//! The options of a client.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use failover_core::Error;
use http::HeaderValue;

use super::connector::Connector;
use super::dialer::Dialer;
use super::error::{HttpOption, OptionNames};
use super::protocol::HttpProtocol;
use super::response::Limits;
use super::tls::Tls;
use super::{HttpClient, assemble, default_headers};

/// Builds an [`HttpClient`].
#[derive(Clone)]
#[must_use = "a builder does nothing until it builds"]
pub struct HttpClientBuilder {
    protocol: HttpProtocol,
    tls: Option<Tls>,
    dialer: Dialer,
    deadline: Duration,
    max_body_bytes: usize,
    max_idle: usize,
    idle_timeout: Duration,
    compressed: bool,
    user_agent: Option<String>,
    names: OptionNames,
}

impl HttpClientBuilder {
    pub(super) fn new() -> Self {
        Self {
            protocol: HttpProtocol::Http1,
            tls: None,
            dialer: Dialer::new(),
            deadline: Duration::from_secs(30),
            max_body_bytes: 64 << 20,
            max_idle: 100,
            idle_timeout: Duration::from_secs(90),
            compressed: true,
            user_agent: None,
            names: OptionNames::KIT,
        }
    }

    /// Sets the version of HTTP; default HTTP/1.1.
    pub fn protocol(mut self, protocol: HttpProtocol) -> Self {
        self.protocol = protocol;
        self
    }

    /// Sets the TLS settings. Without them, an `https` URL is an error.
    pub fn tls(mut self, tls: Tls) -> Self {
        self.tls = Some(tls);
        self
    }

    /// Sets what opens the connections, with its resolver and time limit; default [`Dialer::new`].
    pub fn dialer(mut self, dialer: Dialer) -> Self {
        self.dialer = dialer;
        self
    }

    /// Sets the time limit of an answer's head, including the connection, and that of its body, 1 ms
    /// to 1 day; default 30 s each.
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// Sets the maximum size of a body after decompression, at least 1; default 64 MiB.
    pub fn max_body_bytes(mut self, bytes: usize) -> Self {
        self.max_body_bytes = bytes;
        self
    }

    /// Sets how many idle connections per host are kept, and for how long; default 100, 90 s.
    pub fn idle_connections(mut self, most: usize, timeout: Duration) -> Self {
        (self.max_idle, self.idle_timeout) = (most, timeout);
        self
    }

    /// Sets whether the client asks for bodies that are compressed by gzip; default true.
    pub fn compressed(mut self, compressed: bool) -> Self {
        self.compressed = compressed;
        self
    }

    /// Sets the header `User-Agent`; default none.
    pub fn user_agent(mut self, user_agent: impl Into<String>) -> Self {
        self.user_agent = Some(user_agent.into());
        self
    }

    /// Sets the name that an option has in the caller's own builder, so that an error names what its
    /// reader can change.
    pub fn option_name(mut self, option: HttpOption, name: &'static str) -> Self {
        self.names.0[option as usize] = name;
        self
    }

    /// Validates the values. Does not connect.
    ///
    /// # Errors
    ///
    /// Returns `Validation` for the first value that is out of range.
    pub fn build(self) -> Result<HttpClient, Error> {
        let day = Duration::from_secs(86_400);
        if !(Duration::from_millis(1)..=day).contains(&self.deadline) {
            return Err(Error::invalid("deadline", format_args!("{:?}", self.deadline), "1 ms to 1 day"));
        }
        if self.max_body_bytes == 0 {
            return Err(Error::invalid("max_body_bytes", 0, "at least 1 byte"));
        }
        let user_agent =
            match self.user_agent {
                None => None,
                Some(text) => Some(HeaderValue::from_str(&text).map_err(|_| {
                    Error::invalid("user_agent", &text, "visible ASCII characters and spaces")
                })?),
            };
        let connector = Connector::new(self.dialer, self.tls, self.protocol, self.deadline, self.names);
        let idle = (self.max_idle, self.idle_timeout);
        Ok(HttpClient {
            pool: assemble(connector.clone(), self.protocol, idle),
            connector,
            limits: Arc::new(Limits {
                protocol: self.protocol,
                deadline: self.deadline,
                max_body_bytes: self.max_body_bytes,
                names: self.names,
            }),
            defaults: default_headers(user_agent, self.compressed),
        })
    }
}

impl fmt::Debug for HttpClientBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpClientBuilder")
            .field("protocol", &self.protocol)
            .field("tls", &self.tls)
            .field("dialer", &self.dialer)
            .field("deadline", &self.deadline)
            .field("max_body_bytes", &self.max_body_bytes)
            .finish_non_exhaustive()
    }
}
