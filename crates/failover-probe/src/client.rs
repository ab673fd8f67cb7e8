//! The HTTP clients of a probe, and what its errors say.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use ::http::header::{HeaderMap, HeaderName};
use ::http::{HeaderValue, Request, Uri};
use bytes::Bytes;
use failover_core::probe::ProbeTarget;
use failover_core::{Error, ErrorKind, HealthCheck};
use failover_provider_kit::{
    BlockingWork, ConnectTarget, Deadline, Dialer, HttpClient, HttpError, HttpErrorKind, HttpOption,
    HttpProtocol, HttpResponse, Timing, Tls, TlsBuilder,
};
use tokio::sync::OnceCell;

/// Longer than any probe may take: a probe ends with the timeout of its health check.
const FOREVER: Duration = Duration::from_secs(600);
/// How long the platform may take to load its authorities.
const LOADING: Duration = Duration::from_secs(10);
/// The maximum size of a body, for probes that read it.
const MAX_BODY: usize = 64 << 10;
const AGENT: &str = concat!("failover-probe/", env!("CARGO_PKG_VERSION"));

/// A dialer whose attempts end with the probe.
pub(crate) fn dialer() -> Dialer {
    Dialer::new().with_connect_timeout(FOREVER)
}

/// The TLS settings of a probe without options.
pub(crate) fn platform() -> TlsBuilder {
    Tls::builder().platform_authorities(true)
}

/// What a probe's own builder knows of TLS.
#[derive(Clone, Default)]
pub(crate) struct TlsOptions {
    pub(crate) authorities: Vec<Vec<u8>>,
    pub(crate) only_own: bool,
    /// The certificate chain and the key.
    pub(crate) client: Option<(Vec<u8>, Vec<u8>)>,
}

impl TlsOptions {
    /// Validates the texts. The platform's authorities are not loaded yet.
    pub(crate) fn validate(self) -> Result<TlsBuilder, Error> {
        let mut tls = platform().platform_authorities(!self.only_own);
        for pem in self.authorities {
            let bad = |_| Error::invalid("authority_pem", "this text", "one or more certificates in PEM");
            Tls::builder().ca_pem(pem.clone()).build().map_err(bad)?;
            tls = tls.ca_pem(pem);
        }
        if let Some((certificate, key)) = self.client {
            let alone = Tls::builder().platform_authorities(false);
            let alone = alone.client_certificate_pem(certificate.clone(), key.clone()).build();
            alone.map_err(|error| error.context("client_certificate_pem"))?;
            tls = tls.client_certificate_pem(certificate, key);
        }
        Ok(tls)
    }
}

/// Omits the texts.
impl fmt::Debug for TlsOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsOptions")
            .field("authorities", &self.authorities.len())
            .field("only_own", &self.only_own)
            .field("client_certificate", &self.client.is_some())
            .finish()
    }
}

/// A client with TLS and one without. The platform's authorities are loaded when they are needed: a
/// program that probes over plain HTTP may run where there are none.
#[derive(Clone, Debug)]
pub(crate) struct Clients {
    dialer: Dialer,
    protocol: HttpProtocol,
    tls: TlsBuilder,
    plain: HttpClient,
    secure: Arc<OnceCell<HttpClient>>,
    loading: BlockingWork,
}

impl Clients {
    pub(crate) fn new(protocol: HttpProtocol, tls: TlsBuilder, dialer: Dialer) -> Self {
        let plain = build(protocol, &dialer, None).expect("its values are in range");
        let loading = BlockingWork::new("failover-probe-tls");
        Self { dialer, protocol, tls, plain, secure: Arc::default(), loading }
    }

    /// Sends a request to the endpoint on a connection of its own.
    pub(crate) async fn ask(
        &self,
        target: &ProbeTarget,
        request: Request<Bytes>,
    ) -> Result<HttpResponse, Error> {
        let endpoint = target.endpoint();
        let client = match request.uri().scheme_str() {
            Some("https") => self.secure.get_or_try_init(|| self.load()).await?,
            _ => &self.plain,
        };
        let rule = |ip| target.ensure_allowed(ip);
        let mut to = ConnectTarget::new(endpoint.address(), target.port()).allowed(&rule);
        if let Some(name) = endpoint.server_name() {
            to = to.server_name(name);
        }
        client.send_once(request, &to).await.map_err(|error| describe(target, &error))
    }

    async fn load(&self) -> Result<HttpClient, Error> {
        let (protocol, dialer, tls) = (self.protocol, self.dialer.clone(), self.tls.clone());
        let deadline = Deadline::after(&Timing::tokio(), LOADING);
        let load = move || build(protocol, &dialer, Some(tls.build()?));
        let loaded = self.loading.run("load the trusted authorities", &deadline, load).await;
        let why = |error: Error| {
            error.context("TLS; authority_pem and only_own_authorities do without the platform's")
        };
        loaded.and_then(|built| built).map_err(why)
    }
}

fn build(protocol: HttpProtocol, dialer: &Dialer, tls: Option<Tls>) -> Result<HttpClient, Error> {
    let builder = HttpClient::builder()
        .protocol(protocol)
        .dialer(dialer.clone())
        .deadline(FOREVER)
        .max_body_bytes(MAX_BODY)
        .compressed(false)
        .user_agent(AGENT)
        .option_name(HttpOption::Authority, "authority_pem")
        .option_name(HttpOption::ClientCertificate, "client_certificate_pem");
    match tls {
        Some(tls) => builder.tls(tls).build(),
        None => builder.build(),
    }
}

/// Returns the URL of a path of the endpoint, by its server name if it has one, without the port
/// that the scheme has anyhow.
pub(crate) fn url(target: &ProbeTarget, https: bool, host: Option<&str>, path: &str) -> Result<Uri, Error> {
    let endpoint = target.endpoint();
    let port = target.port();
    let is_usual = port == if https { 443 } else { 80 };
    let authority = match (host, endpoint.server_name().unwrap_or(endpoint.address())) {
        (Some(host), _) => host.to_owned(),
        (None, name) => {
            let name = if name.contains(':') { format!("[{name}]") } else { name.to_owned() };
            if is_usual { name } else { format!("{name}:{port}") }
        }
    };
    let scheme = if https { "https" } else { "http" };
    let bad_host = || Error::invalid("server_name", &authority, "a host name");
    let bad_path =
        || Error::invalid("health_check.path", path, "a path of a URL, with its query if it has one");
    if !path.starts_with('/') {
        return Err(bad_path());
    }
    let path = ::http::uri::PathAndQuery::try_from(path).map_err(|_| bad_path())?;
    let builder = Uri::builder().scheme(scheme).authority(authority.as_str()).path_and_query(path);
    builder.build().map_err(|_| bad_host())
}

/// Adds the health check's headers, which it has validated; their values may be secret.
pub(crate) fn set_headers(check: &HealthCheck, headers: &mut HeaderMap) -> Result<(), Error> {
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

/// Returns the error of a probe that got no complete answer.
pub(crate) fn describe(target: &ProbeTarget, error: &HttpError) -> Error {
    let cause = match error.hint() {
        Some(hint) => format!("{}; {hint}", error.cause()),
        None => error.cause().to_owned(),
    };
    match error.kind() {
        HttpErrorKind::NotConnected => {
            failed(ErrorKind::Connection, format!("connecting to {}: {cause}", target.authority()))
        }
        HttpErrorKind::AddressRefused => {
            let refused = error.clone().into_error("probe");
            Error::new(refused.kind(), cause).with_code(refused.code())
        }
        HttpErrorKind::ConnectionLost => failed(ErrorKind::Connection, format!("no HTTP answer: {cause}")),
        HttpErrorKind::BadRequest => failed(ErrorKind::Validation, cause),
        _ => failed(ErrorKind::Connection, cause),
    }
}

pub(crate) fn failed(kind: ErrorKind, message: String) -> Error {
    Error::new(kind, message).with_code("HEALTH_CHECK_FAILED")
}
