//! Answers that are invalid, too many, or too few.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use failover_core::provider::{Provider, Query};
use failover_core::{ErrorKind, FailoverManager, RetryAdvice};
use failover_testkit::{FaultServer, Reply, Request, until};
use serde_json::json;
use tokio::time::Instant;

use crate::harness::service;
use crate::scripted::{
    SOON, addresses, builder, event, is_watch, item, list, provider, quiet, slice, status, watches,
};

/// F32: a proxy answers with an HTML page.
#[tokio::test]
async fn a_page_of_html_is_a_fault_that_passes() {
    let count = Arc::new(AtomicUsize::new(0));
    let server = FaultServer::start(move |request| {
        let number = count.fetch_add(1, Ordering::Relaxed);
        async move {
            match number {
                0 => Reply::new(502, "<html><body>Bad gateway</body></html>")
                    .header("content-type", "text/html"),
                1 => Reply::new(200, "<html><body>Log in, please</body></html>")
                    .header("content-type", "text/html"),
                _ if is_watch(&request) => quiet(),
                _ => list(5, &[slice("a", 1, &[1])]),
            }
        }
    })
    .await;
    let provider = provider(&server.url()).await;
    let mut watch = provider.watch(&Query::service(&service("users"))).expect("it watches");
    let error = item(&mut watch, SOON).await.expect_err("a proxy");
    assert_eq!((error.kind(), error.retry()), (ErrorKind::Connection, RetryAdvice::Backoff));
    let error = item(&mut watch, SOON).await.expect_err("a page is no list");
    assert_eq!((error.kind(), error.code()), (ErrorKind::Connection, "BAD_ANSWER"));
    assert_eq!(addresses(&item(&mut watch, SOON).await.expect("a set")), ["10.0.0.1"]);
}

/// R6: garbage of any kind is an error and never an empty set, in lists and in watches.
#[tokio::test]
async fn garbage_is_an_error_and_never_an_empty_set() {
    let whole = json!({"metadata": {"resourceVersion": "5"}, "items": [slice("a", 1, &[1])]}).to_string();
    let garbage: Vec<(&str, Reply)> = vec![
        ("empty", Reply::json(200, "")),
        ("half", Reply::json(200, &whole.as_bytes()[..whole.len() / 2])),
        ("cut off", Reply::truncated(200, whole.clone(), 40)),
        ("a list", Reply::json(200, "[]")),
        ("null", Reply::json(200, "null")),
        ("no metadata", Reply::json(200, "{}")),
        ("items", Reply::json(200, r#"{"metadata":{},"items":{}}"#)),
        ("deep", Reply::json(200, "[".repeat(100_000))),
        ("bytes", Reply::json(200, [0xff, 0xfe, 0x00, b'{'])),
        ("reset", Reply::reset()),
        ("closed", Reply::close()),
        ("no HTTP", Reply::raw("hello\r\n\r\n")),
        ("redirect", Reply::new(302, "").header("location", "http://127.0.0.1:1/elsewhere")),
        ("no content", Reply::new(204, "")),
    ];
    for (name, reply) in garbage {
        let reply = std::sync::Mutex::new(Some(reply));
        let server = FaultServer::start(move |_| {
            let reply = reply.lock().expect("whole").take();
            async move { reply.unwrap_or_else(|| Reply::json(500, "")) }
        })
        .await;
        let listed = provider(&server.url()).await.list(&Query::service(&service("users"))).await;
        let error = listed.expect_err(name);
        assert_eq!(error.kind(), ErrorKind::Connection, "{name}: {error}");
    }
    // Only the invalid entries are rejected.
    let items = json!([null, 7, {}, {"metadata": {"name": "x"}}, slice("a", 1, &[1])]);
    let body = json!({"metadata": {"resourceVersion": "5"}, "items": items}).to_string();
    let server = FaultServer::start(move |_| {
        let body = body.clone();
        async move { Reply::json(200, body) }
    })
    .await;
    let set = provider(&server.url()).await.list(&Query::service(&service("users"))).await.expect("a set");
    assert_eq!((addresses(&set), set.rejected_count()), (vec!["10.0.0.1"], 4));
}

/// R6 in a watch: an unreadable event leads to a new list, and the last endpoints stay.
#[tokio::test]
async fn garbage_in_a_watch_is_listed_again() {
    for garbage in
        ["hello\n", "{\"type\":\n", "[]\n{\"type\":7}\n\n \n{\"type\":\"ADDED\",\"object\":null}\nx\n"]
    {
        let count = Arc::new(AtomicUsize::new(0));
        let server = FaultServer::start(move |request| {
            let number = if is_watch(&request) { count.fetch_add(1, Ordering::Relaxed) } else { usize::MAX };
            let lists = count.load(Ordering::Relaxed);
            async move {
                match number {
                    usize::MAX if lists == 0 => list(5, &[slice("a", 1, &[1])]),
                    usize::MAX => list(9, &[slice("a", 8, &[1, 2])]),
                    0 => Reply::new(200, garbage),
                    _ => quiet(),
                }
            }
        })
        .await;
        let provider = provider(&server.url()).await;
        let mut watch = provider.watch(&Query::service(&service("users"))).expect("it watches");
        assert_eq!(addresses(&item(&mut watch, SOON).await.expect("a set")), ["10.0.0.1"]);
        let mut last = item(&mut watch, SOON).await.expect("the list tells");
        while last.entries().len() < 2 {
            assert_eq!(addresses(&last), ["10.0.0.1"], "{garbage}");
            last = item(&mut watch, SOON).await.expect("the list tells");
        }
        assert_eq!(addresses(&last), ["10.0.0.1", "10.0.0.2"], "{garbage}");
    }
}

/// R4: the engine does not trust a list that is suddenly empty: calls continue.
#[tokio::test(flavor = "multi_thread")]
async fn a_list_that_is_suddenly_empty_takes_no_endpoint_out() {
    let empty = Arc::new(AtomicBool::new(false));
    let emptied = Arc::clone(&empty);
    let server = FaultServer::start(move |request| {
        let empty = emptied.load(Ordering::Relaxed);
        async move {
            match (is_watch(&request), empty) {
                (true, false) => Reply::new(200, event("ERROR", &status(410, "Expired"))),
                (true, true) => quiet(),
                (false, true) => list(9, &[]),
                (false, false) => list(5, &[slice("a", 1, &[1])]),
            }
        }
    })
    .await;
    let provider = provider(&server.url()).await;
    let manager = FailoverManager::builder().provider(provider).build().await.expect("builds");
    let users = manager.service("users").await.expect("a handle");
    users.select().map(drop).expect("one is known");
    empty.store(true, Ordering::Relaxed);
    until(Duration::from_secs(5), "it was asked", async || watches(&server).len() >= 2).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    for _ in 0..1000 {
        users.select().map(drop).expect("what is known is kept");
    }
}

/// R11: a thousand changes in a second are published together, and the newest soon.
#[tokio::test]
async fn a_flood_of_changes_is_published_together() {
    let server = FaultServer::start(async |request: Request| {
        if !is_watch(&request) {
            return list(5, &[slice("a", 1, &[1])]);
        }
        let (sender, reply) = Reply::stream(200);
        tokio::spawn(async move {
            for version in 0..1000_u64 {
                let pods = [1, if version == 999 { 99 } else { (version % 90) as u8 + 2 }];
                if sender.send(event("MODIFIED", &slice("a", 10 + version, &pods))).await.is_err() {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            sender.closed().await;
        });
        reply
    })
    .await;
    let provider = builder(&server.url()).1.settle_time(Duration::ZERO).build().await.expect("builds");
    let mut watch = provider.watch(&Query::service(&service("users"))).expect("it watches");
    let (begun, mut sets) = (Instant::now(), 0_u32);
    loop {
        let set = item(&mut watch, SOON).await.expect("a set");
        sets += 1;
        if addresses(&set).contains(&"10.0.0.99") {
            break;
        }
    }
    let most = begun.elapsed().as_millis() / 10 + 2;
    assert!(u128::from(sets) <= most, "{sets} sets in {:?}", begun.elapsed());
}

/// Events arrive in pieces of any size, several in one, and half of the last one when the
/// connection breaks.
#[tokio::test]
async fn events_are_read_however_they_are_cut() {
    for size in [1, 7, 50, 100_000] {
        let bodies = Arc::new(AtomicUsize::new(0));
        let server = FaultServer::start(move |request| {
            let number = if is_watch(&request) { bodies.fetch_add(1, Ordering::Relaxed) } else { usize::MAX };
            async move {
                if number == usize::MAX {
                    return list(5, &[slice("a", 1, &[1])]);
                }
                if number > 0 {
                    return quiet();
                }
                let (sender, reply) = Reply::stream(200);
                tokio::spawn(async move {
                    let mut bytes = event("MODIFIED", &slice("a", 6, &[1, 2]));
                    bytes.extend_from_slice(b"\r\n\n");
                    bytes.extend(event("ADDED", &slice("b", 7, &[3])));
                    bytes.extend_from_slice(&event("DELETED", &slice("b", 8, &[3]))[..30]);
                    for piece in bytes.chunks(size) {
                        let _ = sender.send(piece.to_vec()).await;
                    }
                });
                reply
            }
        })
        .await;
        let provider = provider(&server.url()).await;
        let users = service("users");
        let mut watch = provider.watch(&Query::service(&users)).expect("it watches");
        loop {
            let set = item(&mut watch, SOON).await.expect("no error");
            if set.entries().len() == 3 {
                break;
            }
        }
        until(SOON, "it goes on where it was", async || watches(&server).len() == 2).await;
        assert_eq!(watches(&server)[1].query("resourceVersion"), Some("7"), "the half event counts as none");
    }
}

/// S5: a page with more entries than a list may have is refused before any of them is parsed.
#[tokio::test]
async fn a_page_with_too_many_entries_is_refused() {
    let mut body = String::from(r#"{"metadata":{"resourceVersion":"5"},"items":[0"#);
    body.push_str(&",0".repeat(2_000_000));
    body.push_str("]}");
    let server = FaultServer::start(move |_| {
        let body = body.clone();
        async move { Reply::json(200, body) }
    })
    .await;
    let (_directory, builder) = builder(&server.url());
    let provider = builder.deadline(Duration::from_secs(30)).build().await.expect("builds");
    let before = crate::security::memory();
    let error = provider.list(&Query::service(&service("users"))).await.expect_err("too many");
    assert_eq!(error.code(), "BAD_ANSWER", "{error}");
    let grown = crate::security::memory().saturating_sub(before);
    assert!(grown < 250 * 1024, "{grown} KiB");
}
