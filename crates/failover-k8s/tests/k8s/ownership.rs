//! Registrations that users delete, that successors take over, and that fail.

use std::time::Duration;

use failover_core::provider::{Provider, Query, Registry};
use failover_core::{Endpoint, ErrorKind, FailoverManager, Health, Lifecycle};
use failover_k8s::KubernetesProvider;
use failover_testkit::kubernetes::ControlPlane;
use failover_testkit::until;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::harness::{Space, calm, endpoint, id, sees, service};

const LEASE: Duration = Duration::from_secs(3);

type Calm = Space<&'static ControlPlane>;

async fn provider(space: &Calm, name: &str) -> KubernetesProvider {
    space.builder().registrant(name).lease_duration(LEASE).build().await.expect("builds")
}

async fn slice_name(space: &Calm) -> String {
    let slices = space.objects("endpointslices").await;
    slices[0]["metadata"]["name"].as_str().expect("a name").to_owned()
}

async fn has_slice(space: &Calm) -> bool {
    !space.objects("endpointslices").await.is_empty()
}

/// Whatever a user deletes, the registration is back within one lease period.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_user_deletes_is_back_within_one_lease() {
    let Some(space) = calm().await else { return };
    let provider = provider(&space, "owner").await;
    provider.register(&endpoint("a", "10.0.0.1")).await.expect("registers");
    provider.set_health(&service("users"), &id("a"), Health::Degraded).await.expect("claims");
    let slice = slice_name(&space).await;
    let lease = space.objects("leases").await[0]["metadata"]["name"].as_str().expect("a name").to_owned();
    for deleted in [
        &[("endpointslices", &slice)][..],
        &[("leases", &lease)],
        &[("leases", &lease), ("endpointslices", &slice)],
    ] {
        for (resource, name) in deleted {
            assert_eq!(space.admin("DELETE", resource, name, "").await.status, 200);
        }
        let begun = Instant::now();
        until(LEASE + Duration::from_millis(500), "it is back", async || {
            has_slice(&space).await && !space.objects("leases").await.is_empty()
        })
        .await;
        println!("measured: {deleted:?} deleted, back after {:?}", begun.elapsed());
        let entry = provider.get(&service("users"), &id("a")).await.expect("it is there");
        assert_eq!(entry.health(), Health::Degraded, "as it was");
        let (lease, slice) =
            (space.objects("leases").await.remove(0), space.objects("endpointslices").await.remove(0));
        let owner = slice["metadata"]["ownerReferences"][0]["uid"].clone();
        if owner != lease["metadata"]["uid"] {
            // The lease alone was deleted: the slice follows with the next repair.
            until(LEASE, "it is bound to the new lease", async || {
                let (lease, slice) = (
                    space.objects("leases").await.remove(0),
                    space.objects("endpointslices").await.remove(0),
                );
                slice["metadata"]["ownerReferences"][0]["uid"] == lease["metadata"]["uid"]
            })
            .await;
        }
    }
}

/// A registration that another process has removed on purpose stays removed.
#[tokio::test(flavor = "multi_thread")]
async fn what_another_process_deregisters_stays_gone() {
    let Some(space) = calm().await else { return };
    for drain in [Duration::ZERO, LEASE] {
        let owner = provider(&space, "owner").await;
        let other = space.builder().drain_time(drain).build().await.expect("builds");
        owner.register(&endpoint("a", "10.0.0.1")).await.expect("registers");
        assert!(other.deregister(&service("users"), &id("a")).await.expect("removes"));
        let until = Instant::now() + LEASE * 2;
        while Instant::now() < until {
            assert!(!has_slice(&space).await, "it is not restored");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        // Its owner may register it again, and then it is restored like any other.
        owner.register(&endpoint("a", "10.0.0.1")).await.expect("registers");
        space.admin("DELETE", "endpointslices", &slice_name(&space).await, "").await;
        failover_testkit::until(LEASE + Duration::from_millis(500), "it is back", async || {
            has_slice(&space).await
        })
        .await;
        assert!(owner.deregister(&service("users"), &id("a")).await.expect("removes"));
        owner.close().await.expect("closes");
    }
}

/// Returns everything that says in which state an endpoint is.
async fn state(space: &Calm) -> Value {
    let slice = space.objects("endpointslices").await.remove(0);
    json!([slice["endpoints"], slice["metadata"]["annotations"], slice["metadata"]["labels"]])
}

/// A newer process has registered the same id: whatever the old one does, the endpoint of the new
/// one is as it left it.
#[tokio::test(flavor = "multi_thread")]
async fn an_old_owner_undoes_nothing_of_its_successor() {
    let Some(space) = calm().await else { return };
    let users = service("users");
    for (lease, successors) in [(true, true), (true, false), (false, true)] {
        let build = |leased: bool| {
            let builder = space.builder();
            if leased { builder.lease_duration(LEASE) } else { builder.without_lease() }
        };
        let old = build(lease).registrant("old").build().await.expect("builds");
        let new = build(successors).registrant("new").build().await.expect("builds");
        let new_one = endpoint("a", "10.0.0.2");
        old.register(&endpoint("a", "10.0.0.1")).await.expect("registers");
        new.register(&new_one).await.expect("registers");
        let before = state(&space).await;
        let old_one = endpoint("a", "10.0.0.1");
        old.set_lifecycle(&users, &id("a"), Lifecycle::Draining).await.expect("there is nothing to drain");
        for error in [
            old.set_health(&users, &id("a"), Health::Unhealthy).await,
            old.update(&old_one).await,
            old.set_health(&users, &id("a"), Health::Unhealthy).await,
        ] {
            let error = error.expect_err("it is another's");
            assert_eq!((error.kind(), error.code()), (ErrorKind::Conflict, "TAKEN_OVER"), "{error}");
        }
        for _ in 0..2 {
            assert!(!old.deregister(&users, &id("a")).await.expect("it is left alone"));
        }
        tokio::time::sleep(LEASE).await;
        old.close().await.expect("closes");
        assert_eq!(state(&space).await, before, "leases: {lease}, {successors}");
        // A process that asks for it gets it back.
        assert!(new.deregister(&users, &id("a")).await.expect("removes"));
        old.connect().await.expect("opens again");
        old.register(&old_one).await.expect("registers");
        old.set_health(&users, &id("a"), Health::Degraded).await.expect("it is its own again");
        assert!(old.deregister(&users, &id("a")).await.expect("removes"));
        old.close().await.expect("closes");
        new.close().await.expect("closes");
    }
}

/// The same with the guards of managers, in a rolling restart: the old process ends after the new
/// one has registered.
#[tokio::test(flavor = "multi_thread")]
async fn the_guard_of_an_old_process_drains_nothing_of_the_new_one() {
    let Some(space) = calm().await else { return };
    let manager = async |name: &str| {
        FailoverManager::builder().provider(provider(&space, name).await).build().await.expect("builds")
    };
    let (old, new, caller) = (manager("old").await, manager("new").await, manager("caller").await);
    let one = |address: &str| Endpoint::builder("a", "users", address, 80).build().expect("valid");
    let first = old.register_self(one("10.0.0.1")).await.expect("registers");
    let _second = new.register_self(one("10.0.0.2")).await.expect("registers");
    let users = caller.service("users").await.expect("a handle");
    let address = || users.select().map(|pick| pick.endpoint().address().to_owned()).unwrap_or_default();
    until(Duration::from_secs(5), "the new one is found", async || address() == "10.0.0.2").await;
    first.close().await.expect("it leaves");
    old.close().await.expect("closes");
    tokio::time::sleep(Duration::from_secs(1)).await;
    let entry = users.endpoints().remove(0);
    assert_eq!(
        (entry.endpoint().address(), entry.lifecycle(), entry.health()),
        ("10.0.0.2", Lifecycle::InService, Health::Unknown)
    );
}

/// Neither missing rights nor a quota leave a lease of a process that has registered nothing.
#[tokio::test(flavor = "multi_thread")]
async fn a_registration_that_is_refused_leaves_no_lease() {
    let Some(space) = calm().await else { return };
    let provider = provider(&space, "refused").await;
    let role = space.admin("GET", "roles", "failover-registrant", "").await;
    let mut role: Value = serde_json::from_str(&role.body).expect("a role");
    let rules = role["rules"].as_array_mut().expect("rules");
    rules.retain(|rule| rule["resources"][0] != "endpointslices");
    assert_eq!(space.admin("PUT", "roles", "failover-registrant", &role.to_string()).await.status, 200);
    let refused = async || {
        let answer = provider.register(&endpoint("a", "10.0.0.1")).await;
        answer.is_err_and(|error| error.kind() == ErrorKind::Permission)
    };
    until(Duration::from_secs(10), "the right is gone", async || {
        let is_refused = refused().await;
        if !is_refused {
            provider.deregister(&service("users"), &id("a")).await.ok();
        }
        is_refused
    })
    .await;
    assert!(refused().await && refused().await);
    assert!(space.objects("leases").await.is_empty(), "nothing is bound to it");
    // One that is too large is refused here, and leaves none either.
    let large = endpoint("b", "10.0.0.1").to_builder().metadata("k", "x".repeat(250 * 1024)).build();
    if let Ok(large) = large {
        provider.register(&large).await.expect_err("too large");
        assert!(space.objects("leases").await.is_empty());
    }
    space.plane.apply(crate::harness::RBAC, &space.namespace).await;
    until(Duration::from_secs(10), "the right is back", async || {
        provider.register(&endpoint("a", "10.0.0.1")).await.is_ok()
    })
    .await;
    assert_eq!(space.objects("leases").await.len(), 1);
    // Refused while something else is registered: its lease stays.
    role["metadata"].as_object_mut().expect("an object").remove("resourceVersion");
    let set = provider.list(&Query::service(&service("users"))).await.expect("lists");
    assert_eq!(set.entries().len(), 1);
    provider.close().await.expect("closes");
}

/// A quota refuses the slice or the lease of a registration: nothing is left behind, and it succeeds once
/// there is room.
#[tokio::test(flavor = "multi_thread")]
async fn a_registration_beyond_a_quota_leaves_nothing_behind() {
    let Some(space) = calm().await else { return };
    let provider = provider(&space, "beyond").await;
    for counted in ["count/endpointslices.discovery.k8s.io", "count/leases.coordination.k8s.io"] {
        let quota = |none: Value| {
            let hard = json!({ counted: "0" });
            json!({"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "none"},
                "spec": {"hard": hard}, "status": {"hard": hard, "used": none}})
        };
        assert_eq!(space.apply("resourcequotas", "none", &quota(json!({})).to_string()).await.status, 201);
        // The controller that would count does not run here.
        let status = space.path("resourcequotas", "none/status");
        let body = quota(json!({ counted: "0" })).to_string();
        let path = format!("{status}?fieldManager=counts&force=true");
        let answer = space.plane.request(space.plane.admin(), "PATCH", &path, &body).await;
        assert_eq!(answer.status, 200, "{}", answer.body);
        until(Duration::from_secs(10), "the quota is in force", async || {
            let is_refused = provider.register(&endpoint("a", "10.0.0.1")).await.is_err();
            if !is_refused {
                provider.deregister(&service("users"), &id("a")).await.expect("deregisters");
            }
            is_refused
        })
        .await;
        let error = provider.register(&endpoint("a", "10.0.0.1")).await.expect_err("still");
        assert!(error.to_string().contains("exceeded quota: none"), "{error}");
        assert!(space.objects("leases").await.is_empty(), "{counted}");
        assert!(space.objects("endpointslices").await.is_empty(), "{counted}");
        assert_eq!(space.admin("DELETE", "resourcequotas", "none", "").await.status, 200);
        until(Duration::from_secs(10), "there is room", async || {
            provider.register(&endpoint("a", "10.0.0.1")).await.is_ok()
        })
        .await;
        provider.deregister(&service("users"), &id("a")).await.expect("deregisters");
        provider.close().await.expect("closes");
        provider.connect().await.expect("connects again");
    }
}

/// Of several processes that register, two reap for all: the first by the names of their leases. The
/// death of one of them costs no time.
#[tokio::test(flavor = "multi_thread")]
async fn the_registrations_of_a_reaper_that_dies_go_in_time() {
    let Some(space) = calm().await else { return };
    let users = service("users");
    let mut providers = Vec::new();
    for name in ["a", "b", "c", "d"] {
        let one = provider(&space, name).await;
        let address = format!("10.0.0.{}", name.as_bytes()[0]);
        one.register(&endpoint(name, &address)).await.expect("registers");
        providers.push(one);
    }
    let watcher = space.provider().await;
    let mut watch = watcher.watch(&Query::service(&users)).expect("it watches");
    sees(&mut watch, Duration::from_secs(5), "all are there", |set| set.entries().len() == 4).await;
    tokio::time::sleep(LEASE * 2).await;
    let begun = Instant::now();
    drop(providers.remove(0));
    let is = |set: &failover_core::provider::EndpointSet, name: &str, health: Option<Health>| {
        let entry = set.entries().iter().find(|entry| entry.endpoint().id().as_str() == name);
        entry.map(failover_core::provider::EndpointEntry::health) == health
    };
    sees(&mut watch, LEASE * 2, "it is marked", |set| is(set, "a", Some(Health::Unhealthy))).await;
    let out = begun.elapsed();
    assert!(out <= LEASE + LEASE / 3 + Duration::from_millis(700), "{out:?}");
    sees(&mut watch, LEASE * 4, "it is gone", |set| is(set, "a", None)).await;
    let gone = begun.elapsed();
    assert!(gone <= LEASE * 3 + LEASE / 3 + Duration::from_secs(1), "{gone:?}");
    println!("measured: a reaper that died: out after {out:?}, gone after {gone:?}");
    let set = watcher.list(&Query::service(&users)).await.expect("lists");
    assert!(set.entries().len() == 3 && set.entries().iter().all(|entry| entry.health() == Health::Unknown));
}
