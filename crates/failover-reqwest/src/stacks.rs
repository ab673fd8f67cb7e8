//! The layers and clients of the services that were called.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use failover_core::{Endpoint, ServiceName};
use failover_http::service_name;
use failover_tower::{BoxError, EndpointServices, FailoverLayer, ReplayBody};
use http::Uri;
use reqwest::{Body, Client, Request, Response, Url};
use tower_service::Service;

use crate::error::Error;
use crate::make::{MakeClient, Sender, Sent, sent};
use crate::middleware::Configure;
use crate::rules::reqwest_rules;
use crate::send;
use crate::services::Services;

/// The maximum number of services whose clients are kept.
const MAX_SERVICES: usize = 1_000;

/// A layer over a client per server name, for each service.
pub(crate) struct Stacks {
    services: Services,
    configure: Arc<Configure>,
    make: MakeClient,
    /// Emptied when it is full: the names come from URLs, and may come from anywhere.
    by_name: Mutex<HashMap<ServiceName, Arc<Stack>>>,
}

/// The layer of a service, and the clients of its endpoints that have a server name.
struct Stack {
    layer: FailoverLayer,
    named: EndpointServices<MakeClient, Sender>,
}

impl Stacks {
    pub(crate) fn new(services: Services, configure: Arc<Configure>, make: MakeClient) -> Self {
        Self { services, configure, make, by_name: Mutex::default() }
    }

    pub(crate) fn services(&self) -> &Services {
        &self.services
    }

    /// The client of endpoints without a server name.
    pub(crate) fn shared(&self) -> &Client {
        &self.make.shared
    }

    pub(crate) async fn execute(&self, request: Request) -> Result<Response, Error> {
        let url = request.url().clone();
        let request = http::Request::<Body>::try_from(request)?;
        let stack = match self.known(request.uri()) {
            Some(stack) => stack,
            None => self.stack(&service_name(request.uri())?).await?,
        };
        let attempts = Attempts { stack: &stack, shared: self.shared(), url: &url };
        Ok(send::response(stack.layer.send(attempts, request).await?))
    }

    /// Returns the stack of a service that was called before. An authority that is such a name has neither a
    /// port nor a user.
    fn known(&self, uri: &Uri) -> Option<Arc<Stack>> {
        let name = uri.authority().filter(|_| matches!(uri.scheme_str(), Some("http" | "https")))?;
        self.by_name(|stacks| stacks.get(name.as_str()).cloned())
    }

    async fn stack(&self, name: &ServiceName) -> Result<Arc<Stack>, Error> {
        let service = self.services.find(name).await?;
        let named = EndpointServices::new(&service, self.make.clone());
        let layer = FailoverLayer::new(service).with_rules(reqwest_rules());
        let made = Arc::new(Stack { layer: (self.configure)(layer).per_endpoint(), named });
        Ok(self.by_name(|stacks| {
            if stacks.len() >= MAX_SERVICES {
                stacks.clear();
            }
            // Another request may have made it meanwhile; both use the same one.
            Arc::clone(stacks.entry(name.clone()).or_insert(made))
        }))
    }

    fn by_name<T>(&self, with: impl FnOnce(&mut HashMap<ServiceName, Arc<Stack>>) -> T) -> T {
        with(&mut self.by_name.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Sends the attempts of one request.
#[derive(Clone)]
struct Attempts<'a> {
    stack: &'a Stack,
    shared: &'a Client,
    /// The URL of the request.
    url: &'a Url,
}

impl Service<http::Request<ReplayBody<Body>>> for Attempts<'_> {
    type Response = http::Response<Body>;
    type Error = BoxError;
    type Future = Sent;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: http::Request<ReplayBody<Body>>) -> Self::Future {
        let endpoint = request.extensions().get::<Arc<Endpoint>>().expect("the layer is per endpoint");
        if endpoint.server_name().is_some() {
            return self.stack.named.clone().call(request);
        }
        request.extensions_mut().remove::<Arc<Endpoint>>();
        sent(self.shared, send::request(request, self.url))
    }
}
