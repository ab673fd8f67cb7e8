//! Two managers on one cluster: each sees the other's changes within 100 ms.

use std::collections::BTreeSet;
use std::time::Duration;

use failover_core::provider::Query;
use failover_core::{FailoverManager, Health, Lifecycle, NoEndpointsReason, ServiceHandle};
use failover_memory::{MemoryCluster, MemoryProvider};

use crate::{endpoint, id, named, picked, until, users, virtual_manager};

const LIMIT: Duration = Duration::from_millis(100);

async fn sees(what: &str, service: &ServiceHandle, condition: impl Fn(&ServiceHandle) -> bool) {
    until(what, LIMIT, || condition(service)).await;
}

fn picks(service: &ServiceHandle, expected: &[&str]) -> bool {
    picked(service) == expected.iter().map(ToString::to_string).collect::<BTreeSet<_>>()
}

fn none(service: &ServiceHandle) -> Option<NoEndpointsReason> {
    service.select().err().map(|none| none.reason())
}

async fn one_sees_what_the_other_does(writer: FailoverManager, reader: FailoverManager) {
    let service = reader.service("users").await.expect("a handle");
    assert_eq!(none(&service), Some(NoEndpointsReason::UnknownService));
    assert!(!writer.deregister_endpoint(("users", "users-1")).await.expect("is no error"));
    assert_eq!(none(&service), Some(NoEndpointsReason::UnknownService));

    writer.register_endpoint(endpoint("users-1", 1)).await.expect("registers");
    sees("the first registration", &service, |service| picks(service, &["users-1"])).await;
    for number in [2, 3] {
        writer.register_endpoint(endpoint(&format!("users-{number}"), number)).await.expect("registers");
    }
    let all = ["users-1", "users-2", "users-3"];
    sees("more registrations", &service, |service| picks(service, &all)).await;

    let heavier = endpoint("users-1", 1).to_builder().weight(5).build().expect("valid");
    writer.update_endpoint(heavier).await.expect("updates");
    let weight = |service: &ServiceHandle| service.endpoint("users-1").map(|endpoint| endpoint.weight());
    sees("a weight", &service, |service| weight(service) == Some(5)).await;

    writer.update_endpoint(endpoint("users-2", 22)).await.expect("updates");
    sees("an address", &service, |service| {
        let picks = (0..20).filter_map(|_| service.select().ok());
        picks.into_iter().any(|pick| pick.endpoint().address() == "10.0.0.22")
    })
    .await;
    assert!(picks(&service, &all));

    writer.set_lifecycle(("users", "users-1"), Lifecycle::Draining).await.expect("drains");
    sees("a drain", &service, |service| picks(service, &["users-2", "users-3"])).await;
    writer.set_health(("users", "users-2"), Health::Unhealthy).await.expect("claims");
    sees("a claim of health", &service, |service| picks(service, &["users-3"])).await;
    writer.set_lifecycle(("users", "users-1"), Lifecycle::InService).await.expect("puts back");
    sees("the end of a drain", &service, |service| picks(service, &["users-1", "users-3"])).await;

    for (number, left) in [(1, &["users-2", "users-3"][..]), (2, &["users-3"]), (3, &[])] {
        let id = format!("users-{number}");
        assert!(writer.deregister_endpoint(("users", id.as_str())).await.expect("is no error"));
        sees("a removal", &service, |service| named(service) == left).await;
    }
    assert_eq!(none(&service), Some(NoEndpointsReason::Empty));
    let orders = reader.service("orders").await.expect("a handle");
    assert_eq!(none(&orders), Some(NoEndpointsReason::UnknownService));

    writer.register_endpoint(endpoint("users-4", 4)).await.expect("registers");
    sees("a return", &service, |service| picks(service, &["users-4"])).await;
    assert!(!service.is_stale());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_managers_see_each_others_changes_within_100_ms() {
    let cluster = MemoryCluster::new();
    let [writer, reader] = [cluster.provider(), cluster.provider()];
    let writer = FailoverManager::builder().provider(writer).build().await.expect("builds");
    let reader = FailoverManager::builder().provider(reader).build().await.expect("builds");
    one_sees_what_the_other_does(writer, reader).await;
}

#[tokio::test(start_paused = true)]
async fn two_managers_see_each_others_changes_within_100_ms_of_virtual_time() {
    let cluster = MemoryCluster::new();
    let writer = virtual_manager(cluster.provider()).build().await.expect("builds");
    let reader = virtual_manager(cluster.provider()).build().await.expect("builds");
    one_sees_what_the_other_does(writer, reader).await;
}

#[tokio::test(start_paused = true)]
async fn a_storm_of_changes_reaches_the_other_manager_as_its_last_state() {
    let provider = MemoryProvider::new();
    let manager = virtual_manager(provider.clone()).build().await.expect("builds");
    let service = manager.service("users").await.expect("a handle");
    for number in 0..2_000_u32 {
        let last = u8::try_from(number % 250).expect("small");
        manager.register_endpoint(endpoint(&format!("users-{last}"), last)).await.expect("registers");
        if number % 3 == 0 {
            provider.drain(&users(), &id(&format!("users-{last}"))).await.expect("drains");
        }
    }
    let expected = manager.list_endpoints(&Query::service(&users())).await.expect("lists").into_entries();
    until("the last state", LIMIT, || service.endpoints() == expected).await;
}
