//! The client against scripted servers.

#![allow(clippy::disallowed_methods, reason = "tests measure time")]

mod dialing;
mod tls;
mod two;

use std::io::Write as _;
use std::time::{Duration, Instant};

use bytes::Bytes;
use failover_core::{ErrorKind, RetryAdvice, codes};
use failover_testkit::{FaultServer, Reply};
use http::Request;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;
use crate::Secret;

const SECOND: Duration = Duration::from_secs(1);

fn get(url: &str) -> Request<Bytes> {
    Request::get(url).body(Bytes::new()).expect("valid")
}

fn client() -> HttpClientBuilder {
    HttpClient::builder().deadline(SECOND * 5).option_name(HttpOption::MaxBodyBytes, "most_bytes")
}

async fn serving(reply: impl Fn() -> Reply + Send + Sync + 'static) -> FaultServer {
    FaultServer::start(move |_| {
        let reply = reply();
        async { reply }
    })
    .await
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    packer.write_all(bytes).expect("packs");
    packer.finish().expect("packs")
}

#[tokio::test]
async fn a_request_goes_out_as_it_was_built_and_its_answer_comes_back_whole() {
    let body = "x".repeat(100_000);
    let packed = gzip(body.as_bytes());
    let server = serving(move || Reply::new(201, packed.clone()).header("content-encoding", "GZip")).await;
    let client = client().user_agent("test/1.0").build().expect("valid");
    let token = Secret::parse("hunter2", "token").expect("valid").expect("one");
    let mut request =
        Request::put(format!("{}/a/b?c=d", server.url())).body(Bytes::from("ping")).expect("valid");
    request.headers_mut().insert("authorization", token.header("Bearer ").expect("valid"));
    assert!(!format!("{request:?}").contains("hunter2"), "{request:?}");
    let mut response = client.send(request).await.expect("an answer");
    assert_eq!(
        (response.status().as_u16(), response.headers()["content-encoding"].as_bytes()),
        (201, &b"GZip"[..])
    );
    assert_eq!(response.read().await.expect("whole"), body.as_bytes());
    client.send(get(&server.url())).await.expect("an answer");
    let requests = server.requests();
    assert_eq!((requests[0].method.as_str(), requests[0].target.as_str()), ("PUT", "/a/b?c=d"));
    assert_eq!(requests[0].header("authorization"), Some("Bearer hunter2"));
    assert_eq!(requests[0].header("user-agent"), Some("test/1.0"));
    assert_eq!(requests[0].header("accept-encoding"), Some("gzip"));
    assert_eq!(requests[0].header("host"), Some(server.address().to_string().as_str()));
    assert_eq!(requests[0].body, b"ping");
    assert_eq!(server.connections(), 1, "the connection is kept");
}

#[tokio::test]
async fn a_status_that_is_no_success_is_the_error_of_the_contract() {
    for (status, after, code, retry) in [
        (503, "7", codes::SERVER_ERROR, RetryAdvice::After(SECOND * 7)),
        (429, "Sun, 06 Nov 1994 08:49:37 GMT", codes::RATE_LIMITED, RetryAdvice::After(Duration::ZERO)),
        (429, "soon", codes::RATE_LIMITED, RetryAdvice::Backoff),
        (500, "7", codes::SERVER_ERROR, RetryAdvice::Backoff),
        (403, "7", codes::PERMISSION_DENIED, RetryAdvice::Never),
    ] {
        let server = serving(move || Reply::new(status, "").header("retry-after", after)).await;
        let answer = client().build().expect("valid").send(get(&server.url())).await.expect("an answer");
        let error = answer.status_error("list users");
        assert_eq!((error.code(), error.retry()), (code, retry), "{status} {after}");
        let expected = format!("list users: {} answered {status}", server.url());
        assert!(error.to_string().starts_with(&expected), "{error}");
    }
}

#[tokio::test]
async fn a_body_is_cut_off_at_the_limit_also_after_decompression_and_the_option_is_named() {
    let most = 1 << 20;
    let client = client().max_body_bytes(most).build().expect("valid");
    let bomb = gzip(&vec![b' '; 64 << 20]);
    assert!(bomb.len() < most, "{} bytes", bomb.len());
    for (what, server) in [
        ("endless", serving(|| Reply::endless(200, "x".repeat(1000))).await),
        ("one byte more", serving(move || Reply::new(200, vec![b'x'; most + 1])).await),
        ("bomb", serving(move || Reply::new(200, bomb.clone()).header("content-encoding", "gzip")).await),
    ] {
        let mut response = client.send(get(&server.url())).await.expect("a head");
        let error = response.read().await.expect_err(what);
        assert_eq!(error.kind(), HttpErrorKind::TooLarge, "{what}: {error}");
        let expected = format!(
            "request to {}: the answer is larger than 1048576 bytes; most_bytes raises the limit",
            server.url()
        );
        assert_eq!(error.to_string(), expected, "{what}");
        assert_eq!(error.into_error("list").code(), codes::TOO_LARGE);
    }
    let server = serving(move || Reply::new(200, vec![b'x'; most])).await;
    let mut response = client.send(get(&server.url())).await.expect("a head");
    assert_eq!(response.read().await.expect("exactly the limit").len(), most);
}

#[tokio::test]
async fn a_body_that_is_not_encoded_as_it_says_is_an_error() {
    let half = gzip(&[b'x'; 10_000])[..20].to_vec();
    for (what, encoding, body) in [
        ("not gzip", "gzip", b"not gzip at all".to_vec()),
        ("half", "gzip", half),
        ("nothing", "gzip", Vec::new()),
        ("brotli", "br", b"x".to_vec()),
        ("two encodings", "gzip, gzip", b"x".to_vec()),
    ] {
        let server =
            serving(move || Reply::new(200, body.clone()).header("content-encoding", encoding)).await;
        let client = client().build().expect("valid");
        let mut response = client.send(get(&server.url())).await.expect("a head");
        let error = response.read().await.expect_err(what);
        assert_eq!(error.kind(), HttpErrorKind::BadBody, "{what}: {error}");
        assert!(error.to_string().contains("the answer cannot be read"), "{error}");
        let error = error.into_error("list users");
        assert_eq!((error.kind(), error.code()), (ErrorKind::Connection, codes::BAD_ANSWER));
    }
}

#[tokio::test]
async fn the_body_of_another_client_has_the_same_limits() {
    let full = |bytes: Vec<u8>| Full::new(Bytes::from(bytes));
    let plain = HeaderMap::new();
    let mut packed = HeaderMap::new();
    packed.insert("content-encoding", HeaderValue::from_static("gzip"));
    assert_eq!(read_body(&plain, full(vec![b'x'; 10]), 10).await, Ok(vec![b'x'; 10]));
    assert_eq!(read_body(&plain, full(vec![b'x'; 11]), 10).await, Err(ReadBodyError::TooLarge(10)));
    assert_eq!(read_body(&packed, full(gzip(&[b'x'; 10])), 10).await, Ok(vec![b'x'; 10]));
    let bomb = read_body(&packed, full(gzip(&vec![b'x'; 1 << 20])), 1000).await.expect_err("a bomb");
    assert_eq!(bomb, ReadBodyError::TooLarge(1000));
    let error = bomb.into_error("list pods", |never| match never {});
    assert_eq!(error.to_string(), "list pods: the answer is larger than 1000 bytes");
    let half = read_body(&packed, full(gzip(&[b'x'; 100])[..15].to_vec()), 1000).await.expect_err("half");
    let error = half.into_error("list pods", |never| match never {});
    assert_eq!(error.code(), codes::BAD_ANSWER);
}

#[tokio::test]
async fn silence_and_a_trickle_end_at_the_deadline() {
    let client = HttpClient::builder().deadline(SECOND / 2).build().expect("valid");
    let silent = serving(Reply::hang).await;
    let begun = Instant::now();
    let error = client.send(get(&silent.url())).await.expect_err("silence");
    assert_eq!(error.to_string(), format!("request to {}: not done within 500ms", silent.url()));
    let error = error.into_error("list users");
    assert_eq!((error.kind(), error.code()), (ErrorKind::Timeout, codes::TIMEOUT));
    client.send_within(get(&silent.url()), SECOND / 10).await.expect_err("a shorter limit");
    for reply in [|| Reply::black_hole(200), || Reply::trickle(200, "x".repeat(1000), SECOND / 10)] {
        let server = serving(reply).await;
        let mut response = client.send(get(&server.url())).await.expect("a head");
        let error = response.read().await.expect_err("no body");
        assert_eq!(error.kind(), HttpErrorKind::TimedOut, "{error}");
    }
    assert!(begun.elapsed() < SECOND * 4, "{:?}", begun.elapsed());
}

#[tokio::test]
async fn a_long_answer_is_read_piece_by_piece_also_if_it_is_packed() {
    for packed in [false, true] {
        let (sender, receiver) = tokio::sync::mpsc::channel::<Vec<u8>>(1);
        let receiver = std::sync::Mutex::new(Some(receiver));
        let server = FaultServer::start(move |_| {
            let mut receiver = receiver.lock().expect("whole").take().expect("one request");
            let (pieces, reply) = Reply::stream(200);
            tokio::spawn(async move {
                while let Some(piece) = receiver.recv().await {
                    pieces.send(piece).await.expect("it is read");
                }
            });
            async move { if packed { reply.header("content-encoding", "gzip") } else { reply } }
        })
        .await;
        let client = HttpClient::builder().deadline(SECOND / 2).max_body_bytes(10).build().expect("valid");
        let mut response = client.send(get(&server.url())).await.expect("a head");
        let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        // Longer altogether than the limit, which is for one piece.
        for event in ["one\n", "two\n", "three\n", "four\n"] {
            let piece = if packed {
                packer.write_all(event.as_bytes()).and_then(|()| packer.flush()).expect("packs");
                std::mem::take(packer.get_mut())
            } else {
                event.as_bytes().to_vec()
            };
            sender.send(piece).await.expect("it is read");
            let read = timeout(SECOND * 5, response.chunk()).await.expect("it is not held back");
            let read = read.expect("in one piece").expect("not the end");
            assert_eq!(read, event, "packed: {packed}");
        }
        let rest = if packed { packer.finish().expect("packs") } else { Vec::new() };
        sender.send(rest).await.expect("it is read");
        drop(sender);
        assert_eq!(response.chunk().await.expect("the end"), None);
        assert_eq!(response.chunk().await.expect("it stays the end"), None);
    }
}

#[tokio::test]
async fn a_redirect_is_an_answer_and_nobody_else_is_asked() {
    let elsewhere = serving(|| Reply::new(200, "")).await;
    let to = elsewhere.url();
    let server = serving(move || Reply::new(302, "").header("location", &to)).await;
    let client = client().build().expect("valid");
    assert_eq!(client.send(get(&server.url())).await.expect("an answer").status().as_u16(), 302);
    assert_eq!(elsewhere.request_count(), 0);
}

#[tokio::test]
async fn a_connection_that_breaks_is_lost_and_one_that_is_refused_was_not_made() {
    let client = client().build().expect("valid");
    for (what, reply) in [
        ("reset", (|| Reply::reset()) as fn() -> Reply),
        ("closed", || Reply::close()),
        ("no HTTP", || Reply::raw("SSH-2.0-OpenSSH\r\n")),
        ("an endless head", || Reply::raw(format!("HTTP/1.1 200 OK\r\nx: {}", "y".repeat(1 << 20)))),
    ] {
        let server = serving(reply).await;
        let error = client.send(get(&server.url())).await.expect_err(what);
        assert_eq!(error.kind(), HttpErrorKind::ConnectionLost, "{what}: {error}");
        assert!(error.to_string().starts_with(&format!("request to {}: ", server.url())), "{error}");
        assert!(error.into_error("register").is_outcome_unknown());
    }
    let server = serving(|| Reply::truncated(200, "whole", 2)).await;
    let mut response = client.send(get(&server.url())).await.expect("a head");
    assert_eq!(response.read().await.expect_err("half").kind(), HttpErrorKind::ConnectionLost);
    let url = server.url();
    drop(server);
    let error = client.send(get(&format!("{url}/secret?token=x"))).await.expect_err("refused");
    assert!(error.is_refused());
    assert_eq!(error.address(), url);
    assert!(error.to_string().starts_with(&format!("connecting to {url}: Connection refused")), "{error}");
    assert!(!format!("{error:?}").contains("secret"), "{error:?}");
    let error = error.into_error("list users");
    assert_eq!((error.kind(), error.code()), (ErrorKind::Connection, codes::CONNECTION_ERROR));
    assert!(error.to_string().starts_with("list users: connecting to http://127.0.0.1:"), "{error}");
}

#[tokio::test]
async fn what_has_no_absolute_url_is_not_sent() {
    let client = client().build().expect("valid");
    for url in ["/v1/status", "ftp://127.0.0.1/", "127.0.0.1:80"] {
        let error = client.send(get(url)).await.expect_err(url);
        assert_eq!(error.kind(), HttpErrorKind::BadRequest, "{url}: {error}");
        assert_eq!(error.into_error("list").kind(), ErrorKind::Validation);
    }
    let error = client.send(get("http://user:hunter2@127.0.0.1/")).await.expect_err("a password");
    assert!(error.to_string().contains("a user or password"), "{error}");
    assert!(!format!("{error:?}").contains("hunter2"), "{error:?}");
    for builder in [
        HttpClient::builder().deadline(Duration::ZERO),
        HttpClient::builder().deadline(Duration::MAX),
        HttpClient::builder().max_body_bytes(0),
        HttpClient::builder().user_agent("two\nlines"),
    ] {
        assert_eq!(builder.build().expect_err("refused").kind(), ErrorKind::Validation);
    }
}

/// The server answers before, or without ever, reading the request, and closes: as an agent of Consul
/// that has too many connections.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_that_comes_before_the_request_counts() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("binds");
    let address = listener.local_addr().expect("bound");
    tokio::spawn(async move {
        for number in 0.. {
            let (mut stream, _) = listener.accept().await.expect("accepts");
            let answer =
                b"HTTP/1.1 429 Too Many Requests\r\ncontent-length: 2\r\nconnection: close\r\n\r\nhi";
            let _ = stream.write_all(answer).await;
            // Half of them close without reading, which resets the connection.
            if number % 2 == 0 {
                let _ = stream.read(&mut [0; 4096]).await;
            }
        }
    });
    let client = client().build().expect("valid");
    let large = Bytes::from(vec![b'x'; 1 << 20]);
    let host = address.ip().to_string();
    let target = ConnectTarget::new(&host, address.port());
    for number in 0..200 {
        let body = if number % 10 >= 8 { large.clone() } else { Bytes::new() };
        let request = Request::post(format!("http://{address}/")).body(body).expect("valid");
        let response = match number % 2 {
            0 => client.send(request).await,
            _ => client.send_once(request, &target).await,
        };
        let mut response = response.unwrap_or_else(|error| panic!("{number}: {error}"));
        assert_eq!(response.status().as_u16(), 429);
        assert_eq!(response.read().await.expect("whole"), b"hi");
    }
}

#[tokio::test]
async fn a_connection_of_ones_own_ends_with_its_response() {
    let server = serving(|| Reply::endless(200, "x")).await;
    let client = client().build().expect("valid");
    let host = server.address().ip().to_string();
    let target = ConnectTarget::new(&host, server.address().port());
    let request = get("http://users.example:80/health?x=y");
    let response = client.send_once(request, &target).await.expect("an answer");
    let request = &server.requests()[0];
    assert_eq!((request.header("host"), request.target.as_str()), (Some("users.example"), "/health?x=y"));
    drop(response);
    // A dropped request closes it as well, also while the server is silent.
    let silent = serving(Reply::hang).await;
    let silent_target = ConnectTarget::new(&host, silent.address().port());
    for protocol in [HttpProtocol::Http1, HttpProtocol::Http2] {
        let client = crate::HttpClient::builder().protocol(protocol).build().expect("valid");
        let asked = client.send_once(get("http://users.example/"), &silent_target);
        timeout(SECOND / 5, asked).await.expect_err("it is silent");
    }
    failover_testkit::until(SECOND * 5, "both are closed", || async { silent.open_connections() == 0 }).await;
    failover_testkit::until(SECOND * 5, "it is closed", || async { server.open_connections() == 0 }).await;
}
