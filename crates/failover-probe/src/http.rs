//! A probe over HTTP/1.1, with or without TLS.

use std::fmt;
use std::ops::RangeInclusive;
use std::sync::Arc;

use ::http::header::{CONNECTION, HOST, HeaderName, USER_AGENT};
use ::http::{HeaderValue, Method, Request, StatusCode, Uri};
use bytes::Bytes;
use failover_core::probe::{Probe, ProbeOutcome, ProbeTarget};
use failover_core::{Error, ErrorKind, HealthCheck, async_trait};
use http_body_util::Full;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;

use crate::connect::{Lookup, failed};

/// The default statuses of a healthy endpoint.
const EXPECTED: RangeInclusive<u16> = 200..=299;
/// The maximum size of a response's head.
const MOST_HEAD: usize = 64 * 1024;
const AGENT: &str = concat!("failover-probe/", env!("CARGO_PKG_VERSION"));

/// Requests the path of an endpoint's health check and considers the endpoint healthy if the status
/// is expected: 200 to 299 by default.
///
/// It sends the health check's method, headers and body. It uses TLS if the endpoint's protocol is
/// `https`, and the endpoint's `server_name`, if any, in TLS and in `Host`. It ignores the response
/// body, treats a redirect as any other status without following it, and opens a connection per
/// probe.
#[derive(Clone)]
pub struct HttpProbe {
    tls: TlsConnector,
    expected: Vec<RangeInclusive<u16>>,
    lookup: Lookup,
}

impl HttpProbe {
    /// Creates a probe that trusts the public authorities of `webpki-roots`.
    pub fn new() -> Self {
        Self::with(webpki_roots::TLS_SERVER_ROOTS.iter().cloned().collect(), vec![EXPECTED])
    }

    /// Returns a builder, for other authorities or statuses.
    pub fn builder() -> HttpProbeBuilder {
        HttpProbeBuilder::default()
    }

    fn with(roots: RootCertStore, expected: Vec<RangeInclusive<u16>>) -> Self {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("ring has cipher suites for TLS 1.2 and 1.3")
            .with_root_certificates(roots)
            .with_no_client_auth();
        Self { tls: TlsConnector::from(Arc::new(config)), expected, lookup: Lookup::System }
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
        let endpoint = target.endpoint();
        // Before connecting: a request that cannot be sent is the fault of the health check, not of
        // the endpoint.
        let request = request(target)?;
        let (stream, address) = self.lookup.connect(target).await?;
        let status = if endpoint.protocol().eq_ignore_ascii_case("https") {
            let name = endpoint.server_name().unwrap_or(endpoint.address());
            let server = ServerName::try_from(name.to_owned())
                .map_err(|_| Error::invalid("server_name", name, "a host name or an IP address"))?;
            let stream = self.tls.connect(server, stream).await.map_err(|error| {
                failed(ErrorKind::Connection, format!("TLS with {address} as {name}: {error}"))
            })?;
            ask(stream, request).await?
        } else {
            ask(stream, request).await?
        };
        if self.expected.iter().any(|range| range.contains(&status.as_u16())) {
            return Ok(ProbeOutcome::healthy(status.to_string()));
        }
        let not_followed = if status.is_redirection() { "; a redirect is not followed" } else { "" };
        let expected: Vec<_> =
            self.expected.iter().map(|range| format!("{} to {}", range.start(), range.end())).collect();
        let message = format!("answered {status}, not {}{not_followed}", expected.join(" or "));
        Err(failed(ErrorKind::Connection, message))
    }
}

/// Returns the status of the response. The connection is then dropped with the rest of the
/// response.
async fn ask(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    request: Request<Full<Bytes>>,
) -> Result<StatusCode, Error> {
    let broken = |error: hyper::Error| {
        let cause = std::error::Error::source(&error).map(|cause| format!(": {cause}")).unwrap_or_default();
        failed(ErrorKind::Connection, format!("no HTTP answer: {error}{cause}"))
    };
    let (mut sender, connection) = http1::Builder::new()
        .max_buf_size(MOST_HEAD)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(broken)?;
    let mut connection = std::pin::pin!(connection);
    let mut answer = std::pin::pin!(sender.send_request(request));
    // Runs in this future, not in a task: dropping the probe closes the connection.
    let mut closed = false;
    let answer = std::future::poll_fn(|context| {
        if !closed {
            closed = connection.as_mut().poll(context).is_ready();
        }
        answer.as_mut().poll(context)
    });
    Ok(answer.await.map_err(broken)?.status())
}

fn request(target: &ProbeTarget) -> Result<Request<Full<Bytes>>, Error> {
    let (endpoint, check) = (target.endpoint(), target.health_check());
    let bad_path =
        || Error::invalid("health_check.path", check.path(), "a path of a URL, with its query if it has one");
    let uri: Uri = check.path().parse().map_err(|_| bad_path())?;
    if uri.authority().is_some() || !check.path().starts_with('/') {
        return Err(bad_path());
    }
    let method = Method::from_bytes(check.method().as_bytes())
        .map_err(|_| Error::invalid("health_check.method", check.method(), "an HTTP method"))?;
    let body = Full::new(Bytes::from(check.body().unwrap_or_default().to_owned()));
    let mut request = Request::new(body);
    (*request.method_mut(), *request.uri_mut()) = (method, uri);
    let host = match endpoint.server_name() {
        Some(name) => format!("{name}:{}", endpoint.port()),
        None => endpoint.authority(),
    };
    let headers = request.headers_mut();
    let host = HeaderValue::from_str(&host).map_err(|_| Error::invalid("address", &host, "a host name"))?;
    headers.insert(HOST, host);
    headers.insert(USER_AGENT, HeaderValue::from_static(AGENT));
    set_headers(check, headers)?;
    headers.insert(CONNECTION, HeaderValue::from_static("close"));
    Ok(request)
}

/// Adds the health check's headers, which it has validated; their values may be secret.
fn set_headers(check: &HealthCheck, headers: &mut ::http::HeaderMap) -> Result<(), Error> {
    for (name, value) in check.headers() {
        let name = HeaderName::from_bytes(name.as_bytes())
            .map_err(|_| Error::invalid("health_check.headers", name, "the name of a header"))?;
        let mut value = HeaderValue::from_str(value).map_err(|_| {
            Error::invalid(&format!("health_check.headers.{name}"), "this value", "visible ASCII characters")
        })?;
        value.set_sensitive(true);
        headers.insert(name, value);
    }
    Ok(())
}

/// Builds an [`HttpProbe`].
#[derive(Clone, Debug, Default)]
#[must_use = "a builder does nothing until it builds"]
pub struct HttpProbeBuilder {
    expected: Vec<RangeInclusive<u16>>,
    authorities: Vec<Vec<u8>>,
    only_own: bool,
}

impl HttpProbeBuilder {
    /// Adds the statuses of a healthy endpoint, such as `200..=299` or `401..=401`; default 200 to
    /// 299.
    pub fn expect_status(mut self, statuses: RangeInclusive<u16>) -> Self {
        self.expected.push(statuses);
        self
    }

    /// Adds the PEM certificates of a trusted authority.
    pub fn authority_pem(mut self, pem: impl Into<Vec<u8>>) -> Self {
        self.authorities.push(pem.into());
        self
    }

    /// Trusts only the added authorities, not the public ones.
    pub fn only_own_authorities(mut self) -> Self {
        self.only_own = true;
        self
    }

    /// Validates the values.
    ///
    /// # Errors
    ///
    /// Returns `Validation` if a status is not from 100 to 599, or a PEM text contains no readable
    /// certificate.
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
        let mut roots = RootCertStore::empty();
        if !self.only_own {
            roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
        }
        for pem in self.authorities {
            let bad = || Error::invalid("authority_pem", "this text", "one or more certificates in PEM");
            let certificates = CertificateDer::pem_slice_iter(&pem).collect::<Result<Vec<_>, _>>();
            let certificates = certificates.map_err(|_| bad())?;
            if certificates.is_empty() {
                return Err(bad());
            }
            for certificate in certificates {
                roots.add(certificate).map_err(|_| bad())?;
            }
        }
        Ok(HttpProbe::with(roots, expected))
    }
}
