//! The connections to one API server: HTTP/2 where the server speaks it, shared by all requests.

use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use failover_core::{Error, ErrorKind};
use http::{Request, Response};
use http_body::{Frame, SizeHint};
use hyper_rustls::{FixedServerNameResolver, HttpsConnector, HttpsConnectorBuilder};
use hyper_timeout::TimeoutConnector;
use hyper_util::client::legacy::Client as Pool;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use kube::client::{Body, ClientBuilder, ConfigExt};
use kube::{Client, Config};
use tower_service::Service;

use crate::error;

/// The requests that share a connection. API servers allow 100, and proxies in front of them 100 or 128; one
/// more than allowed would wait until another ends, which a watch does after minutes.
const STREAMS: usize = 80;

/// How long a connection and its handshake may take.
const CONNECT: Duration = Duration::from_secs(5);

/// A shared connection that is silent for this long is asked for a sign of life, and given up after as long
/// again: all watches on it go on over another one.
const PING: Duration = Duration::from_secs(5);

type BoxError = Box<dyn std::error::Error + Send + Sync>;
type Connector = TimeoutConnector<HttpsConnector<HttpConnector>>;

/// Creates kube's client of the server that is configured.
///
/// kube's own connections speak HTTP/1, which takes one for each watch.
///
/// # Errors
///
/// Returns an error for certificates, keys and settings that cannot be used.
pub(crate) fn client(config: &Config) -> Result<Client, Error> {
    let failed = |error| error::of_kube("make a client", &error);
    if config.proxy_url.is_some() {
        let message = "the kubeconfig names a proxy; build a kube client with one and use from_client";
        return Err(Error::new(ErrorKind::Unsupported, message));
    }
    let connections = Connections::new(connector(config)?);
    let client = ClientBuilder::new(connections, config.default_namespace.clone())
        .with_layer(&config.extra_headers_layer().map_err(failed)?);
    Ok(match config.auth_layer().map_err(failed)? {
        Some(auth) => client.with_layer(&auth).with_layer(&config.base_uri_layer()).build(),
        None => client.with_layer(&config.base_uri_layer()).build(),
    })
}

fn connector(config: &Config) -> Result<Connector, Error> {
    let tls = config.rustls_client_config().map_err(|error| error::of_kube("make a client", &error))?;
    let mut builder = HttpsConnectorBuilder::new().with_tls_config(tls).https_or_http();
    if let Some(name) = &config.tls_server_name {
        let found = name.clone().try_into();
        let found =
            found.map_err(|_| Error::invalid("tls-server-name", name, "a DNS name or an IP address"))?;
        builder = builder.with_server_name_resolver(FixedServerNameResolver::new(found));
    }
    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    let mut connector = TimeoutConnector::new(builder.enable_http1().enable_http2().wrap_connector(tcp));
    connector.set_connect_timeout(Some(CONNECT));
    Ok(connector)
}

/// Connections, each with the requests that it carries.
#[derive(Clone)]
struct Connections {
    connector: Connector,
    lanes: Arc<Mutex<Vec<Lane>>>,
}

/// A pool that opens one connection with HTTP/2, or one for each request with HTTP/1.
struct Lane {
    pool: Pool<Connector, Body>,
    requests: Arc<AtomicUsize>,
}

/// A request's place on a connection, until its answer has been read.
struct Place(Arc<AtomicUsize>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Connections {
    fn new(connector: Connector) -> Self {
        Self { connector, lanes: Arc::default() }
    }

    /// Returns the first connection with a place left: those that are left over become idle and close.
    fn place(&self) -> (Pool<Connector, Body>, Place) {
        let mut lanes = self.lanes.lock().unwrap_or_else(PoisonError::into_inner);
        let free = lanes.iter().position(|lane| lane.requests.load(Ordering::Relaxed) < STREAMS);
        let at = free.unwrap_or_else(|| {
            lanes.push(Lane { pool: pool(self.connector.clone()), requests: Arc::default() });
            lanes.len() - 1
        });
        let lane = &lanes[at];
        lane.requests.fetch_add(1, Ordering::Relaxed);
        (lane.pool.clone(), Place(Arc::clone(&lane.requests)))
    }
}

fn pool(connector: Connector) -> Pool<Connector, Body> {
    Pool::builder(TokioExecutor::new())
        .timer(TokioTimer::new())
        .pool_timer(TokioTimer::new())
        .http2_keep_alive_interval(PING)
        .http2_keep_alive_timeout(PING)
        .build(connector)
}

impl Service<Request<Body>> for Connections {
    type Response = Response<Answer>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let (pool, place) = self.place();
        let sent = pool.request(request);
        Box::pin(async move { Ok(sent.await?.map(|body| Answer { body, _place: place })) })
    }
}

/// The body of an answer, which keeps its place.
struct Answer {
    body: hyper::body::Incoming,
    _place: Place,
}

impl http_body::Body for Answer {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
