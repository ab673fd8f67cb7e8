//! A real API server, killed, paused and compacted under load.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use failover_core::provider::{Provider, Query, Registry};
use failover_core::{ErrorKind, FailoverManager, RetryAdvice, ServiceHandle};
use failover_k8s::KubernetesProvider;
use failover_testkit::kubernetes::ControlPlane;
use failover_testkit::until;
use futures_util::StreamExt;
use tokio::time::Instant;

use crate::discovery::controllers;
use crate::harness::{Space, Way, directory, endpoint, ids, next, rough, sees, service};

/// Calls a service a thousand times a second until stopped; returns the number of calls and of
/// failures.
fn calls(users: ServiceHandle, stop: Arc<AtomicBool>) -> tokio::task::JoinHandle<(u64, u64)> {
    let (done, failed) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    tokio::spawn(async move {
        let begun = Instant::now();
        while !stop.load(Ordering::Relaxed) {
            // As many as are due.
            while u128::from(done.load(Ordering::Relaxed)) < begun.elapsed().as_millis() {
                done.fetch_add(1, Ordering::Relaxed);
                let called = users.execute(async |_| Ok::<_, std::io::Error>(())).await;
                failed.fetch_add(u64::from(called.is_err()), Ordering::Relaxed);
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        (done.load(Ordering::Relaxed), failed.load(Ordering::Relaxed))
    })
}

/// F2 and R2: killed under load and restarted. No call fails, and later changes are seen soon.
#[tokio::test(flavor = "multi_thread")]
async fn an_api_server_that_is_restarted_costs_no_call_and_is_found_again() {
    let Some(mut plane) = rough().await else { return };
    let plane = plane.as_mut().expect("it was started");
    let (reader, writer, watcher) = {
        let space = Space::new(&*plane).await;
        (space.provider().await, space.provider().await, space.provider().await)
    };
    for last in 1..=3 {
        writer.register(&endpoint(&format!("u{last}"), &format!("10.0.0.{last}"))).await.expect("registers");
    }
    let manager = FailoverManager::builder().provider(reader).build().await.expect("builds");
    let users = manager.service("users").await.expect("a handle");
    users.ready().await.expect("it is found");
    let stop = Arc::new(AtomicBool::new(false));
    let calling = calls(users.clone(), Arc::clone(&stop));
    let name = service("users");
    let mut watch = watcher.watch(&Query::service(&name)).expect("it watches");
    next(&mut watch).await.expect("a set");
    plane.kill_apiserver();
    let killed = Instant::now();
    until(Duration::from_secs(10), "it is stale", async || users.is_stale()).await;
    println!("measured: stale {:?} after the kill", killed.elapsed());
    plane.start_apiserver().await;
    let (back, outage) = (Instant::now(), killed.elapsed());
    writer.register(&endpoint("u4", "10.0.0.4")).await.expect("registers");
    until(Duration::from_secs(10), "the change is seen", async || users.endpoints().len() == 4).await;
    let fresh = back.elapsed();
    assert!(!users.is_stale());
    println!("measured: fresh {fresh:?} after the return, from an outage of {outage:?}");
    assert!(fresh < Duration::from_secs(5), "{fresh:?}");
    stop.store(true, Ordering::Relaxed);
    let (calls, failed) = calling.await.expect("no panic");
    println!("measured: calls={calls} failed={failed}");
    assert!(failed == 0 && calls > 2000, "calls={calls} failed={failed}");
    // The watch yields errors, but never a smaller set.
    let changed = tokio::time::timeout(Duration::from_secs(10), async {
        loop {
            match watch.next().await.expect("it goes on") {
                Ok(set) if set.entries().len() == 4 => return,
                Ok(set) => assert_eq!(set.entries().len(), 3),
                Err(error) => {
                    assert!(matches!(error.kind(), ErrorKind::Connection | ErrorKind::Timeout), "{error}");
                }
            }
        }
    });
    changed.await.expect("the change is published");
}

/// F3 with a real server: it is paused, keeps its connections, and does not answer.
#[tokio::test(flavor = "multi_thread")]
async fn an_api_server_that_is_paused_blocks_no_caller() {
    let Some(mut plane) = rough().await else { return };
    let plane = plane.as_mut().expect("it was started");
    let provider = {
        let space = Space::new(&*plane).await;
        space.builder().deadline(Duration::from_millis(500)).build().await.expect("builds")
    };
    provider.register(&endpoint("a", "10.0.0.1")).await.expect("registers");
    let users = service("users");
    let mut watch = provider.watch(&Query::service(&users)).expect("it watches");
    next(&mut watch).await.expect("a set");
    plane.pause_apiserver();
    for _ in 0..3 {
        let begun = Instant::now();
        let error = provider.list(&Query::all()).await.expect_err("no answer");
        assert_eq!(error.kind(), ErrorKind::Timeout);
        assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
    }
    plane.resume_apiserver();
    until(Duration::from_secs(10), "answering again", async || provider.list(&Query::all()).await.is_ok())
        .await;
    provider.register(&endpoint("b", "10.0.0.2")).await.expect("registers");
    sees(&mut watch, Duration::from_secs(10), "the change", |set| ids(set) == ["a", "b"]).await;
}

/// F5 with a real server: its store no longer has the watch's version. The set never shrinks.
#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_was_compacted_costs_a_list_and_no_endpoint() {
    let Some(mut plane) = rough().await else { return };
    let plane = plane.as_mut().expect("it was started");
    // Through a forwarder that can be closed, so that the watch misses the changes.
    let way = Way::to(&plane.url(), None).await;
    let port = way.port;
    let (provider, path) = {
        let space = Space::new(&*plane).await;
        space
            .apply("endpointslices", "users-a", &controllers("users-a", "users", &[1, 2, 3]).to_string())
            .await;
        space
            .apply("endpointslices", "users-b", &controllers("users-b", "users", &[4, 5, 6]).to_string())
            .await;
        let url = format!("https://127.0.0.1:{port}");
        let builder = KubernetesProvider::builder().api_server(url, plane.authority(), &space.token_file);
        (builder.namespace(&space.namespace).build().await.expect("builds"), space.path("endpointslices", ""))
    };
    let users = service("users");
    let mut watch = provider.watch(&Query::service(&users)).expect("it watches");
    assert_eq!(next(&mut watch).await.expect("a set").entries().len(), 6);
    let listed = plane.request(plane.admin(), "GET", &path, "").await.body;
    let listed: serde_json::Value = serde_json::from_str(&listed).expect("a list");
    let version = listed["metadata"]["resourceVersion"].as_str().expect("a version").to_owned();
    drop(way);
    plane.request(plane.admin(), "DELETE", &format!("{path}/users-b"), "").await;
    plane.compact().await;
    // The server's cache would still have the events.
    plane.kill_apiserver();
    plane.start_apiserver().await;
    let asked = format!("{path}?watch=true&resourceVersion={version}&timeoutSeconds=1");
    let gone = plane.request(plane.admin(), "GET", &asked, "").await;
    assert!(gone.body.contains("\"code\":410"), "the version is too old by now: {gone:?}");
    let _way = Way::to(&plane.url(), Some(port)).await;
    let mut fewest = 6;
    sees(&mut watch, Duration::from_secs(20), "what was deleted is gone", |set| {
        fewest = fewest.min(set.entries().len());
        set.entries().len() == 3
    })
    .await;
    assert_eq!(fewest, 3, "three are left, and never fewer");
}

/// F7 with a real server: it accepts one request at a time and refuses the others with a retry
/// delay.
#[tokio::test(flavor = "multi_thread")]
async fn an_api_server_that_is_too_busy_is_reported_as_such_and_watched_on() {
    let flags = [
        "--max-requests-inflight=1",
        "--max-mutating-requests-inflight=1",
        "--enable-priority-and-fairness=false",
    ];
    let Some(plane) = ControlPlane::start_with(&directory("busy"), &flags).await else { return };
    let space = Space::new(&plane).await;
    let provider = Arc::new(space.provider().await);
    let again = |error: &failover_core::Error| error.kind() == ErrorKind::Connection;
    // An earlier refusal must not fail the test.
    until(Duration::from_secs(10), "it is registered", async || {
        provider.register(&endpoint("a", "10.0.0.1")).await.is_ok()
    })
    .await;
    let users = service("users");
    let mut watch = provider.watch(&Query::service(&users)).expect("it watches");
    sees(&mut watch, Duration::from_secs(10), "it is there", |set| ids(set) == ["a"]).await;
    let mut lists = tokio::task::JoinSet::new();
    for _ in 0..300 {
        let provider = Arc::clone(&provider);
        lists.spawn(async move { provider.list(&Query::all()).await });
    }
    let mut refused = 0;
    while let Some(listed) = lists.join_next().await {
        if let Err(error) = listed.expect("no panic") {
            assert!(again(&error), "{error}");
            assert_eq!(error.retry(), RetryAdvice::After(Duration::from_secs(1)), "{error}");
            refused += 1;
        }
    }
    println!("measured: {refused} of 300 lists at once were refused");
    assert!(refused > 0, "it was not too busy");
    until(Duration::from_secs(10), "it is registered", async || {
        provider.register(&endpoint("b", "10.0.0.2")).await.is_ok()
    })
    .await;
    sees(&mut watch, Duration::from_secs(15), "the change", |set| ids(set) == ["a", "b"]).await;
}
