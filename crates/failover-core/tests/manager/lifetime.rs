//! After a manager is closed or dropped no task runs, and handles stay usable.

use std::convert::Infallible;
use std::future::pending;
use std::sync::{Mutex, mpsc};
use std::time::Duration;

use failover_core::provider::{EndpointSet, Provider, ProviderInfo, Query, Registry};
use failover_core::{Error, ErrorKind, FailoverManager, ServiceHandle, async_trait};
use failover_memory::MemoryProvider;
use failover_test::ScriptedProvider;
use tokio::runtime::Handle;
use tokio::time::{Instant, timeout};

use crate::{endpoint, named, picked, until, virtual_manager};

const SECOND: Duration = Duration::from_secs(1);

fn tasks() -> usize {
    Handle::current().metrics().num_alive_tasks()
}

async fn a_manager_with_services(provider: &MemoryProvider) -> (FailoverManager, Vec<ServiceHandle>) {
    let manager = FailoverManager::builder().provider(provider.clone()).build().await.expect("builds");
    manager.register_endpoint(endpoint("users-1", 1)).await.expect("registers");
    let mut services = Vec::new();
    for name in ["users", "orders", "users", "invoices"] {
        services.push(manager.service(name).await.expect("a handle"));
    }
    (manager, services)
}

async fn goes_on_without_discovery(service: &ServiceHandle, provider: &MemoryProvider) {
    until("the end of all tasks", SECOND, || tasks() == 0).await;
    assert!(service.is_stale());
    assert_eq!(picked(service), ["users-1".to_owned()].into());
    service.execute(async |_| Ok::<_, Infallible>(())).await.expect("calls go on");
    // No task is left to notice it.
    provider.register(&endpoint("users-2", 2)).await.expect("registers");
    assert_eq!(named(service), ["users-1"]);
    let none = service.stats().sources[0].error.clone();
    assert_eq!(none.as_deref(), Some("the failover manager is closed"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dropping_the_manager_ends_every_task_and_handles_go_on() {
    assert_eq!(tasks(), 0);
    let provider = MemoryProvider::new();
    let (manager, services) = a_manager_with_services(&provider).await;
    assert!(tasks() >= 3, "one for each service");
    let another = manager.clone();
    drop(manager);
    assert!(!services[0].is_stale(), "a clone of the manager is left");
    drop(another);
    goes_on_without_discovery(&services[0], &provider).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn closing_the_manager_ends_every_task_and_handles_go_on() {
    let provider = MemoryProvider::new();
    let (manager, services) = a_manager_with_services(&provider).await;
    let begun = Instant::now();
    manager.close().await.expect("closes");
    manager.close().await.expect("closing twice is no error");
    goes_on_without_discovery(&services[0], &provider).await;
    assert!(begun.elapsed() < 2 * SECOND);

    for error in [
        manager.service("users").await.map(drop).expect_err("closed"),
        manager.service("another").await.map(drop).expect_err("closed"),
        manager.register_endpoint(endpoint("users-3", 3)).await.expect_err("closed"),
        manager.list_endpoints(&Query::all()).await.map(drop).expect_err("closed"),
    ] {
        assert_eq!(error.kind(), ErrorKind::Shutdown, "{error}");
    }
    assert_eq!(tasks(), 0, "nothing begins after the end");
}

#[tokio::test(start_paused = true)]
async fn the_last_handle_may_go_before_or_after_the_manager() {
    for handles_first in [true, false] {
        let (manager, services) = a_manager_with_services(&MemoryProvider::new()).await;
        if handles_first {
            drop(services);
            drop(manager);
        } else {
            drop(manager);
            drop(services);
        }
        until("the end of all tasks", SECOND, || tasks() == 0).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_provider_that_hangs_does_not_keep_a_task() {
    let (provider, _script) = ScriptedProvider::watching();
    let manager = virtual_manager(provider).build().await.expect("builds");
    let _service = manager.service("users").await.expect("a handle");
    assert!(tasks() > 0);
    timeout(SECOND, manager.close()).await.expect("in time").expect("closes");
    until("the end of all tasks", SECOND, || tasks() == 0).await;
}

#[tokio::test(start_paused = true)]
async fn a_service_without_handles_is_removed_after_keep_idle() {
    let provider = MemoryProvider::new();
    let manager = virtual_manager(provider).keep_idle(Duration::from_secs(60)).build().await.expect("builds");
    let service = manager.service("users").await.expect("a handle");
    let with = tasks();
    drop(service);
    tokio::time::sleep(Duration::from_secs(59)).await;
    assert_eq!(tasks(), with);
    until("the end of its discovery", Duration::from_secs(20), || tasks() < with).await;
    let again = manager.service("users").await.expect("a handle");
    again.ready().await.expect("it is discovered again");
    assert_eq!(tasks(), with);
}

#[tokio::test(start_paused = true)]
async fn a_watch_of_the_endpoints_keeps_their_discovery_and_ends_with_the_manager() {
    let provider = MemoryProvider::new();
    let manager =
        virtual_manager(provider.clone()).keep_idle(Duration::from_secs(60)).build().await.expect("builds");
    let service = manager.service("users").await.expect("a handle");
    let mut changes = service.changes();
    drop(service);
    tokio::time::sleep(Duration::from_secs(600)).await;
    provider.register(&endpoint("users-1", 1)).await.expect("registers");
    let list = timeout(SECOND, changes.changed()).await.expect("it is still discovered").expect("a list");
    let [first] = &list.endpoints[..] else { panic!("{list:?}") };
    let service = manager.service("users").await.expect("a handle");
    let departed = service.select_owned().expect("available").departed();
    assert_eq!(first.endpoint().id().as_str(), "users-1");
    manager.deregister_endpoint("users-1").await.expect("deregisters");
    timeout(SECOND, departed).await.expect("the endpoint has left");
    assert!(timeout(SECOND, changes.changed()).await.expect("in time").expect("a list").endpoints.is_empty());
    manager.close().await.expect("closes");
    let end = timeout(SECOND, changes.changed()).await.expect("in time").expect_err("closed");
    assert_eq!(end.kind(), ErrorKind::Shutdown);
}

/// Answers when released, and blocks its thread until then, like an answer that arrives while a
/// manager is dropped.
struct Late {
    asked: mpsc::Sender<()>,
    answer: Mutex<mpsc::Receiver<()>>,
}

#[async_trait]
impl Provider for Late {
    fn info(&self) -> ProviderInfo {
        ProviderInfo::new("late", "1")
    }

    async fn connect(&self) -> Result<(), Error> {
        Ok(())
    }

    async fn ping(&self) -> Result<(), Error> {
        Ok(())
    }

    async fn close(&self) -> Result<(), Error> {
        Ok(())
    }

    async fn list(&self, _query: &Query) -> Result<EndpointSet, Error> {
        self.asked.send(()).expect("the test is there");
        let _ = self.answer.lock().expect("not poisoned").recv();
        Ok(EndpointSet::new([endpoint("users-1", 1).into()]))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_that_comes_while_the_manager_goes_leaves_handles_stale() {
    let (asked, is_asked) = mpsc::channel();
    let (answer, answered) = mpsc::channel();
    let provider = Late { asked, answer: Mutex::new(answered) };
    let builder = FailoverManager::builder().provider(provider).start_timeout(Duration::ZERO);
    let manager = builder.build().await.expect("builds");
    let service = manager.service("users").await.expect("a handle");
    tokio::task::spawn_blocking(move || is_asked.recv()).await.expect("no panic").expect("it asks");
    drop(manager);
    answer.send(()).expect("it waits");
    until("the end of all tasks", SECOND, || tasks() == 0).await;
    assert!(service.is_stale(), "discovery has ended");
}

#[test]
fn a_handle_whose_runtime_is_gone_is_stale() {
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let first = runtime();
    let (manager, service) = first.block_on(async {
        let manager =
            FailoverManager::builder().provider(MemoryProvider::new()).build().await.expect("builds");
        let service = manager.service("users").await.expect("a handle");
        (manager, service)
    });
    drop(first);
    assert!(service.is_stale(), "discovery has ended");
    runtime().block_on(async {
        manager.register_endpoint(endpoint("users-1", 1)).await.expect("registers");
        let again = manager.service("users").await.expect("a handle");
        until("a new discovery", SECOND, || named(&again) == ["users-1"]).await;
    });
}

#[test]
fn an_unconfirmed_empty_answer_is_held_by_the_discovery_of_another_runtime_as_well() {
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let (provider, script) = ScriptedProvider::watching();
    script.endpoints([endpoint("users-1", 1)]);
    let first = runtime();
    let (manager, service) = first.block_on(async {
        let manager = FailoverManager::builder().provider(provider).build().await.expect("builds");
        let service = manager.service("users").await.expect("a handle");
        (manager, service)
    });
    assert_eq!(named(&service), ["users-1"]);
    drop(first);
    script.empty();
    runtime().block_on(async {
        let again = manager.service("users").await.expect("a handle");
        let error = || again.stats().sources[0].error.as_ref().map(ToString::to_string).unwrap_or_default();
        until("the empty answer", SECOND, || error().contains("unconfirmed")).await;
        assert_eq!(named(&again), ["users-1"]);
    });
}

/// Hangs in `close` and `connect`.
struct Stuck;

#[async_trait]
impl Provider for Stuck {
    fn info(&self) -> ProviderInfo {
        ProviderInfo::new("stuck", "1")
    }

    async fn connect(&self) -> Result<(), Error> {
        pending().await
    }

    async fn ping(&self) -> Result<(), Error> {
        pending().await
    }

    async fn close(&self) -> Result<(), Error> {
        pending().await
    }

    async fn list(&self, _query: &Query) -> Result<EndpointSet, Error> {
        pending().await
    }
}

#[tokio::test(start_paused = true)]
async fn a_provider_that_hangs_in_connect_and_close_delays_no_other() {
    let begun = Instant::now();
    let healthy = MemoryProvider::new();
    let manager = virtual_manager(Stuck).provider(healthy.clone()).build().await.expect("builds");
    assert_eq!(begun.elapsed().as_secs(), 5, "start_timeout");
    let begun = Instant::now();
    let error = manager.close().await.expect_err("the error names what did not close");
    assert!(begun.elapsed() < SECOND);
    assert_eq!(error.kind(), ErrorKind::Timeout);
    assert!(error.to_string().starts_with("provider stuck: it did not close in 900"), "{error}");
    healthy.ping().await.expect("a clone of what was closed is open");
    until("the end of all tasks", SECOND, || tasks() == 0).await;
}
