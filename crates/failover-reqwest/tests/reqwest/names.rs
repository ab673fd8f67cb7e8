//! Endpoints with a server name.

use failover_core::{Endpoint, ServiceHandle};
use failover_reqwest::{Client, Error, FailoverMiddleware};
use failover_testkit::HttpServer;

fn endpoint(id: &str, server: &HttpServer, protocol: &str, name: &str) -> Endpoint {
    Endpoint::builder(id, "users", "127.0.0.1", server.address().port())
        .protocol(protocol)
        .server_name(name)
        .build()
        .expect("valid")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn endpoints_of_one_name_are_called_by_name_at_their_own_addresses() {
    let (first, second) = (HttpServer::start(), HttpServer::start());
    let name = "users.internal";
    let endpoints = [endpoint("a", &first, "http", name), endpoint("b", &second, "http", name)];
    let users = ServiceHandle::fixed("users", endpoints).expect("valid");
    let client = Client::new(users).expect("a client");
    for _ in 0..6 {
        let response = client.get("http://users/x").send().await.expect("an answer");
        assert_eq!(response.url().host_str(), Some(name));
        let shown = response.text().await.expect("a body");
        assert!(shown.starts_with("GET /x users.internal:"), "{shown}");
    }
    assert_eq!((first.requests(), second.requests()), (3, 3));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_middleware_has_one_client_and_names_the_one_that_has_several() {
    let server = HttpServer::start();
    let users = ServiceHandle::fixed("users", [endpoint("a", &server, "https", "users.internal")]);
    let chain = reqwest_middleware::ClientBuilder::new(reqwest::Client::new())
        .with(FailoverMiddleware::new(users.expect("valid")))
        .build();
    let error = chain.get("https://users/x").send().await.expect_err("one client");
    let reqwest_middleware::Error::Middleware(error) = error else { panic!("{error}") };
    let error: &Error = error.downcast_ref().expect("an error of this crate");
    assert!(
        matches!(error, Error::ServerName { server_name, .. } if server_name == "users.internal"),
        "{error:?}"
    );
    assert!(error.to_string().contains("failover_reqwest::Client"), "{error}");
    assert_eq!(server.requests(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_name_that_is_another_address_is_refused() {
    let server = HttpServer::start();
    let users = ServiceHandle::fixed("users", [endpoint("a", &server, "http", "127.0.0.9")]).expect("valid");
    let error =
        Client::new(users).expect("a client").get("http://users/x").send().await.expect_err("refused");
    let shown = format!("{error} {:?}", std::error::Error::source(&error));
    assert!(shown.contains("register the endpoint without it"), "{shown}");
    assert_eq!(server.requests(), 0);
}
