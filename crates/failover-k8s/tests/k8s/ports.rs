//! The port of a Service's endpoints, while its owner changes it.

use std::time::Duration;

use failover_core::config::{EmptyPolicy, FailoverConfig};
use failover_core::events::EventKind;
use failover_core::provider::{Provider, Query, Registry};
use failover_core::{ErrorKind, FailoverManager, ServiceHandle, source};
use failover_testkit::kubernetes::ControlPlane;
use failover_testkit::until;
use serde_json::{Value, json};

use crate::discovery::controllers;
use crate::harness::{Space, calm, endpoint, service};

const SOON: Duration = Duration::from_secs(10);

type Calm = Space<&'static ControlPlane>;

/// Writes the slice of a Service whose pods have these ports.
async fn put(space: &Calm, pods: &[u16], ports: Value) {
    let mut slice = controllers("users-a", "users", pods);
    slice["ports"] = ports;
    let answer = space.apply("endpointslices", "users-a", &slice.to_string()).await;
    assert!(matches!(answer.status, 200 | 201), "{answer:?}");
}

fn port(name: &str, number: u16) -> Value {
    json!({"name": name, "port": number, "protocol": "TCP"})
}

async fn manager(space: &Calm) -> FailoverManager {
    FailoverManager::builder().provider(space.provider().await).build().await.expect("builds")
}

/// Waits until the endpoints are exactly these pods on this port.
async fn has(users: &ServiceHandle, pods: &[u16], port: u16) {
    let wanted: Vec<_> = pods.iter().map(|pod| (format!("10.1.0.{pod}"), port)).collect();
    let found = || {
        let all = users.endpoints();
        let mut all: Vec<_> = all
            .iter()
            .map(|entry| (entry.endpoint().address().to_owned(), entry.endpoint().port()))
            .collect();
        all.sort();
        all
    };
    until(SOON, &format!("{wanted:?}"), async || found() == wanted).await;
}

fn emitted(users: &ServiceHandle, kind: EventKind) -> Vec<String> {
    users.events(usize::MAX).iter().filter(|event| event.kind == kind).map(ToString::to_string).collect()
}

/// A Service gets a second port, names for both, and other pods: callers go on with the port in use.
#[tokio::test(flavor = "multi_thread")]
async fn a_second_port_strands_no_caller() {
    let Some(space) = calm().await else { return };
    put(&space, &[1, 2], json!([port("", 8080)])).await;
    let manager = manager(&space).await;
    let users = manager.service("users").await.expect("a handle");
    has(&users, &[1, 2], 8080).await;
    // The only port needs no name until it gets a second one.
    put(&space, &[3, 4], json!([port("metrics", 9090), port("http", 8080)])).await;
    has(&users, &[3, 4], 8080).await;
    // Now it has a name, which stays while the number changes.
    put(&space, &[3, 4], json!([port("metrics", 9090), port("http", 8081)])).await;
    has(&users, &[3, 4], 8081).await;
    // Another name with the same number.
    put(&space, &[5], json!([port("web", 8081), port("metrics", 9090)])).await;
    has(&users, &[5], 8081).await;
    // A list is the same.
    let set = manager.list_endpoints(&Query::service(&service("users"))).await.expect("lists");
    assert_eq!(set.entries().len(), 1);
    // A name that was chosen explicitly is renamed: the same.
    let chosen = space.builder().port_name("web").build().await.expect("builds");
    let chosen = FailoverManager::builder().provider(chosen).build().await.expect("builds");
    let by_name = chosen.service("users").await.expect("a handle");
    has(&by_name, &[5], 8081).await;
    put(&space, &[6], json!([port("api", 8081), port("metrics", 9090)])).await;
    has(&by_name, &[6], 8081).await;
    has(&users, &[6], 8081).await;
}

/// Two slices, of which one names a single port: that is the one in use, also for a process that
/// begins only now.
#[tokio::test]
async fn the_port_of_one_slice_is_that_of_the_others() {
    let Some(space) = calm().await else { return };
    put(&space, &[1], json!([port("http", 8080)])).await;
    let mut other = controllers("users-b", "users", &[2]);
    other["ports"] = json!([port("metrics", 9090), port("http", 8080)]);
    space.apply("endpointslices", "users-b", &other.to_string()).await;
    let set = space.provider().await.list(&Query::service(&service("users"))).await.expect("lists");
    assert_eq!((set.entries().len(), set.rejected_count()), (2, 0));
    assert!(set.entries().iter().all(|entry| entry.endpoint().port() == 8080));
}

#[tokio::test]
async fn an_error_lists_the_ports_that_there_are() {
    let Some(space) = calm().await else { return };
    put(&space, &[1], json!([port("http", 8080), port("metrics", 9090)])).await;
    let users = Query::service(&service("users"));
    for (builder, query) in [
        (space.builder(), users.clone()),
        (space.builder().port_name("grpc"), users.clone()),
        (space.builder().port_number(7070), users.clone()),
        (space.builder(), users.clone().port("grpc")),
        (space.builder().port_name("http"), users.clone().port(7070)),
    ] {
        let set = builder.build().await.expect("builds").list(&query).await.expect("lists");
        assert!(set.entries().is_empty());
        let error = set.rejected()[0].error().to_string();
        assert!(error.contains("http (8080), metrics (9090)"), "{error}");
    }
}

/// A headless Service may have no ports; and a Service's own port is another number than its pods'.
#[tokio::test]
async fn a_number_is_enough_without_ports_and_for_the_services_own_port() {
    let Some(space) = calm().await else { return };
    let users = Query::service(&service("users"));
    put(&space, &[1], json!([])).await;
    let provider = space.builder().port_number(9042).build().await.expect("builds");
    let set = provider.list(&users).await.expect("lists");
    assert_eq!(set.entries()[0].endpoint().port(), 9042);
    let set = space.provider().await.list(&users).await.expect("lists");
    assert!(set.rejected()[0].error().to_string().contains("port_number"), "{set:?}");
    put(&space, &[1], json!([port("http", 8080), port("metrics", 9090)])).await;
    let provider = space.builder().port_number(80).build().await.expect("builds");
    let manager = FailoverManager::builder().provider(provider).build().await.expect("builds");
    let handle = manager.service("users").await.expect("a handle");
    handle.select().map(drop).expect_err("80 is no port of the pods");
    // The Service comes later than its slices.
    let body = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "users"}, "spec": {
        "selector": {"app": "users"},
        "ports": [{"name": "http", "port": 80, "targetPort": 8080}, {"name": "metrics", "port": 90, "targetPort": 9090}],
    }});
    assert_eq!(space.admin("POST", "services", "", &body.to_string()).await.status, 201);
    has(&handle, &[1], 8080).await;
}

/// One manager, two ports of a Service in another namespace.
#[tokio::test]
async fn a_service_is_read_from_another_namespace_and_port() {
    let Some(shop) = calm().await else { return };
    let Some(space) = calm().await else { return };
    put(&shop, &[1], json!([port("http", 8080), port("admin", 9090)])).await;
    let binding = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": {"name": "guest"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "failover-discovery"},
        "subjects": [{"kind": "ServiceAccount", "name": "failover", "namespace": space.namespace}],
    });
    assert_eq!(shop.admin("POST", "rolebindings", "", &binding.to_string()).await.status, 201);
    let provider = space.provider().await;
    // What other endpoints are registered under the same name here does not mix with it.
    provider.register(&endpoint("here", "10.0.0.1")).await.expect("registers");
    let query = Query::service(&service("users")).namespace(&shop.namespace).port(9090);
    assert_eq!(provider.list(&query).await.expect("lists").entries()[0].endpoint().port(), 9090);
    let manager = FailoverManager::builder().provider(provider).build().await.expect("builds");
    let compact = |port: &str| format!("users.{}:{port}", shop.namespace);
    let at = source("kubernetes").service("users").namespace(&shop.namespace);
    for (name, source, port) in [
        ("compact", source("kubernetes").service(compact("http")), 8080),
        ("compact-admin", source("kubernetes").service(compact("admin")), 9090),
        ("compact-number", source("kubernetes").service(compact("9090")), 9090),
        ("builder", at.clone().port("http"), 8080),
        ("builder-admin", at.port("admin"), 9090),
    ] {
        let handle = manager.service_from(name, [source]).await.expect("a handle");
        has(&handle, &[1], port).await;
    }
    let users = manager.service("users").await.expect("a handle");
    assert_eq!(users.select().expect("one").endpoint().id().as_str(), "here");
    for (wrong, named) in [
        (source("kubernetes").service("users.shop.svc"), "users.shop:http"),
        (source("kubernetes").service("users:"), "users.shop:http"),
        (source("kubernetes").service("a/b"), "users.shop:http"),
    ] {
        let error = manager.service_from("wrong", [wrong]).await.expect_err("no such form");
        assert_eq!(error.kind(), ErrorKind::Validation);
        assert!(error.to_string().contains(named), "{error}");
    }
    for (name, wrong, named) in [
        ("wrong-namespace", source("kubernetes").namespace("Shop/../x"), "namespace: Shop"),
        ("wrong-name", source("kubernetes").port("a b"), "port: a b"),
        ("wrong-number", source("kubernetes").port(0), "port: 0"),
    ] {
        let handle = manager.service_from(name, [wrong]).await.expect("a handle");
        let error = || handle.stats().sources[0].error.clone();
        until(SOON, "it is refused", async || error().is_some()).await;
        assert!(error().expect("refused").contains(named), "{error:?}", error = error());
    }
}

/// One Service, two ports, each with its own endpoints and its own port in use.
#[tokio::test]
async fn queries_for_two_ports_of_one_service_do_not_mix() {
    let Some(space) = calm().await else { return };
    put(&space, &[1], json!([port("http", 8080), port("admin", 9090)])).await;
    let manager = FailoverManager::builder().provider(space.provider().await).build().await.expect("builds");
    let users = || Query::service(&service("users"));
    let http = manager.service_matching(users().port("http")).await.expect("a handle");
    let admin = manager.service_matching(users().port("admin")).await.expect("a handle");
    has(&http, &[1], 8080).await;
    has(&admin, &[1], 9090).await;
    put(&space, &[1, 2], json!([port("admin", 9091), port("http", 8081)])).await;
    has(&http, &[1, 2], 8081).await;
    has(&admin, &[1, 2], 9091).await;
}

/// Slices of a `ServiceImport` have another label.
#[tokio::test]
async fn a_service_import_is_read_where_it_is_asked_for() {
    let Some(space) = calm().await else { return };
    let mut slice = controllers("imported", "users", &[7]);
    slice["metadata"]["labels"] = json!({"multicluster.kubernetes.io/service-name": "users"});
    space.apply("endpointslices", "imported", &slice.to_string()).await;
    let users = Query::service(&service("users"));
    let provider = space.builder().service_imports(true).build().await.expect("builds");
    let set = provider.list(&users).await.expect("lists");
    assert_eq!((set.entries().len(), set.rejected_count()), (1, 0));
    assert!(space.provider().await.list(&users).await.expect("lists").entries().is_empty());
    assert_eq!(provider.list(&Query::all()).await.expect("lists").entries().len(), 1);
}

/// No port of a whole answer is the one to use: its last endpoints end after the hold, and events
/// tell before and at the end.
#[tokio::test(flavor = "multi_thread")]
async fn endpoints_of_which_nothing_can_be_used_any_more_end_after_the_hold() {
    let Some(space) = calm().await else { return };
    put(&space, &[1, 2], json!([port("http", 8080)])).await;
    let manager = manager(&space).await;
    let hold = FailoverConfig::builder().empty_policy(EmptyPolicy::Hold(Duration::from_secs(3)));
    manager.configure_service("users", hold.build().expect("valid")).await.expect("stores");
    let users = manager.service("users").await.expect("a handle");
    has(&users, &[1, 2], 8080).await;
    until(SOON, "the hold is applied", async || {
        users.config().empty_policy() == EmptyPolicy::Hold(Duration::from_secs(3))
    })
    .await;
    put(&space, &[1, 2], json!([port("grpc", 1), port("metrics", 2)])).await;
    until(SOON, "the event", async || !emitted(&users, EventKind::RemovalHeld).is_empty()).await;
    let rejected = emitted(&users, EventKind::EntryRejected).join("\n");
    assert!(rejected.contains("grpc (1), metrics (2)"), "{rejected}");
    assert_eq!(users.endpoints().len(), 2, "they stay for the hold");
    assert!(emitted(&users, EventKind::EndpointRemoved).is_empty());
    until(SOON, "they end", async || users.endpoints().is_empty()).await;
    assert_eq!(emitted(&users, EventKind::EndpointRemoved).len(), 2);
    put(&space, &[1, 2], json!([port("http", 8080)])).await;
    has(&users, &[1, 2], 8080).await;
}
