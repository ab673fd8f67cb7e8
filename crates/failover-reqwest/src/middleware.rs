//! A middleware of reqwest-middleware.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use failover_http::{HttpRules, service_name};
use failover_tower::{BoxError, FailoverLayer, ReplayBody};
use http::Extensions;
use reqwest::{Body, Request, Response, Url};
use reqwest_middleware::{Middleware, Next};
use tower_service::Service;

use crate::error::Error;
use crate::rules::reqwest_rules;
use crate::send;
use crate::services::Services;

/// Sends each request to one endpoint after another of the service that its URL names.
///
/// Belongs at the end of a chain: what comes before it sees a request once, what comes after it sees
/// each attempt, with the endpoint's URL. Each attempt has a copy of the request's extensions.
///
/// The middleware rewrites the URL on the one client that the chain ends with. An endpoint of `https`
/// whose server name differs from its address needs a client of its own:
/// [`Error::ServerName`] says so, and [`Client`](crate::Client) has it. That client follows redirects as
/// it was told to: [`redirect_policy`](crate::redirect_policy) keeps it at the endpoint.
///
/// Its errors are an [`Error`] in a [`reqwest_middleware::Error::Middleware`].
#[derive(Clone)]
pub struct FailoverMiddleware {
    services: Services,
    configure: Arc<Configure>,
    /// The rules of each request's layer, made once.
    rules: HttpRules,
}

pub(crate) type Configure = dyn Fn(FailoverLayer) -> FailoverLayer + Send + Sync;

impl fmt::Debug for FailoverMiddleware {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FailoverMiddleware").field("services", &self.services).finish_non_exhaustive()
    }
}

impl FailoverMiddleware {
    /// Creates a middleware for the services of a manager, for one service, or for several.
    pub fn new(services: impl Into<Services>) -> Self {
        Self { services: services.into(), configure: Arc::new(|layer| layer), rules: reqwest_rules() }
    }

    /// Sets a function that sets the options of each service's layer: rules, the limit of bodies,
    /// headers, the options of a call. Start from [`reqwest_rules`](crate::reqwest_rules) for other rules.
    pub fn with_layer(
        mut self,
        configure: impl Fn(FailoverLayer) -> FailoverLayer + Send + Sync + 'static,
    ) -> Self {
        self.configure = Arc::new(configure);
        self
    }
}

#[async_trait::async_trait]
impl Middleware for FailoverMiddleware {
    async fn handle(
        &self,
        request: Request,
        extensions: &mut Extensions,
        next: Next<'_>,
    ) -> reqwest_middleware::Result<Response> {
        let url = request.url().clone();
        let request = http::Request::<Body>::try_from(request).map_err(Error::from)?;
        let name = service_name(request.uri()).map_err(Error::from)?;
        let service = self.services.find(&name).await?;
        let layer = (self.configure)(FailoverLayer::new(service).with_rules(self.rules.clone()));
        let rest = Rest { next, extensions, url: &url };
        Ok(send::response(layer.send(rest, request).await.map_err(Error::from)?))
    }
}

/// The rest of the chain.
#[derive(Clone)]
struct Rest<'a> {
    next: Next<'a>,
    extensions: &'a Extensions,
    /// The URL of the call's request.
    url: &'a Url,
}

impl<'a> Service<http::Request<ReplayBody<Body>>> for Rest<'a> {
    type Response = http::Response<Body>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<http::Response<Body>, BoxError>> + Send + 'a>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<ReplayBody<Body>>) -> Self::Future {
        let (next, mut extensions) = (self.next.clone(), self.extensions.clone());
        let request = send::request(request, self.url);
        Box::pin(async move {
            match next.run(request?, &mut extensions).await {
                Ok(response) => Ok(send::answer(response)),
                // Without the URL, whose query may hold secrets.
                Err(reqwest_middleware::Error::Reqwest(error)) => Err(error.without_url().into()),
                Err(reqwest_middleware::Error::Middleware(error)) => Err(error.into()),
            }
        })
    }
}
