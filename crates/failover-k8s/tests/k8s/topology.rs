//! Endpoints that are meant for callers in one zone.

use std::time::Duration;

use failover_core::FailoverManager;
use failover_core::provider::{Provider, Query};
use failover_k8s::KubernetesProviderBuilder;
use failover_testkit::until;
use serde_json::json;

use crate::discovery::controllers;
use crate::harness::{calm, service};

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
