//! The engine on top of the provider, as programs use it.

use std::time::Duration;

use failover_core::{Endpoint, FailoverConfig, FailoverManager, RegistrationState, ServiceHandle};
use failover_testkit::kubernetes::ControlPlane;
use failover_testkit::until;

use crate::harness::{Space, calm, endpoint};

const SOON: Duration = Duration::from_secs(10);

async fn manager(space: &Space<&'static ControlPlane>) -> FailoverManager {
    FailoverManager::builder().provider(space.provider().await).build().await.expect("builds")
}

fn retries(retries: u32) -> FailoverConfig {
    FailoverConfig::builder().max_retries(retries).build().expect("valid")
}

async fn has(service: &ServiceHandle, retries: u32) {
    until(SOON, "the configuration is applied", async || service.config().max_retries() == retries).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_configuration_that_one_process_stores_is_applied_in_the_others() {
    let Some(space) = calm().await else { return };
    let (here, there) = (manager(&space).await, manager(&space).await);
    here.register_endpoint(endpoint("u1", "10.0.0.1")).await.expect("registers");
    let users = there.service("users").await.expect("a handle");
    let orders = there.service("orders").await.expect("a handle");
    here.configure(retries(5)).await.expect("stores");
    has(&users, 5).await;
    here.configure_service("users", retries(6)).await.expect("stores");
    has(&users, 6).await;
    there.configure(retries(7)).await.expect("replaces another process's document");
    has(&orders, 7).await;
    assert_eq!(users.config().max_retries(), 6, "its own counts first");
    // A later manager has it as soon as its documents have arrived.
    let late = manager(&space).await;
    has(&late.service("users").await.expect("a handle"), 6).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_serves_is_found_drained_and_gone() {
    let Some(space) = calm().await else { return };
    let (server, caller) = (manager(&space).await, manager(&space).await);
    let users = caller.service("users").await.expect("a handle");
    users.select().map(drop).expect_err("no endpoint is registered yet");
    let one = Endpoint::builder("u1", "users", "127.0.0.1", 8080).protocol("http").build().expect("valid");
    let serving = server.register_self(one).await.expect("registers");
    until(SOON, "it is found", async || users.select().is_ok()).await;
    assert_eq!(users.select().expect("one").endpoint().url("/"), "http://127.0.0.1:8080/");
    serving.close().await.expect("goes in order");
    until(SOON, "it is gone", async || users.endpoints().is_empty()).await;
    // Dropping it deregisters as well.
    let serving = server.register_self(endpoint("u2", "10.0.0.2")).await.expect("registers");
    until(SOON, "it is found", async || users.endpoints().len() == 1).await;
    drop(serving);
    until(SOON, "it is gone", async || users.endpoints().is_empty()).await;
    server.close().await.expect("closes");
    assert!(space.objects("leases").await.is_empty() && space.objects("endpointslices").await.is_empty());
}

/// What a user deletes is back by the provider's own care, and an event says so.
#[tokio::test(flavor = "multi_thread")]
async fn what_the_provider_has_restored_is_an_event() {
    let Some(space) = calm().await else { return };
    let provider = space.builder().lease_duration(Duration::from_secs(3)).build().await.expect("builds");
    let manager = FailoverManager::builder().provider(provider).build().await.expect("builds");
    let serving = manager.register_self(endpoint("u1", "10.0.0.1")).await.expect("registers");
    let told = || {
        let events = manager.events(100);
        events.iter().filter(|event| event.reason.starts_with("registered again by its provider: ")).count()
    };
    for (number, kind) in [(1, "endpointslices"), (2, "leases")] {
        let objects = space.objects(kind).await;
        let name = objects[0]["metadata"]["name"].as_str().expect("a name");
        space.admin("DELETE", kind, name, "").await;
        until(Duration::from_secs(25), "the event", async || told() == number).await;
        assert_eq!(space.objects("endpointslices").await.len(), 1);
        assert!(matches!(serving.state(), RegistrationState::Registered));
    }
    tokio::time::sleep(Duration::from_secs(12)).await;
    assert_eq!(told(), 2, "each once");
    serving.close().await.expect("goes in order");
}
