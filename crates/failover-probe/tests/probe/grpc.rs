//! The gRPC probe, on tonic's own health service, and on servers that answer something else.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

use ::http::{HeaderMap, Request, Response};
use bytes::Bytes;
use failover_core::{Endpoint, ErrorKind, Health, HealthCheck};
use failover_probe::GrpcProbe;
use failover_testkit::certificates::Authority;
use hyper::body::{Body, Frame, Incoming};
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::transport::Server as Tonic;
use tonic_health::ServingStatus;
use tonic_health::server::HealthReporter;

use crate::{Server, acceptor, endpoint, probe, report};

const SECOND: std::time::Duration = std::time::Duration::from_secs(1);

/// Starts tonic's health service.
async fn tonic() -> (SocketAddr, HealthReporter) {
    let (reporter, service) = tonic_health::server::health_reporter();
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("binds");
    let address = listener.local_addr().expect("bound");
    let serving = Tonic::builder().add_service(service).serve_with_incoming(TcpListenerStream::new(listener));
    tokio::spawn(serving);
    (address, reporter)
}

fn asking(service: &str) -> HealthCheck {
    HealthCheck::builder().grpc_service(service).build().expect("valid")
}

#[tokio::test]
async fn the_status_that_tonic_serves_decides_for_each_service() {
    let (address, reporter) = tonic().await;
    let server = || endpoint(address).protocol("grpc");
    reporter.set_service_status("shop.Users", ServingStatus::Serving).await;
    reporter.set_service_status("shop.Orders", ServingStatus::NotServing).await;
    reporter.set_service_status("shop.New", ServingStatus::Unknown).await;
    // Without a name it is the server as a whole.
    for healthy in [server(), server().health_check(asking("shop.Users"))] {
        let found = probe(&GrpcProbe::new(), healthy).await.expect("healthy");
        assert_eq!((found.health(), found.evidence()), (Health::Healthy, "SERVING"));
    }
    for (service, expected) in [
        ("shop.Orders", "answered NOT_SERVING, not SERVING"),
        ("shop.New", "answered UNKNOWN, not SERVING"),
        (
            "shop.Missing",
            "answered NOT_FOUND (5): service not registered; the server does not know the service \"shop.Missing\"",
        ),
    ] {
        let error =
            probe(&GrpcProbe::new(), server().health_check(asking(service))).await.expect_err(service);
        assert_eq!(error.to_string(), expected);
        assert_eq!((error.kind(), error.code()), (ErrorKind::Connection, "HEALTH_CHECK_FAILED"));
    }
    // The registered probes serve the protocol, and the health check may have a port of its own.
    let report = report(server(), SECOND).await;
    assert_eq!((report.health, report.evidence.as_str()), (Health::Healthy, "SERVING"));
    let check = asking("shop.Users").to_builder().port(address.port()).build().expect("valid");
    let elsewhere = Endpoint::builder("a", "users", "127.0.0.1", 1).protocol("grpc").health_check(check);
    probe(&GrpcProbe::new(), elsewhere).await.expect("healthy");
    reporter.set_service_status("", ServingStatus::NotServing).await;
    assert!(probe(&GrpcProbe::new(), server()).await.is_err(), "each probe sends a request");
}

#[tokio::test]
async fn a_server_without_the_health_service_is_unimplemented() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("binds");
    let address = listener.local_addr().expect("bound");
    let routes = tonic::service::Routes::default();
    let serving = Tonic::builder().add_routes(routes).serve_with_incoming(TcpListenerStream::new(listener));
    tokio::spawn(serving);
    let error = probe(&GrpcProbe::new(), endpoint(address).protocol("grpc")).await.expect_err("nothing");
    assert_eq!(
        error.to_string(),
        "answered UNIMPLEMENTED (12); the server has no service grpc.health.v1.Health"
    );
}

/// A scripted answer: headers, body, and trailers, if there are any.
#[derive(Clone)]
struct Answer {
    status: u16,
    headers: Vec<(&'static str, &'static str)>,
    body: &'static [u8],
    trailers: Option<Vec<(&'static str, &'static str)>>,
}

struct Frames(VecDeque<Frame<Bytes>>);

impl Body for Frames {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.0.pop_front().map(Ok))
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_empty()
    }
}

async fn serve(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, answer: Answer) {
    let service = service_fn(|request: Request<Incoming>| {
        let answer = answer.clone();
        async move {
            assert_eq!(request.uri().path(), "/grpc.health.v1.Health/Check");
            assert_eq!(
                (request.headers()["te"].as_bytes(), request.method().as_str()),
                (&b"trailers"[..], "POST")
            );
            let mut frames = VecDeque::new();
            if !answer.body.is_empty() {
                frames.push_back(Frame::data(Bytes::from_static(answer.body)));
            }
            if let Some(trailers) = answer.trailers {
                let mut map = HeaderMap::new();
                map.extend(
                    trailers
                        .into_iter()
                        .map(|(name, value)| (name.parse().ok(), value.parse().expect("valid"))),
                );
                frames.push_back(Frame::trailers(map));
            }
            let mut response = Response::builder().status(answer.status);
            for (name, value) in answer.headers {
                // One that tells the authority and the metadata that arrived.
                let value = if value == "echo" { said(&request) } else { value.to_owned() };
                response = response.header(name, value);
            }
            Ok::<_, Infallible>(response.body(Frames(frames)).expect("valid"))
        }
    });
    let _ = http2::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service).await;
}

fn said(request: &Request<Incoming>) -> String {
    let of = |name: &str| request.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or("none");
    let authority = request.uri().authority().map_or("none", |authority| authority.as_str());
    format!("{authority} {} {} {}", of("host"), of("authorization"), of("grpc-timeout"))
}

async fn scripted(answer: Answer) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("binds");
    let address = listener.local_addr().expect("bound");
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.expect("accepts");
            tokio::spawn(serve(stream, answer.clone()));
        }
    });
    address
}

const GRPC: (&str, &str) = ("content-type", "application/grpc+proto");
const SERVING: &[u8] = &[0, 0, 0, 0, 2, 8, 1];

#[tokio::test]
async fn everything_but_serving_is_unhealthy_and_is_named() {
    let ok = || Some(vec![("grpc-status", "0")]);
    let whole = || Answer { status: 200, headers: vec![GRPC], body: SERVING, trailers: ok() };
    let found = probe(&GrpcProbe::new(), endpoint(scripted(whole()).await).protocol("grpc")).await;
    assert_eq!(found.expect("healthy").evidence(), "SERVING");
    let in_head = |status| Answer {
        headers: vec![GRPC, ("grpc-status", status)],
        body: &[],
        trailers: None,
        ..whole()
    };
    for (answer, expected) in [
        (Answer { trailers: None, ..whole() }, "no gRPC answer: its trailer grpc-status is missing"),
        (
            Answer { trailers: Some(vec![("x", "y")]), ..whole() },
            "no gRPC answer: its trailer grpc-status is missing",
        ),
        (
            Answer { trailers: Some(vec![("grpc-status", "ok")]), ..whole() },
            "no gRPC answer: its grpc-status is not a number",
        ),
        (Answer { status: 503, ..whole() }, "no gRPC answer: HTTP 503 Service Unavailable"),
        (
            Answer { headers: vec![("content-type", "text/html")], ..whole() },
            "no gRPC answer: its content-type is \"text/html\"",
        ),
        (Answer { headers: vec![], ..whole() }, "no gRPC answer: its content-type is \"\""),
        (Answer { body: &[0, 0, 0, 0, 2, 8, 2], ..whole() }, "answered NOT_SERVING, not SERVING"),
        (Answer { body: &[0, 0, 0, 0, 2, 8, 3], ..whole() }, "answered SERVICE_UNKNOWN, not SERVING"),
        (Answer { body: &[0, 0, 0, 0, 2, 8, 9], ..whole() }, "answered the unknown status 9, not SERVING"),
        (Answer { body: &[0, 0, 0, 0, 0], ..whole() }, "answered UNKNOWN, not SERVING"),
        (Answer { body: &[], ..whole() }, "no gRPC answer: it has no message"),
        (
            Answer { body: &[1, 0, 0, 0, 2, 8, 1], ..whole() },
            "no gRPC answer: its message is compressed, which was not asked for",
        ),
        (
            Answer { body: b"<html>it works</html>", ..whole() },
            "no gRPC answer: its message is compressed, which was not asked for",
        ),
        (in_head("12"), "answered UNIMPLEMENTED (12); the server has no service grpc.health.v1.Health"),
        (in_head("0"), "no gRPC answer: it has no message"),
        (in_head("16"), "answered UNAUTHENTICATED (16)"),
        (in_head("99"), "answered an unknown status (99)"),
        (
            // The status of the call counts, whatever the message says.
            Answer {
                trailers: Some(vec![("grpc-status", "14"), ("grpc-message", "going%20down %zz%0A%")]),
                ..whole()
            },
            "answered UNAVAILABLE (14): going down %zz\\u{a}%",
        ),
    ] {
        let address = scripted(answer).await;
        let error = probe(&GrpcProbe::new(), endpoint(address).protocol("grpc")).await.expect_err(expected);
        assert_eq!(error.to_string(), expected);
        assert_eq!((error.kind(), error.code()), (ErrorKind::Connection, "HEALTH_CHECK_FAILED"));
    }
}

#[tokio::test]
async fn a_body_without_end_is_cut_off() {
    let body: &'static [u8] = Box::leak(vec![0; 1 << 20].into_boxed_slice());
    let answer =
        Answer { status: 200, headers: vec![GRPC], body, trailers: Some(vec![("grpc-status", "0")]) };
    let address = scripted(answer).await;
    let error = probe(&GrpcProbe::new(), endpoint(address).protocol("grpc")).await.expect_err("too large");
    assert!(error.to_string().contains("larger than 65536 bytes"), "{error}");
}

#[tokio::test]
async fn a_server_that_speaks_no_http_2_says_so_and_so_does_one_without_tls() {
    let one = Server::saying("HTTP/1.1 200 OK\r\n\r\n").await;
    let error = probe(&GrpcProbe::new(), one.endpoint().protocol("grpc")).await.expect_err("HTTP/1");
    assert!(error.to_string().starts_with("no HTTP answer: "), "{error}");
    assert!(error.to_string().ends_with("does the server speak HTTP/2?"), "{error}");
    let error = probe(&GrpcProbe::new(), one.endpoint().protocol("grpcs")).await.expect_err("no TLS");
    assert!(error.to_string().contains("does not speak TLS"), "{error}");
}

/// The metadata of the health check arrives, and the authority is the server name without the usual
/// port, or the health check's own `Host`.
#[tokio::test]
async fn metadata_timeout_and_authority_are_sent() {
    let headers = vec![GRPC, ("grpc-status", "16"), ("grpc-message", "echo")];
    let address = scripted(Answer { status: 200, headers, body: &[], trailers: None }).await;
    let check = HealthCheck::builder().header("Authorization", "Bearer t").timeout(SECOND);
    let named = check.clone().header("Host", "own.example:9").build().expect("valid");
    let plain = check.build().expect("valid");
    let port = address.port();
    for (endpoint, said) in [
        (endpoint(address).health_check(plain.clone()), format!("{address} none Bearer t 1000m")),
        (
            endpoint(address).server_name("users.example").health_check(plain),
            format!("users.example:{port} none Bearer t 1000m"),
        ),
        (endpoint(address).health_check(named), "own.example:9 none Bearer t 1000m".to_owned()),
    ] {
        let error = probe(&GrpcProbe::new(), endpoint.protocol("grpc")).await.expect_err("16");
        assert_eq!(error.to_string(), format!("answered UNAUTHENTICATED (16): {said}"));
    }
}

#[tokio::test]
async fn grpcs_is_tls_with_the_authorities_that_are_trusted() {
    let authority = Authority::new("ours");
    let acceptor = acceptor(&authority.server(&["users.example"]), &["h2"], None);
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("binds");
    let address = listener.local_addr().expect("bound");
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.expect("accepts");
            let Ok(stream) = acceptor.accept(stream).await else { continue };
            let trailers = Some(vec![("grpc-status", "0")]);
            tokio::spawn(serve(stream, Answer { status: 200, headers: vec![GRPC], body: SERVING, trailers }));
        }
    });
    let named = || endpoint(address).protocol("grpcs").server_name("users.example");
    let trusting = GrpcProbe::builder().authority_pem(authority.pem()).only_own_authorities().build();
    let found = probe(&trusting.expect("valid"), named()).await.expect("healthy");
    assert_eq!(found.evidence(), "SERVING");
    let error = probe(&GrpcProbe::new(), named()).await.expect_err("not trusted");
    assert!(error.to_string().contains("authority_pem adds an authority"), "{error}");
    for pem in ["", "hello"] {
        assert!(GrpcProbe::builder().authority_pem(pem).build().is_err(), "{pem}");
        assert!(GrpcProbe::builder().client_certificate_pem(pem, pem).build().is_err(), "{pem}");
    }
}
