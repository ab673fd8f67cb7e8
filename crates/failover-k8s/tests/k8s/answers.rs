//! Invalid responses to writes.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use failover_core::provider::{ConfigKey, ConfigStore, Provider, Registry};
use failover_core::{ErrorKind, Health};
use failover_testkit::{FaultServer, Reply, Request, until};

use crate::scripted::builder;

/// S7: whatever an API server answers to a write, the writer returns an error or continues, and
/// nothing panics.
#[tokio::test]
async fn garbage_in_answer_to_a_write_is_an_error_and_no_panic() {
    let garbage = [
        "null",
        "[]",
        "7",
        "\"x\"",
        "{}",
        r#"{"metadata":null,"spec":7}"#,
        r#"{"metadata":{"uid":7,"resourceVersion":[]}}"#,
    ];
    for answer in garbage {
        let server = FaultServer::start(move |request| {
            let is_service = request.path().contains("/services/");
            async move { Reply::json(if is_service { 404 } else { 200 }, answer) }
        })
        .await;
        let (_directory, builder) = builder(&server.url());
        let provider =
            builder.lease_duration(Duration::from_secs(3)).reaper(true).build().await.expect("builds");
        let one = crate::harness::endpoint("a", "10.0.0.1");
        let (users, a) = (one.service(), one.id());
        let key = ConfigKey::Default;
        let revision = failover_core::provider::Revision::new("/");
        for result in [
            provider.register(&one).await,
            provider.update(&one).await,
            provider.set_health(users, a, Health::Unhealthy).await,
            provider.get(users, a).await.map(drop),
            provider.load(&key).await.map(drop),
            provider.store(&key, "{}", Some(&revision)).await.map(drop),
        ] {
            let error = result.expect_err(answer);
            assert_ne!(error.kind(), ErrorKind::Internal, "{answer}: {error}");
        }
        let _ = provider.deregister(users, a).await;
        let _ = provider.store(&key, "{}", None).await;
        tokio::time::sleep(Duration::from_millis(100)).await;
        provider.close().await.expect("closes");
    }
    // A lease that turns into another object while it is held.
    let leases = Arc::new(AtomicUsize::new(0));
    let server = FaultServer::start(move |request: Request| {
        let is_lease = request.path().contains("/leases");
        let number = if is_lease { leases.fetch_add(1, Ordering::Relaxed) } else { 0 };
        let body = match (is_lease, number) {
            (true, 0) => r#"{"metadata":{"uid":"l","resourceVersion":"1"},"spec":{}}"#,
            (true, _) => r#"{"metadata":{"uid":"l","resourceVersion":"2"},"spec":[]}"#,
            _ => "{}",
        };
        let status = if request.path().contains("/services/") { 404 } else { 200 };
        async move { Reply::json(status, body) }
    })
    .await;
    let (_directory, builder) = builder(&server.url());
    let provider =
        builder.lease_duration(Duration::from_secs(3)).reaper(false).build().await.expect("builds");
    provider.register(&crate::harness::endpoint("a", "10.0.0.1")).await.expect("registers");
    let renewals = async || server.requests().iter().filter(|request| request.method == "PUT").count() >= 3;
    until(Duration::from_secs(5), "it is tried again and again", renewals).await;
    provider.close().await.expect("closes");
}
