//! Regression tests of faults found in reviews.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, mpsc};
use std::time::Duration;

use failover_core::config::{LoadBalancerConfig, RemovalGuard};
use failover_core::events::EventKind;
use failover_core::provider::{
    ConfigKey, ConfigStore, ConfigStream, EndpointEntry, EndpointSet, Provider, ProviderInfo, Query,
    Registry, Revision, StoredConfig, WatchStream,
};
use failover_core::{
    Algorithm, Candidates, Clock, Endpoint, EndpointId, Error, ErrorKind, FailoverConfig, FailoverManager,
    Health, HealthCheck, Lifecycle, ManagerBuilder, Outcome, PerEndpoint, Random, ServiceHandle, ServiceName,
    Strategy, async_trait,
};
use failover_memory::{MemoryCluster, MemoryProvider};
use tokio::time::sleep;

fn ep(id: &str, last: u8) -> Endpoint {
    Endpoint::builder(id, "users", format!("10.0.0.{last}"), 8080).protocol("http").build().expect("works")
}
fn virt(provider: impl Provider) -> ManagerBuilder {
    FailoverManager::builder().provider(provider).clock(Clock::tokio()).random(Random::seeded(1))
}

#[tokio::test(start_paused = true)]
async fn a_newer_document_whose_section_is_a_word_here_is_no_panic() {
    let cluster = MemoryCluster::new();
    let provider = cluster.provider();
    provider.connect().await.expect("works");
    provider
        .config_store()
        .expect("works")
        .store(&ConfigKey::Default, r#"{"v":2,"removal_guard":{"share":0.5,"mode":"x"}}"#, None)
        .await
        .expect("works");
    let manager = virt(cluster.provider()).build().await.expect("works");
    manager
        .configure(
            FailoverConfig::builder().max_retries(1).removal_guard(RemovalGuard::Off).build().expect("works"),
        )
        .await
        .expect("works");
}

struct Slow(MemoryProvider, Arc<tokio::sync::Notify>, Arc<AtomicBool>);
#[async_trait]
impl Provider for Slow {
    fn info(&self) -> ProviderInfo {
        self.0.info()
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
    fn watch(&self, query: &Query) -> Option<WatchStream<'_>> {
        Provider::watch(&self.0, query)
    }
    fn registry(&self) -> Option<&dyn Registry> {
        self.0.registry()
    }
    fn config_store(&self) -> Option<&dyn ConfigStore> {
        Some(self)
    }
}
#[async_trait]
impl ConfigStore for Slow {
    async fn load(&self, key: &ConfigKey) -> Result<Option<StoredConfig>, Error> {
        self.0.load(key).await
    }
    async fn store(
        &self,
        key: &ConfigKey,
        document: &str,
        endpoint: Option<&Revision>,
    ) -> Result<Revision, Error> {
        let result = self.0.store(key, document, endpoint).await;
        self.2.store(true, Ordering::SeqCst);
        self.1.notified().await; // the reply travels
        result
    }
    fn watch(&self) -> ConfigStream<'_> {
        ConfigStore::watch(&self.0)
    }
}

#[tokio::test(start_paused = true)]
async fn a_write_whose_reply_is_late_does_not_undo_a_newer_one() {
    let cluster = MemoryCluster::new();
    let notify = Arc::new(tokio::sync::Notify::new());
    let manager =
        virt(Slow(cluster.provider(), notify.clone(), Arc::default())).build().await.expect("works");
    let other = virt(cluster.provider()).build().await.expect("works");
    manager.register_endpoint(ep("a", 1)).await.expect("works");
    let users = manager.service("users").await.expect("works");
    let same_manager = manager.clone();
    let task = tokio::spawn(async move {
        same_manager.configure(FailoverConfig::builder().max_retries(1).build().expect("works")).await
    });
    sleep(Duration::from_millis(10)).await;
    other.configure(FailoverConfig::builder().max_retries(4).build().expect("works")).await.expect("works");
    sleep(Duration::from_millis(10)).await;
    notify.notify_one();
    task.await.expect("works").expect("works");
    sleep(Duration::from_secs(600)).await;
    let last = users
        .events(usize::MAX)
        .iter()
        .filter(|endpoint| endpoint.kind == EventKind::ConfigApplied)
        .map(|endpoint| endpoint.reason.clone())
        .collect::<Vec<_>>();
    assert_eq!(manager.get_config().await.expect("works").max_retries(), 4);
    assert!(last.last().expect("works").contains("4 retries"), "{last:?}");
}

#[tokio::test(start_paused = true)]
async fn a_guard_that_is_dropped_right_before_the_manager_is_closed_is_deregistered() {
    let cluster = MemoryCluster::new();
    let manager = virt(cluster.provider()).build().await.expect("works");
    let client = virt(cluster.provider()).build().await.expect("works");
    drop(manager.register_self(ep("me", 1)).await.expect("works"));
    manager.close().await.expect("works");
    sleep(Duration::from_secs(60)).await;
    assert_eq!(client.list_endpoints(&Query::all()).await.expect("works").entries().len(), 0);
}

#[tokio::test(start_paused = true)]
async fn values_stay_with_a_service_without_handles() {
    let cluster = MemoryCluster::new();
    let manager = virt(cluster.provider()).keep_idle(Duration::from_secs(1)).build().await.expect("works");
    manager.register_endpoint(ep("a", 1)).await.expect("works");
    let users = manager.service("users").await.expect("works");
    let pools: PerEndpoint<usize> = PerEndpoint::new(&users);
    drop(users);
    sleep(Duration::from_secs(10)).await;
    manager.register_endpoint(ep("b", 2)).await.expect("works");
    let users = manager.service("users").await.expect("works");
    sleep(Duration::from_secs(1)).await;
    let made = AtomicUsize::new(0);
    for _ in 0..10 {
        let pick = users.select().expect("works");
        pools.get_or_init(pick.endpoint(), |_| made.fetch_add(1, Ordering::Relaxed));
        pick.finish(Outcome::Success);
    }
    assert_eq!(made.load(Ordering::Relaxed), 2);
}

#[tokio::test(start_paused = true)]
async fn an_id_that_comes_back_elsewhere_at_once_is_probed_there() {
    let cluster = MemoryCluster::new();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let seen_by_probe = seen.clone();
    let probe = move |endpoint: Arc<Endpoint>| {
        seen_by_probe.lock().expect("works").push(endpoint.address().to_owned());
        async { Ok::<_, Error>(()) }
    };
    let manager = virt(cluster.provider())
        .probe("http", probe)
        .service_config(FailoverConfig::builder().probe_endpoints(true).build().expect("works"))
        .build()
        .await
        .expect("works");
    let check = HealthCheck::builder().path("/h").build().expect("works");
    let with = |last: u8| {
        Endpoint::builder("x", "users", format!("10.0.0.{last}"), 8080)
            .protocol("http")
            .health_check(check.clone())
            .build()
            .expect("works")
    };
    manager.register_endpoint(with(1)).await.expect("works");
    let _h = manager.service("users").await.expect("works");
    sleep(Duration::from_secs(30)).await;
    manager.deregister_endpoint(("users", "x")).await.expect("works");
    sleep(Duration::from_millis(3)).await;
    manager.register_endpoint(with(2)).await.expect("works");
    sleep(Duration::from_secs(1)).await;
    seen.lock().expect("works").clear();
    sleep(Duration::from_secs(60)).await;
    let seen = seen.lock().expect("works").clone();
    assert!(seen.iter().all(|a| a == "10.0.0.2"), "{seen:?}");
}

#[test]
fn a_strategy_that_holds_a_handle_is_dropped_while_no_lock_is_held() {
    let (tx, rx) = mpsc::channel();
    std::thread::spawn(move || {
        let rt = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("works");
        rt.block_on(async {
            let cluster = MemoryCluster::new();
            let manager = FailoverManager::builder()
                .provider(cluster.provider())
                .provider_as("two", Bare(MemoryProvider::new()))
                .build()
                .await
                .expect("works");
            manager.register_endpoint(ep("a", 1)).await.expect("works");
            let other = manager.service("users").await.expect("works");
            let cfg =
                FailoverConfig::builder().custom_strategy(Holds { _handle: other }).build().expect("works");
            manager.provider("two").expect("works").configure(cfg).await.expect("works");
            let cfg2 = FailoverConfig::builder().max_retries(1).build().expect("works");
            manager.provider("two").expect("works").configure(cfg2).await.expect("works");
        });
        tx.send(()).expect("works");
    });
    rx.recv_timeout(Duration::from_secs(5)).expect("no deadlock");
}

#[tokio::test(start_paused = true)]
async fn a_strategy_of_ones_own_is_not_stored_for_others() {
    let cluster = MemoryCluster::new();
    let manager = virt(cluster.provider()).build().await.expect("works");
    let config = FailoverConfig::builder().custom_strategy(Nothing).build().expect("works");
    assert_eq!(manager.configure(config).await.expect_err("refused").kind(), ErrorKind::Unsupported);
    manager.get_config().await.expect("works");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sessions_stay_while_other_endpoints_come_and_go() {
    let cluster = MemoryCluster::new();
    let cfg = FailoverConfig::builder()
        .load_balancer(
            LoadBalancerConfig::builder()
                .sticky(true)
                .algorithm(Algorithm::RoundRobin)
                .build()
                .expect("works"),
        )
        .build()
        .expect("works");
    let manager = FailoverManager::builder()
        .provider(cluster.provider())
        .service_config(cfg)
        .build()
        .await
        .expect("works");
    for number in 1..=100 {
        manager.register_endpoint(ep(&format!("m{number:03}"), number)).await.expect("works");
    }
    let users = manager.service("users").await.expect("works");
    let stop = Arc::new(AtomicBool::new(false));
    let (over, same_users) = (stop.clone(), users.clone());
    let task = std::thread::spawn(move || {
        let (mut moved, mut number, mut at) = (0, 0u64, vec![None; 1000]);
        while !over.load(Ordering::Relaxed) {
            let session = (number % 1000) as usize;
            number += 1;
            let key = format!("s{session}");
            let pick = same_users.call().key(&key).select().expect("works");
            let id = pick.endpoint().id().to_string();
            pick.finish(Outcome::Success);
            if at[session].as_ref().is_some_and(|b: &String| *b != id && b.starts_with('m')) {
                moved += 1;
            }
            at[session] = Some(id);
        }
        (moved, number)
    });
    sleep(Duration::from_millis(100)).await;
    let mut updates = 0;
    let begun = std::time::Instant::now();
    while begun.elapsed() < Duration::from_millis(700) {
        manager.register_endpoint(ep("a", 200)).await.expect("works");
        sleep(Duration::from_millis(5)).await;
        manager.deregister_endpoint(("users", "a")).await.expect("works");
        sleep(Duration::from_millis(5)).await;
        updates += 2;
    }
    stop.store(true, Ordering::Relaxed);
    let (moved, number) = task.join().expect("works");
    assert_eq!(moved, 0, "of {number} calls in {updates} changes");
}

struct Hang(MemoryProvider);
#[async_trait]
impl Provider for Hang {
    fn info(&self) -> ProviderInfo {
        self.0.info()
    }
    async fn connect(&self) -> Result<(), Error> {
        sleep(Duration::from_secs(3)).await;
        self.0.connect().await
    }
    async fn ping(&self) -> Result<(), Error> {
        self.0.ping().await
    }
    async fn close(&self) -> Result<(), Error> {
        Ok(())
    }
    async fn list(&self, query: &Query) -> Result<EndpointSet, Error> {
        self.0.list(query).await
    }
    fn watch(&self, query: &Query) -> Option<WatchStream<'_>> {
        Provider::watch(&self.0, query)
    }
    fn registry(&self) -> Option<&dyn Registry> {
        Some(self)
    }
}
#[async_trait]
impl Registry for Hang {
    async fn register(&self, endpoint: &Endpoint) -> Result<(), Error> {
        let result = self.0.register(endpoint).await;
        sleep(Duration::from_millis(300)).await;
        result
    }
    async fn update(&self, endpoint: &Endpoint) -> Result<(), Error> {
        self.0.update(endpoint).await
    }
    async fn deregister(&self, seen_by_probe: &ServiceName, id: &EndpointId) -> Result<bool, Error> {
        sleep(Duration::from_millis(300)).await;
        self.0.deregister(seen_by_probe, id).await
    }
    async fn get(&self, seen_by_probe: &ServiceName, id: &EndpointId) -> Result<EndpointEntry, Error> {
        self.0.get(seen_by_probe, id).await
    }
    async fn set_health(
        &self,
        seen_by_probe: &ServiceName,
        id: &EndpointId,
        users: Health,
    ) -> Result<(), Error> {
        self.0.set_health(seen_by_probe, id, users).await
    }
    async fn set_lifecycle(
        &self,
        seen_by_probe: &ServiceName,
        id: &EndpointId,
        lifecycle: Lifecycle,
    ) -> Result<(), Error> {
        self.0.set_lifecycle(seen_by_probe, id, lifecycle).await
    }
}

#[tokio::test(start_paused = true)]
async fn a_provider_whose_registration_was_cancelled_still_takes_over() {
    let (one, two) = (MemoryCluster::new(), MemoryCluster::new());
    let manager = virt(one.provider()).build().await.expect("works");
    let provider = two.provider();
    provider.connect().await.expect("works");
    provider.registry().expect("works").register(&ep("b", 2)).await.expect("works");
    let users = manager.service("users").await.expect("works");
    assert!(
        tokio::time::timeout(
            Duration::from_millis(100),
            manager.register_provider_as("two", Hang(two.provider()))
        )
        .await
        .is_err()
    );
    sleep(Duration::from_secs(120)).await;
    assert!(manager.provider_names().len() == 2);
    assert!(users.select().is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_close_that_was_cancelled_forgets_no_guard() {
    let cluster = MemoryCluster::new();
    let manager = virt(Hang(cluster.provider())).build().await.expect("works");
    let client = virt(cluster.provider()).build().await.expect("works");
    let serving = manager.register_self(ep("me", 1)).await.expect("works");
    assert!(tokio::time::timeout(Duration::from_millis(100), manager.close()).await.is_err());
    serving.close().await.expect("works");
    let _ = manager.close().await;
    sleep(Duration::from_secs(60)).await;
    assert_eq!(client.list_endpoints(&Query::all()).await.expect("works").entries().len(), 0);
}

#[tokio::test(start_paused = true)]
async fn serving_that_closing_overtakes_is_an_error_and_leaves_nothing() {
    let cluster = MemoryCluster::new();
    let manager = virt(Hang(cluster.provider())).build().await.expect("works");
    let client = virt(cluster.provider()).build().await.expect("works");
    let same_manager = manager.clone();
    let task = tokio::spawn(async move { same_manager.register_self(ep("me", 1)).await });
    sleep(Duration::from_millis(100)).await;
    manager.close().await.expect("works");
    let served = task.await.expect("works");
    sleep(Duration::from_secs(60)).await;
    assert!(
        served.is_err(),
        "a guard of a closed manager; registered: {}",
        client.list_endpoints(&Query::all()).await.expect("works").entries().len()
    );
}

#[tokio::test(start_paused = true)]
async fn what_a_probe_had_taken_out_comes_back_after_the_manager_is_closed() {
    let cluster = MemoryCluster::new();
    let up = Arc::new(AtomicBool::new(false));
    let is_up = up.clone();
    let probe = move |endpoint: Arc<Endpoint>| {
        let ok = endpoint.address() == "10.0.0.1" || is_up.load(Ordering::Relaxed);
        async move { if ok { Ok(()) } else { Err("down") } }
    };
    let manager = virt(cluster.provider())
        .probe("http", probe)
        .service_config(FailoverConfig::builder().probe_endpoints(true).build().expect("works"))
        .build()
        .await
        .expect("works");
    let check = HealthCheck::builder().path("/h").build().expect("works");
    for number in 1..=2 {
        manager
            .register_endpoint(
                Endpoint::builder(format!("x{number}"), "users", format!("10.0.0.{number}"), 8080)
                    .protocol("http")
                    .health_check(check.clone())
                    .build()
                    .expect("works"),
            )
            .await
            .expect("works");
    }
    let users = manager.service("users").await.expect("works");
    sleep(Duration::from_secs(60)).await;
    manager.close().await.expect("works");
    up.store(true, Ordering::Relaxed);
    sleep(Duration::from_secs(3600)).await;
    let mut seen = BTreeSet::new();
    for _ in 0..50 {
        let provider = users.select().expect("works");
        seen.insert(provider.endpoint().id().to_string());
        provider.finish(Outcome::Success);
        sleep(Duration::from_secs(2)).await;
    }
    assert_eq!(seen.len(), 2, "{}", users.explain());
}

struct Asks(MemoryProvider, Arc<OnceLock<FailoverManager>>);
#[async_trait]
impl Provider for Asks {
    fn info(&self) -> ProviderInfo {
        if let Some(manager) = self.1.get() {
            let _ = manager.stats();
        }
        self.0.info()
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
}
#[test]
fn a_provider_may_ask_its_manager_when_it_is_asked() {
    let (tx, rx) = mpsc::channel();
    std::thread::spawn(move || {
        let rt = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("works");
        rt.block_on(async {
            let cell = Arc::new(OnceLock::new());
            let manager = FailoverManager::builder()
                .provider(Asks(MemoryCluster::new().provider(), cell.clone()))
                .build()
                .await
                .expect("works");
            let _ = cell.set(manager.clone());
            let _ = manager.service("users").await;
        });
        tx.send(()).expect("works");
    });
    rx.recv_timeout(Duration::from_secs(8)).expect("no deadlock");
}

/// A provider without a configuration store, so that a strategy stays in this process.
struct Bare(MemoryProvider);

#[async_trait]
impl Provider for Bare {
    fn info(&self) -> ProviderInfo {
        self.0.info()
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
}

struct Holds {
    _handle: ServiceHandle,
}

impl Strategy for Holds {
    fn pick(&self, _: &Candidates<'_>) -> Option<usize> {
        None
    }
}

struct Nothing;

impl Strategy for Nothing {
    fn pick(&self, _: &Candidates<'_>) -> Option<usize> {
        None
    }
}
