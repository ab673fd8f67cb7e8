//! A service per endpoint.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use failover_core::{AttemptClass, Endpoint, ServiceHandle};
use failover_testkit::HttpServer;
use failover_tower::{BoxError, EndpointConnector, EndpointServices, FailoverLayer, ReplayBody};
use http::{Request, Response};
use http_body_util::Full;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use tower::util::BoxCloneService;
use tower::{Layer, Service, ServiceExt};

use crate::support::{Bytes, client, get, service, text};

type Sent = Request<ReplayBody<Full<Bytes>>>;

fn endpoint(id: &str, server: &HttpServer) -> Endpoint {
    Endpoint::builder(id, "users", "127.0.0.1", server.address().port())
        .protocol("http")
        .server_name("users.internal")
        .build()
        .expect("valid")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_endpoints_of_one_name_get_a_client_each_that_connects_to_its_address() {
    let (mut first, second) = (HttpServer::start(), HttpServer::start());
    let users =
        ServiceHandle::fixed("users", [endpoint("a", &first), endpoint("b", &second)]).expect("valid");
    let made = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&made);
    let services = EndpointServices::new(
        &users,
        tower::service_fn(move |endpoint: Arc<Endpoint>| {
            count.fetch_add(1, Ordering::Relaxed);
            let connector = EndpointConnector::new(HttpConnector::new(), endpoint);
            let client = Client::builder(TokioExecutor::new()).build(connector);
            std::future::ready(Ok::<_, Infallible>(client))
        }),
    );
    let tower = BoxCloneService::new(FailoverLayer::new(users.clone()).per_endpoint().layer(services));
    for _ in 0..6 {
        let shown = text(tower.clone().oneshot(get("/x")).await.expect("answers")).await;
        assert!(shown.starts_with("GET /x users.internal:"), "{shown}");
    }
    assert_eq!((first.requests(), second.requests(), made.load(Ordering::Relaxed)), (3, 3, 2));
    first.kill();
    for _ in 0..6 {
        let post = Request::post("/x").body(Full::default()).expect("valid");
        tower.clone().oneshot(post).await.expect("a connection that is refused has sent nothing");
    }
    assert!(users.stats().attempts.of(AttemptClass::NotSent) > 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plain_client_sends_the_server_name_as_host_and_refuses_https_by_name() {
    let server = HttpServer::start();
    let users = ServiceHandle::fixed("users", [endpoint("a", &server)]).expect("valid");
    let tower = FailoverLayer::new(users).layer(client());
    let shown = text(tower.oneshot(get("/x")).await.expect("answers")).await;
    assert_eq!(shown, format!("GET /x users.internal:{}", server.address().port()));
    let secure = endpoint("a", &server).to_builder().protocol("https").build().expect("valid");
    let users = ServiceHandle::fixed("users", [secure]).expect("valid");
    let tower = FailoverLayer::new(users).layer(client());
    let error = tower.oneshot(get("/x")).await.expect_err("TLS would verify an address");
    let cause = std::error::Error::source(&error).expect("a cause");
    let typed = cause.downcast_ref::<failover_tower::ServerNameError>().expect("a typed error");
    assert_eq!((typed.endpoint().as_str(), typed.server_name()), ("a", "users.internal"));
    let cause = cause.to_string();
    assert!(cause.contains("users.internal") && cause.contains("FailoverLayer::per_endpoint"), "{cause}");
}

/// A connection that serves this many requests.
#[derive(Clone)]
struct Connection {
    left: Arc<AtomicUsize>,
    endpoint: Arc<Endpoint>,
}

impl Service<Sent> for Connection {
    type Response = Response<String>;
    type Error = BoxError;
    type Future = std::future::Ready<Result<Response<String>, BoxError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        let left = self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1));
        Poll::Ready(left.map(drop).map_err(|_| "the connection is closed".into()))
    }

    fn call(&mut self, request: Sent) -> Self::Future {
        let shown = format!("{} {}", self.endpoint.id(), request.uri());
        std::future::ready(Ok(Response::new(shown)))
    }
}

#[tokio::test]
async fn a_service_whose_connection_is_closed_is_made_again() {
    let users = service(["http://10.0.0.1:80".to_owned(), "http://10.0.0.2:80".to_owned()]);
    let made = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&made);
    let make = tower::service_fn(move |endpoint: Arc<Endpoint>| {
        count.fetch_add(1, Ordering::Relaxed);
        let connection = Connection { left: Arc::new(AtomicUsize::new(2)), endpoint };
        std::future::ready(Ok::<_, BoxError>(connection))
    });
    let tower = FailoverLayer::new(users.clone()).per_endpoint().layer(EndpointServices::new(&users, make));
    for _ in 0..12 {
        let response =
            tower.clone().oneshot(get("/x")).await.expect("another endpoint, or another connection");
        let shown = response.into_body().into_inner();
        let (id, uri) = shown.split_once(' ').expect("two words");
        assert_eq!(uri, format!("http://{id}/x"), "each request reaches its endpoint");
    }
    assert!(made.load(Ordering::Relaxed) > 2);
}

#[tokio::test]
async fn the_url_below_has_the_server_name_which_tls_asks_for() {
    let named =
        Endpoint::builder("a", "users", "10.0.0.1", 443).protocol("https").server_name("users.internal");
    let users = ServiceHandle::fixed("users", [named.build().expect("valid")]).expect("valid");
    let make = tower::service_fn(|endpoint: Arc<Endpoint>| {
        let connection = Connection { left: Arc::new(AtomicUsize::new(9)), endpoint };
        std::future::ready(Ok::<_, BoxError>(connection))
    });
    let tower = FailoverLayer::new(users.clone()).per_endpoint().layer(EndpointServices::new(&users, make));
    let shown = tower.oneshot(get("/x")).await.expect("answers").into_body().into_inner();
    assert_eq!(shown, "a https://users.internal:443/x");
}

#[tokio::test]
async fn a_service_that_cannot_be_made_sends_the_request_elsewhere_even_a_post() {
    let users = service(["http://10.0.0.1:80".to_owned(), "http://10.0.0.2:80".to_owned()]);
    let make = tower::service_fn(move |endpoint: Arc<Endpoint>| {
        let connection = Connection { left: Arc::new(AtomicUsize::new(9)), endpoint: Arc::clone(&endpoint) };
        let made = if endpoint.address() == "10.0.0.1" { Err("no certificate") } else { Ok(connection) };
        std::future::ready(made)
    });
    let tower = FailoverLayer::new(users.clone()).per_endpoint().layer(EndpointServices::new(&users, make));
    for _ in 0..4 {
        let post = Request::post("/x").body(Full::<Bytes>::default()).expect("valid");
        let response = tower.clone().oneshot(post).await.expect("the other endpoint");
        assert!(response.into_body().into_inner().starts_with("10.0.0.2:80 "));
    }
}

#[tokio::test]
async fn without_the_layer_the_error_says_what_is_missing() {
    let users = service(["http://10.0.0.1:80".to_owned()]);
    let make = tower::service_fn(|endpoint: Arc<Endpoint>| {
        std::future::ready(Ok::<_, BoxError>(Connection { left: Arc::default(), endpoint }))
    });
    let services = EndpointServices::new(&users, make);
    let body = ReplayBody::from_body(Full::<Bytes>::default());
    let error = services.oneshot(Request::new(body)).await.expect_err("no endpoint");
    assert!(error.to_string().contains("FailoverLayer has to be above"), "{error}");
}

#[tokio::test]
async fn a_layer_that_was_not_told_of_them_says_what_is_missing() {
    let users = service(["http://10.0.0.1:80".to_owned()]);
    let make = tower::service_fn(|endpoint: Arc<Endpoint>| {
        std::future::ready(Ok::<_, BoxError>(Connection { left: Arc::new(AtomicUsize::new(9)), endpoint }))
    });
    let tower = FailoverLayer::new(users.clone()).layer(EndpointServices::new(&users, make));
    let error = tower.oneshot(get("/x")).await.expect_err("no endpoint is in the request");
    assert!(error.to_string().contains("FailoverLayer has to be above, with `per_endpoint()`"), "{error}");
}
