//! A reqwest client per server name.

use std::future::{Future, Ready, ready};
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use failover_core::Endpoint;
use failover_tower::{BoxError, ReplayBody};
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::{Body, Client, ClientBuilder, Request};
use tower_service::Service;

use crate::redirect::redirect_policy;
use crate::send;

pub(crate) type NewBuilder = dyn Fn() -> ClientBuilder + Send + Sync;

/// Makes the client of an endpoint: the shared one, or one of its own for its server name.
#[derive(Clone)]
pub(crate) struct MakeClient {
    pub(crate) shared: Client,
    pub(crate) builder: Arc<NewBuilder>,
}

impl MakeClient {
    pub(crate) fn new(builder: Arc<NewBuilder>) -> Result<Self, reqwest::Error> {
        let shared = builder().redirect(redirect_policy()).build()?;
        Ok(Self { shared, builder })
    }

    fn make(&self, endpoint: &Endpoint) -> Result<Sender, BoxError> {
        let to = endpoint.connect_to();
        if to.name() == endpoint.address() {
            return Ok(Sender(self.shared.clone()));
        }
        if to.name().parse::<IpAddr>().is_ok() {
            return Err("a server name that is an IP address is where the client would connect to; \
                        register the endpoint without it, or with a host name"
                .into());
        }
        let (address, port) = to.address();
        let resolver = ToAddress { address: Arc::from(address), port };
        let builder = (self.builder)().redirect(redirect_policy()).dns_resolver(Arc::new(resolver));
        // A proxy would resolve the name itself, and reach any server of that name.
        Ok(Sender(builder.no_proxy().build()?))
    }
}

impl Service<Arc<Endpoint>> for MakeClient {
    type Response = Sender;
    type Error = BoxError;
    type Future = Ready<Result<Sender, BoxError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, endpoint: Arc<Endpoint>) -> Self::Future {
        ready(self.make(&endpoint))
    }
}

/// Resolves every name to the endpoint's address.
struct ToAddress {
    address: Arc<str>,
    port: u16,
}

impl Resolve for ToAddress {
    fn resolve(&self, _: Name) -> Resolving {
        let (address, port) = (Arc::clone(&self.address), self.port);
        Box::pin(async move {
            let addresses: Vec<_> = tokio::net::lookup_host((&*address, port)).await?.collect();
            Ok(Box::new(addresses.into_iter()) as Addrs)
        })
    }
}

/// Sends the requests of attempts through the client of a server name.
#[derive(Clone)]
pub(crate) struct Sender(Client);

impl Service<http::Request<ReplayBody<Body>>> for Sender {
    type Response = http::Response<Body>;
    type Error = BoxError;
    type Future = Sent;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<ReplayBody<Body>>) -> Self::Future {
        sent(&self.0, Request::try_from(request.map(Body::wrap)))
    }
}

pub(crate) type Sent = Pin<Box<dyn Future<Output = Result<http::Response<Body>, BoxError>> + Send>>;

/// Sends the request of an attempt.
pub(crate) fn sent(client: &Client, request: Result<Request, reqwest::Error>) -> Sent {
    let sending = request.map(|request| client.execute(request));
    Box::pin(async move {
        // Without the URL, whose query may hold secrets.
        let answer = sending?.await.map_err(reqwest::Error::without_url)?;
        Ok(send::answer(answer))
    })
}
