//! Services with endpoints from several providers, and fallback between providers.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use failover_core::config::CircuitBreakerConfig;
use failover_core::events::EventKind;
use failover_core::provider::{EndpointSet, Provider};
use failover_core::{
    Endpoint, Error, ErrorKind, FailoverConfig, FailoverManager, ManagerBuilder, ManagerConfig, ServiceHandle,
};
use failover_memory::MemoryProvider;
use failover_test::{ScriptedProvider, Step};
use tokio::time::sleep;

use crate::{down, emitted, endpoint, picked, until, virtual_manager};

const SECOND: Duration = Duration::from_secs(1);

async fn with(provider: &MemoryProvider, endpoints: &[(&str, u8)]) {
    for (id, last) in endpoints {
        let registry = Provider::registry(provider).expect("it has one");
        registry.register(&endpoint(id, *last)).await.expect("registers");
    }
}

fn two(first: impl Provider, second: impl Provider) -> ManagerBuilder {
    let breaker = CircuitBreakerConfig::builder().recovery_timeout(SECOND).build().expect("valid");
    let config = FailoverConfig::builder().circuit_breaker(breaker).build().expect("valid");
    virtual_manager(Named("first", Arc::new(first))).provider_as("second", second).service_config(config)
}

/// A provider with a configurable kind.
struct Named(&'static str, Arc<dyn Provider>);

#[failover_core::async_trait]
impl Provider for Named {
    fn info(&self) -> failover_core::provider::ProviderInfo {
        failover_core::provider::ProviderInfo::new(self.0, "1")
            .with_trust(failover_core::provider::AddressTrust::InProcess)
    }

    async fn connect(&self) -> Result<(), failover_core::Error> {
        self.1.connect().await
    }

    async fn ping(&self) -> Result<(), failover_core::Error> {
        self.1.ping().await
    }

    async fn close(&self) -> Result<(), failover_core::Error> {
        self.1.close().await
    }

    async fn list(
        &self,
        query: &failover_core::provider::Query,
    ) -> Result<EndpointSet, failover_core::Error> {
        self.1.list(query).await
    }

    fn watch(
        &self,
        query: &failover_core::provider::Query,
    ) -> Option<failover_core::provider::WatchStream<'_>> {
        self.1.watch(query)
    }

    fn registry(&self) -> Option<&dyn failover_core::provider::Registry> {
        self.1.registry()
    }
}

/// Makes 1 000 calls per second for `time`; those to endpoints whose id starts with `dead` fail.
/// Returns how many calls each endpoint served, and how many failed.
async fn calls(users: &ServiceHandle, time: Duration, dead: &str) -> (BTreeMap<String, u32>, u32) {
    let (mut ended, mut failed) = (BTreeMap::new(), 0);
    for _ in 0..time.as_millis() {
        let done = users
            .execute(async |endpoint| {
                if !dead.is_empty() && endpoint.id().as_str().starts_with(dead) {
                    Err("down")
                } else {
                    Ok(())
                }
            })
            .await;
        match done {
            Ok(done) => *ended.entry(done.endpoint.id().to_string()).or_insert(0) += 1,
            Err(_) => failed += 1,
        }
        sleep(Duration::from_millis(1)).await;
    }
    (ended, failed)
}

#[tokio::test(start_paused = true)]
async fn the_next_provider_answers_while_the_endpoints_of_the_default_one_are_down_and_calls_go_back() {
    let (first, script) = ScriptedProvider::watching();
    let primaries = || [endpoint("a-1", 1), endpoint("a-2", 2), endpoint("a-3", 3)];
    script.endpoints(primaries());
    let second = MemoryProvider::new();
    with(&second, &[("b-1", 11), ("b-2", 12), ("b-3", 13)]).await;
    let manager = two(first, second).build().await.expect("builds");
    let users = manager.service("users").await.expect("a handle");
    let (ended, failed) = calls(&users, SECOND, "").await;
    assert_eq!((failed, ended.keys().filter(|id| id.starts_with('b')).count()), (0, 0), "{ended:?}");

    // The provider fails with its endpoints, as when a whole site is lost.
    script.fail(Error::new(ErrorKind::Connection, "connection refused"));
    let (ended, failed) = calls(&users, 5 * SECOND, "a").await;
    assert_eq!((failed, users.is_stale()), (0, true));
    assert!(ended.keys().all(|id| id.starts_with('b')), "{ended:?}");
    let changed = emitted(&users, EventKind::SourceChanged);
    assert_eq!(changed.len(), 1, "{changed:?}");
    assert!(changed[0].contains("second"), "{changed:?}");

    script.endpoints(primaries());
    // They return: no interval of 100 ms gives one of them more than twice its fair share.
    let mut total = 0;
    for _ in 0..100 {
        let (ended, failed) = calls(&users, Duration::from_millis(100), "").await;
        assert_eq!(failed, 0);
        let most = ended.iter().filter(|(id, _)| id.starts_with('a')).map(|(_, count)| *count).max();
        assert!(most.unwrap_or(0) <= 2 * 100 / 3 + 1, "{ended:?}");
        total += ended.values().sum::<u32>();
    }
    assert_eq!(total, 10_000);
    let (ended, _) = calls(&users, SECOND, "").await;
    assert!(ended.keys().all(|id| id.starts_with('a')), "{ended:?}");
    let changed = emitted(&users, EventKind::SourceChanged);
    assert_eq!(changed.len(), 2, "{changed:?}");
    assert!(changed[1].contains("first"), "{changed:?}");
}

#[tokio::test(start_paused = true)]
async fn a_default_provider_that_is_merely_out_of_reach_moves_nothing() {
    let (first, script) = ScriptedProvider::watching();
    let second = MemoryProvider::new();
    with(&second, &[("b", 11)]).await;
    script.endpoints([endpoint("a", 1)]);
    let manager = two(first, second).build().await.expect("builds");
    let users = manager.service("users").await.expect("a handle");
    script.fail(down("connection refused"));
    let stale = || users.is_stale();
    until("stale", SECOND, stale).await;
    sleep(600 * SECOND).await;
    assert_eq!(picked(&users), ["a".to_owned()].into());
    assert_eq!(emitted(&users, EventKind::SourceChanged), Vec::<String>::new());
    assert!(emitted(&users, EventKind::SourceStale)[0].contains("connection refused"));
}

#[tokio::test(start_paused = true)]
async fn a_default_provider_that_never_answers_or_does_not_know_the_service_is_stood_in_for() {
    for step in [Step::Hang, Step::Fail(down("down")), Step::Answer(EndpointSet::unknown_service())] {
        let (first, script) = ScriptedProvider::watching();
        let second = MemoryProvider::new();
        with(&second, &[("b", 11)]).await;
        script.step(step.clone());
        let manager = two(first, second).build().await.expect("builds");
        let users = manager.service("users").await.expect("a handle");
        assert_eq!(picked(&users), ["b".to_owned()].into(), "{step:?}");
        assert_eq!(emitted(&users, EventKind::SourceChanged).len(), 1, "{step:?}");
        if matches!(step, Step::Hang) {
            continue;
        }
        // The provider learns of the service: calls go there.
        script.endpoints([endpoint("a", 1)]);
        until("the default", SECOND, || picked(&users) == ["a".to_owned()].into()).await;
    }
}

#[tokio::test(start_paused = true)]
async fn without_fallback_only_the_default_provider_counts() {
    let (first, second) = (MemoryProvider::new(), MemoryProvider::new());
    with(&second, &[("b", 11)]).await;
    let manager = two(first, second).fallback_enabled(false).build().await.expect("builds");
    let users = manager.service("users").await.expect("a handle");
    assert!(users.select().is_err());
    assert_eq!(users.stats().sources.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn sources_with_tiers_are_asked_for_by_name() {
    let (first, second) = (MemoryProvider::new(), MemoryProvider::new());
    with(&first, &[("a", 1)]).await;
    with(&second, &[("b", 11)]).await;
    let manager = two(first, second).build().await.expect("builds");
    let users = manager.service_from("users", [("second", 0), ("first", 1)]).await.expect("a handle");
    assert_eq!(picked(&users), ["b".to_owned()].into());
    let (ended, failed) = calls(&users, SECOND, "b").await;
    assert_eq!((failed, ended.len()), (0, 1));
    // Other sources for the same service are an error; the same ones return the same handle.
    assert_eq!(manager.service("users").await.expect_err("another way").kind(), ErrorKind::Conflict);
    assert!(manager.service_from("users", [("second", 0), ("first", 1)]).await.is_ok());
    for (sources, kind) in [
        (vec![], ErrorKind::Validation),
        (vec![("first", 0), ("first", 1)], ErrorKind::Validation),
        (vec![("third", 0)], ErrorKind::NotFound),
    ] {
        assert_eq!(manager.service_from("orders", sources).await.expect_err("a mistake").kind(), kind);
    }
    // Two sources in one tier share the calls.
    let orders = |id: &str, last| {
        Endpoint::builder(id, "orders", format!("10.0.1.{last}"), 80).build().expect("valid")
    };
    manager.register_endpoint(orders("c", 1)).await.expect("registers");
    manager.provider("second").expect("there").register_endpoint(orders("d", 2)).await.expect("registers");
    let both = manager.service_from("orders", [("first", 0), ("second", 0)]).await.expect("a handle");
    assert_eq!(picked(&both), ["c".to_owned(), "d".to_owned()].into());
}

#[tokio::test(start_paused = true)]
async fn providers_are_registered_later_too_and_stand_in_from_then_on() {
    let settings = ManagerConfig::builder().default_provider("first").build().expect("valid");
    let manager = virtual_empty(&settings).build().await.expect("builds without a provider");
    let error = manager.service("users").await.expect_err("there is none");
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert!(error.to_string().contains("\"first\""), "{error}");

    let (first, second) = (MemoryProvider::new(), MemoryProvider::new());
    with(&second, &[("b", 11)]).await;
    manager.register_provider_as("first", first.clone()).await.expect("registers");
    let users = manager.service("users").await.expect("a handle");
    assert!(users.select().is_err());
    manager.register_provider_as("second", second).await.expect("registers");
    until("the second", SECOND, || picked(&users) == ["b".to_owned()].into()).await;
    let again = manager.register_provider_as("second", MemoryProvider::new()).await;
    assert_eq!(again.expect_err("a name twice").kind(), ErrorKind::Validation);

    assert_eq!(manager.provider_names().iter().map(|name| &**name).collect::<Vec<_>>(), ["first", "second"]);
    assert_eq!(manager.default_provider().expect("there").name(), "first");
    assert_eq!(manager.provider_infos()["second"].kind(), "memory");
    manager.close().await.expect("closes");
    let late = manager.register_provider(MemoryProvider::new()).await;
    assert_eq!(late.expect_err("closed").kind(), ErrorKind::Shutdown);
    assert!(first.ping().await.is_ok(), "a clone is another provider");
}

fn virtual_empty(settings: &ManagerConfig) -> ManagerBuilder {
    FailoverManager::builder()
        .config(settings)
        .clock(failover_core::Clock::tokio())
        .random(failover_core::Random::seeded(7))
}

#[tokio::test(start_paused = true)]
async fn a_service_with_two_providers_counts_where_each_attempt_went() {
    let (first, second) = (MemoryProvider::new(), MemoryProvider::new());
    with(&first, &[("a", 1)]).await;
    with(&second, &[("b", 11)]).await;
    let manager = two(first, second).build().await.expect("builds");
    let users = manager.service("users").await.expect("a handle");
    calls(&users, SECOND / 10, "").await;
    let (_, failed) = calls(&users, SECOND / 10, "a").await;
    assert_eq!(failed, 0);
    manager.provider("second").expect("there").deregister_endpoint(("users", "b")).await.expect("removes");
    sleep(SECOND).await;
    let stats = manager.provider_stats();
    let (first, second) = (&stats["first"], &stats["second"]);
    let count = |of: &failover_core::inspect::ProviderStats| {
        (of.total_requests, of.successful_requests, of.failed_requests)
    };
    assert_eq!(
        (count(first), count(second)),
        ((105, 100, 5), (100, 100, 0)),
        "what is gone is still counted"
    );
    assert_eq!((first.failovers, first.endpoints, second.endpoints), (5, 1, 0));
    assert!(first.last_failover.is_some() && first.average_response_time.is_some());
    let json = serde_json::to_value(first).expect("serialises");
    for name in [
        "total_requests",
        "successful_requests",
        "failed_requests",
        "health_checks",
        "failovers",
        "recoveries",
        "average_response_time",
        "last_failover",
        "uptime",
        "last_update",
        "provider",
    ] {
        assert!(json.get(name).is_some(), "{name} in {json}");
    }
}
