//! A service per endpoint, made by a `MakeService`.

use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use failover_core::{Endpoint, PerEndpoint, ServiceHandle};
use http::uri::Authority;
use http::{Request, Uri};
use tower_service::Service;

use crate::BoxError;
use crate::error::ConnectError;

/// Sends each request through a service of its endpoint's own, which is made on first use.
///
/// For [`FailoverLayer::per_endpoint`](crate::FailoverLayer::per_endpoint), which puts the endpoint into the
/// request's extensions. It is what the layer needs for services that are bound to one endpoint: a
/// connection, a channel, a client with an endpoint's certificate or server name. The URL has the endpoint's server name, if it has
/// one; the services that are made have to connect to its address, as
/// [`EndpointConnector`](crate::EndpointConnector) does.
///
/// `make` is a `MakeService` in tower's sense: a service from an `Arc<Endpoint>` to the service that
/// sends. A service is dropped when its endpoint leaves or changes, and made again after its
/// `poll_ready` has failed. Each request uses a clone of it, which need not be `Sync`.
pub struct EndpointServices<M, S> {
    make: M,
    services: PerEndpoint<Mutex<S>>,
}

impl<M: Clone, S> Clone for EndpointServices<M, S> {
    fn clone(&self) -> Self {
        Self { make: self.make.clone(), services: self.services.clone() }
    }
}

impl<M, S> fmt::Debug for EndpointServices<M, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EndpointServices").field("services", &self.services).finish_non_exhaustive()
    }
}

impl<M, S> EndpointServices<M, S>
where
    M: Service<Arc<Endpoint>, Response = S>,
    S: Send + 'static,
{
    /// Creates the services of this service's endpoints, none of which is made yet.
    pub fn new<C>(service: &ServiceHandle<C>, make: M) -> Self {
        Self { make, services: PerEndpoint::new(service) }
    }
}

impl<M, S, B> Service<Request<B>> for EndpointServices<M, S>
where
    M: Service<Arc<Endpoint>, Response = S> + Clone + Send + 'static,
    M::Error: Into<BoxError>,
    M::Future: Send,
    S: Service<Request<B>> + Clone + Send + 'static,
    S::Error: Into<BoxError>,
    S::Future: Send,
    B: Send + 'static,
{
    type Response = S::Response;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<S::Response, BoxError>> + Send>>;

    /// Always ready: which service a request needs is known only with the request.
    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        let Self { make, services } = self.clone();
        Box::pin(async move {
            let endpoint = request.extensions().get::<Arc<Endpoint>>().cloned();
            let endpoint = endpoint
                .ok_or("the request has no endpoint: FailoverLayer has to be above, with `per_endpoint()`")?;
            if endpoint.server_name().is_some() {
                let named = named(request.uri(), &endpoint).map_err(ConnectError::new)?;
                *request.uri_mut() = named;
            }
            let making = async || made(make, Arc::clone(&endpoint)).await;
            let made = services.get_or_try_init(&endpoint, making).await.map_err(ConnectError::new)?;
            // No await while the lock is held: it only protects the clone.
            let mut service = made.lock().unwrap_or_else(PoisonError::into_inner).clone();
            if let Err(error) = poll_fn(|context| service.poll_ready(context)).await {
                services.remove_if_same(&endpoint, &made);
                return Err(ConnectError::new(error).into());
            }
            service.call(request).await.map_err(Into::into)
        })
    }
}

async fn made<M, S>(mut make: M, endpoint: Arc<Endpoint>) -> Result<Mutex<S>, BoxError>
where
    M: Service<Arc<Endpoint>, Response = S>,
    M::Error: Into<BoxError>,
{
    poll_fn(|context| make.poll_ready(context)).await.map_err(Into::into)?;
    make.call(endpoint).await.map(Mutex::new).map_err(Into::into)
}

/// Returns the URL with the endpoint's server name as its host.
fn named(uri: &Uri, endpoint: &Endpoint) -> Result<Uri, http::Error> {
    let mut parts = uri.clone().into_parts();
    parts.authority = Some(Authority::try_from(endpoint.connect_to().authority())?);
    Ok(Uri::from_parts(parts)?)
}
