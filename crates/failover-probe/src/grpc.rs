//! A probe over gRPC: `grpc.health.v1.Health/Check`.

mod message;

use std::fmt;

use ::http::header::{CONTENT_TYPE, HOST, TE};
use ::http::{HeaderMap, HeaderValue, Request, StatusCode};
use bytes::Bytes;
use failover_core::probe::{Probe, ProbeOutcome, ProbeTarget};
use failover_core::{Error, ErrorKind, async_trait};
use failover_provider_kit::{Dialer, HttpProtocol, TlsBuilder};

use crate::client::{Clients, TlsOptions, describe, dialer, failed, platform, set_headers, url};

const METHOD: &str = "/grpc.health.v1.Health/Check";
/// The maximum length of a server's message that is shown.
const SHOWN: usize = 200;

/// Asks the standard health service of gRPC, `grpc.health.v1.Health/Check`, and considers the
/// endpoint healthy if the answer is `SERVING`.
///
/// It asks for the health check's `grpc_service`, or for the server as a whole, at the health
/// check's port, or that of the endpoint. It sends the health check's headers as metadata, and
/// ignores its path, method, body and statuses. It speaks HTTP/2: over TLS if the endpoint's
/// protocol is `grpcs` or `https`, otherwise in the clear. It opens a connection per probe.
#[derive(Clone)]
pub struct GrpcProbe {
    clients: Clients,
}

impl GrpcProbe {
    /// Creates a probe that trusts the authorities of the platform, which it loads when it first
    /// uses TLS.
    pub fn new() -> Self {
        Self::with(platform(), dialer())
    }

    /// Returns a builder, for other authorities or a client certificate.
    pub fn builder() -> GrpcProbeBuilder {
        GrpcProbeBuilder::default()
    }

    pub(crate) fn with(tls: TlsBuilder, dialer: Dialer) -> Self {
        Self { clients: Clients::new(HttpProtocol::Http2, tls, dialer) }
    }
}

impl Default for GrpcProbe {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for GrpcProbe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GrpcProbe").finish_non_exhaustive()
    }
}

#[async_trait]
impl Probe for GrpcProbe {
    async fn probe(&self, target: &ProbeTarget) -> Result<ProbeOutcome, Error> {
        let service = target.health_check().grpc_service().unwrap_or_default();
        let unhealthy = |why: String| failed(ErrorKind::Connection, why);
        let mut response = self.clients.ask(target, request(target, service)?).await?;
        if response.status() != StatusCode::OK {
            return Err(unhealthy(format!("no gRPC answer: HTTP {}", response.status())));
        }
        let kind =
            response.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
        if !kind.starts_with("application/grpc") {
            let kind: String = kind.chars().take(SHOWN).collect();
            return Err(unhealthy(format!("no gRPC answer: its content-type is \"{kind}\"")));
        }
        let body = response.read().await.map_err(|error| describe(target, &error))?;
        // An answer without a message has its trailers in its only head.
        let trailers = response.trailers().filter(|trailers| trailers.contains_key(STATUS));
        check_status(trailers.unwrap_or(response.headers()), service).map_err(unhealthy)?;
        match message::status(&body).map_err(|why| unhealthy(format!("no gRPC answer: {why}")))? {
            message::SERVING => Ok(ProbeOutcome::healthy("SERVING")),
            other => Err(unhealthy(format!("answered {}, not SERVING", message::name(other)))),
        }
    }
}

fn request(target: &ProbeTarget, service: &str) -> Result<Request<Bytes>, Error> {
    let check = target.health_check();
    let https = ["grpcs", "https"].iter().any(|tls| target.endpoint().protocol().eq_ignore_ascii_case(tls));
    let mut request = Request::post("/").body(message::request(service)).expect("a valid path");
    let headers = request.headers_mut();
    set_headers(check, headers)?;
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    headers.insert(TE, HeaderValue::from_static("trailers"));
    headers.insert("grpc-timeout", timeout(check.timeout().as_millis()));
    // HTTP/2 has it in the URL.
    let host = headers.remove(HOST);
    let host = host.as_ref().and_then(|host| host.to_str().ok());
    *request.uri_mut() = url(target, https, host, METHOD)?;
    Ok(request)
}

/// Returns the time in the protocol's form: at most eight digits and a unit.
fn timeout(millis: u128) -> HeaderValue {
    HeaderValue::try_from(format!("{}m", millis.min(99_999_999))).expect("digits and a letter")
}

const STATUS: &str = "grpc-status";

/// Checks the status of the call, which is not that of the service.
fn check_status(trailers: &HeaderMap, service: &str) -> Result<(), String> {
    let Some(status) = trailers.get(STATUS) else {
        return Err("no gRPC answer: its trailer grpc-status is missing".to_owned());
    };
    let code = status.to_str().ok().and_then(|text| text.parse::<u32>().ok());
    let Some(code) = code else { return Err("no gRPC answer: its grpc-status is not a number".to_owned()) };
    let (name, hint) = match code {
        0 => return Ok(()),
        5 => ("NOT_FOUND", format!("; the server does not know the service \"{service}\"")),
        12 => ("UNIMPLEMENTED", "; the server has no service grpc.health.v1.Health".to_owned()),
        code => (CODES.get(code as usize).copied().unwrap_or("an unknown status"), String::new()),
    };
    let said =
        trailers.get("grpc-message").map(|value| percent_decoded(value.as_bytes())).unwrap_or_default();
    let said: String = said.chars().take(SHOWN).collect();
    let said = if said.is_empty() { String::new() } else { format!(": {said}") };
    Err(format!("answered {name} ({code}){said}{hint}"))
}

/// Undoes the encoding of `grpc-message`, in which a byte may be `%` and two hexadecimal digits.
fn percent_decoded(text: &[u8]) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((first, after)) = rest.split_first() {
        let digit = |at: usize| char::from(*after.get(at)?).to_digit(16);
        match digit(0).zip(digit(1)).filter(|_| *first == b'%') {
            Some((high, low)) => {
                bytes.push((high << 4 | low) as u8);
                rest = &after[2..];
            }
            None => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The status codes of gRPC, by number.
const CODES: [&str; 17] = [
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
];

/// Builds a [`GrpcProbe`].
#[derive(Clone, Debug, Default)]
#[must_use = "a builder does nothing until it builds"]
pub struct GrpcProbeBuilder {
    tls: TlsOptions,
}

impl GrpcProbeBuilder {
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
    /// Returns `Validation` if a PEM text does not contain what it should.
    pub fn build(self) -> Result<GrpcProbe, Error> {
        Ok(GrpcProbe::with(self.tls.validate()?, dialer()))
    }
}
