//! Endpoints that are meant for callers in one zone.

use std::time::Duration;

use failover_core::FailoverManager;
use failover_core::provider::{Provider, Query};
use failover_k8s::KubernetesProviderBuilder;
use failover_testkit::until;
use serde_json::json;

use crate::discovery::controllers;
use crate::harness::{calm, sees, service};

/// Returns the addresses and priorities that a provider finds.
async fn found(builder: KubernetesProviderBuilder) -> Vec<(String, u32)> {
    let provider = builder.build().await.expect("builds");
    let set = provider.list(&Query::service(&service("users"))).await.expect("lists");
    let one = |entry: &failover_core::provider::EndpointEntry| {
        let endpoint = entry.endpoint();
        assert_eq!(endpoint.metadata()["k8s.node"], "n1", "the node is kept");
        assert_eq!(endpoint.zone(), Some("eu-1a"), "the zone is kept");
        (endpoint.address().to_owned(), endpoint.priority())
    };
    let mut all: Vec<_> = set.entries().iter().map(one).collect();
    all.sort();
    all
}

/// The zone is given, or that of the node where the right to read nodes is given. Endpoints that are
/// meant for others stay as a fallback.
#[tokio::test(flavor = "multi_thread")]
async fn hints_are_followed_where_the_zone_is_known() {
    let Some(space) = calm().await else { return };
    let mut slice = controllers("users-a", "users", &[1, 2]);
    for (number, zone) in ["eu-1a", "eu-1b"].into_iter().enumerate() {
        slice["endpoints"][number]["hints"] = json!({"forZones": [{"name": zone}]});
    }
    assert!(matches!(space.apply("endpointslices", "users-a", &slice.to_string()).await.status, 200 | 201));
    let expected = |priorities: [u32; 2]| {
        vec![("10.1.0.1".to_owned(), priorities[0]), ("10.1.0.2".to_owned(), priorities[1])]
    };
    assert_eq!(found(space.builder()).await, expected([0, 0]));
    assert_eq!(found(space.builder().zone("eu-1b")).await, expected([1, 0]));
    let node = format!("node-{}", space.namespace);
    let admin = async |path: &str, body: serde_json::Value| {
        let answer = space.plane.request(space.plane.admin(), "POST", path, &body.to_string()).await;
        assert_eq!(answer.status, 201, "{answer:?}");
    };
    let labels = json!({"topology.kubernetes.io/zone": "eu-1a"});
    admin(
        "/api/v1/nodes",
        json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": node, "labels": labels}}),
    )
    .await;
    assert_eq!(found(space.builder().node_name(&node)).await, expected([0, 0]), "without the right");
    let rbac = "/apis/rbac.authorization.k8s.io/v1";
    admin(
        &format!("{rbac}/clusterroles"),
        json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": node},
            "rules": [{"apiGroups": [""], "resources": ["nodes"], "resourceNames": [node], "verbs": ["get"]}]}),
    )
    .await;
    admin(
        &format!("{rbac}/clusterrolebindings"),
        json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding", "metadata": {"name": node},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": node},
            "subjects": [{"kind": "ServiceAccount", "name": "failover", "namespace": space.namespace}]}),
    )
    .await;
    until(Duration::from_secs(10), "the right is given", async || {
        found(space.builder().node_name(&node)).await == expected([0, 1])
    })
    .await;
    // Calls go where they are meant to go.
    let provider = space.builder().node_name(&node).build().await.expect("builds");
    let manager = FailoverManager::builder().provider(provider).build().await.expect("builds");
    let users = manager.service("users").await.expect("a handle");
    for _ in 0..20 {
        assert_eq!(users.select().expect("one").endpoint().address(), "10.1.0.1");
    }
}

/// The labels of pods are metadata of their endpoints where the right to read pods is given: versions,
/// and weights.
#[tokio::test(flavor = "multi_thread")]
async fn the_labels_of_pods_are_metadata_and_weights() {
    let Some(space) = calm().await else { return };
    let pod = |name: &str, labels: serde_json::Value| {
        json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": labels},
            "spec": {"containers": [{"name": "c", "image": "i"}]}})
        .to_string()
    };
    let labels = json!({"version": "v1", "failover.rs/weight": "7"});
    let answer = space.admin("POST", "pods", "", &pod("users-1", labels)).await;
    assert_eq!(answer.status, 201, "{answer:?}");
    let created: serde_json::Value = serde_json::from_str(&answer.body).expect("a pod");
    let mut slice = controllers("users-a", "users", &[1, 2]);
    slice["endpoints"][0]["targetRef"]["uid"] = created["metadata"]["uid"].clone();
    space.apply("endpointslices", "users-a", &slice.to_string()).await;
    let provider = space.builder().pod_labels(true).build().await.expect("builds");
    let users = service("users");
    let mut watch = provider.watch(&Query::service(&users)).expect("it watches");
    let of_first = |set: &failover_core::provider::EndpointSet| {
        let entry = set.entries().iter().find(|entry| entry.endpoint().address() == "10.1.0.1");
        let endpoint = entry.expect("it is there").endpoint().clone();
        (endpoint.metadata().get("k8s.label.version").cloned(), endpoint.weight())
    };
    // Without the right, there are the endpoints alone.
    let set = crate::harness::next(&mut watch).await.expect("a set");
    assert_eq!(of_first(&set), (None, 1));
    let rules = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": {"name": "pods"},
        "rules": [{"apiGroups": [""], "resources": ["pods"], "verbs": ["list", "watch"]}]});
    assert_eq!(space.admin("POST", "roles", "", &rules.to_string()).await.status, 201);
    let binding = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": {"name": "pods"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "pods"},
        "subjects": [{"kind": "ServiceAccount", "name": "failover", "namespace": space.namespace}]});
    assert_eq!(space.admin("POST", "rolebindings", "", &binding.to_string()).await.status, 201);
    let limit = Duration::from_secs(45);
    let v1 = (Some("v1".to_owned()), 7);
    let set = sees(&mut watch, limit, "its labels", |set| of_first(set) == v1).await;
    assert_eq!(set.entries().len(), 2, "and one without a pod that is known");
    // A change of the labels, and then one of the slice.
    let labels = json!({"version": "v2", "failover.rs/weight": "3"});
    let patch = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "users-1", "labels": labels}});
    assert_eq!(space.apply("pods", "users-1", &patch.to_string()).await.status, 200);
    let v2 = (Some("v2".to_owned()), 3);
    sees(&mut watch, limit, "its new labels", |set| of_first(set) == v2).await;
    slice["endpoints"][1]["conditions"]["ready"] = false.into();
    space.apply("endpointslices", "users-a", &slice.to_string()).await;
    let unready = |set: &failover_core::provider::EndpointSet| {
        set.entries().iter().any(|entry| entry.health() == failover_core::Health::Unhealthy)
    };
    let set = sees(&mut watch, limit, "the other one is not ready", unready).await;
    assert_eq!(of_first(&set), v2, "they stay");
}
