//! One HTTP client for every provider: deadlines, size limits, TLS, and errors that name the address.

mod base_url;
mod body;
mod builder;
mod connector;
mod dialer;
mod early_answer;
mod error;
mod protocol;
mod response;
mod tls;

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT_ENCODING, HOST, HeaderMap, HeaderValue, USER_AGENT};
use http::uri::{PathAndQuery, Scheme, Uri};
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::client::legacy::Client as Pool;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::time::timeout;

use crate::AbortOnDrop;
use connector::{Connector, host_and_port};
use response::Limits;

pub use base_url::BaseUrl;
pub use body::{ReadBodyError, read_body};
pub use builder::HttpClientBuilder;
pub use dialer::{ConnectTarget, Dialer};
pub use error::{HttpError, HttpErrorKind, HttpOption};
pub use protocol::HttpProtocol;
pub use response::HttpResponse;
pub use tls::{Tls, TlsBuilder};

/// The maximum size of an answer's head.
const MAX_HEAD: usize = 64 << 10;

/// An HTTP client with deadlines and size limits.
///
/// It follows no redirect, reads no proxy from the environment and repeats no request that may have
/// reached the server, so that nothing but the caller decides where a token goes. Cloning it shares
/// its connections. It needs a tokio runtime with I/O and time.
///
/// ```no_run
/// use std::time::Duration;
///
/// use bytes::Bytes;
/// use failover_core::Error;
/// use failover_provider_kit::{BaseUrl, HttpClient, Secret, Tls};
///
/// # async fn run() -> Result<(), Error> {
/// let base = BaseUrl::parse("address", "https://registry.example/v1", 443, false)?;
/// let client = HttpClient::builder()
///     .tls(Tls::builder().ca_file("/etc/registry/ca.pem").build()?)
///     .deadline(Duration::from_secs(10))
///     .max_body_bytes(8 << 20)
///     .user_agent("my-provider/1.0")
///     .build()?;
///
/// let token = Secret::parse("t0p-s3cret", "token")?.expect("it is not empty");
/// let mut request = http::Request::new(Bytes::new());
/// *request.uri_mut() = base.join("/services/users?wait=30s")?;
/// request.headers_mut().insert(http::header::AUTHORIZATION, token.header("Bearer ")?);
/// let what = "list users";
/// let mut response = client.send(request).await.map_err(|error| error.into_error(what))?;
/// let body = response.read().await.map_err(|error| error.into_error(what))?;
/// println!("{} {}", response.status(), body.len());
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
pub struct HttpClient {
    pool: Pool<Connector, Full<Bytes>>,
    connector: Connector,
    limits: Arc<Limits>,
    /// Headers of every request that does not set them itself.
    defaults: HeaderMap,
}

/// A request that can be sent, and where it goes.
struct Prepared {
    request: Request<Full<Bytes>>,
    /// Scheme, host and port.
    address: String,
    is_https: bool,
}

impl HttpClient {
    /// Returns a builder with the defaults.
    pub fn builder() -> HttpClientBuilder {
        HttpClientBuilder::new()
    }

    /// Sends a request to the host of its URL, on a connection that is kept for later requests, and
    /// returns the answer once its head has arrived, whatever its status.
    ///
    /// The URL is absolute. The client adds `Host`, `User-Agent` and `Accept-Encoding`. Over HTTP/1,
    /// an answer counts even if the server sends it before it has read the request, as servers with
    /// too many connections do.
    ///
    /// # Errors
    ///
    /// Returns an error if there is no answer within the deadline.
    ///
    /// # Cancel safety
    ///
    /// A dropped future may leave the request carried out by the server; its connection is closed
    /// (HTTP/1) or its stream reset (HTTP/2).
    pub async fn send(&self, request: Request<Bytes>) -> Result<HttpResponse, HttpError> {
        self.send_within(request, self.limits.deadline).await
    }

    /// Sends a request like [`send`](Self::send) with another deadline for the head, such as that of
    /// a long poll.
    ///
    /// # Errors
    ///
    /// See [`send`](Self::send).
    ///
    /// # Cancel safety
    ///
    /// See [`send`](Self::send).
    pub async fn send_within(
        &self,
        request: Request<Bytes>,
        limit: Duration,
    ) -> Result<HttpResponse, HttpError> {
        let Prepared { request, address, is_https } = self.prepare(request)?;
        let sent = async {
            self.pool.request(request).await.map_err(|error| {
                let kind = if error.is_connect() {
                    HttpErrorKind::NotConnected
                } else {
                    HttpErrorKind::ConnectionLost
                };
                self.limits.describe(&error, is_https, kind)
            })
        };
        self.answer(sent, limit, address, is_https, |response| (response, None)).await
    }

    /// Sends a request to a given target, on a connection of its own, which ends with the response.
    ///
    /// The URL gives the scheme, the `Host` header and the path; the target gives the host and port
    /// to connect to.
    ///
    /// # Errors
    ///
    /// See [`send`](Self::send).
    ///
    /// # Cancel safety
    ///
    /// See [`send`](Self::send): the connection is closed.
    pub async fn send_once(
        &self,
        request: Request<Bytes>,
        target: &ConnectTarget<'_>,
    ) -> Result<HttpResponse, HttpError> {
        let Prepared { request, address, is_https } = self.prepare(request)?;
        let sent = async {
            let stream = self.connector.open(is_https, target).await?;
            let lost =
                |error: hyper::Error| self.limits.describe(&error, is_https, HttpErrorKind::ConnectionLost);
            match self.limits.protocol {
                HttpProtocol::Http1 => {
                    let builder =
                        http1::Builder::new().max_buf_size(MAX_HEAD).handshake(TokioIo::new(stream)).await;
                    let (mut sender, connection) = builder.map_err(lost)?;
                    let task = AbortOnDrop::spawn(async { drop(connection.await) });
                    let response = sender.send_request(in_origin_form(request)).await.map_err(lost)?;
                    Ok((response, Some(task)))
                }
                HttpProtocol::Http2 => {
                    let mut builder = http2::Builder::new(TokioExecutor::new());
                    builder.max_header_list_size(MAX_HEAD as u32);
                    let (mut sender, connection) =
                        builder.handshake(TokioIo::new(stream)).await.map_err(lost)?;
                    let task = AbortOnDrop::spawn(async { drop(connection.await) });
                    let response = sender.send_request(request).await.map_err(lost)?;
                    Ok((response, Some(task)))
                }
            }
        };
        self.answer(sent, self.limits.deadline, address, is_https, |sent| sent).await
    }

    async fn answer<T>(
        &self,
        sent: impl Future<Output = Result<T, HttpError>>,
        limit: Duration,
        address: String,
        is_https: bool,
        parts: impl FnOnce(T) -> (Response<Incoming>, Option<AbortOnDrop>),
    ) -> Result<HttpResponse, HttpError> {
        // On the heap: the caller's future stays small.
        let sent = timeout(limit, Box::pin(sent)).await.unwrap_or_else(|_| Err(HttpError::timed_out(limit)));
        let (response, connection) = parts(sent.map_err(|error| error.at(&address))?);
        Ok(HttpResponse::new(response, address, is_https, Arc::clone(&self.limits), connection))
    }

    fn prepare(&self, request: Request<Bytes>) -> Result<Prepared, HttpError> {
        let (mut head, body) = request.into_parts();
        let is_https = head.uri.scheme() == Some(&Scheme::HTTPS);
        if head.uri.authority().is_some_and(|authority| authority.as_str().contains('@')) {
            let why = "the URL has a user or password (not shown); give credentials in a header";
            return Err(HttpError::new(HttpErrorKind::BadRequest, why));
        }
        let (host, port) = host_and_port(&head.uri, is_https);
        if host.is_empty() || !(is_https || head.uri.scheme() == Some(&Scheme::HTTP)) {
            let why = "the URL of a request is absolute: http or https, and a host";
            return Err(HttpError::new(HttpErrorKind::BadRequest, why));
        }
        let scheme = if is_https { "https" } else { "http" };
        let colons = host.contains(':');
        let address =
            if colons { format!("{scheme}://[{host}]:{port}") } else { format!("{scheme}://{host}:{port}") };
        for (name, value) in &self.defaults {
            head.headers.entry(name).or_insert_with(|| value.clone());
        }
        Ok(Prepared { request: Request::from_parts(head, Full::new(body)), address, is_https })
    }
}

/// Puts the host of the URL into its header, without the port that the scheme has anyhow, and leaves
/// the path.
fn in_origin_form(mut request: Request<Full<Bytes>>) -> Request<Full<Bytes>> {
    let url = std::mem::take(request.uri_mut());
    let usual = if url.scheme() == Some(&Scheme::HTTPS) { 443 } else { 80 };
    let host = url.host().unwrap_or_default();
    let host = match url.port_u16().filter(|port| *port != usual) {
        Some(port) => HeaderValue::try_from(format!("{host}:{port}")),
        None => HeaderValue::from_str(host),
    };
    if let Ok(host) = host {
        request.headers_mut().entry(HOST).or_insert(host);
    }
    let path = url.path_and_query().cloned().unwrap_or(PathAndQuery::from_static("/"));
    *request.uri_mut() = Uri::from(path);
    request
}

/// Builds the parts of a client from validated values.
fn assemble(
    connector: Connector,
    protocol: HttpProtocol,
    idle: (usize, Duration),
) -> Pool<Connector, Full<Bytes>> {
    let mut pool = Pool::builder(TokioExecutor::new());
    pool.pool_timer(TokioTimer::new())
        .timer(TokioTimer::new())
        .pool_max_idle_per_host(idle.0)
        .pool_idle_timeout(idle.1)
        .http1_max_buf_size(MAX_HEAD)
        .http2_max_header_list_size(MAX_HEAD as u32)
        .http2_keep_alive_interval(Duration::from_secs(15))
        .http2_only(protocol == HttpProtocol::Http2);
    pool.build(connector)
}

fn default_headers(user_agent: Option<HeaderValue>, compressed: bool) -> HeaderMap {
    let mut defaults = HeaderMap::new();
    if let Some(user_agent) = user_agent {
        defaults.insert(USER_AGENT, user_agent);
    }
    if compressed {
        defaults.insert(ACCEPT_ENCODING, HeaderValue::from_static("gzip"));
    }
    defaults
}
