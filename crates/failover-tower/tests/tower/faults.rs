//! Servers that are killed, frozen or busy.

use std::time::Duration;

use failover_core::{AttemptClass, ServiceHandle};
use failover_http::{HttpRules, TargetError};
use failover_testkit::HttpServer;
use failover_tower::{AnsweredBy, Connector, FailoverError, FailoverLayer, ReplayBody};
use http_body_util::Full;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use tower::util::BoxCloneService;
use tower::{Layer, ServiceBuilder, ServiceExt};

use crate::support::{Bytes, client, get, service, text};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_call_fails_while_one_server_is_killed_and_one_frozen() {
    let mut servers: Vec<_> = (0..3).map(|_| HttpServer::start()).collect();
    let users = service(servers.iter().map(HttpServer::url));
    // Boxed below and above: neither service is `Sync`.
    let inner = BoxCloneService::new(client::<Full<Bytes>>());
    let tower = BoxCloneService::new(FailoverLayer::new(users.clone()).layer(inner));
    let mut answered = 0;
    for round in 0..60 {
        match round {
            20 => servers[0].kill(),
            40 => servers[1].freeze(),
            _ => {}
        }
        let calls = (0..8).map(|call| {
            let tower = tower.clone();
            async move {
                let body = Full::from(format!("body {call}"));
                let request = match call % 4 {
                    0 => http::Request::put("/users/7?full=1").body(body),
                    1 => http::Request::post("/users/7?full=1").header("idempotency-key", "1").body(body),
                    _ => http::Request::get("http://users/users/7?full=1").body(Full::default()),
                };
                let response = tower.oneshot(request.expect("valid")).await.expect("no call fails");
                let by = response.extensions().get::<AnsweredBy>().expect("it says who answered").clone();
                assert_eq!(response.status(), 200);
                let host = by.endpoint().authority();
                assert!(text(response).await.ends_with(&format!(" /users/7?full=1 {host}")));
            }
        });
        answered += futures_util::future::join_all(calls).await.len();
    }
    let stats = users.stats();
    assert_eq!((answered, stats.failed_requests, stats.in_flight), (480, 0, 0));
    assert!(stats.retried > 0, "{stats:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_that_may_have_arrived_is_not_repeated_and_one_that_did_not_is() {
    let (frozen, mut killed, alive) = (HttpServer::start(), HttpServer::start(), HttpServer::start());
    frozen.freeze();
    killed.kill();
    let post = || http::Request::post("/users").body(Full::<Bytes>::from("ada")).expect("valid");
    let both = service([killed.url(), alive.url()]);
    for _ in 0..4 {
        let tower = FailoverLayer::new(both.clone()).layer(client());
        assert_eq!(tower.oneshot(post()).await.expect("refused is not sent").status(), 200);
    }
    let both = service([frozen.url(), alive.url()]);
    let mut failed = 0;
    for _ in 0..2 {
        let tower = FailoverLayer::new(both.clone()).layer(client());
        match tower.oneshot(post()).await {
            Ok(response) => assert_eq!(response.status(), 200),
            Err(error) => {
                let call = error.call().expect("the call failed");
                assert_eq!((call.attempts().len(), error.status().as_u16()), (1, 504), "{error}");
                failed += 1;
            }
        }
    }
    assert_eq!((failed, frozen.requests(), alive.requests()), (1, 1, 5));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_fails_before_the_connection_is_there_was_not_sent() {
    let alive = HttpServer::start();
    let users = service(["http://no-such-host.invalid:80".to_owned(), alive.url()]);
    let connector = Connector::new(HttpConnector::new());
    let client = Client::builder(TokioExecutor::new()).build::<_, ReplayBody<Full<Bytes>>>(connector);
    let tower = FailoverLayer::new(users.clone()).layer(client);
    for _ in 0..4 {
        let post = http::Request::post("/users").body(Full::<Bytes>::from("ada")).expect("valid");
        assert_eq!(tower.clone().oneshot(post).await.expect("the other one").status(), 200);
    }
    assert!(users.stats().attempts.of(AttemptClass::NotSent) > 0, "{:?}", users.stats());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_last_answer_is_the_response_whatever_its_status() {
    let servers: Vec<_> = (0..2).map(|_| HttpServer::start()).collect();
    let users = service(servers.iter().map(HttpServer::url));
    let tower = FailoverLayer::new(users.clone()).layer(client());
    let response = tower.clone().oneshot(get("/busy")).await.expect("an answer");
    assert_eq!(response.status(), 503);
    assert!(response.extensions().get::<AnsweredBy>().expect("known").attempt() > 1);
    assert!(text(response).await.starts_with("GET /busy "), "with its body");
    let response = tower.clone().oneshot(get("/missing")).await.expect("an answer");
    assert_eq!((response.status().as_u16(), users.stats().rejected_requests), (404, 1));
    let before = servers.iter().map(HttpServer::requests).sum::<usize>();
    let rules = HttpRules::new().with_status(http::StatusCode::NOT_FOUND, failover_core::Outcome::Failure);
    let strict = FailoverLayer::new(users.clone()).with_rules(rules).layer(client());
    assert_eq!(strict.oneshot(get("/missing")).await.expect("an answer").status(), 404);
    assert!(servers.iter().map(HttpServer::requests).sum::<usize>() > before + 1, "asked at other endpoints");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failed_call_says_what_was_tried_and_what_a_gateway_answers() {
    let mut servers: Vec<_> = (0..2).map(|_| HttpServer::start()).collect();
    let users = service(servers.iter().map(HttpServer::url));
    servers.iter_mut().for_each(HttpServer::kill);
    let tower = FailoverLayer::new(users).layer(client::<Full<Bytes>>());
    let error = tower.oneshot(get("/")).await.expect_err("nobody is there");
    assert!(error.to_string().contains("not_sent"), "{error}");
    assert!(std::error::Error::source(&error).is_some(), "the client's error");
    let response: http::Response<String> = error.response();
    assert_eq!(response.status(), 502);
    let nobody = ServiceHandle::fixed("users", [] as [&str; 0]).expect("valid");
    let tower = FailoverLayer::new(nobody).layer(client::<Full<Bytes>>());
    let error = tower.oneshot(get("/")).await.expect_err("no endpoint");
    let response: http::Response<String> = error.response();
    assert_eq!(
        (response.status().as_u16(), response.headers()["retry-after"].as_bytes()),
        (503, b"1".as_slice())
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_target_that_is_no_service_and_an_endpoint_that_is_no_server_are_typed_errors() {
    let server = HttpServer::start();
    let tower = FailoverLayer::new(service([server.url()])).layer(client::<Full<Bytes>>());
    let ask = async |uri: &str| {
        let request = http::Request::get(uri).body(Full::default()).expect("valid");
        tower.clone().oneshot(request).await
    };
    let error = ask("http://ada:secret@users/").await.expect_err("a user");
    assert!(matches!(error, FailoverError::Target(TargetError::UserInfo)), "{error:?}");
    assert_eq!(error.status(), 400);
    assert!(!format!("{error} {error:?}").contains("secret"));
    let error = ask("ftp://users/").await.expect_err("another scheme");
    assert!(matches!(error, FailoverError::Target(TargetError::Scheme { .. })), "{error:?}");
    assert_eq!(server.requests(), 0, "nothing was sent");
    let error = ask("https://users/").await.expect_err("in the clear");
    assert!(error.to_string().contains("does not encrypt"), "{error}");
    assert_eq!(server.requests(), 0, "nothing was sent");

    // One endpoint that speaks something else costs an attempt, and no call.
    let mixed = service(["postgres://127.0.0.1:5432".to_owned(), server.url()]);
    let tower = FailoverLayer::new(mixed).layer(client());
    for _ in 0..4 {
        let response = tower.clone().oneshot(get("/")).await.expect("the other endpoint answers");
        assert_eq!(response.status(), 200);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn options_of_a_call_come_from_its_request() {
    let servers: Vec<_> = (0..3).map(|_| HttpServer::start()).collect();
    servers[0].freeze();
    let users = service(servers.iter().map(HttpServer::url));
    let layer = FailoverLayer::new(users).with_headers(failover_http::CallHeaders::new()).with_call(
        |call, request| match request.uri.path() {
            "/once" => call.max_retries(0).deadline(Duration::from_millis(50)),
            _ => call,
        },
    );
    let tower = ServiceBuilder::new().layer(layer).service(client());
    let mut late = 0;
    for _ in 0..3 {
        late += usize::from(tower.clone().oneshot(get("/once")).await.is_err());
    }
    assert_eq!(late, 1, "the frozen server's turn");
    for _ in 0..3 {
        tower.clone().oneshot(get("/")).await.expect("retried");
    }
}
