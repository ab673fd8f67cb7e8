//! HTTP/2, in the clear and over TLS, against hyper's server.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use failover_testkit::certificates::Authority;
use http::{HeaderMap, Version};
use hyper::body::{Body, Frame};
use hyper::server::conn::http2 as server;
use hyper::service::service_fn;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsAcceptor;

use super::tls::server_config;
use super::*;

/// A body of given frames.
struct Frames(VecDeque<Frame<Bytes>>);

impl Body for Frames {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        Poll::Ready(self.0.pop_front().map(Ok))
    }
}

/// Answers each request with its path as body, and a trailer.
async fn serve(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) {
    let service = service_fn(|request: Request<Incoming>| async move {
        assert_eq!(request.version(), Version::HTTP_2);
        assert_eq!(request.headers().get("host"), None);
        let mut trailers = HeaderMap::new();
        trailers.insert("x-end", HeaderValue::from_static("yes"));
        let path = Bytes::from(request.uri().to_string());
        Ok::<_, std::convert::Infallible>(http::Response::new(Frames(VecDeque::from([
            Frame::data(path),
            Frame::trailers(trailers),
        ]))))
    });
    let _ = server::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service).await;
}

async fn start(tls: Option<TlsAcceptor>) -> (SocketAddr, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("binds");
    let address = listener.local_addr().expect("bound");
    let connections = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&connections);
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.expect("accepts");
            count.fetch_add(1, Ordering::Relaxed);
            let tls = tls.clone();
            tokio::spawn(async move {
                match tls {
                    None => serve(stream).await,
                    Some(tls) => match tls.accept(stream).await {
                        Ok(stream) => serve(stream).await,
                        Err(error) => println!("{error}"),
                    },
                }
            });
        }
    });
    (address, connections)
}

#[tokio::test]
async fn in_the_clear_requests_share_a_connection_and_trailers_are_kept() {
    let (address, connections) = start(None).await;
    let client = client().protocol(HttpProtocol::Http2).build().expect("valid");
    let url = format!("http://{address}/a?b");
    let (one, two) = tokio::join!(client.send(get(&url)), client.send(get(&url)));
    for response in [one, two] {
        let mut response = response.expect("an answer");
        assert_eq!(response.trailers(), None, "not before the end");
        assert_eq!(response.read().await.expect("whole"), url.as_bytes());
        assert_eq!(response.trailers().expect("one")["x-end"], "yes");
    }
    client.send(get(&url)).await.expect("an answer");
    assert_eq!(connections.load(Ordering::Relaxed), 1);
    let host = address.ip().to_string();
    let target = ConnectTarget::new(&host, address.port());
    let mut response = client.send_once(get("http://users.example/x"), &target).await.expect("an answer");
    assert_eq!(response.read().await.expect("whole"), b"http://users.example/x");
    assert_eq!(response.trailers().expect("one")["x-end"], "yes");
    assert_eq!(connections.load(Ordering::Relaxed), 2);
}

#[tokio::test]
async fn over_tls_both_sides_agree_on_it_or_the_error_says_so() {
    let authority = Authority::new("ours");
    let mut config = server_config(&authority.server(&["127.0.0.1"]), None);
    let without = TlsAcceptor::from(Arc::new(config.clone()));
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    let other = TlsAcceptor::from(Arc::new(config.clone()));
    config.alpn_protocols.push(b"h2".to_vec());
    let (address, _) = start(Some(TlsAcceptor::from(Arc::new(config)))).await;
    let tls = Tls::builder().ca_pem(authority.pem()).build().expect("valid");
    let client = client().protocol(HttpProtocol::Http2).tls(tls).build().expect("valid");
    let url = format!("https://{address}/");
    assert_eq!(client.send(get(&url)).await.expect("an answer").read().await.expect("whole"), url.as_bytes());
    for (acceptor, part) in [(without, "does not offer HTTP/2"), (other, "does not speak the protocol")] {
        let (address, _) = start(Some(acceptor)).await;
        let error = client.send(get(&format!("https://{address}/"))).await.expect_err(part);
        assert_eq!(error.kind(), HttpErrorKind::Tls);
        assert!(error.to_string().contains(part), "{error}");
    }
}

#[tokio::test]
async fn a_server_of_the_other_version_is_an_error_that_says_so() {
    let one = serving(|| Reply::new(200, "")).await;
    let two = client().protocol(HttpProtocol::Http2).build().expect("valid");
    let error = two.send(get(&one.url())).await.expect_err("HTTP/1");
    assert_eq!(error.kind(), HttpErrorKind::ConnectionLost, "{error}");
    assert!(error.to_string().contains("does the server speak HTTP/2?"), "{error}");
    let (address, _) = start(None).await;
    let error =
        client().build().expect("valid").send(get(&format!("http://{address}/"))).await.expect_err("HTTP/2");
    assert_eq!(error.kind(), HttpErrorKind::ConnectionLost, "{error}");
}
