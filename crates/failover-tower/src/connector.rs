//! Connectors of hyper-util: one whose errors say that nothing was sent, and one that connects to one endpoint.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use failover_core::Endpoint;
use http::Uri;
use http::uri::Authority;
use pin_project_lite::pin_project;
use tower_service::Service;

use crate::BoxError;
use crate::error::ConnectError;

/// Connects as the connector that it wraps, and says of each failure that nothing was sent.
///
/// It wraps a client's whole connector, with TLS. Without it the layer knows only of refused connections that
/// nothing was sent; with it also of names that do not resolve, hosts that cannot be reached and TLS that cannot
/// be agreed on, so that requests go elsewhere which must not be repeated.
///
/// ```
/// use failover_tower::Connector;
/// use hyper_util::client::legacy::Client;
/// use hyper_util::client::legacy::connect::HttpConnector;
/// use hyper_util::rt::TokioExecutor;
/// # type Body = http_body_util::Full<bytes::Bytes>;
///
/// let connector = Connector::new(HttpConnector::new()); // or a TLS connector
/// let client: Client<_, Body> = Client::builder(TokioExecutor::new()).build(connector);
/// ```
#[derive(Clone, Debug)]
pub struct Connector<C>(C);

impl<C> Connector<C> {
    /// Wraps a connector.
    pub fn new(inner: C) -> Self {
        Self(inner)
    }
}

impl<C> Service<Uri> for Connector<C>
where
    C: Service<Uri>,
    C::Error: Into<BoxError>,
{
    type Response = C::Response;
    type Error = ConnectError;
    type Future = ConnectFuture<C::Future>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), ConnectError>> {
        self.0.poll_ready(context).map_err(ConnectError::new)
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        ConnectFuture { connecting: Some(self.0.call(uri)), failed: None }
    }
}

/// Connects to an endpoint's address, whatever host the URL names.
///
/// For a client per endpoint that asks for the endpoint's server name: the URL has the name, which goes
/// to TLS and to `Host`, and the connection goes to the address, as with curl's `--connect-to`. It wraps
/// the connector below TLS, such as hyper-util's `HttpConnector` (with `enforce_http(false)` if TLS is
/// above). Its errors are a [`ConnectError`], so that the layer knows that nothing was sent; a [`Connector`] around
/// both says the same of TLS.
#[derive(Clone)]
pub struct EndpointConnector<C> {
    inner: C,
    endpoint: Arc<Endpoint>,
}

impl<C> fmt::Debug for EndpointConnector<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EndpointConnector").field("endpoint", self.endpoint.id()).finish_non_exhaustive()
    }
}

impl<C> EndpointConnector<C> {
    /// Creates a connector to this endpoint.
    pub fn new(inner: C, endpoint: Arc<Endpoint>) -> Self {
        Self { inner, endpoint }
    }

    fn address(&self, uri: Uri) -> Result<Uri, http::Error> {
        let mut parts = uri.into_parts();
        parts.authority = Some(Authority::try_from(self.endpoint.authority())?);
        Ok(Uri::from_parts(parts)?)
    }
}

impl<C> Service<Uri> for EndpointConnector<C>
where
    C: Service<Uri>,
    C::Error: Into<BoxError>,
{
    type Response = C::Response;
    type Error = ConnectError;
    type Future = ConnectFuture<C::Future>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), ConnectError>> {
        self.inner.poll_ready(context).map_err(ConnectError::new)
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        match self.address(uri) {
            Ok(uri) => ConnectFuture { connecting: Some(self.inner.call(uri)), failed: None },
            Err(error) => ConnectFuture { connecting: None, failed: Some(ConnectError::new(error)) },
        }
    }
}

pin_project! {
    /// The future of a [`Connector`] and of an [`EndpointConnector`]. Dropped, it gives the connection up.
    #[derive(Debug)]
    pub struct ConnectFuture<F> {
        #[pin]
        connecting: Option<F>,
        // Without a future, until it is returned.
        failed: Option<ConnectError>,
    }
}

impl<F, T, E> Future for ConnectFuture<F>
where
    F: Future<Output = Result<T, E>>,
    E: Into<BoxError>,
{
    type Output = Result<T, ConnectError>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        match this.connecting.as_pin_mut() {
            Some(connecting) => connecting.poll(context).map_err(ConnectError::new),
            None => Poll::Ready(Err(this.failed.take().expect("a future is not polled after its end"))),
        }
    }
}
