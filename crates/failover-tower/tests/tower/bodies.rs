//! Bodies: what is sent again, what is not, and what long ones cost.

use std::time::Duration;

use failover_core::{Algorithm, FailoverConfig, ServiceHandle, StopReason};
use failover_testkit::HttpServer;
use failover_tower::FailoverLayer;
use futures_util::stream;
use http_body_util::{BodyExt, Full, StreamBody};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tower::{Layer, ServiceExt};

use crate::support::{Bytes, client, get, service, text};

const KIB: usize = 1024;
const CHUNK: usize = 64 * KIB;

/// A body of this many chunks of 64 KiB, of which nobody knows the length.
fn stream_of(chunks: usize) -> impl http_body::Body<Data = Bytes, Error = std::io::Error> + Send + 'static {
    let chunk = Bytes::from(vec![b'u'; CHUNK]);
    StreamBody::new(stream::iter((0..chunks).map(move |_| Ok(http_body::Frame::data(chunk.clone())))))
}

fn put<B>(path: &str, body: B) -> http::Request<B> {
    http::Request::put(format!("http://users{path}")).body(body).expect("valid")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_short_body_goes_to_the_next_endpoint_whole_and_a_long_one_is_sent_once() {
    let servers: Vec<_> = (0..2).map(|_| HttpServer::start()).collect();
    let users = service(servers.iter().map(HttpServer::url));
    let requests = || servers.iter().map(HttpServer::requests).sum::<usize>();
    for (bytes, attempts) in [(CHUNK, 4), (CHUNK + 1, 1)] {
        let tower = FailoverLayer::new(users.clone()).layer(client());
        let before = requests();
        let body = Full::new(Bytes::from(vec![b'u'; bytes]));
        let response = tower.oneshot(put("/busy-after-reading", body)).await.expect("an answer");
        assert_eq!(response.status(), 503);
        let sent = requests() - before;
        assert!(if attempts == 1 { sent == 1 } else { sent > 1 }, "{bytes} bytes: {sent} attempts");
    }
    let tower = FailoverLayer::new(users.clone()).replay_limit(2 * CHUNK).layer(client());
    let before = requests();
    let response = tower.oneshot(put("/busy-after-reading", stream_of(2))).await.expect("an answer");
    assert!(response.status() == 503 && requests() > before + 1, "the limit is the user's");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_next_endpoint_gets_the_body_that_a_frozen_one_has_swallowed() {
    let (frozen, alive) = (HttpServer::start(), HttpServer::start());
    frozen.freeze();
    let users = service([frozen.url(), alive.url()]);
    for _ in 0..2 {
        let tower = FailoverLayer::new(users.clone()).layer(client());
        let response = tower.oneshot(put("/count", stream_of(1))).await.expect("no call fails");
        assert_eq!(text(response).await, CHUNK.to_string());
    }
    assert_eq!((frozen.requests(), alive.requests()), (1, 2));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_that_cannot_be_replayed_ends_the_call_with_the_reason() {
    let servers: Vec<_> = (0..2).map(|_| HttpServer::start()).collect();
    servers.iter().for_each(HttpServer::freeze);
    let users = service(servers.iter().map(HttpServer::url));
    let tower = FailoverLayer::new(users).layer(client());
    let error = tower.oneshot(put("/count", stream_of(8))).await.expect_err("nobody answers");
    let call = error.call().expect("the call failed");
    assert!(matches!(call.reason(), StopReason::NotRepeatable), "{error}");
    assert_eq!(call.attempts().len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_long_body_that_nobody_has_touched_goes_to_the_next_endpoint() {
    let (mut killed, alive) = (HttpServer::start(), HttpServer::start());
    killed.kill();
    let users = service([killed.url(), alive.url()]);
    for _ in 0..2 {
        let tower = FailoverLayer::new(users.clone()).layer(client());
        let response = tower.oneshot(put("/count", stream_of(32))).await.expect("no call fails");
        assert_eq!(text(response).await, (32 * CHUNK).to_string());
    }
    assert!(users.stats().retried > 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_that_fails_is_its_senders_fault() {
    let server = HttpServer::start();
    let users = service([server.url()]);
    let broken = StreamBody::new(stream::iter([
        Ok(http_body::Frame::data(Bytes::from_static(b"begin"))),
        Err(std::io::Error::other("the disk is gone")),
    ]));
    let tower = FailoverLayer::new(users.clone()).layer(client());
    let error = tower.oneshot(put("/count", broken)).await.expect_err("half a body");
    assert!(matches!(error.call().expect("a call").reason(), StopReason::NotRepeatable), "{error}");
    let stats = users.stats();
    assert_eq!((stats.attempts.failures(), stats.retried), (0, 0), "not the endpoint's failure");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_download_is_in_flight_until_its_body_ends_or_is_dropped() {
    let servers: Vec<_> = (0..2).map(|_| HttpServer::start()).collect();
    let config = FailoverConfig::builder().load_balancer(
        failover_core::config::LoadBalancerConfig::builder()
            .algorithm(Algorithm::LeastConnections)
            .build()
            .expect("valid"),
    );
    let users = ServiceHandle::builder("users")
        .endpoints(servers.iter().map(HttpServer::url))
        .config(config.build().expect("valid"))
        .build()
        .expect("valid");
    let tower = FailoverLayer::new(users.clone()).layer(client());
    let mut held = Vec::new();
    for number in 1..=6 {
        let response = tower.clone().oneshot(get("/download/64")).await.expect("an answer");
        held.push(response);
        assert_eq!(users.stats().in_flight, number);
    }
    let spread: Vec<_> = users.stats().endpoints.iter().map(|of| of.in_flight).collect();
    assert_eq!(spread, [3, 3], "least connections sees them");
    let bytes = held.pop().expect("six").into_body().collect().await.expect("a whole body").to_bytes();
    assert_eq!((bytes.len(), users.stats().in_flight), (64 * CHUNK, 5), "ended by its reader");
    drop(held);
    assert_eq!(users.stats().in_flight, 0, "dropped");
    let response = tower.oneshot(get("/")).await.expect("an answer");
    let body = response.into_body();
    let mut body = std::pin::pin!(body);
    assert_eq!(users.stats().in_flight, 1);
    body.frame().await.expect("a frame").expect("data");
    assert_eq!(users.stats().in_flight, 0, "the length is known, so the end is");
}

/// Moves this many chunks up and down, and returns the most bytes that the client held at a time.
fn moved(chunks: usize) -> u64 {
    let server = HttpServer::start();
    let users = ServiceHandle::builder("users")
        .endpoints([server.url()])
        .config(FailoverConfig::builder().timeout(Duration::from_secs(600)).build().expect("valid"))
        .build()
        .expect("valid");
    let layer = FailoverLayer::new(users).with_call(|call, _| call.attempt_timeout(Duration::from_secs(600)));
    // On one thread, whose allocations are counted; the server has threads of its own.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let counted = allocation_counter::measure(|| {
        runtime.block_on(async {
            let tower = layer.layer(client());
            let response = tower.oneshot(put("/count", stream_of(chunks))).await.expect("an answer");
            assert_eq!(text(response).await, (chunks * CHUNK).to_string());
            let tower = layer.layer(client());
            let response = tower.oneshot(get(&format!("/download/{chunks}"))).await.expect("an answer");
            let mut body = std::pin::pin!(response.into_body());
            let mut bytes = 0;
            while let Some(frame) = body.frame().await {
                bytes += frame.expect("no break").data_ref().map_or(0, Bytes::len);
            }
            assert_eq!(bytes, chunks * CHUNK);
        });
    });
    counted.bytes_max
}

#[test]
fn a_long_body_passes_through_in_little_memory() {
    let most = moved(64 * KIB * KIB / CHUNK);
    assert!(most < 4 << 20, "{most} bytes at a time for 64 MiB each way");
}

#[test]
#[ignore = "moves 2 GiB"]
fn a_gibibyte_up_and_down_passes_through_in_less_than_8_mib() {
    let most = moved(KIB * KIB * KIB / CHUNK);
    println!("{most} bytes at a time for 1 GiB each way");
    assert!(most < 8 << 20, "{most} bytes at a time");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_response_that_breaks_off_counts_against_its_endpoint() {
    let well = HttpServer::start();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("bound").to_string();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = [0; 4 * KIB];
            let _ = stream.read(&mut request).await;
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nshort").await;
        }
    });
    let users = service([well.url(), format!("http://{address}")]);
    let tower = FailoverLayer::new(users.clone()).layer(client());
    let mut broken = 0;
    for _ in 0..200 {
        let response = tower.clone().oneshot(get("/users/7")).await.expect("a head");
        broken += u32::from(response.into_body().collect().await.is_err());
    }
    assert!((1..=20).contains(&broken), "{broken} of 200");
    let shown = users.explain().to_string();
    assert!(shown.contains("the response broke off"), "{shown}");
    assert_eq!(users.stats().in_flight, 0);
}
