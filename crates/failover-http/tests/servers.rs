//! Calls of real servers through hyper's lowest client: the rules are all that it needs.

#![allow(clippy::disallowed_methods, reason = "real servers take real time")]

use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use axum::http::{HeaderMap, StatusCode};
use failover_core::{AttemptClass, FailoverConfig, ServiceHandle};
use failover_http::{CallHeaders, HttpRules, fields, host, uri};
use failover_testkit::HttpServer;
use http::{Request, Response, Uri};
use http_body_util::Empty;
use hyper::body::{Bytes, Incoming};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

fn server() -> HttpServer {
    HttpServer::of(Router::new().fallback(answer))
}

async fn answer(uri: Uri, headers: HeaderMap) -> (StatusCode, String) {
    if uri.path() == "/busy" {
        return (StatusCode::SERVICE_UNAVAILABLE, String::new());
    }
    let names = CallHeaders::new();
    let left = names.time_left(&headers).unwrap_or_default();
    let limited = !left.is_zero() && left <= Duration::from_secs(30);
    let host = headers["host"].to_str().unwrap_or_default();
    (StatusCode::OK, format!("{uri} {host} {:?} {limited}", names.attempt(&headers)))
}

/// One request on a connection of its own.
async fn get(address: SocketAddr, request: Request<Empty<Bytes>>) -> std::io::Result<Response<Incoming>> {
    let stream = TcpStream::connect(address).await?;
    let handshake = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await;
    let (mut sender, connection) = handshake.map_err(std::io::Error::other)?;
    tokio::spawn(connection);
    sender.send_request(request).await.map_err(std::io::Error::other)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_call_fails_while_one_server_is_killed_and_one_frozen() {
    let mut servers: Vec<_> = (0..3).map(|_| server()).collect();
    let config =
        FailoverConfig::builder().attempt_timeout(Duration::from_millis(300)).build().expect("valid");
    let users = ServiceHandle::builder("users")
        .endpoints(servers.iter().map(HttpServer::url))
        .config(config)
        .build()
        .expect("valid")
        .with_classifier(HttpRules::new());
    let target: Uri = "http://users/users/7?full=1".parse().expect("a URI");
    for call in 0..300 {
        match call {
            100 => servers[0].kill(),
            200 => servers[1].freeze(),
            _ => {}
        }
        let done = users
            .execute(async |attempt| {
                let uri = uri(&attempt, &target).expect("HTTP");
                let mut request = Request::get(uri.path_and_query().expect("a path").as_str());
                let headers = request.headers_mut().expect("valid");
                headers.insert("host", host(&attempt).expect("a name"));
                CallHeaders::new().write(&attempt, headers);
                let address = attempt.socket_addr().expect("an address");
                get(address, request.body(Empty::new()).expect("valid")).await
            })
            .await;
        let done = done.expect("no call fails");
        let body = http_body_util::BodyExt::collect(done.value.into_body()).await.expect("a body").to_bytes();
        let (endpoint, number) = (done.endpoint.authority(), done.attempts.len());
        assert_eq!(body, format!("/users/7?full=1 {endpoint} Some({number}) true").as_bytes());
    }
    let stats = users.stats();
    let of = |class| stats.attempts.of(class);
    assert!(of(AttemptClass::NotSent) > 0 && of(AttemptClass::Timeout) > 0, "{:?}", stats.attempts);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_type_of_an_error_is_its_status_or_its_class() {
    let mut server = server();
    let users =
        ServiceHandle::fixed("users", [server.url()]).expect("valid").with_classifier(HttpRules::new());
    let ask = async |path: &'static str| {
        users
            .execute_once(async |attempt| {
                let request = Request::get(path).header("host", "users").body(Empty::new()).expect("valid");
                get(attempt.socket_addr().expect("an address"), request).await
            })
            .await
    };
    let done = ask("/").await.expect("answers");
    assert_eq!(fields::error_type(done.attempts.last()), None);
    let error = ask("/busy").await.expect_err("503");
    assert_eq!(error.attempts()[0].class, AttemptClass::Overload);
    assert_eq!(fields::error_type(&error.attempts()[0]), Some("503"));
    server.kill();
    let error = ask("/").await.expect_err("refused");
    assert_eq!(fields::error_type(&error.attempts()[0]), Some("not_sent"));
}
