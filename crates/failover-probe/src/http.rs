//! A probe over HTTP/1.1, with or without TLS.

use std::fmt;
use std::ops::RangeInclusive;

use ::http::header::CONNECTION;
use ::http::{HeaderValue, Method, Request};
use bytes::Bytes;
use failover_core::probe::{Probe, ProbeOutcome, ProbeTarget};
use failover_core::{Error, ErrorKind, async_trait};
use failover_provider_kit::{Dialer, HttpProtocol, TlsBuilder};

use crate::client::{Clients, TlsOptions, dialer, failed, platform, set_headers, url};

/// The default statuses of a healthy endpoint.
const EXPECTED: RangeInclusive<u16> = 200..=299;

/// Requests the path of an endpoint's health check and considers the endpoint healthy if the status
/// is expected: one of the health check's, or else of the probe's, by default 200 to 299.
///
/// It sends the health check's method, headers and body to its port, or that of the endpoint. It
/// uses TLS if the endpoint's protocol is `https`, and the endpoint's `server_name`, if any, in TLS
/// and in `Host`. It ignores the response body, treats a redirect as any other status without
/// following it, opens a connection per probe, and accepts an answer that the server sends before it
/// has read the request.
#[derive(Clone)]
pub struct HttpProbe {
    clients: Clients,
    expected: Vec<RangeInclusive<u16>>,
}

impl HttpProbe {
    /// Creates a probe that trusts the authorities of the platform, which it loads when it first
    /// uses TLS.
    pub fn new() -> Self {
        Self::with(platform(), vec![EXPECTED], dialer())
    }

    /// Returns a builder, for other authorities or statuses, or a client certificate.
    pub fn builder() -> HttpProbeBuilder {
        HttpProbeBuilder::default()
    }

    pub(crate) fn with(tls: TlsBuilder, expected: Vec<RangeInclusive<u16>>, dialer: Dialer) -> Self {
        Self { clients: Clients::new(HttpProtocol::Http1, tls, dialer), expected }
    }
}

impl Default for HttpProbe {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for HttpProbe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpProbe").field("expected", &self.expected).finish_non_exhaustive()
    }
}

#[async_trait]
impl Probe for HttpProbe {
    async fn probe(&self, target: &ProbeTarget) -> Result<ProbeOutcome, Error> {
        // Before connecting: a request that cannot be sent is the fault of the health check, not of
        // the endpoint.
        let request = request(target)?;
        let status = self.clients.ask(target, request).await?.status();
        let expected = match target.health_check().expected_statuses() {
            [] => &self.expected,
            own => own,
        };
        if expected.iter().any(|range| range.contains(&status.as_u16())) {
            return Ok(ProbeOutcome::healthy(status.to_string()));
        }
        let not_followed = if status.is_redirection() { "; a redirect is not followed" } else { "" };
        let expected: Vec<_> =
            expected.iter().map(|range| format!("{} to {}", range.start(), range.end())).collect();
        let message = format!("answered {status}, not {}{not_followed}", expected.join(" or "));
        Err(failed(ErrorKind::Connection, message))
    }
}

fn request(target: &ProbeTarget) -> Result<Request<Bytes>, Error> {
    let check = target.health_check();
    let https = target.endpoint().protocol().eq_ignore_ascii_case("https");
    let method = Method::from_bytes(check.method().as_bytes())
        .map_err(|_| Error::invalid("health_check.method", check.method(), "an HTTP method"))?;
    let mut request = Request::new(Bytes::from(check.body().unwrap_or_default().to_owned()));
    (*request.method_mut(), *request.uri_mut()) = (method, url(target, https, None, check.path())?);
    set_headers(check, request.headers_mut())?;
    request.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    Ok(request)
}

/// Builds an [`HttpProbe`].
#[derive(Clone, Debug, Default)]
#[must_use = "a builder does nothing until it builds"]
pub struct HttpProbeBuilder {
    expected: Vec<RangeInclusive<u16>>,
    tls: TlsOptions,
}

impl HttpProbeBuilder {
    /// Adds the statuses of a healthy endpoint, such as `200..=299` or `401..=401`; default 200 to
    /// 299. A health check with statuses of its own goes by those.
    pub fn expect_status(mut self, statuses: RangeInclusive<u16>) -> Self {
        self.expected.push(statuses);
        self
    }

    /// Adds the PEM certificates of a trusted authority.
    pub fn authority_pem(mut self, pem: impl Into<Vec<u8>>) -> Self {
        self.tls.authorities.push(pem.into());
        self
    }

    /// Trusts only the added authorities, not those of the platform.
    pub fn only_own_authorities(mut self) -> Self {
        self.tls.only_own = true;
        self
    }

    /// Sets the probe's own certificate chain and private key, both PEM, for servers that ask for
    /// one. Neither is ever shown.
    pub fn client_certificate_pem(
        mut self,
        certificate: impl Into<Vec<u8>>,
        key: impl Into<Vec<u8>>,
    ) -> Self {
        self.tls.client = Some((certificate.into(), key.into()));
        self
    }

    /// Validates the values.
    ///
    /// # Errors
    ///
    /// Returns `Validation` if a status is not from 100 to 599, or a PEM text does not contain what it
    /// should.
    pub fn build(self) -> Result<HttpProbe, Error> {
        let mut expected = self.expected;
        if expected.is_empty() {
            expected.push(EXPECTED);
        }
        for range in &expected {
            if range.is_empty() || *range.start() < 100 || *range.end() > 599 {
                let shown = format!("{} to {}", range.start(), range.end());
                return Err(Error::invalid(
                    "expect_status",
                    shown,
                    "statuses from 100 to 599, the lower first",
                ));
            }
        }
        Ok(HttpProbe::with(self.tls.validate()?, expected, dialer()))
    }
}
