//! Bodies are streamed.

use std::time::Duration;

use failover_core::{FailoverConfig, ServiceHandle};
use failover_reqwest::Client;
use failover_testkit::HttpServer;
use futures_util::stream;
use http_body_util::{BodyExt, StreamBody};

use crate::support::{Bytes, provide_tls, service};

const KIB: usize = 1024;
const CHUNK: usize = 64 * KIB;

/// A body of this many chunks of 64 KiB, of which nobody knows the length.
fn stream_of(chunks: usize) -> reqwest::Body {
    let chunk = Bytes::from(vec![b'u'; CHUNK]);
    let frames = (0..chunks).map(move |_| Ok::<_, std::io::Error>(http_body::Frame::data(chunk.clone())));
    reqwest::Body::wrap(StreamBody::new(stream::iter(frames)))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_streamed_body_is_replayed_within_the_limit_and_sent_once_above_it() {
    let (frozen, alive) = (HttpServer::start(), HttpServer::start());
    frozen.freeze();
    let users = service([frozen.url(), alive.url()]);
    let client = Client::new(users).expect("a client");
    for _ in 0..2 {
        let response = client.put("http://users/count").body(stream_of(1)).send().await.expect("replayed");
        assert_eq!(response.text().await.expect("a body"), CHUNK.to_string());
    }
    assert_eq!((frozen.requests(), alive.requests()), (1, 2));
    let users = service([frozen.url(), frozen.url().replace("127.0.0.1", "127.0.0.2")]);
    let client = Client::new(users.clone()).expect("a client");
    let error = client.put("http://users/count").body(stream_of(8)).send().await.expect_err("frozen");
    assert!(error.to_string().contains("cannot be repeated"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_download_is_in_flight_until_its_body_ends_or_is_dropped() {
    let server = HttpServer::start();
    let users = service([server.url()]);
    let client = Client::new(users.clone()).expect("a client");
    let first = client.get("http://users/download/64").send().await.expect("an answer");
    let second = client.get("http://users/download/64").send().await.expect("an answer");
    assert_eq!(users.stats().in_flight, 2);
    assert_eq!(first.bytes().await.expect("a whole body").len(), 64 * CHUNK);
    assert_eq!(users.stats().in_flight, 1);
    drop(second);
    assert_eq!(users.stats().in_flight, 0);
}

/// Moves this many chunks up and down, and returns the most bytes that the client held at a time.
fn moved(chunks: usize) -> u64 {
    provide_tls();
    let server = HttpServer::start();
    let patient = Duration::from_secs(600);
    let config = FailoverConfig::builder().timeout(patient).attempt_timeout(patient).build();
    let users = ServiceHandle::builder("users").endpoints([server.url()]).config(config.expect("valid"));
    let users = users.build().expect("valid");
    // On one thread, whose allocations are counted; the server has threads of its own.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let counted = allocation_counter::measure(|| {
        runtime.block_on(async {
            let client = Client::new(users).expect("a client");
            let up =
                client.put("http://users/count").body(stream_of(chunks)).send().await.expect("an answer");
            assert_eq!(up.text().await.expect("a body"), (chunks * CHUNK).to_string());
            let down = client.get(format!("http://users/download/{chunks}")).send().await.expect("an answer");
            let mut body = reqwest::Body::from(down);
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
