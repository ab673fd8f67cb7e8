//! Misbehaving servers.

use std::future::pending;
use std::time::{Duration, Instant};

use failover_core::{Endpoint, Health};
use failover_probe::HttpProbe;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;

use crate::{Server, endpoint, probe, report};

const SECOND: Duration = Duration::from_secs(1);

#[tokio::test]
async fn one_that_answers_ten_gigabytes_is_believed_by_its_status_and_read_no_further() {
    let sent = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let counted = std::sync::Arc::clone(&sent);
    let server = Server::answering(move |mut stream| {
        let sent = std::sync::Arc::clone(&counted);
        async move {
            let head = "HTTP/1.1 200 OK\r\ncontent-length: 10737418240\r\n\r\n";
            let mut ended = stream.write_all(head.as_bytes()).await;
            while ended.is_ok() {
                ended = stream.write_all(&[b'x'; 16_384]).await;
                sent.fetch_add(16_384, std::sync::atomic::Ordering::Relaxed);
            }
        }
    })
    .await;
    let begun = Instant::now();
    let report = report(server.endpoint(), SECOND).await;
    assert_eq!((report.health, report.evidence.as_str()), (Health::Healthy, "200 OK"));
    assert!(begun.elapsed() < SECOND);
    tokio::time::sleep(SECOND / 5).await;
    let sent = sent.load(std::sync::atomic::Ordering::Relaxed);
    assert!(sent < 64 << 20, "the connection was closed: {sent} bytes");
}

#[tokio::test]
async fn headers_without_end_are_cut_off() {
    let server = Server::answering(|mut stream| async move {
        let mut ended = stream.write_all(b"HTTP/1.1 200 OK\r\n").await;
        while ended.is_ok() {
            ended = stream.write_all(b"x-more: yes\r\n").await;
        }
    })
    .await;
    let error = probe(&HttpProbe::new(), server.endpoint()).await.expect_err("no end");
    assert!(error.to_string().starts_with("no HTTP answer: "), "{error}");
}

#[tokio::test]
async fn one_that_never_answers_or_only_trickles_ends_with_the_timeout() {
    let silent = Server::answering(|stream| async move {
        let _open = stream;
        pending::<()>().await;
    })
    .await;
    let trickling = Server::answering(|mut stream| async move {
        for byte in b"HTTP/1.1 200 OK\r\n\r\n".iter().cycle() {
            if stream.write_all(&[*byte]).await.is_err() {
                return;
            }
            tokio::time::sleep(SECOND / 10).await;
        }
    })
    .await;
    for server in [silent, trickling] {
        let begun = Instant::now();
        let report = report(server.endpoint(), SECOND / 4).await;
        assert_eq!((report.health, report.evidence.as_str()), (Health::Unhealthy, "no answer in 250ms"));
        assert!(begun.elapsed() < 2 * SECOND);
    }
}

#[tokio::test]
async fn one_that_resets_closes_refuses_or_talks_nonsense_is_distinguished_from_one_that_works() {
    let closes = Server::saying("").await;
    let nonsense = Server::saying("SSH-2.0-OpenSSH_9.6\r\n").await;
    let half = Server::saying("HTTP/1.1 200").await;
    for server in [closes, nonsense, half] {
        let error = probe(&HttpProbe::new(), server.endpoint()).await.expect_err("no answer");
        assert!(error.to_string().starts_with("no HTTP answer: "), "{error}");
    }
    // Closing with the request unread resets the connection.
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("binds");
    let address = listener.local_addr().expect("bound");
    let asked = tokio::spawn(async move { probe(&HttpProbe::new(), endpoint(address)).await });
    let (stream, _) = listener.accept().await.expect("accepts");
    stream.readable().await.expect("a request");
    drop(stream);
    let error = asked.await.expect("no panic").expect_err("reset");
    assert!(error.to_string().starts_with("no HTTP answer: "), "{error}");
    drop(listener);
    for protocol in ["http", "https", "tcp"] {
        let report = report(endpoint(address).protocol(protocol), SECOND).await;
        assert_eq!(report.health, Health::Unhealthy);
        assert!(report.evidence.starts_with(&format!("connecting to {address}: ")), "{report}");
    }
}

#[tokio::test]
async fn a_connection_is_enough_for_tcp_and_no_byte_is_sent() {
    let server = Server::saying("").await;
    let report = report(server.endpoint().protocol("tcp"), SECOND).await;
    let evidence = format!("connected to {}", server.address);
    assert_eq!((report.health, report.evidence), (Health::Healthy, evidence));
    tokio::time::sleep(SECOND / 20).await;
    assert_eq!(server.requests(), [""]);
}

#[tokio::test]
async fn a_name_that_cannot_be_resolved_is_named() {
    let endpoint = Endpoint::builder("a", "users", "does-not-exist.invalid", 80).protocol("tcp");
    let report = report(endpoint, 5 * SECOND).await;
    assert_eq!(report.health, Health::Unhealthy);
    assert!(report.evidence.starts_with("does-not-exist.invalid cannot be resolved: "), "{report}");
}
