//! What is known of the age of endpoints, and what it costs to know it for many services.

use std::time::Duration;

use failover_core::FailoverManager;
use failover_testkit::{FaultServer, Request, until};

use crate::harness::{calm, endpoint};
use crate::scripted::{builder, is_slices, is_watch, list, quiet, watches};

const SOON: Duration = Duration::from_secs(10);

/// Nothing changes, and the server says so: by bookmarks, and by watches that end as they should.
#[tokio::test(flavor = "multi_thread")]
async fn the_age_counts_from_the_last_answer_and_not_from_the_last_change() {
    let Some(space) = calm().await else { return };
    let provider = space.builder().watch_timeout(Duration::from_secs(5)).build().await.expect("builds");
    let manager = FailoverManager::builder().provider(provider).build().await.expect("builds");
    manager.register_endpoint(endpoint("a", "10.0.0.1")).await.expect("registers");
    let users = manager.service("users").await.expect("a handle");
    until(SOON, "the endpoint", async || users.endpoints().len() == 1).await;
    let mut oldest = Duration::ZERO;
    for _ in 0..32 {
        tokio::time::sleep(Duration::from_millis(500)).await;
        let source = &users.stats().sources[0];
        assert!(!source.stale);
        oldest = oldest.max(source.age.expect("it has answered"));
    }
    assert!(oldest < Duration::from_secs(9), "16 s without a change: {oldest:?}");
}

/// One watch of `ConfigMaps`, however many services there are, and none if it is turned off.
#[tokio::test(flavor = "multi_thread")]
async fn one_watch_of_configuration_serves_all_services() {
    for (stored_config, expected) in [(true, 1), (false, 0)] {
        let answer = async |request: Request| if is_watch(&request) { quiet() } else { list(5, &[]) };
        let server = FaultServer::start(answer).await;
        let provider = builder(&server.url()).1.build().await.expect("builds");
        let manager = FailoverManager::builder().provider(provider).stored_config(stored_config);
        let manager = manager.build().await.expect("builds");
        let mut handles = Vec::new();
        for number in 0..20 {
            handles.push(manager.service(&format!("users-{number}")).await.expect("a handle"));
        }
        let of_slices = || watches(&server).iter().filter(|request| is_slices(request)).count();
        // Sixteen have a watch of their own, the others share one.
        until(SOON, "the watches", async || of_slices() == 17).await;
        let of_configuration = watches(&server).iter().filter(|r| r.path().ends_with("/configmaps")).count();
        assert_eq!(of_configuration, expected);
        let lists =
            server.requests().into_iter().filter(|r| r.path().ends_with("/configmaps") && !is_watch(r));
        assert_eq!(lists.count(), expected);
    }
}
