//! Endpoints of several providers that have the same id, or the same address and port.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use failover_core::events::EventKind;
use failover_core::inspect::Forced;
use failover_core::provider::Provider;
use failover_core::{
    Endpoint, EndpointRef, Error, ErrorKind, FailoverConfig, FailoverManager, Health, HealthCheck, Lifecycle,
    ManagerConfig, PerEndpoint, ServiceHandle,
};
use failover_memory::MemoryProvider;
use tokio::time::sleep;

use crate::{emitted, endpoint, named, picked, until, users, virtual_manager};

const SECOND: Duration = Duration::from_secs(1);

/// Two providers that both have the endpoint `mongo`, at 10.0.0.1 and at 10.0.0.2.
async fn two() -> (FailoverManager, ServiceHandle) {
    let (first, second) = (MemoryProvider::new(), MemoryProvider::new());
    for (provider, last) in [(&first, 1), (&second, 2)] {
        let registry = Provider::registry(provider).expect("it has one");
        registry.register(&endpoint("mongo", last)).await.expect("registers");
    }
    let manager = virtual_manager(first).provider_as("dc2", second).build().await.expect("builds");
    let service = manager.service_from("users", [("memory", 0), ("dc2", 0)]).await.expect("a handle");
    (manager, service)
}

#[tokio::test(start_paused = true)]
async fn two_providers_with_one_id_give_two_endpoints_and_the_second_answers_for_the_first() {
    let (manager, service) = two().await;
    assert_eq!(named(&service), ["mongo", "mongo"]);
    let call = async |dead: &str| {
        let done = service
            .execute(async |attempt| if attempt.address() == dead { Err("down") } else { Ok(()) })
            .await;
        done.map(|done| done.endpoint.address().to_owned())
    };
    for _ in 0..100 {
        assert_eq!(call("10.0.0.1").await.expect("the other one answers"), "10.0.0.2");
    }
    assert!(emitted(&service, EventKind::CircuitOpen)[0].starts_with("circuit_open users/mongo [memory]: "));
    for (name, health, known) in [
        ("mongo@memory", Health::Unhealthy, "5 of 5 attempts failed, and it is out: breaker open"),
        ("mongo@dc2", Health::Healthy, "0 of 100 attempts failed, and it is in"),
    ] {
        let report = manager.health_check(name).await.expect("there");
        assert_eq!(report.health, health, "{report}");
        assert!(report.evidence.contains(known), "{report}");
    }
    let failover = emitted(&service, EventKind::Failover);
    assert!(failover[0].starts_with("failover users/mongo [dc2]: attempt 2 goes to mongo "), "{failover:?}");
    let text = service.explain().to_string();
    assert!(text.contains("mongo@memory  10.0.0.1:8080"), "{text}");
    assert!(text.contains("mongo@dc2     10.0.0.2:8080"), "{text}");
    let stats = service.stats();
    let sources: Vec<_> = stats.endpoints.iter().map(|of| (&*of.source, of.address.as_str())).collect();
    assert_eq!(sources, [("dc2", "10.0.0.2:8080"), ("memory", "10.0.0.1:8080")]);
    assert!(service.endpoint("mongo").is_none(), "it is ambiguous");
    assert_eq!(service.endpoint("mongo@dc2").expect("one").address(), "10.0.0.2");
}

#[tokio::test(start_paused = true)]
async fn operations_take_id_at_source_and_name_both_endpoints_of_an_ambiguous_id() {
    let (manager, service) = two().await;
    let ambiguous = |error: Error| {
        assert_eq!(error.kind(), ErrorKind::Validation, "{error}");
        assert!(error.to_string().contains("mongo@dc2 and mongo@memory"), "{error}");
    };
    for which in [EndpointRef::from("mongo"), EndpointRef::from(("users", "mongo"))] {
        ambiguous(manager.get_endpoint(which.clone()).await.expect_err("two have it"));
        ambiguous(manager.set_health(which.clone(), Health::Unhealthy).await.expect_err("two have it"));
        ambiguous(manager.set_lifecycle(which.clone(), Lifecycle::Draining).await.expect_err("two have it"));
        ambiguous(manager.deregister_endpoint(which.clone()).await.expect_err("two have it"));
        ambiguous(manager.health_check(which).await.expect_err("two have it"));
    }
    ambiguous(service.force("mongo", Forced::Out, SECOND).expect_err("two have it"));

    for which in [EndpointRef::from("mongo@dc2"), EndpointRef::from(("users", "mongo@dc2"))] {
        let entry = manager.get_endpoint(which.clone()).await.expect("one has it");
        assert_eq!(entry.endpoint().address(), "10.0.0.2");
        manager.set_lifecycle(which.clone(), Lifecycle::Draining).await.expect("drains");
        until("it drains", SECOND, || service.stats().endpoints[0].lifecycle == Lifecycle::Draining).await;
        assert_eq!(service.stats().endpoints[1].lifecycle, Lifecycle::InService, "the other one does not");
        manager.set_lifecycle(which.clone(), Lifecycle::InService).await.expect("returns");
        manager.set_health(which.clone(), Health::Degraded).await.expect("sets");
        until("its health", SECOND, || service.stats().endpoints[0].health == Health::Degraded).await;
        let report = manager.health_check(which).await.expect("checks");
        assert_eq!((report.id.as_str(), report.health), ("mongo", Health::Degraded));
        service.force("mongo@dc2", Forced::Out, SECOND).expect("one has it");
    }
    // An endpoint means the one at its address.
    for address in ["10.0.0.1", "10.0.0.2"] {
        let entries = service.endpoints();
        let entry = entries.iter().find(|entry| entry.endpoint().address() == address).expect("there");
        let found = manager.get_endpoint(&**entry.endpoint()).await.expect("one is there");
        assert_eq!(found.endpoint().address(), address);
    }
    ambiguous(manager.get_endpoint(&endpoint("mongo", 9)).await.expect_err("at neither"));
    // The operations of a provider need no qualifier, and accept only its own.
    let (first, second) =
        (manager.default_provider().expect("there"), manager.provider("dc2").expect("there"));
    assert_eq!(first.get_endpoint("mongo").await.expect("its own").endpoint().address(), "10.0.0.1");
    assert_eq!(first.get_endpoint("mongo@memory").await.expect("its own").endpoint().address(), "10.0.0.1");
    assert_eq!(second.get_endpoint("mongo@dc2").await.expect("its own").endpoint().address(), "10.0.0.2");
    let other = second.get_endpoint("mongo@memory").await.expect_err("another provider's");
    assert_eq!(other.kind(), ErrorKind::Validation, "{other}");

    // An exact id comes first, and the text is split at its last @.
    manager.register_endpoint(endpoint("mongo@dc2", 3)).await.expect("registers");
    let exact = manager.get_endpoint("mongo@dc2").await.expect("one has it");
    assert_eq!(exact.endpoint().address(), "10.0.0.3");
    let split = manager.get_endpoint("mongo@dc2@memory").await.expect("one has it");
    assert_eq!(split.endpoint().address(), "10.0.0.3");
    assert!(manager.deregister_endpoint("mongo@dc2").await.expect("removes"));
    until("it is gone", SECOND, || named(&service).len() == 2).await;
    assert!(manager.deregister_endpoint("mongo@dc2").await.expect("removes the other one"));
    until("it is gone", SECOND, || named(&service).len() == 1).await;
    assert_eq!(service.endpoint("mongo").expect("one is left").address(), "10.0.0.1");
    manager.set_lifecycle("mongo", Lifecycle::Draining).await.expect("it is the only one");
}

#[tokio::test(start_paused = true)]
async fn a_source_name_with_an_at_sign_is_refused() {
    for name in ["dc@1", "@", "dc1@", ""] {
        let built =
            virtual_manager(MemoryProvider::new()).provider_as(name, MemoryProvider::new()).build().await;
        let error = built.expect_err(name);
        assert_eq!(error.kind(), ErrorKind::Validation, "{name}");
        assert!(error.to_string().contains("a name without @"), "{error}");
        let manager = virtual_manager(MemoryProvider::new()).build().await.expect("builds");
        let later = manager.register_provider_as(name, MemoryProvider::new()).await;
        assert_eq!(later.expect_err(name).kind(), ErrorKind::Validation, "{name}");
    }
    let error = ManagerConfig::builder().default_provider("dc@1").build().expect_err("an @");
    assert!(error.to_string().starts_with("default_provider: dc@1"), "{error}");
    assert!(ManagerConfig::from_json(r#"{"default_provider": "dc@1"}"#).is_err());
}

#[tokio::test(start_paused = true)]
async fn one_place_in_two_providers_is_one_endpoint_and_either_provider_keeps_it() {
    let (first, second) = (MemoryProvider::new(), MemoryProvider::new());
    let registry = |provider: &MemoryProvider| provider.clone();
    for (provider, id, last) in [(&first, "a", 1), (&first, "b", 2), (&second, "z", 1)] {
        let registry = Provider::registry(provider).expect("it has one");
        registry.register(&endpoint(id, last)).await.expect("registers");
    }
    let manager = virtual_manager(registry(&first)).provider_as("dc2", second).build().await.expect("builds");
    let service = manager.service_from("users", [("memory", 0), ("dc2", 0)]).await.expect("a handle");
    until("both are merged", SECOND, || named(&service).len() == 2).await;
    let mut calls = [0; 2];
    for _ in 0..100 {
        let done = service.execute(async |attempt| Ok::<_, String>(attempt.address() == "10.0.0.1")).await;
        calls[usize::from(done.expect("answers").value)] += 1;
    }
    assert_eq!(calls, [50, 50]);
    // A retry goes to another place.
    for _ in 0..20 {
        let places = Mutex::new(Vec::new());
        let done = service.call().max_retries(1);
        let _ = done
            .execute(async |attempt| {
                places.lock().expect("no panic").push(attempt.authority());
                Err::<(), _>("down")
            })
            .await;
        let places = places.into_inner().expect("no panic");
        assert!(places.len() < 2 || places[0] != places[1], "{places:?}");
    }
    let pools = PerEndpoint::new(&service);
    let made = AtomicUsize::new(0);
    let make = |_: &Endpoint| made.fetch_add(1, Ordering::Relaxed);
    for endpoint in service.endpoints() {
        pools.get_or_init(endpoint.endpoint(), make);
    }
    // Another entry of the place counts: the endpoint and what is kept for it stay.
    let place =
        |service: &ServiceHandle| service.endpoint("a").or_else(|| service.endpoint("z")).expect("there");
    manager.deregister_endpoint(("users", "a")).await.expect("removes");
    until("the other entry counts", SECOND, || place(&service).id() == "z").await;
    pools.get_or_init(&place(&service), make);
    assert_eq!((made.load(Ordering::Relaxed), pools.len()), (2, 2));
    manager.deregister_endpoint(("users", "z@dc2")).await.expect("removes");
    until("it is gone", SECOND, || named(&service) == ["b"]).await;
    assert_eq!(pools.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn what_is_kept_per_endpoint_and_probed_is_kept_apart_for_one_id_of_two_sources() {
    let check = HealthCheck::builder().interval(SECOND).unhealthy_threshold(1).build().expect("valid");
    let (first, second) = (MemoryProvider::new(), MemoryProvider::new());
    for (provider, last) in [(&first, 1), (&second, 2)] {
        let registry = Provider::registry(provider).expect("it has one");
        let endpoint =
            endpoint("mongo", last).to_builder().health_check(check.clone()).build().expect("valid");
        registry.register(&endpoint).await.expect("registers");
    }
    let config = FailoverConfig::builder().probe_endpoints(true).build().expect("valid");
    let manager = virtual_manager(first)
        .provider_as("dc2", second)
        .service_config(config)
        .probe("http", |endpoint: std::sync::Arc<Endpoint>| async move {
            if endpoint.address() == "10.0.0.1" { Err("down") } else { Ok(()) }
        })
        .build()
        .await
        .expect("builds");
    let service = manager.service_from("users", [("memory", 0), ("dc2", 0)]).await.expect("a handle");
    assert_eq!(service.name(), &users());
    let pools = PerEndpoint::new(&service);
    for _ in 0..4 {
        for entry in service.endpoints() {
            let address = pools.get_or_init(entry.endpoint(), |endpoint| endpoint.address().to_owned());
            assert_eq!(*address, entry.endpoint().address());
        }
    }
    assert_eq!(pools.len(), 2);
    until("its probe takes the first one out", 5 * SECOND, || {
        service.stats().endpoints.iter().any(|of| !of.availability.is_in())
    })
    .await;
    sleep(5 * SECOND).await;
    let out: Vec<_> = service.stats().endpoints.into_iter().filter(|of| !of.availability.is_in()).collect();
    assert_eq!(out.iter().map(|of| &*of.source).collect::<Vec<_>>(), ["memory"]);
    assert_eq!(picked(&service), ["mongo".to_owned()].into());
    let down = emitted(&service, EventKind::EndpointDown);
    assert!(down[0].starts_with("endpoint_down users/mongo [memory]: its probe says"), "{down:?}");
}
