//! Closing a provider that is in use.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use failover_core::provider::{ConfigKey, ConfigStore, Provider, Query, Registry};
use failover_core::{ErrorKind, Health};
use failover_testkit::{FaultServer, Reply, Request, until};
use futures_util::StreamExt;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::harness::{endpoint, service};
use crate::scripted::{SOON, builder, is_slices, is_watch, list, quiet, slice, status};

/// Starts an API server with one lease, which it can be slow to delete, and the last written slice.
async fn server(slow: Arc<AtomicBool>) -> FaultServer {
    let stored = Arc::new(std::sync::Mutex::new(Value::Null));
    FaultServer::start(move |request: Request| {
        let (slow, stored) = (Arc::clone(&slow), Arc::clone(&stored));
        async move {
            let hangs = request.query("labelSelector").is_some_and(|selector| selector.contains("hangs"));
            match (request.method.as_str(), is_slices(&request)) {
                ("GET", true) if is_watch(&request) => quiet(),
                ("GET", true) if hangs => Reply::hang(),
                ("GET", true) if request.query("limit").is_some() => list(5, &[slice("a", 1, &[1])]),
                ("GET", true) => match stored.lock().expect("whole").clone() {
                    Value::Null => Reply::json(404, status(404, "NotFound").to_string()),
                    object => Reply::json(200, object.to_string()),
                },
                ("PATCH" | "PUT", true) => {
                    let mut object: Value = serde_json::from_slice(&request.body).expect("JSON");
                    object["metadata"]["uid"] = "1".into();
                    object["metadata"]["resourceVersion"] = "1".into();
                    *stored.lock().expect("whole") = object.clone();
                    Reply::json(200, object.to_string())
                }
                ("DELETE", true) => {
                    if slow.load(Ordering::Relaxed) {
                        tokio::time::sleep(Duration::from_millis(300)).await;
                    }
                    *stored.lock().expect("whole") = Value::Null;
                    Reply::json(200, "{}")
                }
                ("POST" | "PUT", false) => Reply::json(
                    201,
                    json!({"metadata": {"name": "x", "uid": "l", "resourceVersion": "1"}, "spec": {}})
                        .to_string(),
                ),
                ("DELETE", false) if !slow.load(Ordering::Relaxed) => Reply::hang(),
                ("DELETE", false) => Reply::json(200, "{}"),
                _ => Reply::json(404, status(404, "NotFound").to_string()),
            }
        }
    })
    .await
}

/// During closing, new operations are refused, and those in progress are aborted at its end, not
/// when the provider is dropped.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_begins_once_closing_has_and_nothing_goes_on_after_it() {
    let server = server(Arc::default()).await;
    let (_directory, builder) = builder(&server.url());
    let drain = Duration::from_secs(60);
    let provider = builder.drain_time(drain).build().await.expect("builds");
    let provider = Arc::new(provider);
    let (a, b) = (endpoint("a", "10.0.0.1"), endpoint("b", "10.0.0.2"));
    let users = service("users");
    provider.register(&a).await.expect("registers");
    let mut watch = provider.watch(&Query::service(&users)).expect("it watches");
    watch.next().await.expect("it goes on").expect("a set");
    // In progress: one operation that drains, and one that gets no answer.
    let draining = tokio::spawn({
        let (provider, users, id) = (Arc::clone(&provider), users.clone(), a.id().clone());
        async move { provider.deregister(&users, &id).await.map(drop) }
    });
    let hanging = tokio::spawn({
        let provider = Arc::clone(&provider);
        async move { provider.list(&Query::service(&service("hangs"))).await.map(drop) }
    });
    let count = |method: &str| server.requests().iter().filter(|request| request.method == method).count();
    until(SOON, "it drains", async || count("PUT") >= 1).await;
    let begun = Instant::now();
    let closing = tokio::spawn({
        let provider = Arc::clone(&provider);
        async move { provider.close().await }
    });
    until(SOON, "it says good-bye", async || count("DELETE") == 1).await;
    assert!(watch.next().await.is_none(), "a watch ends with its provider");
    let mut late = provider.watch(&Query::service(&users)).expect("it can be asked");
    assert!(late.next().await.is_none(), "and none begins");
    assert!(ConfigStore::watch(&*provider).next().await.is_none());
    for result in [
        provider.register(&b).await,
        provider.update(&b).await,
        provider.set_health(&users, b.id(), Health::Healthy).await,
        provider.deregister(&users, b.id()).await.map(drop),
        provider.get(&users, b.id()).await.map(drop),
        provider.list(&Query::all()).await.map(drop),
        provider.ping().await,
        provider.load(&ConfigKey::Default).await.map(drop),
        provider.store(&ConfigKey::Default, "{}", None).await.map(drop),
    ] {
        assert_eq!(result.expect_err("it closes").kind(), ErrorKind::Shutdown);
    }
    assert!(begun.elapsed() < Duration::from_millis(500), "while it says good-bye: {:?}", begun.elapsed());
    closing.await.expect("no panic").expect("closes");
    assert!(begun.elapsed() < Duration::from_millis(1200), "{:?}", begun.elapsed());
    for stopped in [draining, hanging] {
        let stopped = tokio::time::timeout(Duration::from_millis(200), stopped).await.expect("it is stopped");
        assert_eq!(stopped.expect("no panic").expect_err("it is closed").kind(), ErrorKind::Shutdown);
    }
    until(SOON, "no connection is left", async || server.open_connections() == 0).await;
    let requests = server.request_count();
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(server.request_count(), requests, "it is quiet");
    provider.connect().await.expect_err("the script knows no version, but it is asked");
    assert!(server.request_count() > requests);
}

/// A deregistration followed at once by closing leaves nothing behind.
#[tokio::test(flavor = "multi_thread")]
async fn a_deregistration_that_is_under_way_comes_to_its_end() {
    let slow = Arc::new(AtomicBool::new(true));
    let server = server(Arc::clone(&slow)).await;
    let (_directory, builder) = builder(&server.url());
    let provider = Arc::new(builder.build().await.expect("builds"));
    let a = endpoint("a", "10.0.0.1");
    provider.register(&a).await.expect("registers");
    let (removed, closed) = tokio::join!(provider.deregister(a.service(), a.id()), async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        provider.close().await
    });
    assert!(removed.expect("it was allowed to begin"));
    closed.expect("closes");
    let deleted = server.requests().iter().filter(|request| request.method == "DELETE").count();
    assert_eq!(deleted, 2, "the slice, and then the lease");
}
