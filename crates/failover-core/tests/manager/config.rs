//! Configuration that is stored, watched and applied during calls.

use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use failover_core::config::CircuitBreakerConfig;
use failover_core::events::EventKind;
use failover_core::provider::{
    ConfigKey, ConfigSet, ConfigStore, ConfigStream, EndpointSet, Provider, ProviderInfo, Query, Registry,
    Revision, StoredConfig, WatchStream,
};
use failover_core::{Error, ErrorKind, FailoverConfig, FailoverManager, ServiceHandle, async_trait};
use failover_memory::{MemoryCluster, MemoryProvider};
use tokio::sync::mpsc;
use tokio::time::sleep;

use crate::{emitted, endpoint, endpoint_of, until, users, virtual_manager};

fn retries(retries: u32) -> FailoverConfig {
    FailoverConfig::builder().max_retries(retries).build().expect("valid")
}

async fn has(service: &ServiceHandle, retries: u32) {
    let what = format!("{retries} retries");
    until(&what, Duration::from_millis(100), || service.config().max_retries() == retries).await;
}

async fn service(manager: &FailoverManager, name: &str) -> ServiceHandle {
    manager.register_endpoint(endpoint_of(name, "a", 1)).await.expect("registers");
    manager.service(name).await.expect("a handle")
}

#[tokio::test(start_paused = true)]
async fn a_services_own_document_counts_before_that_of_all_and_before_what_was_built() {
    let cluster = MemoryCluster::new();
    let here = virtual_manager(cluster.provider()).service_config(retries(4)).build().await.expect("builds");
    let there = virtual_manager(cluster.provider()).build().await.expect("builds");
    let (users, orders) = (service(&here, "users").await, service(&here, "orders").await);
    let users_there = service(&there, "users").await;
    assert_eq!((users.config().max_retries(), here.get_config().await.expect("reads").max_retries()), (4, 4));

    here.configure(retries(5)).await.expect("stores");
    assert_eq!((users.config().max_retries(), orders.config().max_retries()), (5, 5), "here at once");
    has(&users_there, 5).await;
    there.configure_service("users", retries(6)).await.expect("stores");
    has(&users_there, 6).await;
    has(&users, 6).await;
    here.configure(retries(7)).await.expect("stores");
    has(&orders, 7).await;
    sleep(Duration::from_secs(1)).await;
    assert_eq!((users.config().max_retries(), users_there.config().max_retries()), (6, 6));

    assert_eq!(here.get_config().await.expect("reads").max_retries(), 7);
    assert_eq!(here.get_service_config("users").await.expect("reads").max_retries(), 6);
    assert_eq!(here.get_service_config("orders").await.expect("reads").max_retries(), 7);
    // A later manager has it before its first call.
    let late = virtual_manager(cluster.provider()).build().await.expect("builds");
    assert_eq!(late.service("users").await.expect("a handle").config().max_retries(), 6);
}

#[tokio::test(start_paused = true)]
async fn a_services_document_inherits_what_it_does_not_give() {
    let cluster = MemoryCluster::new();
    let breaker = |failures| CircuitBreakerConfig::builder().failure_threshold(failures).jitter(0.0);
    let built = FailoverConfig::builder()
        .timeout(Duration::from_secs(2))
        .attempt_timeout(Duration::from_secs(1))
        .circuit_breaker(breaker(3).build().expect("valid"));
    let manager = virtual_manager(cluster.provider()).service_config(built.build().expect("valid"));
    let manager = manager.build().await.expect("builds");
    let users = service(&manager, "users").await;

    // Written in code: the values that were set are given, and no others.
    let delay = FailoverConfig::builder().retry_delay(Duration::from_millis(7)).build().expect("valid");
    manager.configure(delay).await.expect("stores");
    manager.configure_service("users", retries(1)).await.expect("stores");
    let config = users.config();
    assert_eq!((config.max_retries(), config.timeout()), (1, Duration::from_secs(2)));
    assert_eq!(config.retry_delay(), Duration::from_millis(7));
    assert_eq!(config.circuit_breaker().failure_threshold(), 3);
    assert_eq!(config.origin("max_retries"), Some("the configuration of users in memory"));
    assert_eq!(config.origin("retry_delay"), Some("the configuration of all services in memory"));
    assert_eq!(config.origin("timeout"), None);
    assert_eq!(*config, manager.get_service_config("users").await.expect("reads"));
    let text = users.explain().to_string();
    assert!(
        text.contains("max_retries 1 (the configuration of users in memory)")
            && text.contains("timeout 2s (set in code)")
            && text.contains("circuit_breaker.failure_threshold 3 (set in code)"),
        "{text}"
    );
    // A value that equals the default was given nonetheless.
    let whole = FailoverConfig::builder().timeout(Duration::from_secs(30)).build().expect("valid");
    manager.configure_service("users", whole).await.expect("stores");
    assert_eq!((users.config().timeout(), users.config().max_retries()), (Duration::from_secs(30), 2));

    // Written by hand: single values of a section.
    let (provider, key) = (cluster.provider(), ConfigKey::Service(users.name().clone()));
    let replace = async |document: &str| {
        let stored = provider.load(&key).await.expect("loads").expect("is there");
        provider.store(&key, document, Some(stored.revision())).await.expect("stores");
        sleep(Duration::from_millis(200)).await;
    };
    replace(r#"{"circuit_breaker": {"recovery_timeout": "1s"}, "timeout": "500ms"}"#).await;
    let config = users.config();
    let breaker = config.circuit_breaker();
    assert_eq!((breaker.failure_threshold(), breaker.recovery_timeout()), (3, Duration::from_secs(1)));
    assert_eq!(config.timeout(), Duration::from_millis(500), "an inherited attempt timeout gives way");
    assert_eq!(config.max_retries(), 2);

    // What only one of the layers lacks is no error; what all lack is one, and the last stays.
    replace(r#"{"strategy": "geographic", "max_retries": 6}"#).await;
    let rejected = emitted(&users, EventKind::ConfigRejected);
    assert!(rejected.last().expect("emitted").contains("needs `locality.zone`"), "{rejected:?}");
    assert_ne!(users.config().max_retries(), 6);
    let locality = failover_core::config::Locality::zone_of("eu-1").expect("valid");
    let here = FailoverConfig::builder().locality(locality).build().expect("valid");
    manager.configure(here).await.expect("stores");
    has(&users, 6).await;
    assert_eq!(emitted(&users, EventKind::ConfigRejected).len(), rejected.len(), "reported once");
}

#[tokio::test(start_paused = true)]
async fn a_bad_document_is_reported_and_the_last_good_one_stays() {
    let cluster = MemoryCluster::new();
    let manager = virtual_manager(cluster.provider()).build().await.expect("builds");
    let users = service(&manager, "users").await;
    manager.configure_service("users", retries(5)).await.expect("stores");
    let (provider, key) = (cluster.provider(), ConfigKey::Service(users.name().clone()));
    for (document, named) in
        [("<html>", "not valid JSON"), (r#"{"max_retrys": 3}"#, "did you mean max_retries?")]
    {
        let stored = provider.load(&key).await.expect("loads").expect("is there");
        provider.store(&key, document, Some(stored.revision())).await.expect("stores");
        sleep(Duration::from_millis(100)).await;
        assert_eq!(users.config().max_retries(), 5, "{document}");
        let rejected = emitted(&users, EventKind::ConfigRejected);
        assert!(rejected.last().expect("emitted").contains(named), "{rejected:?}");
        let error = manager.get_service_config("users").await.expect_err("it cannot be used");
        assert!(error.to_string().contains(named), "{error}");
    }
    // Configuring again fixes it.
    manager.configure_service("users", retries(8)).await.expect("stores");
    has(&users, 8).await;
}

#[tokio::test(start_paused = true)]
async fn a_newer_document_is_applied_as_far_as_it_is_known_and_kept_whole() {
    let cluster = MemoryCluster::new();
    let manager = virtual_manager(cluster.provider()).build().await.expect("builds");
    let users = service(&manager, "users").await;
    let (provider, key) = (cluster.provider(), ConfigKey::Default);
    let newer = r#"{"v": 2, "max_retries": 9, "telepathy": true}"#;
    provider.store(&key, newer, None).await.expect("stores");
    has(&users, 9).await;
    let events = manager.events(usize::MAX);
    assert!(events.iter().any(|event| event.reason.contains("without telepathy")), "{events:?}");
    manager.configure(retries(3)).await.expect("stores");
    has(&users, 3).await;
    let stored = provider.load(&key).await.expect("loads").expect("is there");
    assert!(stored.document().contains("\"telepathy\":true"), "{}", stored.document());
}

#[tokio::test]
async fn two_writers_never_lose_a_document_and_compare_and_swap_is_kept() {
    let provider = MemoryProvider::new();
    let key = ConfigKey::Service(users());
    let first = provider.store(&key, "1", None).await.expect("nothing was there");
    let error = provider.store(&key, "2", None).await.expect_err("something is there");
    assert_eq!(error.kind(), ErrorKind::Conflict);
    let second = provider.store(&key, "2", Some(&first)).await.expect("it was the newest");
    assert_eq!(provider.store(&key, "3", Some(&first)).await.expect_err("old").kind(), ErrorKind::Conflict);
    assert_ne!(first, second);
    let other = Revision::new("another registry's");
    assert!(provider.store(&ConfigKey::Default, "1", Some(&other)).await.is_err());
    let large = "x".repeat(512 * 1024 + 1);
    assert_eq!(
        provider.store(&key, &large, Some(&second)).await.expect_err("large").kind(),
        ErrorKind::Validation
    );
}

#[tokio::test(start_paused = true)]
async fn a_service_is_configured_before_its_first_endpoint_exists() {
    let cluster = MemoryCluster::new();
    let manager = virtual_manager(cluster.provider()).build().await.expect("builds");
    let before = manager.get_service_config("users").await.expect("reads");
    assert_eq!(before.max_retries(), FailoverConfig::default().max_retries());
    manager.configure_service("users", retries(7)).await.expect("stores");
    assert_eq!(manager.get_service_config("users").await.expect("reads").max_retries(), 7);
    let other = virtual_manager(cluster.provider()).build().await.expect("builds");
    assert_eq!(service(&other, "users").await.config().max_retries(), 7);
}

#[tokio::test(start_paused = true)]
async fn a_document_that_cannot_be_read_is_rejected_and_replaced_by_the_next_one() {
    for garbage in ["", "\u{fffd}\u{fffd}\u{0}", "[]", "{", "{\"max_retries\": \"x\"}"] {
        let cluster = MemoryCluster::new();
        let provider = cluster.provider();
        provider.connect().await.expect("connects");
        let key = ConfigKey::Service(users());
        provider.store(&key, garbage, None).await.expect("stores");
        let manager = virtual_manager(cluster.provider()).build().await.expect("builds");
        let users = service(&manager, "users").await;
        assert_eq!(emitted(&users, EventKind::ConfigRejected).len(), 1, "{garbage:?}");
        manager.configure_service("users", retries(4)).await.expect("replaces it");
        has(&users, 4).await;
        assert_eq!(manager.get_service_config("users").await.expect("reads").max_retries(), 4);
    }
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_configured_says_why_and_changes_nothing() {
    let cluster = MemoryCluster::new();
    let manager = virtual_manager(cluster.provider()).build().await.expect("builds");
    let users = service(&manager, "users").await;
    assert_eq!(
        manager.configure_service("a/b", retries(1)).await.expect_err("no name").kind(),
        ErrorKind::Validation
    );
    // The store is unreachable: the default configuration stays, here too.
    failover_core::provider::Provider::close(&**manager.default_provider().expect("there is one").provider())
        .await
        .expect("closes");
    let error = manager.configure(retries(1)).await.expect_err("closed");
    assert_eq!((error.kind(), error.details()["provider"].as_str()), (ErrorKind::Shutdown, Some("memory")));
    assert_eq!(users.config().max_retries(), FailoverConfig::default().max_retries());
    manager.close().await.expect("closes");
    assert_eq!(manager.configure(retries(1)).await.expect_err("closed").kind(), ErrorKind::Shutdown);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_takes_effect_in_another_manager_within_100_ms_under_load_and_fails_no_call() {
    let cluster = MemoryCluster::new();
    let writer = FailoverManager::builder().provider(cluster.provider()).build().await.expect("builds");
    let reader = FailoverManager::builder().provider(cluster.provider()).build().await.expect("builds");
    for last in 1..=3 {
        writer.register_endpoint(endpoint(&format!("users-{last}"), last)).await.expect("registers");
    }
    let service = reader.service("users").await.expect("a handle");
    let failed = Arc::new(AtomicU64::new(0));
    let calls = Arc::new(AtomicU64::new(0));
    let load = tokio::spawn({
        let (service, failed, calls) = (service.clone(), Arc::clone(&failed), Arc::clone(&calls));
        async move {
            let mut tick = tokio::time::interval(Duration::from_millis(1));
            loop {
                tick.tick().await;
                let (service, failed) = (service.clone(), Arc::clone(&failed));
                calls.fetch_add(1, Ordering::Relaxed);
                tokio::spawn(async move {
                    let done = service
                        .execute(async |_| {
                            sleep(Duration::from_millis(3)).await;
                            Ok::<_, String>(())
                        })
                        .await;
                    failed.fetch_add(u64::from(done.is_err()), Ordering::Relaxed);
                });
            }
        }
    });
    for number in 1..=5 {
        sleep(Duration::from_millis(100)).await;
        writer.configure_service("users", retries(10 + number)).await.expect("stores");
        has(&service, 10 + number).await;
    }
    load.abort();
    let calls = calls.load(Ordering::Relaxed);
    assert!(calls > 200, "{calls}");
    assert_eq!(failed.load(Ordering::Relaxed), 0);
    assert_eq!(emitted(&service, EventKind::ConfigApplied).len(), 5);
}

/// A store whose watch yields what the test sends.
struct Told(MemoryProvider, Mutex<Option<Answers>>);

/// What the test sends.
struct Answers(mpsc::UnboundedReceiver<Result<ConfigSet, Error>>);

impl futures_core::Stream for Answers {
    type Item = Result<ConfigSet, Error>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.poll_recv(context)
    }
}

#[async_trait]
impl Provider for Told {
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
        Provider::close(&self.0).await
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
impl ConfigStore for Told {
    async fn load(&self, key: &ConfigKey) -> Result<Option<StoredConfig>, Error> {
        self.0.load(key).await
    }

    async fn store(&self, key: &ConfigKey, document: &str, at: Option<&Revision>) -> Result<Revision, Error> {
        self.0.store(key, document, at).await
    }

    fn watch(&self) -> ConfigStream<'_> {
        let told = self.1.lock().expect("whole").take();
        told.map_or_else(|| ConfigStore::watch(&self.0), |told| Box::pin(told))
    }
}

/// Returns a manager of a provider whose store says what the test sends, and `users`.
async fn told() -> (FailoverManager, ServiceHandle, mpsc::UnboundedSender<Result<ConfigSet, Error>>) {
    let (tell, told) = mpsc::unbounded_channel();
    let manager = virtual_manager(Told(MemoryProvider::new(), Mutex::new(Some(Answers(told)))));
    let manager = manager.build().await.expect("builds");
    let users = service(&manager, "users").await;
    (manager, users, tell)
}

/// Returns the events about the freshness of anything.
fn freshness(manager: &FailoverManager, service: &ServiceHandle) -> Vec<String> {
    let all = manager.events(usize::MAX).into_iter().chain(service.events(usize::MAX));
    let kinds = all.map(|event| event.kind.to_string());
    kinds.filter(|kind| kind.ends_with("_stale") || kind.ends_with("_fresh")).collect()
}

#[tokio::test(start_paused = true)]
async fn a_store_that_fails_for_long_is_no_stale_source_and_its_return_is_told() {
    let (manager, users, tell) = told().await;
    let seen = || freshness(&manager, &users);
    let say = |answer| tell.send(answer).expect("is watched");
    say(Ok(ConfigSet::default()));
    // An election of a leader takes seconds.
    say(Err(Error::new(ErrorKind::Connection, "no leader")));
    sleep(Duration::from_secs(9)).await;
    say(Ok(ConfigSet::default()));
    sleep(Duration::from_secs(60)).await;
    assert_eq!(seen(), Vec::<String>::new());
    for kind in [ErrorKind::Connection, ErrorKind::Permission] {
        say(Err(Error::new(kind, "no leader")));
        sleep(Duration::from_secs(6)).await;
    }
    assert_eq!(seen(), ["config_stale"]);
    assert!(!users.is_stale() && users.stats().sources.iter().all(|source| !source.stale));
    say(Err(Error::new(ErrorKind::Connection, "no leader")));
    sleep(Duration::from_secs(60)).await;
    assert_eq!(seen(), ["config_stale"], "once");
    say(Ok(ConfigSet::default()));
    sleep(Duration::from_secs(1)).await;
    assert_eq!(seen(), ["config_stale", "config_fresh"]);
    manager.close().await.expect("closes");
    sleep(Duration::from_secs(60)).await;
    assert_eq!(seen(), ["config_stale", "config_fresh"], "closing is no outage");
    assert!(users.is_stale(), "the endpoints are the last known ones");
}

#[tokio::test(start_paused = true)]
async fn a_store_that_this_process_may_not_read_raises_no_warning_until_it_could() {
    let (manager, users, tell) = told().await;
    for _ in 0..3 {
        tell.send(Err(Error::new(ErrorKind::Permission, "no right"))).expect("is watched");
        sleep(Duration::from_secs(30)).await;
    }
    assert_eq!(freshness(&manager, &users), Vec::<String>::new());
    // It is given the right, and loses it.
    tell.send(Ok(ConfigSet::default())).expect("is watched");
    tell.send(Err(Error::new(ErrorKind::Permission, "no right"))).expect("is watched");
    sleep(Duration::from_secs(11)).await;
    assert_eq!(freshness(&manager, &users), ["config_stale"]);
    // A watch that ends again and again is a failure, too.
    let (manager, users, tell) = told().await;
    tell.send(Ok(ConfigSet::default())).expect("is watched");
    sleep(Duration::from_secs(1)).await;
    drop(tell);
    sleep(Duration::from_secs(1)).await;
    assert_eq!(freshness(&manager, &users), Vec::<String>::new(), "the next watch answers");
}

#[tokio::test(start_paused = true)]
async fn one_watch_serves_all_services_of_a_provider_and_those_that_join_later() {
    let (manager, users, tell) = told().await;
    let document = |text: &str, revision: &str| StoredConfig::new(text, Revision::new(revision.to_owned()));
    let of = |name: &str| ConfigKey::Service(failover_core::ServiceName::new(name).expect("valid"));
    let set = |retries: u32, revision: &str| {
        let one = document(&format!(r#"{{"max_retries": {retries}}}"#), revision);
        ConfigSet::new([
            (ConfigKey::Default, document(r#"{"retry_delay": "7ms"}"#, "1")),
            (of("users"), one.clone()),
            (of("orders"), one),
        ])
    };
    tell.send(Ok(set(5, "2"))).expect("is watched");
    has(&users, 5).await;
    // There is no other watch: the one in memory, which would be the second, knows none of this.
    let orders = service(&manager, "orders").await;
    assert_eq!((orders.config().max_retries(), users.config().retry_delay()), (5, Duration::from_millis(7)));
    tell.send(Ok(set(6, "3"))).expect("is watched");
    has(&orders, 6).await;
    has(&users, 6).await;
    // A document that is gone: the values of the others count again.
    tell.send(Ok(ConfigSet::new([(ConfigKey::Default, document(r#"{"max_retries": 1}"#, "4"))])))
        .expect("is watched");
    has(&orders, 1).await;
    has(&users, 1).await;
    assert_eq!(users.config().retry_delay(), FailoverConfig::default().retry_delay());
    // What is said again is not read again.
    let applied = emitted(&users, EventKind::ConfigApplied).len();
    tell.send(Ok(ConfigSet::new([(ConfigKey::Default, document(r#"{"max_retries": 1}"#, "4"))])))
        .expect("is watched");
    sleep(Duration::from_secs(1)).await;
    assert_eq!(emitted(&users, EventKind::ConfigApplied).len(), applied);
}

#[tokio::test(start_paused = true)]
async fn without_stored_configuration_nothing_is_read_and_nothing_is_written() {
    let cluster = MemoryCluster::new();
    let provider = cluster.provider();
    provider.connect().await.expect("connects");
    provider.store(&ConfigKey::Default, r#"{"max_retries": 9}"#, None).await.expect("stores");
    let manager = virtual_manager(cluster.provider()).stored_config(false).build().await.expect("builds");
    let users = service(&manager, "users").await;
    let default = FailoverConfig::default().max_retries();
    assert_eq!((users.config().max_retries(), default == 9), (default, false));
    manager.configure_service("users", retries(4)).await.expect("applies");
    assert_eq!(users.config().max_retries(), 4, "in this process");
    assert_eq!(manager.get_service_config("users").await.expect("reads").max_retries(), 4);
    assert!(provider.load(&ConfigKey::Service(users.name().clone())).await.expect("loads").is_none());
    provider
        .store(&ConfigKey::Service(users.name().clone()), r#"{"max_retries": 8}"#, None)
        .await
        .expect("stores");
    sleep(Duration::from_secs(10)).await;
    assert_eq!(users.config().max_retries(), 4);
}

/// The watch lags behind the store: what this process has replaced does not come back.
#[tokio::test(start_paused = true)]
async fn an_answer_from_before_a_write_does_not_undo_it() {
    let (tell, told) = mpsc::unbounded_channel();
    let memory = MemoryProvider::new();
    memory.connect().await.expect("connects");
    let key = ConfigKey::Service(users());
    let old = memory.store(&key, r#"{"max_retries": 9}"#, None).await.expect("stores");
    let manager = virtual_manager(Told(memory, Mutex::new(Some(Answers(told)))));
    let manager = manager.build().await.expect("builds");
    let users = service(&manager, "users").await;
    manager.configure_service("users", retries(4)).await.expect("stores");
    let before = ConfigSet::new([(key, StoredConfig::new(r#"{"max_retries": 9}"#, old))]);
    tell.send(Ok(before)).expect("is watched");
    sleep(Duration::from_secs(1)).await;
    assert_eq!(users.config().max_retries(), 4);
}
