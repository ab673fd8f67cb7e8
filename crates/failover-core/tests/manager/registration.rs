//! Self-registration for as long as a guard lives.

mod states;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use failover_core::events::EventKind;
use failover_core::provider::{
    AddressTrust, EndpointEntry, EndpointSet, Provider, ProviderInfo, Query, Registry,
};
use failover_core::{
    Endpoint, EndpointId, Error, ErrorKind, FailoverManager, Lifecycle, ServiceName, async_trait,
};
use failover_memory::{MemoryCluster, MemoryProvider};
use tokio::time::{Instant, sleep};

use crate::{emitted, endpoint, picked, until, virtual_manager};

const SECOND: Duration = Duration::from_secs(1);

async fn two(cluster: &MemoryCluster) -> (FailoverManager, FailoverManager) {
    let server = virtual_manager(cluster.provider()).build().await.expect("builds");
    let client = virtual_manager(cluster.provider()).build().await.expect("builds");
    (server, client)
}

async fn count(manager: &FailoverManager) -> usize {
    manager.list_endpoints(&Query::all()).await.expect("lists").entries().len()
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

/// A registry whose answers to changes of an endpoint take this long, and that can be down.
struct Slow(MemoryProvider, Duration, Arc<AtomicBool>);

impl Slow {
    fn new(answers_in: Duration) -> Self {
        Self(MemoryProvider::new(), answers_in, Arc::default())
    }

    fn up(&self) -> Result<&dyn Registry, Error> {
        if self.2.load(Ordering::SeqCst) {
            return Err(Error::new(ErrorKind::Connection, "connection refused"));
        }
        Ok(Provider::registry(&self.0).expect("it has one"))
    }
}

#[async_trait]
impl Provider for Slow {
    fn info(&self) -> ProviderInfo {
        ProviderInfo::new("slow", "1").with_trust(AddressTrust::InProcess)
    }

    async fn connect(&self) -> Result<(), Error> {
        self.0.connect().await
    }

    async fn ping(&self) -> Result<(), Error> {
        self.0.ping().await
    }

    async fn close(&self) -> Result<(), Error> {
        self.0.close().await
    }

    async fn list(&self, query: &Query) -> Result<EndpointSet, Error> {
        self.0.list(query).await
    }

    fn registry(&self) -> Option<&dyn Registry> {
        Some(self)
    }
}

#[async_trait]
impl Registry for Slow {
    async fn register(&self, endpoint: &Endpoint) -> Result<(), Error> {
        self.up()?.register(endpoint).await
    }

    async fn update(&self, endpoint: &Endpoint) -> Result<(), Error> {
        self.up()?.update(endpoint).await
    }

    async fn deregister(&self, service: &ServiceName, id: &EndpointId) -> Result<bool, Error> {
        sleep(self.1).await;
        self.up()?.deregister(service, id).await
    }

    async fn get(&self, service: &ServiceName, id: &EndpointId) -> Result<EndpointEntry, Error> {
        self.up()?.get(service, id).await
    }

    async fn set_lifecycle(
        &self,
        service: &ServiceName,
        id: &EndpointId,
        lifecycle: Lifecycle,
    ) -> Result<(), Error> {
        sleep(self.1).await;
        self.up()?.set_lifecycle(service, id, lifecycle).await
    }
}

#[tokio::test(start_paused = true)]
async fn closing_the_guard_ends_by_its_deadline_though_the_registry_is_silent() {
    const HOUR: Duration = Duration::from_secs(3600);
    let manager = virtual_manager(Slow::new(HOUR)).build().await.expect("builds");
    for (drain, within, deadline) in [
        (None, None, 10 * SECOND),
        (None, Some(3 * SECOND), 3 * SECOND),
        (Some(Duration::ZERO), None, 10 * SECOND),
        (Some(30 * SECOND), None, 39 * SECOND),
        (Some(30 * SECOND), Some(20 * SECOND), 20 * SECOND),
        (Some(Duration::MAX), Some(20 * SECOND), 20 * SECOND),
    ] {
        let mut serving = manager.register_self(endpoint("me", 1)).await.expect("registers");
        if let Some(drain) = drain {
            serving = serving.drain_for(drain);
        }
        if let Some(within) = within {
            serving = serving.close_within(within);
        }
        let begun = Instant::now();
        let error = serving.close().await.expect_err("the registry is silent");
        assert_eq!(error.kind(), ErrorKind::Timeout);
        assert!(error.to_string().starts_with("deregistering users/me: no answer in "), "{error}");
        let took = begun.elapsed();
        assert!(took <= deadline && took + 3 * SECOND >= deadline, "{took:?} of {deadline:?}");
        sleep(HOUR).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_slow_registry_is_waited_for_within_the_deadline_and_the_drain_leaves_time_for_it() {
    // It answers in 2 s: the drain, and then the deregistration.
    let manager = virtual_manager(Slow::new(2 * SECOND)).build().await.expect("builds");
    for (drain, within, took) in [
        (SECOND, None, 5 * SECOND),
        (20 * SECOND, None, 24 * SECOND),
        (60 * SECOND, Some(20 * SECOND), 19 * SECOND),
    ] {
        let mut serving = manager.register_self(endpoint("me", 1)).await.expect("registers").drain_for(drain);
        if let Some(within) = within {
            serving = serving.close_within(within);
        }
        let begun = Instant::now();
        serving.close().await.expect("it answers");
        assert_eq!(begun.elapsed().as_secs(), took.as_secs());
        assert_eq!(count(&manager).await, 0);
    }
}
