//! Servers and proxies that answer garbage.

use std::time::Duration;

use failover_tonic::FailoverChannel;
use http::{HeaderMap, HeaderValue, Response};
use http_body_util::StreamBody;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tonic::Code;
use tonic::body::Body;

use crate::greeter::GreeterClient;
use crate::server::{Server, service};

/// A message and these trailers.
fn with_trailers(trailers: HeaderMap) -> Response<Body> {
    let frames = [
        Ok::<_, tonic::Status>(http_body::Frame::data(bytes::Bytes::from_static(b"\0\0\0\0\x01x"))),
        Ok(http_body::Frame::trailers(trailers)),
    ];
    let body = Body::new(StreamBody::new(futures_util::stream::iter(frames)));
    Response::builder().header("content-type", "application/grpc").body(body).expect("valid")
}

fn fields(fields: &[(&'static str, &str)]) -> HeaderMap {
    let field = |(name, value): &(&'static str, &str)| {
        (http::HeaderName::from_static(name), HeaderValue::from_str(value).expect("valid"))
    };
    fields.iter().map(field).collect()
}

/// Asks a server that answers this for a greeting.
async fn asked(answer: impl Fn() -> Response<Body> + Send + Sync + 'static) -> Result<String, tonic::Status> {
    let server = Server::start();
    server.answer(answer);
    let users = service([server.url()]);
    let mut client = GreeterClient::new(FailoverChannel::new(users.clone()));
    let asked = tokio::time::timeout(Duration::from_secs(10), client.hello("ada".to_owned())).await;
    assert_eq!(users.stats().in_flight, 0);
    asked.expect("it ends").map(tonic::Response::into_inner)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn details_that_are_no_base64_are_left_out() {
    let bad = || fields(&[("grpc-status", "13"), ("grpc-message", "x"), ("grpc-status-details-bin", "%%%")]);
    let head = move || {
        let mut response = Response::new(Body::empty());
        *response.headers_mut() = bad();
        response
    };
    for error in [asked(head).await, asked(move || with_trailers(bad())).await] {
        let error = error.expect_err("a status");
        assert_eq!((error.code(), error.message(), error.details()), (Code::Internal, "x", &b""[..]));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn trailers_that_are_too_long_or_missing_are_an_error() {
    let long = "x".repeat(60_000);
    // h2 keeps 16 KiB, and leaves out what follows.
    let huge = move || fields(&[("x-long", &long), ("grpc-status", "0")]);
    let inner = huge.clone();
    let head = move || {
        let mut response = Response::new(Body::empty());
        *response.headers_mut() = inner();
        response
    };
    let error = asked(head).await.expect_err("a head that is too long");
    assert!(error.message().contains("failure"), "it was sent: {error}");
    for trailers in [huge(), HeaderMap::new()] {
        let error = asked(move || with_trailers(trailers.clone())).await.expect_err("no status");
        assert_eq!((error.code(), error.message()), (Code::Unknown, "the reply ended without a status"));
    }
    let garbage = asked(|| with_trailers(fields(&[("grpc-status", "ok")]))).await.expect_err("no code");
    assert_eq!(garbage.code(), Code::Unknown);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_proxys_answer_is_a_status_by_its_http_status() {
    for (status, code) in [(503, Code::Unavailable), (404, Code::Unimplemented), (500, Code::Unknown)] {
        let page = move || Response::builder().status(status).body(Body::empty()).expect("valid");
        assert_eq!(asked(page).await.expect_err("no gRPC").code(), code, "{status}");
    }
}

const SETTINGS: &[u8] = &[0, 0, 0, 4, 0, 0, 0, 0, 0];
/// For the stream that asks.
const REFUSED_STREAM: &[u8] = &[0, 0, 4, 3, 0, 0, 0, 0, 0, 0, 0, 0, 7];
/// The last stream that it names is 0, so that none was begun.
const GOAWAY: &[u8] = &[0, 0, 8, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

/// Starts a server that answers each request with this frame.
async fn refusing(frame: &'static [u8]) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("it is bound"));
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.expect("accepts");
            tokio::spawn(refuse(stream, frame));
        }
    });
    url
}

async fn refuse(mut stream: TcpStream, frame: &[u8]) -> std::io::Result<()> {
    stream.read_exact(&mut [0; 24]).await?;
    stream.write_all(SETTINGS).await?;
    loop {
        let mut head = [0; 9];
        stream.read_exact(&mut head).await?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        stream.read_exact(&mut vec![0; length as usize]).await?;
        // 1 is HEADERS, with which a request begins.
        if head[3] == 1 {
            let mut frame = frame.to_vec();
            if frame == REFUSED_STREAM {
                frame[5..9].copy_from_slice(&head[5..]);
            }
            stream.write_all(&frame).await?;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_that_the_server_has_not_begun_goes_elsewhere_whatever_it_asks() {
    for frame in [REFUSED_STREAM, GOAWAY] {
        let alive = Server::start();
        let users = service([refusing(frame).await, alive.url()]);
        let channel =
            FailoverChannel::builder(users.clone()).with_call(|call, _| call.idempotent(false)).build();
        for _ in 0..4 {
            GreeterClient::new(channel.clone()).hello("ada".to_owned()).await.expect("was not begun");
        }
        assert!(users.stats().attempts.of(failover_core::AttemptClass::NotSent) > 0, "{frame:?}");
    }
}
