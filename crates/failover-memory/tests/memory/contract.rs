//! The provider contract, and guarantees of this provider beyond it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Wake, Waker};
use std::time::{Duration, SystemTime};

use failover_core::provider::{AddressTrust, ConnectionStatus, Feature, Provider, Query, Registry};
use failover_core::{Endpoint, ErrorKind, Health, HealthCheck, Lifecycle, ServiceName};
use failover_memory::{MemoryCluster, MemoryProvider};

use crate::{endpoint, endpoint_of, id, ids, next, next_set, poll, ready, users};

fn with_every_field() -> Endpoint {
    let check = HealthCheck::builder()
        .path("/health?deep=1")
        .interval(Duration::from_millis(7_500))
        .timeout(Duration::from_millis(1_234))
        .method("POST")
        .header("Authorization", "Bearer secret")
        .body("ping")
        .healthy_threshold(3)
        .unhealthy_threshold(4)
        .build()
        .expect("valid");
    Endpoint::builder("users-1", "users", "2001:db8::7", 65_535)
        .protocol("grpc")
        .server_name("users.example.org")
        .health_check(check)
        .metadata("version", "1.2.3")
        .metadata("note", "several\nlines, \u{202e}and an odd character")
        .tag("b")
        .tag("a")
        .tag("b")
        .weight(0)
        .priority(3)
        .region("eu-west")
        .zone("eu-west-1b")
        .created_at(SystemTime::UNIX_EPOCH + Duration::new(1_700_000_000, 123_456_789))
        .updated_at(SystemTime::UNIX_EPOCH + Duration::new(1_800_000_000, 1))
        .build()
        .expect("valid")
}

#[tokio::test]
async fn every_field_of_the_model_comes_back_as_it_was_written() {
    let provider = MemoryProvider::new();
    // The second has only the required fields; the provider must not invent times, either.
    for written in [with_every_field(), endpoint("users-2", 2)] {
        provider.register(&written).await.expect("registers");
        let entry = provider.get(&users(), written.id()).await.expect("is there");
        assert_eq!(**entry.endpoint(), written);
        assert_eq!((entry.health(), entry.lifecycle()), (Health::Unknown, Lifecycle::InService));
        let listed = provider.list(&Query::service(&users())).await.expect("lists");
        assert!(listed.entries().contains(&entry));
        let mut watch = provider.watch(&Query::service(&users())).expect("it watches");
        assert!(next_set(&mut watch).await.entries().contains(&entry));
    }
}

#[tokio::test]
async fn what_is_not_there_is_not_found_and_named() {
    let provider = MemoryProvider::new();
    provider.register(&endpoint("users-1", 1)).await.expect("registers");
    let (service, missing) = (users(), id("users-9"));
    for error in [
        provider.update(&endpoint("users-9", 9)).await.expect_err("not there"),
        provider.get(&service, &missing).await.map(drop).expect_err("not there"),
        provider.set_health(&service, &missing, Health::Healthy).await.expect_err("not there"),
        provider.set_lifecycle(&service, &missing, Lifecycle::Draining).await.expect_err("not there"),
        provider.drain(&service, &missing).await.expect_err("not there"),
        provider.update(&endpoint_of("orders", "users-1", 1)).await.expect_err("not there"),
    ] {
        assert_eq!(error.kind(), ErrorKind::NotFound);
        let (service, id) = (error.details()["service"].clone(), error.details()["id"].clone());
        let name = format!("{}/{}", service.as_str().expect("text"), id.as_str().expect("text"));
        assert!(["users/users-9", "orders/users-1"].contains(&name.as_str()), "{name}");
        assert_eq!(error.to_string(), format!("{name}: there is no such endpoint; register it first"));
    }
    let all = provider.list(&Query::all()).await.expect("lists");
    assert_eq!(ids(&all), ["users-1"], "nothing was half done");
}

#[tokio::test]
async fn an_update_keeps_the_claims_and_a_registration_resets_them() {
    let provider = MemoryProvider::new();
    let (service, one) = (users(), id("users-1"));
    provider.register(&endpoint("users-1", 1)).await.expect("registers");
    provider.set_health(&service, &one, Health::Degraded).await.expect("claims");
    provider.set_lifecycle(&service, &one, Lifecycle::Maintenance).await.expect("claims");

    provider.update(&endpoint("users-1", 2)).await.expect("updates");
    let entry = provider.get(&service, &one).await.expect("is there");
    assert_eq!(entry.endpoint().address(), "10.0.0.2");
    assert_eq!((entry.health(), entry.lifecycle()), (Health::Degraded, Lifecycle::Maintenance));

    provider.drain(&service, &one).await.expect("drains");
    let entry = provider.get(&service, &one).await.expect("is there");
    assert_eq!((entry.health(), entry.lifecycle()), (Health::Degraded, Lifecycle::Draining));

    provider.register(&endpoint("users-1", 2)).await.expect("registers");
    let entry = provider.get(&service, &one).await.expect("is there");
    assert_eq!((entry.health(), entry.lifecycle()), (Health::Unknown, Lifecycle::InService));
}

#[tokio::test]
async fn deregistering_returns_whether_it_existed() {
    let provider = MemoryProvider::new();
    provider.register(&endpoint("users-1", 1)).await.expect("registers");
    let (service, one) = (users(), id("users-1"));
    assert!(provider.deregister(&service, &one).await.expect("is no error"));
    assert!(!provider.deregister(&service, &one).await.expect("is no error"));
    let orders = ServiceName::new("orders").expect("valid");
    assert!(!provider.deregister(&orders, &one).await.expect("is no error"));
}

#[tokio::test]
async fn a_list_holds_what_matches_the_whole_query() {
    let provider = MemoryProvider::new();
    let tagged = |service: &str, id: &str, tag: &str, zone: &str| {
        endpoint_of(service, id, 1).to_builder().tag(tag).metadata("zone", zone).build().expect("valid")
    };
    for endpoint in [
        tagged("users", "u1", "api", "a"),
        tagged("users", "u2", "api", "b"),
        tagged("users", "u3", "admin", "a"),
        tagged("orders", "o1", "api", "a"),
    ] {
        provider.register(&endpoint).await.expect("registers");
    }
    let users = users();
    for (query, expected) in [
        (Query::all(), &["o1", "u1", "u2", "u3"][..]),
        (Query::all().tag("api"), &["o1", "u1", "u2"]),
        (Query::all().metadata("zone", "a"), &["o1", "u1", "u3"]),
        (Query::service(&users), &["u1", "u2", "u3"]),
        (Query::service(&users).tag("api"), &["u1", "u2"]),
        (Query::service(&users).tag("api").metadata("zone", "b"), &["u2"]),
        (Query::service(&users).tag("absent"), &[]),
    ] {
        let set = provider.list(&query).await.expect("lists");
        assert_eq!(ids(&set), expected, "{query:?}");
        assert!(set.is_confirmed() && !set.is_unknown_service() && set.revision().is_some(), "{query:?}");
    }
}

#[tokio::test]
async fn a_service_is_unknown_until_its_first_registration_and_never_again() {
    let provider = MemoryProvider::new();
    let (service, one) = (users(), id("users-1"));
    let mut watch = provider.watch(&Query::service(&service)).expect("it watches");
    let first = next_set(&mut watch).await;
    assert!(first.is_unknown_service() && first.entries().is_empty() && first.revision().is_some());
    assert!(provider.list(&Query::service(&service)).await.expect("lists").is_unknown_service());
    assert!(ready(&mut watch).is_pending(), "nothing has changed");

    provider.register(&endpoint("users-1", 1)).await.expect("registers");
    let known = next_set(&mut watch).await;
    assert_eq!(ids(&known), ["users-1"]);

    provider.deregister(&service, &one).await.expect("deregisters");
    let emptied = next_set(&mut watch).await;
    assert!(emptied.entries().is_empty() && emptied.is_confirmed() && !emptied.is_unknown_service());
    let listed = provider.list(&Query::service(&service)).await.expect("lists");
    assert!(listed.is_confirmed() && !listed.is_unknown_service());
    assert_eq!(listed.revision(), emptied.revision());

    drop(watch);
    let mut watch = provider.watch(&Query::service(&service)).expect("it watches");
    assert!(!next_set(&mut watch).await.is_unknown_service());
}

#[tokio::test]
async fn a_watch_yields_the_whole_set_at_once_and_at_every_change_and_at_nothing_else() {
    let provider = MemoryProvider::new();
    let (service, one) = (users(), id("users-1"));
    provider.register(&endpoint("users-1", 1)).await.expect("registers");
    provider.register(&endpoint_of("orders", "orders-1", 1)).await.expect("registers");
    let mut watch = provider.watch(&Query::service(&service)).expect("it watches");
    let mut last = next_set(&mut watch).await;
    assert_eq!(ids(&last), ["users-1"]);

    for step in 0..5 {
        match step {
            0 => provider.register(&endpoint("users-2", 2)).await,
            1 => provider.update(&endpoint("users-1", 3)).await,
            2 => provider.set_health(&service, &one, Health::Unhealthy).await,
            3 => provider.drain(&service, &one).await,
            _ => provider.deregister(&service, &one).await.map(drop),
        }
        .expect("changes");
        let set = next_set(&mut watch).await;
        assert_ne!(set.revision(), last.revision(), "step {step}");
        assert_ne!(set.entries(), last.entries(), "step {step}");
        last = set;
    }
    assert_eq!(ids(&last), ["users-2"]);

    provider.register(&endpoint("users-2", 2)).await.expect("registers");
    provider.register(&endpoint_of("orders", "orders-2", 2)).await.expect("registers");
    assert!(ready(&mut watch).is_pending(), "the same again, and another service, are no change");
}

#[tokio::test]
async fn a_slow_consumer_gets_the_newest_set_and_none_of_those_before_it() {
    let provider = MemoryProvider::new();
    let mut watch = provider.watch(&Query::service(&users())).expect("it watches");
    for number in 0..10_000_u32 {
        let [_, _, high, low] = number.to_be_bytes();
        let address = format!("10.0.{high}.{low}");
        let endpoint =
            Endpoint::builder(format!("users-{number}"), "users", address, 80).build().expect("valid");
        provider.register(&endpoint).await.expect("registers");
    }
    assert_eq!(next_set(&mut watch).await.entries().len(), 10_000);
    assert!(ready(&mut watch).is_pending());
    for weight in 2..10_000 {
        let heavier = endpoint("users-1", 1).to_builder().weight(weight).build().expect("valid");
        provider.register(&heavier).await.expect("registers");
    }
    let newest = next_set(&mut watch).await;
    let weight = newest.entries().iter().map(|entry| entry.endpoint().weight()).max();
    assert_eq!(weight, Some(9_999));
    assert!(ready(&mut watch).is_pending());
}

#[tokio::test]
async fn closing_a_provider_ends_its_watches_and_the_others_go_on() {
    let cluster = MemoryCluster::new();
    let (closing, other) = (cluster.provider(), cluster.provider());
    closing.register(&endpoint("users-1", 1)).await.expect("registers");
    let service = users();
    let mut ending = closing.watch(&Query::service(&service)).expect("it watches");
    let mut staying = other.watch(&Query::service(&service)).expect("it watches");
    next_set(&mut ending).await;
    next_set(&mut staying).await;

    for _ in 0..2 {
        closing.close().await.expect("closing twice is no error");
        assert!(next(&mut ending).await.is_none());
        assert!(next(&mut ending).await.is_none(), "the end stays the end");
    }
    assert!(next(&mut closing.watch(&Query::service(&service)).expect("it watches")).await.is_none());
    assert_eq!(closing.info().connection().status(), ConnectionStatus::Disconnected);
    let one = id("users-1");
    for error in [
        closing.ping().await.expect_err("closed"),
        closing.list(&Query::all()).await.map(drop).expect_err("closed"),
        closing.register(&endpoint("users-2", 2)).await.expect_err("closed"),
        closing.update(&endpoint("users-1", 2)).await.expect_err("closed"),
        closing.deregister(&service, &one).await.map(drop).expect_err("closed"),
        closing.get(&service, &one).await.map(drop).expect_err("closed"),
        closing.set_health(&service, &one, Health::Healthy).await.expect_err("closed"),
        closing.drain(&service, &one).await.expect_err("closed"),
    ] {
        assert_eq!(error.kind(), ErrorKind::Shutdown);
        assert_eq!(error.to_string(), "the memory provider is closed; connect opens it again");
    }

    other.register(&endpoint("users-2", 2)).await.expect("the other one is open");
    assert_eq!(ids(&next_set(&mut staying).await), ["users-1", "users-2"]);
    closing.clone().ping().await.expect("a clone is another provider, and open");

    for _ in 0..2 {
        closing.connect().await.expect("connecting twice is no error");
    }
    assert_eq!(closing.info().connection().status(), ConnectionStatus::Connected);
    assert!(next(&mut ending).await.is_none(), "a watch of before stays ended");
    let mut again = closing.watch(&Query::service(&service)).expect("it watches");
    assert_eq!(ids(&next_set(&mut again).await), ["users-1", "users-2"]);
}

#[derive(Default)]
struct Count(AtomicUsize);

impl Wake for Count {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

#[tokio::test]
async fn a_waiting_watch_is_woken_by_a_change_and_by_the_end() {
    let provider = MemoryProvider::new();
    let mut watch = provider.watch(&Query::service(&users())).expect("it watches");
    let count = Arc::new(Count::default());
    let waker = Waker::from(Arc::clone(&count));
    assert!(poll(&mut watch, &waker).is_ready());
    for woken in 1..=3 {
        assert!(poll(&mut watch, &waker).is_pending());
        assert!(poll(&mut watch, &waker).is_pending());
        provider.register(&endpoint("users-1", woken)).await.expect("registers");
        provider.register(&endpoint("users-2", 10 + woken)).await.expect("registers");
        assert_eq!(count.0.load(Ordering::SeqCst), usize::from(woken), "once, however much has changed");
        assert!(poll(&mut watch, &waker).is_ready());
    }
    assert!(poll(&mut watch, &waker).is_pending());
    provider.close().await.expect("closes");
    assert_eq!(count.0.load(Ordering::SeqCst), 4);
}

#[tokio::test]
async fn a_dropped_watch_leaves_nothing() {
    let provider = MemoryProvider::new();
    let nothing = format!("{:?}", provider.cluster());
    let count = Arc::new(Count::default());
    for known in [false, true] {
        if known {
            provider.register(&endpoint("users-1", 1)).await.expect("registers");
        }
        let mut watches: Vec<_> =
            (0..100).map(|_| provider.watch(&Query::service(&users())).expect("it watches")).collect();
        let waker = Waker::from(Arc::clone(&count));
        for watch in &mut watches {
            assert!(poll(watch, &waker).is_ready());
            assert!(poll(watch, &waker).is_pending());
        }
        drop(waker);
        assert_eq!(Arc::strong_count(&count), 101, "each stores its waker");
        drop(watches);
        assert_eq!(Arc::strong_count(&count), 1);
        if !known {
            assert_eq!(format!("{:?}", provider.cluster()), nothing, "to watch a service is not to know it");
        }
    }
    provider.deregister(&users(), &id("users-1")).await.expect("deregisters");
    assert_eq!(count.0.load(Ordering::SeqCst), 0, "no waker is left");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn writers_on_many_threads_lose_nothing_and_a_watch_ends_with_all_of_it() {
    let cluster = MemoryCluster::new();
    let watcher = cluster.provider();
    let mut watch = watcher.watch(&Query::service(&users())).expect("it watches");
    let mut writers = tokio::task::JoinSet::new();
    for writer in 0..8_u8 {
        let provider = cluster.provider();
        writers.spawn(async move {
            for number in 0..100_u8 {
                let id = format!("users-{writer}-{number}");
                let address = format!("10.0.{writer}.{number}");
                let endpoint = Endpoint::builder(id, "users", address, 80).build().expect("valid");
                provider.register(&endpoint).await.expect("registers");
                tokio::task::yield_now().await;
            }
        });
    }
    let mut count = 0;
    while count < 800 {
        let set = tokio::time::timeout(Duration::from_secs(10), next_set(&mut watch)).await.expect("woken");
        assert!(set.entries().len() >= count, "it never goes back");
        count = set.entries().len();
    }
    while let Some(ended) = writers.join_next().await {
        ended.expect("no writer panics");
    }
    assert!(ready(&mut watch).is_pending());
}

#[test]
fn it_says_what_it_is_and_can_do() {
    let info = MemoryProvider::new().info();
    assert_eq!(info.kind(), "memory");
    assert_eq!(info.version(), env!("CARGO_PKG_VERSION"));
    assert_eq!(info.trust(), AddressTrust::InProcess);
    assert_eq!(info.connection().status(), ConnectionStatus::Connected);
    assert!(info.features().contains(&Feature::Registry) && info.features().contains(&Feature::Watch));
    assert!(info.features().contains(&Feature::ConfigStore));
    let provider = MemoryProvider::new();
    assert!(provider.registry().is_some() && provider.config_store().is_some());
}

#[tokio::test]
async fn debug_shows_how_much_there_is_and_no_secret() {
    let provider = MemoryProvider::default();
    let secret = endpoint("users-1", 1).to_builder().metadata("token", "hunter2").build().expect("valid");
    provider.register(&secret).await.expect("registers");
    let shown = format!("{provider:?}");
    assert!(shown.contains("services: 1, endpoints: 1") && !shown.contains("hunter2"), "{shown}");
}
