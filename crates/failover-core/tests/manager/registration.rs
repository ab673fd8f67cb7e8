//! Self-registration for as long as a guard lives.

use std::time::Duration;

use failover_core::events::EventKind;
use failover_core::provider::Query;
use failover_core::{ErrorKind, FailoverManager};
use failover_memory::MemoryCluster;
use tokio::time::{Instant, sleep};

use crate::{emitted, endpoint, picked, until, virtual_manager};

const SECOND: Duration = Duration::from_secs(1);

async fn two(cluster: &MemoryCluster) -> (FailoverManager, FailoverManager) {
    let server = virtual_manager(cluster.provider()).build().await.expect("builds");
    let client = virtual_manager(cluster.provider()).build().await.expect("builds");
    (server, client)
}

async fn count(manager: &FailoverManager) -> usize {
    manager.list_endpoints(&Query::all()).await.expect("lists").len()
}

#[tokio::test(start_paused = true)]
async fn closing_the_guard_drains_first_and_then_deregisters() {
    let (server, client) = two(&MemoryCluster::new()).await;
    let serving = server.register_self(endpoint("me", 1)).await.expect("registers").drain_for(2 * SECOND);
    assert_eq!((serving.service().as_str(), serving.id().as_str()), ("users", "me"));
    let users = client.service("users").await.expect("a handle");
    assert_eq!(picked(&users).len(), 1);
    let begun = Instant::now();
    let closing = tokio::spawn(serving.close());
    until("drained", SECOND, || emitted(&users, EventKind::EndpointDown).len() == 1).await;
    assert_eq!((users.endpoints().len(), picked(&users).len()), (1, 0), "still there, without new calls");
    closing.await.expect("no panic").expect("deregisters");
    assert_eq!(begun.elapsed(), 2 * SECOND);
    assert_eq!(count(&client).await, 0);
}

#[tokio::test(start_paused = true)]
async fn dropping_the_guard_or_the_future_that_closes_it_does_the_same() {
    let (server, client) = two(&MemoryCluster::new()).await;
    drop(server.register_self(endpoint("me", 1)).await.expect("registers"));
    assert_eq!(count(&client).await, 1);
    sleep(3 * SECOND).await;
    assert_eq!(count(&client).await, 0);
    let serving = server.register_self(endpoint("me", 1)).await.expect("registers");
    assert!(tokio::time::timeout(SECOND / 10, serving.close()).await.is_err());
    sleep(3 * SECOND).await;
    assert_eq!(count(&client).await, 0);
}

#[tokio::test(start_paused = true)]
async fn closing_the_manager_deregisters_what_it_serves_and_dropping_it_does_not() {
    let cluster = MemoryCluster::new();
    let (server, client) = two(&cluster).await;
    let serving = server.register_self(endpoint("me", 1)).await.expect("registers");
    server.close().await.expect("closes");
    assert_eq!(count(&client).await, 0);
    serving.close().await.expect("is done already");
    assert_eq!(
        server.register_self(endpoint("me", 1)).await.expect_err("closed").kind(),
        ErrorKind::Shutdown
    );

    let (server, client) = two(&cluster).await;
    let serving = server.register_self(endpoint("me", 1)).await.expect("registers");
    drop(server);
    sleep(3 * SECOND).await;
    assert_eq!(count(&client).await, 1, "the guard lives");
    serving.close().await.expect("deregisters");
    assert_eq!(count(&client).await, 0);
}
