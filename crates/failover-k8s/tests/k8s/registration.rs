//! Writes of endpoints to a real API server.

use std::time::Duration;

use failover_core::provider::{Provider, Query, Registry};
use failover_core::{ErrorKind, Health, Lifecycle};
use failover_testkit::kubernetes::ControlPlane;
use serde_json::{Value, json};

use crate::harness::{Space, calm, endpoint, id, ids, service};

/// F15: addresses that the API server rejects and a development machine needs.
#[tokio::test]
async fn loopback_and_names_are_registered_although_kubernetes_takes_neither() {
    let Some(space) = calm().await else { return };
    let provider = space.provider().await;
    for (name, address) in [
        ("v4", "127.0.0.1"),
        ("v6", "::1"),
        ("host", "localhost"),
        ("fqdn", "db.example.com"),
        ("linklocal", "169.254.1.1"),
        ("mapped", "::ffff:10.0.0.1"),
        ("plain", "10.0.0.1"),
        ("plain6", "fd00::1"),
    ] {
        provider
            .register(&endpoint(name, address))
            .await
            .unwrap_or_else(|error| panic!("{address}: {error}"));
        let entry = provider.get(&service("users"), &id(name)).await.expect("it is there");
        assert_eq!(entry.endpoint().address(), address);
        provider.set_health(&service("users"), &id(name), Health::Unhealthy).await.expect("claims");
        let entry = provider.get(&service("users"), &id(name)).await.expect("it is there");
        assert_eq!(entry.health(), Health::Unhealthy, "{address}");
    }
    assert_eq!(provider.list(&Query::all()).await.expect("lists").entries().len(), 8);
}

/// A rolling update: the next release registers the id that the previous one deregisters when it
/// ends.
#[tokio::test]
async fn a_process_that_ends_leaves_the_registration_of_its_successor_alone() {
    let Some(space) = calm().await else { return };
    let (old, new) = (space.provider().await, space.provider().await);
    old.register(&endpoint("a", "10.0.0.1")).await.expect("registers");
    new.register(&endpoint("a", "10.0.0.2")).await.expect("takes it over");
    assert!(
        !old.deregister(&service("users"), &id("a")).await.expect("answers"),
        "it is not its own any more"
    );
    let entry = new.get(&service("users"), &id("a")).await.expect("it is there");
    assert_eq!((entry.endpoint().address(), entry.lifecycle()), ("10.0.0.2", Lifecycle::InService));
    // A tool, which has not registered it, can deregister it.
    assert!(space.provider().await.deregister(&service("users"), &id("a")).await.expect("deregisters"));
    assert!(!new.deregister(&service("users"), &id("a")).await.expect("answers"));
}

/// An id moves to an address of the other family: a slice's address type is immutable.
#[tokio::test]
async fn an_endpoint_can_move_between_the_families_of_addresses() {
    let Some(space) = calm().await else { return };
    let provider = space.provider().await;
    provider.register(&endpoint("a", "10.0.0.1")).await.expect("registers");
    provider.register(&endpoint("a", "fd00::1")).await.expect("registers again");
    provider.set_health(&service("users"), &id("a"), Health::Degraded).await.expect("claims");
    provider.update(&endpoint("a", "10.0.0.2")).await.expect("updates");
    let entry = provider.get(&service("users"), &id("a")).await.expect("it is there");
    assert_eq!((entry.endpoint().address(), entry.health()), ("10.0.0.2", Health::Degraded));
    assert_eq!(space.objects("endpointslices").await.len(), 1);
    let slice = &space.objects("endpointslices").await[0];
    assert!(slice["metadata"]["ownerReferences"][0]["uid"].is_string(), "it is still bound to its lease");
    // The next registration replaces it completely.
    space.provider().await.register(&endpoint("a", "10.0.0.3")).await.expect("registers");
    let slice = space.objects("endpointslices").await.remove(0);
    let owners = slice["metadata"]["ownerReferences"].as_array().expect("a list");
    assert_eq!(owners.len(), 1, "{owners:?}");
    assert_eq!(owners[0]["name"], slice["metadata"]["labels"]["failover.rs/registrant"]);
}

/// F16: one id registered by many processes at once is one object, and no registration fails.
#[tokio::test(flavor = "multi_thread")]
async fn two_processes_that_register_one_id_write_one_object() {
    let Some(space) = calm().await else { return };
    let mut writers = tokio::task::JoinSet::new();
    for last in 1..=4_u8 {
        let provider = space.provider().await;
        writers.spawn(async move {
            for _ in 0..5 {
                provider.register(&endpoint("same", &format!("10.0.0.{last}"))).await.expect("registers");
            }
            provider
        });
    }
    let mut providers = Vec::new();
    while let Some(provider) = writers.join_next().await {
        providers.push(provider.expect("no panic"));
    }
    let set = providers[0].list(&Query::all()).await.expect("lists");
    assert_eq!(ids(&set), ["same"]);
    assert_eq!(space.objects("endpointslices").await.len(), 1);
}

/// F17: concurrent changes of one endpoint are all applied.
#[tokio::test(flavor = "multi_thread")]
async fn changes_of_one_endpoint_at_once_do_not_lose_each_other() {
    let Some(space) = calm().await else { return };
    let one = space.provider().await;
    let other = space.provider().await;
    one.register(&endpoint("a", "10.0.0.1")).await.expect("registers");
    for round in 0..10 {
        let health = if round % 2 == 0 { Health::Degraded } else { Health::Healthy };
        let lifecycle = if round % 2 == 0 { Lifecycle::Maintenance } else { Lifecycle::InService };
        let (users, a) = (service("users"), id("a"));
        let both =
            tokio::join!(one.set_health(&users, &a, health), other.set_lifecycle(&users, &a, lifecycle));
        both.0.expect("claims");
        both.1.expect("claims");
        let entry = one.get(&users, &a).await.expect("it is there");
        assert_eq!((entry.health(), entry.lifecycle()), (health, lifecycle), "round {round}");
    }
}

/// F20: again, and by another process.
#[tokio::test]
async fn deregistering_again_is_no_error_and_says_that_nothing_was_there() {
    let Some(space) = calm().await else { return };
    let provider = space.provider().await;
    provider.register(&endpoint("a", "10.0.0.1")).await.expect("registers");
    let (users, a) = (service("users"), id("a"));
    assert!(space.provider().await.deregister(&users, &a).await.expect("anybody may"));
    for _ in 0..2 {
        assert!(!provider.deregister(&users, &a).await.expect("no error"));
    }
}

/// F21: users' edits take precedence, and an update keeps their additions.
#[tokio::test]
async fn what_users_edit_in_a_slice_of_ours_counts_and_stays() {
    let Some(space) = calm().await else { return };
    let provider = space.provider().await;
    let (users, a) = (service("users"), id("a"));
    provider.register(&endpoint("a", "10.0.0.1")).await.expect("registers");
    let mut slice = space.objects("endpointslices").await.remove(0);
    let name = slice["metadata"]["name"].as_str().expect("a name").to_owned();
    slice["metadata"]["labels"]["team"] = json!("blue");
    slice["endpoints"][0]["addresses"][0] = json!("10.9.9.9");
    slice["endpoints"][0]["zone"] = json!("eu-1a");
    slice["endpoints"][0]["conditions"] = json!({"ready": false, "serving": false});
    let answer = space.admin("PUT", "endpointslices", &name, &slice.to_string()).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let entry = provider.get(&users, &a).await.expect("it is there");
    assert_eq!((entry.endpoint().address(), entry.endpoint().zone()), ("10.9.9.9", Some("eu-1a")));
    assert_eq!(entry.health(), Health::Unhealthy);
    let heavier = entry.endpoint().to_builder().weight(9).build().expect("valid");
    provider.update(&heavier).await.expect("updates");
    provider.set_health(&users, &a, Health::Healthy).await.expect("claims");
    let slice = space.objects("endpointslices").await.remove(0);
    assert_eq!(slice["metadata"]["labels"]["team"], "blue");
    let entry = provider.get(&users, &a).await.expect("it is there");
    assert_eq!((entry.endpoint().weight(), entry.health()), (9, Health::Healthy));
    // A new registration replaces everything, regardless of its owner.
    provider.register(&endpoint("a", "10.0.0.1")).await.expect("registers");
    let entry = provider.get(&users, &a).await.expect("it is there");
    assert_eq!((entry.endpoint().address(), entry.health()), ("10.0.0.1", Health::Unknown));
}

/// F14: a broken annotation, and one that is too large.
#[tokio::test]
async fn a_broken_annotation_costs_what_stood_in_it_and_a_too_large_endpoint_is_refused_here() {
    let Some(space) = calm().await else { return };
    let provider = space.provider().await;
    provider.register(&endpoint("a", "10.0.0.1")).await.expect("registers");
    provider.register(&endpoint("b", "10.0.0.2")).await.expect("registers");
    let slices = space.objects("endpointslices").await;
    let mut broken =
        slices.into_iter().find(|slice| slice["endpoints"][0]["addresses"][0] == "10.0.0.1").expect("a");
    broken["metadata"]["annotations"]["failover.rs/endpoint"] = json!("{\"v\":1,");
    let name = broken["metadata"]["name"].as_str().expect("a name").to_owned();
    space.admin("PUT", "endpointslices", &name, &broken.to_string()).await;
    let set = provider.list(&Query::service(&service("users"))).await.expect("lists");
    let mut addresses: Vec<_> = set.entries().iter().map(|entry| entry.endpoint().address()).collect();
    addresses.sort_unstable();
    assert_eq!(addresses, ["10.0.0.1", "10.0.0.2"]);
    assert_eq!(set.rejected_count(), 1);

    let before = space.objects("endpointslices").await.len();
    let large = (0..60).map(|_| "\u{1}".repeat(1000));
    let large = endpoint("large", "10.0.0.3").to_builder().tags(large).build().expect("valid");
    let error = provider.register(&large).await.expect_err("six bytes for each character are too many");
    assert_eq!((error.kind(), error.code()), (ErrorKind::Unsupported, "TOO_LARGE"));
    assert_eq!(space.objects("endpointslices").await.len(), before, "nothing was written");
    // An endpoint that just fits is stored.
    let most = (0..4).map(|n| (format!("k{n}"), "x".repeat(16_000)));
    let most = endpoint("most", "10.0.0.4").to_builder().metadata_map(most).build().expect("valid");
    provider.register(&most).await.expect("registers");
    assert_eq!(**provider.get(&service("users"), &id("most")).await.expect("there").endpoint(), {
        let created =
            provider.get(&service("users"), &id("most")).await.expect("there").endpoint().created_at();
        most.to_builder().created_at(created).build().expect("valid")
    });
}

/// F22: a Service whose endpoints Kubernetes writes, and an `ExternalName` Service.
#[tokio::test]
async fn a_service_that_kubernetes_keeps_refuses_registrations_by_name() {
    let Some(space) = calm().await else { return };
    let provider = space.provider().await;
    for (name, spec, code) in [
        ("selected", r#"{"selector":{"app":"x"},"ports":[{"port":80}]}"#, Some("SERVICE_HAS_SELECTOR")),
        ("elsewhere", r#"{"type":"ExternalName","externalName":"db.example.com"}"#, Some("EXTERNAL_NAME")),
        ("own", r#"{"clusterIP":"None","ports":[{"port":80}]}"#, None),
    ] {
        let body =
            format!(r#"{{"apiVersion":"v1","kind":"Service","metadata":{{"name":"{name}"}},"spec":{spec}}}"#);
        let answer = space.admin("POST", "services", "", &body).await;
        assert_eq!(answer.status, 201, "{answer:?}");
        let one = failover_core::Endpoint::builder("a", name, "10.0.0.1", 80).build().expect("valid");
        match (provider.register(&one).await, code) {
            (Ok(()), None) => {}
            (Err(error), Some(code)) => {
                assert_eq!((error.kind(), error.code()), (ErrorKind::Unsupported, code), "{error}");
                assert!(error.to_string().contains(name), "{error}");
            }
            other => panic!("{name}: {other:?}"),
        }
    }
    let long = failover_core::Endpoint::builder("a", "x".repeat(64), "10.0.0.1", 80).build().expect("valid");
    let error = provider.register(&long).await.expect_err("no label holds it");
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert!(provider.list(&Query::service(long.service())).await.expect("lists").is_unknown_service());
}

/// Readers of slices see it as draining, and a successor of the same id is not deleted with it.
#[tokio::test]
async fn a_deregistered_endpoint_drains_first_and_a_successor_stays() {
    let Some(space) = calm().await else { return };
    let provider = space.builder().drain_time(Duration::from_millis(700)).build().await.expect("builds");
    let other = space.provider().await;
    let (users, a) = (service("users"), id("a"));
    provider.register(&endpoint("a", "10.0.0.1")).await.expect("registers");
    let removing = provider.deregister(&users, &a);
    let looking = async {
        failover_testkit::until(Duration::from_secs(5), "it drains", || async {
            other.get(&users, &a).await.is_ok_and(|entry| entry.lifecycle() == Lifecycle::Draining)
        })
        .await;
        let slice = space.objects("endpointslices").await.remove(0);
        let conditions = json!({"ready": false, "serving": true, "terminating": true});
        assert_eq!(slice["endpoints"][0]["conditions"], conditions);
        // Another process removes it and registers a new one with this id.
        other.deregister(&users, &a).await.expect("removes");
        other.register(&endpoint("a", "10.0.0.2")).await.expect("registers");
    };
    let (removed, ()) = tokio::join!(removing, looking);
    assert!(removed.expect("removes"));
    let entry = other.get(&users, &a).await.expect("the successor stays");
    assert_eq!(entry.endpoint().address(), "10.0.0.2");
}

/// Writes without a change are omitted, because each is sent to all watchers.
#[tokio::test]
async fn a_claim_that_says_nothing_new_is_not_written() {
    let Some(space) = calm().await else { return };
    let provider = space.provider().await;
    provider.register(&endpoint("a", "10.0.0.1")).await.expect("registers");
    provider.set_health(&service("users"), &id("a"), Health::Healthy).await.expect("claims");
    let version = |objects: Vec<Value>| objects[0]["metadata"]["resourceVersion"].clone();
    let before = version(space.objects("endpointslices").await);
    provider.set_health(&service("users"), &id("a"), Health::Healthy).await.expect("claims");
    assert_eq!(version(space.objects("endpointslices").await), before);
}

/// F33: a terminating namespace accepts no registration, and reports that.
#[tokio::test]
async fn a_namespace_that_terminates_is_reported_by_its_own_code() {
    let Some(space) = calm().await else { return };
    let provider = space.provider().await;
    let path = format!("/api/v1/namespaces/{}", space.namespace);
    let answer = space.plane.request(space.plane.admin(), "DELETE", &path, "").await;
    assert!(matches!(answer.status, 200 | 202), "{answer:?}");
    let error = provider.register(&endpoint("a", "10.0.0.1")).await.expect_err("it is going");
    assert_eq!((error.kind(), error.code()), (ErrorKind::Permission, "NAMESPACE_TERMINATING"), "{error}");
    assert_eq!(error.retry(), failover_core::RetryAdvice::Never);
}

/// Without a lease, registrations are not bound to this process.
#[tokio::test]
async fn without_a_lease_there_is_none() {
    let Some(space) = calm().await else { return };
    let provider = space.builder().without_lease().build().await.expect("builds");
    provider.register(&endpoint("a", "10.0.0.1")).await.expect("registers");
    assert!(space.objects("leases").await.is_empty());
    let slice = space.objects("endpointslices").await.remove(0);
    assert!(slice["metadata"].get("ownerReferences").is_none(), "{slice}");
}

/// A process that deregisters everything leaves no lease; otherwise the remaining registrations
/// expire with it.
#[tokio::test]
async fn closing_gives_up_a_lease_to_which_nothing_is_bound() {
    let Some(space) = calm().await else { return };
    let provider = space.provider().await;
    provider.register(&endpoint("a", "10.0.0.1")).await.expect("registers");
    assert_eq!(space.objects("leases").await.len(), 1);
    provider.close().await.expect("closes");
    assert_eq!(space.objects("leases").await.len(), 1);
    provider.connect().await.expect("connects");
    assert!(provider.deregister(&service("users"), &id("a")).await.expect("removes"));
    provider.close().await.expect("closes");
    assert!(space.objects("leases").await.is_empty());
}

/// Everything else works without permission to read Services.
#[tokio::test]
async fn a_client_that_may_not_read_services_can_register() {
    let Some(space) = calm().await else { return };
    let role = space.admin("GET", "roles", "failover-registrant", "").await;
    let mut role: Value = serde_json::from_str(&role.body).expect("a role");
    role["rules"].as_array_mut().expect("a list").retain(|rule| rule["resources"][0] != "services");
    let answer = space.admin("PUT", "roles", "failover-registrant", &role.to_string()).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let path = space.path("services", "");
    failover_testkit::until(Duration::from_secs(5), "the right is gone", async || {
        space.plane.request(&space.token, "GET", &format!("{path}/x"), "").await.status == 403
    })
    .await;
    let provider = space.provider().await;
    provider.register(&endpoint("a", "10.0.0.1")).await.expect("registers");
    assert_eq!(ids(&provider.list(&Query::service(&service("users"))).await.expect("lists")), ["a"]);
    assert!(provider.list(&Query::service(&service("absent"))).await.expect("lists").is_unknown_service());
}

/// A registration keeps the object and takes it over: the process that drained it before does not
/// delete it.
#[tokio::test]
async fn what_is_registered_again_while_it_drains_stays() {
    let Some(space) = calm().await else { return };
    let provider = space.builder().drain_time(Duration::from_millis(1500)).build().await.expect("builds");
    let other = space.provider().await;
    let (users, a, b) = (service("users"), id("a"), id("b"));
    provider.register(&endpoint("a", "10.0.0.1")).await.expect("registers");
    provider.register(&endpoint("b", "10.0.0.2")).await.expect("registers");
    let looking = async {
        failover_testkit::until(Duration::from_secs(5), "they drain", async || {
            let drains = async |id| {
                other.get(&users, id).await.is_ok_and(|entry| entry.lifecycle() == Lifecycle::Draining)
            };
            drains(&a).await && drains(&b).await
        })
        .await;
        other.register(&endpoint("a", "10.0.0.3")).await.expect("registers");
        let newest = endpoint("b", "10.0.0.4");
        let again = provider.register(&newest);
        tokio::time::timeout(Duration::from_secs(1), again).await.expect("does not wait").expect("registers");
    };
    let (first, second, ()) =
        tokio::join!(provider.deregister(&users, &a), provider.deregister(&users, &b), looking);
    assert!(first.expect("removes") && second.expect("removes"));
    for (id, address) in [(&a, "10.0.0.3"), (&b, "10.0.0.4")] {
        let entry = other.get(&users, id).await.expect("the newest registration wins");
        assert_eq!((entry.endpoint().address(), entry.lifecycle()), (address, Lifecycle::InService));
    }
}

/// Marks the only slice as a reaper does.
pub(crate) async fn mark(space: &Space<&'static ControlPlane>) {
    let mut slice = space.objects("endpointslices").await.remove(0);
    let annotation = &mut slice["metadata"]["annotations"]["failover.rs/endpoint"];
    let mut document: serde_json::Value =
        serde_json::from_str(annotation.as_str().expect("text")).expect("JSON");
    document["expired"] = true.into();
    *annotation = document.to_string().into();
    slice["endpoints"][0]["conditions"] = json!({"ready": false, "serving": false, "terminating": false});
    let name = slice["metadata"]["name"].as_str().expect("a name").to_owned();
    let answer = space.admin("PUT", "endpointslices", &name, &slice.to_string()).await;
    assert_eq!(answer.status, 200, "{answer:?}");
}

/// A process that was considered dead changes its endpoint before it has seen the mark: the mark is
/// removed, and is not stored as the endpoint's health.
#[tokio::test]
async fn a_change_of_what_is_marked_does_not_make_it_unhealthy_for_ever() {
    let Some(space) = calm().await else { return };
    let provider = space.provider().await;
    let other = space.provider().await;
    let (users, a) = (service("users"), id("a"));
    provider.register(&endpoint("a", "10.0.0.1")).await.expect("registers");
    let health = async || other.get(&users, &a).await.expect("it is there").health();
    mark(&space).await;
    assert_eq!(health().await, failover_core::Health::Unhealthy);
    // A change by another process, which does not know whether the first is alive, keeps the mark.
    other.set_lifecycle(&users, &a, Lifecycle::Maintenance).await.expect("sets");
    other.set_lifecycle(&users, &a, Lifecycle::InService).await.expect("sets");
    assert_eq!(health().await, failover_core::Health::Unhealthy);
    provider.update(&endpoint("a", "10.0.0.2")).await.expect("updates");
    assert_eq!(health().await, failover_core::Health::Unknown);
}

/// Another process has registered the same id since; the previous owner knows no more about that
/// process than its mark.
#[tokio::test]
async fn a_former_owner_removes_no_mark_of_its_successor() {
    let Some(space) = calm().await else { return };
    let (old, new) = (space.provider().await, space.provider().await);
    let (users, a) = (service("users"), id("a"));
    old.register(&endpoint("a", "10.0.0.1")).await.expect("registers");
    new.register(&endpoint("a", "10.0.0.2")).await.expect("registers");
    mark(&space).await;
    old.set_lifecycle(&users, &a, Lifecycle::Maintenance).await.expect("sets");
    old.set_lifecycle(&users, &a, Lifecycle::InService).await.expect("sets");
    assert_eq!(old.get(&users, &a).await.expect("it is there").health(), Health::Unhealthy);
    new.set_lifecycle(&users, &a, Lifecycle::Maintenance).await.expect("sets");
    assert_eq!(old.get(&users, &a).await.expect("it is there").health(), Health::Unknown);
}

/// Secrets that one process stores intentionally survive a health report by another.
#[tokio::test]
async fn secrets_that_one_process_stores_outlive_the_claims_of_one_that_does_not() {
    let Some(space) = calm().await else { return };
    let storing = space.builder().store_secrets(true).build().await.expect("builds");
    let other = space.provider().await;
    let (users, a) = (service("users"), id("a"));
    let check = failover_core::HealthCheck::builder().header("Authorization", "stored").build();
    let one =
        endpoint("a", "10.0.0.1").to_builder().health_check(check.expect("valid")).build().expect("valid");
    let is_stored = async || {
        space.objects("endpointslices").await[0]["metadata"]["annotations"]["failover.rs/endpoint"]
            .as_str()
            .is_some_and(|document| document.contains("stored"))
    };
    storing.register(&one).await.expect("registers");
    assert!(is_stored().await);
    other.set_health(&users, &a, Health::Degraded).await.expect("claims");
    other.set_lifecycle(&users, &a, Lifecycle::Maintenance).await.expect("sets");
    assert!(is_stored().await, "the storing process intended it");
    // An update replaces the endpoint with what the updating process stores.
    other.update(&one).await.expect("updates");
    assert!(!is_stored().await);
}
