//! The client: hyper-util's, with one layer of failover. This is all that a program needs.

use std::error::Error;
use std::time::Duration;

use axum::body::Bytes;
use example_support::Server;
use failover::tower::{AnsweredBy, Failover, FailoverLayer, ReplayBody};
use failover::{Endpoint, FailoverConfig, ServiceHandle};
use http::Request;
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use tower::{ServiceBuilder, ServiceExt};

pub(crate) type Http = Failover<Client<HttpConnector, ReplayBody<Full<Bytes>>>>;

/// The service: here a list, elsewhere `manager.service("user-service")`.
pub(crate) fn service(servers: &[Server]) -> Result<ServiceHandle, Box<dyn Error>> {
    let endpoints = servers.iter().map(|server| {
        Endpoint::builder(server.name(), "user-service", "127.0.0.1", server.port()).protocol("http").build()
    });
    let users = ServiceHandle::builder("user-service")
        .endpoints(endpoints.collect::<Result<Vec<_>, _>>()?)
        .config(FailoverConfig::builder().attempt_timeout(Duration::from_millis(500)).build()?)
        .build()?;
    Ok(users)
}

pub(crate) fn client(users: &ServiceHandle) -> Http {
    let client = Client::builder(TokioExecutor::new()).build_http();
    ServiceBuilder::new().layer(FailoverLayer::new(users.clone())).service(client)
}

/// Sends one request and reads the answer. Returns the server that answered, or the error.
pub(crate) async fn request(http: Http, number: u64) -> Result<String, String> {
    // With a key, the server recognises a request that it has seen: so it may be repeated.
    let request = if number % 4 == 0 {
        Request::post("http://user-service/users").header("idempotency-key", number)
    } else {
        Request::get("http://user-service/users/7")
    };
    let request = request.body(Full::from("ada")).map_err(|error| error.to_string())?;
    let response = http.oneshot(request).await.map_err(|error| error.to_string())?;
    if !response.status().is_success() {
        return Err(response.status().to_string());
    }
    let by = response.extensions().get::<AnsweredBy>().map(|by| by.endpoint().id().to_string());
    response.into_body().collect().await.map_err(|error| format!("the answer broke off: {error}"))?;
    by.ok_or_else(|| "nobody answered".to_owned())
}
