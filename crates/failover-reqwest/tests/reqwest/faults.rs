//! Servers that are killed, frozen, or redirect, and URLs that name no service.

use std::time::Duration;

use failover_core::{
    AttemptClass, Endpoint, FailoverConfig, FailoverManager, NoEndpointsReason, ServiceHandle, StopReason,
};
use failover_http::TargetError;
use failover_memory::MemoryProvider;
use failover_reqwest::{Client, Error, FailoverMiddleware, redirect_policy};
use failover_testkit::HttpServer;
use failover_tower::AnsweredBy;

use crate::support::service;

async fn manager(servers: &[HttpServer]) -> FailoverManager {
    let config =
        FailoverConfig::builder().attempt_timeout(Duration::from_millis(400)).build().expect("valid");
    let manager = FailoverManager::builder().provider(MemoryProvider::new()).service_config(config);
    let manager = manager.build().await.expect("valid");
    for (server, number) in servers.iter().zip(1..) {
        let id = format!("users-{number}");
        let endpoint = Endpoint::builder(id, "user-service", "127.0.0.1", server.address().port());
        manager
            .register_endpoint(endpoint.protocol("http").build().expect("valid"))
            .await
            .expect("registered");
    }
    manager
}

fn middleware(services: impl Into<failover_reqwest::Services>) -> reqwest_middleware::ClientWithMiddleware {
    let client = reqwest::Client::builder().redirect(redirect_policy()).build().expect("a client");
    reqwest_middleware::ClientBuilder::new(client).with(FailoverMiddleware::new(services)).build()
}

/// The error of this crate in an error of the middleware's crate.
fn own(error: &reqwest_middleware::Error) -> &Error {
    let reqwest_middleware::Error::Middleware(error) = error else { panic!("not ours: {error}") };
    error.downcast_ref().expect("an error of this crate")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_call_fails_while_one_server_is_killed_and_one_frozen() {
    let mut servers: Vec<_> = (0..3).map(|_| HttpServer::start()).collect();
    let manager = manager(&servers).await;
    let client = Client::new(manager.clone()).expect("a client");
    let chain = middleware(manager.clone());
    for round in 0..60 {
        match round {
            20 => servers[0].kill(),
            40 => servers[1].freeze(),
            _ => {}
        }
        let calls = (0..8).map(|call| {
            let (client, chain) = (client.clone(), chain.clone());
            async move {
                let url = "http://user-service/users/7?full=1";
                let response = match call % 4 {
                    0 => client.get(url).send().await.expect("no call fails"),
                    1 => client.put(url).body("ada").send().await.expect("no call fails"),
                    2 => chain.get(url).send().await.expect("no call fails"),
                    _ => {
                        let post = chain.post(url).header("idempotency-key", "1").body("ada");
                        post.send().await.expect("no call fails")
                    }
                };
                let by = response.extensions().get::<AnsweredBy>().expect("it says who answered").clone();
                let authority = by.endpoint().authority();
                assert_eq!(response.url().as_str(), format!("http://{authority}/users/7?full=1"));
                assert_eq!(response.status(), 200);
                let shown = response.text().await.expect("a body");
                assert!(shown.ends_with(&format!(" /users/7?full=1 {authority}")), "{shown}");
            }
        });
        futures_util::future::join_all(calls).await;
    }
    let stats = manager.service("user-service").await.expect("known").stats();
    assert_eq!((stats.successful_requests, stats.failed_requests, stats.in_flight), (480, 0, 0));
    assert!(stats.retried > 0, "{stats:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_post_is_repeated_only_if_it_was_not_sent() {
    let (frozen, mut killed, alive) = (HttpServer::start(), HttpServer::start(), HttpServer::start());
    frozen.freeze();
    killed.kill();
    let client = Client::new(service([killed.url(), alive.url()])).expect("a client");
    for _ in 0..4 {
        let response = client.post("http://users/x").body("ada").send().await.expect("refused is not sent");
        assert_eq!(response.status(), 200);
    }
    let users = service([frozen.url()]);
    let error = Client::new(users).expect("a client").post("http://users/x").send().await;
    let Error::Call(call) = error.expect_err("nobody answers") else { panic!("a call") };
    assert!(matches!(call.reason(), StopReason::NotIdempotent), "{call}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_url_that_names_no_service_is_a_typed_error() {
    let server = HttpServer::start();
    let client = Client::new(service([server.url()])).expect("a client");
    let error = async |url: &str| client.get(url).send().await.expect_err(url);
    for url in ["http://users:8080/", "http://users:80/x", "https://users:443", "http://users:/"] {
        let error = error(url).await;
        assert!(matches!(error, Error::Target(TargetError::Port { .. })), "{url}: {error:?}");
    }
    for url in ["http://ada:secret@users/", "http://ada@users/", "http://ada:secret@users:80/"] {
        let error = error(url).await;
        assert!(matches!(error, Error::Target(TargetError::UserInfo)), "{url}: {error:?}");
        assert!(!format!("{error} {error:?}").contains("secret"));
    }
    for url in ["/users/7", "users/7", "http://", "", "http:users", "http://a b/"] {
        let error = error(url).await;
        assert!(matches!(error, Error::Url { .. } | Error::Target(_)), "{url}: {error:?}");
    }
    for url in ["http://[::1]/", "http://a,b/"] {
        let error = error(url).await;
        assert!(matches!(error, Error::Target(TargetError::Name(_))), "{url}: {error:?}");
    }
    let scheme = error("ftp://users/").await;
    assert!(matches!(scheme, Error::Target(TargetError::Scheme { .. })), "{scheme:?}");
    let clear = error("https://users/").await;
    assert!(matches!(&clear, Error::Call(_)), "the endpoint does not encrypt: {clear:?}");
    assert_eq!(server.requests(), 0, "nothing was sent");

    let chain = middleware(service([server.url()]));
    let error = chain.get("http://users:8080/").send().await.expect_err("a port");
    assert!(matches!(own(&error), Error::Target(TargetError::Port { .. })), "{error}");
    assert_eq!(client.get("http://users").send().await.expect("a name alone").status(), 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_that_nobody_knows_is_a_typed_error_that_names_the_known_ones() {
    let client =
        Client::new(vec![service([]), ServiceHandle::fixed("orders", ["10.0.0.1:80"]).expect("valid")]);
    let error = client.expect("a client").get("http://payments/").send().await.expect_err("unknown");
    assert!(matches!(&error, Error::UnknownService { service, .. } if *service == "payments"), "{error:?}");
    assert!(error.to_string().ends_with("it knows users, orders"), "{error}");
    let client = Client::new(manager(&[]).await).expect("a client");
    let error = client.get("http://payments/").send().await.expect_err("unknown");
    let Error::Call(call) = &error else { panic!("{error:?}") };
    let StopReason::NoEndpoints(none) = call.reason() else { panic!("{call}") };
    assert_eq!(none.reason(), NoEndpointsReason::UnknownService);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redirect_is_followed_at_the_endpoint_and_an_error_elsewhere() {
    let (server, other) = (HttpServer::start(), HttpServer::start());
    let users = service([server.url()]);
    let client = Client::new(users.clone()).expect("a client");
    let here = client.get("http://users/redirect?/x").send().await.expect("followed");
    assert!(here.text().await.expect("a body").starts_with("GET /x "));
    let absolute = format!("http://users/redirect?{}/x", server.url());
    assert_eq!(client.get(absolute).send().await.expect("followed").status(), 200);
    let chain = middleware(users.clone());
    let before = server.requests();
    for (number, to) in
        [other.url(), "http://users/x".to_owned(), "https://127.0.0.1/".to_owned()].iter().enumerate()
    {
        let url = format!("http://users/redirect?{to}/secret");
        let error = client.get(&url).send().await.expect_err("elsewhere");
        assert!(matches!(error, Error::Redirect(_)), "{error:?}");
        assert!(!format!("{error} {error:?}").contains("secret"), "{error:?}");
        let error = chain.get(&url).send().await.expect_err("elsewhere");
        assert!(matches!(own(&error), Error::Redirect(_)), "{error:?}");
        assert_eq!(server.requests() - before, 2 * (number + 1), "not repeated");
    }
    assert_eq!(other.requests(), 0);
    assert_eq!(users.stats().attempts.failures(), 0, "an answer is no failure of the endpoint");
    let before = server.requests();
    let error = client.get("http://users/loop").send().await.expect_err("endless");
    let Error::Call(call) = &error else { panic!("{error:?}") };
    assert!(call.to_string().contains("more than 10 redirects"), "{call}");
    assert_eq!((call.attempts().len(), server.requests() - before), (1, 11), "not repeated");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_error_shows_no_query() {
    let mut server = HttpServer::start();
    server.kill();
    let users = service([server.url()]);
    let client = Client::new(users.clone()).expect("a client");
    let error = client.get("http://users/x?token=secret").send().await.expect_err("refused");
    let chain = middleware(users.clone());
    let below = chain.get("http://users/x?token=secret").send().await.expect_err("refused");
    let shown = format!("{error} {error:?} {below} {below:?} {}", users.explain());
    assert!(!shown.contains("secret"), "{shown}");
    assert!(users.stats().attempts.of(AttemptClass::NotSent) > 0, "{shown}");
    assert!(shown.contains("onnection refused"), "the cause is shown: {shown}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_timer_of_reqwest_is_a_timeout_and_not_a_failure() {
    let server = HttpServer::start();
    server.freeze();
    let users = service([server.url()]);
    let client = Client::builder(users.clone())
        .with_reqwest(|| reqwest::Client::builder().read_timeout(Duration::from_millis(50)))
        .build()
        .expect("a client");
    client.get("http://users/x").send().await.expect_err("nobody answers");
    let attempts = users.stats().attempts;
    assert_eq!(attempts.of(AttemptClass::Timeout), attempts.failures());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_timeout_of_the_request_itself_ends_each_attempt() {
    let server = HttpServer::start();
    server.freeze();
    let users = service([server.url()]);
    let client = Client::new(users).expect("a client");
    let request = client.get("http://users/x").with(|request| request.timeout(Duration::from_millis(20)));
    let Error::Call(call) = request.send().await.expect_err("nobody answers") else { panic!("a call") };
    let last = call.attempts().last().expect("there is one");
    assert!(last.class == AttemptClass::Timeout && last.duration < Duration::from_millis(200), "{call}");
}
