//! Finds endpoints in the slices of a real API server, written by this library or by others.

use std::time::Duration;

use failover_core::provider::{Provider, Query, Registry};
use failover_core::{ErrorKind, Health};
use failover_k8s::KubernetesProvider;
use futures_util::StreamExt;
use serde_json::{Value, json};

use crate::harness::{calm, endpoint, id, ids, next, sees, service};

const SOON: Duration = Duration::from_secs(10);

/// Returns a slice as Kubernetes' controller writes it.
pub(crate) fn controllers(name: &str, service: &str, pods: &[u16]) -> Value {
    let endpoints: Vec<_> = pods
        .iter()
        .map(|pod| {
            json!({
                "addresses": [format!("10.1.{}.{}", pod >> 8, pod & 255)],
                "conditions": {"ready": true, "serving": true, "terminating": false},
                "nodeName": "n1", "zone": "eu-1a",
                "targetRef": {"kind": "Pod", "namespace": "default", "name": format!("users-{pod}"), "uid": format!("uid-{pod}")},
            })
        })
        .collect();
    json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
        "metadata": {"name": name, "labels": {
            "kubernetes.io/service-name": service,
            "endpointslice.kubernetes.io/managed-by": "endpointslice-controller.k8s.io",
        }},
        "addressType": "IPv4", "endpoints": endpoints,
        "ports": [{"name": "http", "port": 8080, "protocol": "TCP", "appProtocol": "http"}],
    })
}

/// F11 and F22: slices of other writers and of this library form one set, and a move between slices
/// stays invisible.
#[tokio::test]
async fn slices_of_others_and_of_ours_are_one_set_and_a_split_is_never_seen() {
    let Some(space) = calm().await else { return };
    let provider = space.provider().await;
    space
        .apply("endpointslices", "users-a", &controllers("users-a", "users", &[1, 2, 3, 4]).to_string())
        .await;
    let watcher = space.provider().await;
    let users = service("users");
    let mut watch = watcher.watch(&Query::service(&users)).expect("it watches");
    let first = next(&mut watch).await.expect("a set");
    assert_eq!(first.entries().len(), 4);
    provider.register(&endpoint("ours", "10.0.0.9")).await.expect("registers");
    sees(&mut watch, SOON, "ours with theirs", |set| set.entries().len() == 5).await;
    let moving = async {
        for round in 0..5 {
            let (from, to) = if round % 2 == 0 { ("users-a", "users-b") } else { ("users-b", "users-a") };
            // Half of them leave one slice and enter another a moment later; then the others do.
            space.apply("endpointslices", from, &controllers(from, "users", &[1, 2]).to_string()).await;
            tokio::time::sleep(Duration::from_millis(50)).await;
            space.apply("endpointslices", to, &controllers(to, "users", &[3, 4]).to_string()).await;
            space.admin("DELETE", "endpointslices", from, "").await;
            tokio::time::sleep(Duration::from_millis(50)).await;
            space.apply("endpointslices", to, &controllers(to, "users", &[1, 2, 3, 4]).to_string()).await;
        }
        // A visible change, which shows that all of the above has been seen.
        provider.set_health(&users, &id("ours"), Health::Degraded).await.expect("claims");
    };
    // Concurrently: a later reader sees only the last set.
    let looking = sees(&mut watch, SOON, "the claim", |set| {
        assert_eq!(set.entries().len(), 5, "it never dips: {:?}", ids(set));
        set.entries().iter().any(|entry| entry.health() == Health::Degraded)
    });
    let ((), set) = tokio::join!(moving, looking);
    assert_eq!(set.entries().len(), 5);
}

/// F12: no endpoint is ready, then there are none, then the service is gone; each state is
/// published.
#[tokio::test]
async fn what_becomes_of_a_service_is_published_to_its_end() {
    let Some(space) = calm().await else { return };
    let provider = space.provider().await;
    let users = service("users");
    let mut slice = controllers("users-a", "users", &[1, 2]);
    space.apply("endpointslices", "users-a", &slice.to_string()).await;
    let mut watch = provider.watch(&Query::service(&users)).expect("it watches");
    assert_eq!(next(&mut watch).await.expect("a set").entries().len(), 2);
    for endpoint in slice["endpoints"].as_array_mut().expect("a list") {
        endpoint["conditions"] = json!({"ready": false, "serving": true, "terminating": true});
    }
    space.apply("endpointslices", "users-a", &slice.to_string()).await;
    let degraded = |set: &failover_core::provider::EndpointSet| {
        set.entries().iter().all(|e| e.health() == Health::Degraded)
    };
    sees(&mut watch, SOON, "both are the last resort", |set| set.entries().len() == 2 && degraded(set)).await;
    slice["endpoints"] = json!([]);
    space.apply("endpointslices", "users-a", &slice.to_string()).await;
    let empty = sees(&mut watch, SOON, "no endpoint", |set| set.entries().is_empty()).await;
    assert!(empty.is_confirmed() && !empty.is_unknown_service());
    space.apply("endpointslices", "users-a", &controllers("users-a", "users", &[7]).to_string()).await;
    sees(&mut watch, SOON, "one is back", |set| set.entries().len() == 1).await;
    space.admin("DELETE", "endpointslices", "users-a", "").await;
    let gone = sees(&mut watch, SOON, "it is gone", |set| set.entries().is_empty()).await;
    assert!(gone.is_confirmed(), "the event said so");
}

#[tokio::test]
async fn a_service_that_is_a_dns_name_is_reported_as_such() {
    let Some(space) = calm().await else { return };
    let provider = space.provider().await;
    let body = r#"{"apiVersion":"v1","kind":"Service","metadata":{"name":"db"},"spec":{"type":"ExternalName","externalName":"db.example.com"}}"#;
    assert_eq!(space.admin("POST", "services", "", body).await.status, 201);
    let db = service("db");
    let error = provider.list(&Query::service(&db)).await.expect_err("it has no endpoints");
    assert_eq!((error.kind(), error.code()), (ErrorKind::Unsupported, "EXTERNAL_NAME"));
    let mut watch = provider.watch(&Query::service(&db)).expect("it watches");
    let error = loop {
        if let Err(error) = next(&mut watch).await {
            break error;
        }
    };
    assert_eq!(error.code(), "EXTERNAL_NAME");
}

/// F8: a role is revoked and granted again.
#[tokio::test]
async fn rights_that_are_taken_away_are_reported_by_name_and_what_is_known_stays() {
    let Some(space) = calm().await else { return };
    let provider = space.builder().watch_timeout(Duration::from_secs(5)).build().await.expect("builds");
    provider.register(&endpoint("a", "10.0.0.1")).await.expect("registers");
    let users = service("users");
    let mut watch = provider.watch(&Query::service(&users)).expect("it watches");
    assert_eq!(ids(&next(&mut watch).await.expect("a set")), ["a"]);
    let bindings = space.objects("rolebindings").await;
    for binding in &bindings {
        let name = binding["metadata"]["name"].as_str().expect("a name");
        space.admin("DELETE", "rolebindings", name, "").await;
    }
    let error = async {
        loop {
            match watch.next().await.expect("it goes on") {
                // The watch that is running ends in good order.
                Ok(set) => assert_eq!(ids(&set), ["a"], "no empty set"),
                Err(error) => break error,
            }
        }
    };
    let error = tokio::time::timeout(Duration::from_secs(20), error).await.expect("an error in time");
    assert_eq!((error.kind(), error.code()), (ErrorKind::Permission, "PERMISSION_DENIED"));
    let text = error.to_string();
    for named in ["watch", "endpointslices", space.namespace.as_str()] {
        assert!(text.contains(named), "{named} is missing: {text}");
    }
    let error = provider.connect().await.expect_err("the rights are missing");
    assert!(
        error.kind() == ErrorKind::Permission && error.to_string().contains("list endpointslices"),
        "{error}"
    );
    space.plane.apply(crate::harness::RBAC, &space.namespace).await;
    let set = sees(&mut watch, Duration::from_secs(45), "it is back", |set| ids(set) == ["a"]).await;
    assert_eq!(set.entries().len(), 1);
}

/// F30 and R11: a thousand changes without a reader are one set, over one watch, however many
/// listeners there are.
#[tokio::test(flavor = "multi_thread")]
async fn a_slow_reader_gets_the_newest_set_and_watches_are_shared() {
    let Some(space) = calm().await else { return };
    let provider = space.provider().await;
    let users = service("users");
    let mut slow = provider.watch(&Query::service(&users)).expect("it watches");
    next(&mut slow).await.expect("a first set");
    let mut others: Vec<_> =
        (0..20).map(|_| provider.watch(&Query::service(&users)).expect("it watches")).collect();
    for other in &mut others {
        next(other).await.expect("what is known, at once");
    }
    provider.register(&endpoint("a", "10.0.0.1")).await.expect("registers");
    for weight in 2..=200 {
        let heavier = endpoint("a", "10.0.0.1").to_builder().weight(weight).build().expect("valid");
        provider.update(&heavier).await.expect("updates");
    }
    let newest = |set: &failover_core::provider::EndpointSet| {
        set.entries().iter().any(|e| e.endpoint().weight() == 200)
    };
    sees(&mut others[0], SOON, "the last one", newest).await;
    let set = next(&mut slow).await.expect("a set");
    assert!(newest(&set), "what was in between is skipped: {set:?}");
}

/// Lists endpoints of every service, including those written by others.
#[tokio::test]
async fn all_services_of_the_namespace_are_listed_and_no_other() {
    let Some(space) = calm().await else { return };
    let Some(other) = calm().await else { return };
    let provider = space.provider().await;
    provider.register(&endpoint("a", "10.0.0.1")).await.expect("registers");
    space.apply("endpointslices", "orders-a", &controllers("orders-a", "orders", &[1, 2]).to_string()).await;
    other.provider().await.register(&endpoint("elsewhere", "10.0.0.2")).await.expect("registers");
    let all = provider.list(&Query::all()).await.expect("lists");
    assert_eq!(ids(&all), ["a", "uid-1:8080", "uid-2:8080"]);
    let entry = provider.get(&service("orders"), &id("uid-2:8080")).await.expect("it is found");
    assert_eq!(entry.endpoint().metadata()["k8s.pod"], "users-2");
    let error = provider.set_health(&service("orders"), &id("uid-2:8080"), Health::Healthy).await;
    assert_eq!(error.expect_err("it is not ours").kind(), ErrorKind::NotFound);
}

/// A client of kube that the program created itself.
#[tokio::test]
async fn a_client_that_was_made_elsewhere_is_used_as_it_is() {
    let Some(space) = calm().await else { return };
    let file = space.plane.kubeconfig("client", &space.token, &space.namespace);
    let kubeconfig = kube::config::Kubeconfig::read_from(file).expect("reads");
    let options = kube::config::KubeConfigOptions::default();
    // A program without a provider of cryptography must install one before it creates a client.
    drop(space.provider().await);
    let mut config =
        kube::Config::from_custom_kubeconfig(kubeconfig, &options).await.expect("a configuration");
    config.default_retry = false;
    let client = kube::Client::try_from(config).expect("a client");
    let provider = KubernetesProvider::from_client(client).build().await.expect("builds");
    provider.connect().await.expect("connects");
    assert_eq!(
        provider.info().trust(),
        failover_core::provider::AddressTrust::Remote,
        "its address is unknown"
    );
    provider.register(&endpoint("a", "10.0.0.1")).await.expect("registers in the client's namespace");
    assert_eq!(ids(&space.provider().await.list(&Query::all()).await.expect("lists")), ["a"]);
}
