//! Processes that register endpoints and die, are suspended, or are considered dead.

use std::ops::Deref;
use std::process::Command;
use std::time::Duration;

use failover_core::Health;
use failover_core::provider::{Provider, Query, Registry, WatchStream};
use failover_k8s::KubernetesProvider;
use failover_testkit::kubernetes::ControlPlane;
use failover_testkit::{Process, until};
use futures_util::StreamExt;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::harness::{Space, calm, endpoint, id, ids, rough, sees, service};
use crate::registration::mark;

const LEASE: Duration = Duration::from_secs(3);
/// All leases are checked every third of a lease.
const PERIOD: Duration = Duration::from_secs(1);

/// Starts a process that registers `id` and renews its lease.
fn registrant<P: Deref<Target = ControlPlane>>(space: &Space<P>, id: &str, address: &str) -> Process {
    let directory = space.plane.directory();
    let authority = directory.join("ca.crt");
    let mut command = Command::new(std::env::current_exe().expect("this program"));
    command
        .args(["--exact", "leases::a_process_that_registers", "--ignored", "--nocapture"])
        .env("CHILD_URL", space.plane.url())
        .env("CHILD_AUTHORITY", authority)
        .env("CHILD_TOKEN", &space.token_file)
        .env("CHILD_NAMESPACE", &space.namespace)
        .env("CHILD_ENDPOINT", format!("{id} {address}"));
    Process::start(&command, &directory.join(format!("{}-{id}.log", space.namespace))).expect("starts")
}

/// Not a test: the program that [`registrant`] runs.
#[tokio::test]
#[ignore = "the program of another process, which tests start"]
async fn a_process_that_registers() {
    let Ok(url) = std::env::var("CHILD_URL") else { return };
    let variable = |name: &str| std::env::var(name).expect("it is set");
    let authority = std::fs::read(variable("CHILD_AUTHORITY")).expect("reads");
    let provider = KubernetesProvider::builder()
        .api_server(url, authority, variable("CHILD_TOKEN"))
        .namespace(variable("CHILD_NAMESPACE"))
        .lease_duration(LEASE)
        .reaper(false)
        .build()
        .await
        .expect("builds");
    let named = variable("CHILD_ENDPOINT");
    let (id, address) = named.split_once(' ').expect("an id and an address");
    while let Err(error) = provider.register(&endpoint(id, address)).await {
        println!("not registered yet: {error}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    std::future::pending::<()>().await;
}

async fn reaper<P: Deref<Target = ControlPlane>>(space: &Space<P>) -> KubernetesProvider {
    space.builder().lease_duration(LEASE).reaper(true).build().await.expect("builds")
}

async fn is_registered(provider: &KubernetesProvider, name: &str, process: &mut Process) {
    let begun = Instant::now();
    while let Err(error) = provider.get(&service("users"), &id(name)).await {
        assert!(
            process.is_running() && begun.elapsed() < Duration::from_secs(20),
            "{name} is not registered after {:?}: {error}; its process: {}",
            begun.elapsed(),
            process.log_tail()
        );
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

fn health(set: &failover_core::provider::EndpointSet, name: &str) -> Option<Health> {
    set.entries()
        .iter()
        .find(|entry| entry.endpoint().id().as_str() == name)
        .map(failover_core::provider::EndpointEntry::health)
}

async fn sees_health(
    watch: &mut WatchStream<'_>,
    limit: Duration,
    name: &str,
    wanted: Option<Health>,
) -> Duration {
    let begun = Instant::now();
    sees(watch, limit, &format!("{name} is {wanted:?}"), |set| health(set, name) == wanted).await;
    begun.elapsed()
}

/// F18: a killed process's endpoints leave selection after its lease and one period, and are
/// deleted after three leases, for addresses that Kubernetes accepts and for others.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_killed_process_has_registered_goes_in_time() {
    let Some(space) = calm().await else { return };
    let survivor = reaper(&space).await;
    let mut killed = [registrant(&space, "routable", "10.0.0.1"), registrant(&space, "local", "127.0.0.1")];
    for (name, process) in ["routable", "local"].into_iter().zip(&mut killed) {
        is_registered(&survivor, name, process).await;
    }
    let users = service("users");
    let mut watch = survivor.watch(&Query::service(&users)).expect("it watches");
    // It lives longer than its lease.
    tokio::time::sleep(LEASE + PERIOD * 2).await;
    let set = survivor.list(&Query::service(&users)).await.expect("lists");
    assert_eq!(
        (health(&set, "routable"), health(&set, "local")),
        (Some(Health::Unknown), Some(Health::Unknown))
    );
    for process in &mut killed {
        process.kill();
    }
    let begun = Instant::now();
    let both = |wanted: Option<Health>| {
        move |set: &failover_core::provider::EndpointSet| {
            health(set, "routable") == wanted && health(set, "local") == wanted
        }
    };
    sees(&mut watch, Duration::from_secs(10), "both are out", both(Some(Health::Unhealthy))).await;
    let out = begun.elapsed();
    assert!(out <= LEASE + PERIOD + Duration::from_millis(500), "{out:?}");
    sees(&mut watch, Duration::from_secs(15), "both are gone", both(None)).await;
    let gone = begun.elapsed();
    assert!(gone <= LEASE * 3 + PERIOD + Duration::from_secs(1), "{gone:?}");
    println!("measured: out after {out:?}, gone after {gone:?}, with a lease of {LEASE:?}");
    assert!(space.objects("leases").await.is_empty() && space.objects("endpointslices").await.is_empty());
}

/// F19: a suspended process restores its registrations when it resumes, whether its slices were
/// only marked or deleted.
#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_slept_is_back_when_it_wakes() {
    let Some(space) = calm().await else { return };
    let survivor = reaper(&space).await;
    let mut sleeper = registrant(&space, "sleeper", "10.0.0.1");
    is_registered(&survivor, "sleeper", &mut sleeper).await;
    let users = service("users");
    let mut watch = survivor.watch(&Query::service(&users)).expect("it watches");
    for (asleep, wanted) in [("marked", Some(Health::Unhealthy)), ("deleted", None)] {
        sleeper.pause();
        sees_health(&mut watch, Duration::from_secs(20), "sleeper", wanted).await;
        sleeper.resume();
        let back = sees_health(&mut watch, Duration::from_secs(10), "sleeper", Some(Health::Unknown)).await;
        println!("measured: {asleep} while it slept, back after {back:?}");
        // And they stay.
        tokio::time::sleep(LEASE + PERIOD).await;
        let set = survivor.list(&Query::service(&users)).await.expect("lists");
        assert_eq!(health(&set, "sleeper"), Some(Health::Unknown), "{asleep}");
    }
}

/// F19: an endpoint deregistered by another process during the suspension does not return.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_deregistered_stays_gone_when_its_process_wakes() {
    let Some(space) = calm().await else { return };
    let survivor = reaper(&space).await;
    let mut sleeper = registrant(&space, "sleeper", "10.0.0.1");
    is_registered(&survivor, "sleeper", &mut sleeper).await;
    let users = service("users");
    let mut watch = survivor.watch(&Query::service(&users)).expect("it watches");
    sleeper.pause();
    sees_health(&mut watch, Duration::from_secs(20), "sleeper", Some(Health::Unhealthy)).await;
    assert!(survivor.deregister(&users, &id("sleeper")).await.expect("removes"));
    sleeper.resume();
    let renewed = space.objects("leases").await[0]["spec"]["renewTime"].clone();
    until(Duration::from_secs(10), "it is awake", async || {
        space.objects("leases").await.iter().any(|lease| lease["spec"]["renewTime"] != renewed)
    })
    .await;
    tokio::time::sleep(LEASE).await;
    assert!(survivor.list(&Query::service(&users)).await.expect("lists").entries().is_empty());
    // The same for a process that was not suspended.
    let mut awake = registrant(&space, "awake", "10.0.0.2");
    is_registered(&survivor, "awake", &mut awake).await;
    assert!(survivor.deregister(&users, &id("awake")).await.expect("removes"));
    tokio::time::sleep(LEASE).await;
    assert!(survivor.list(&Query::service(&users)).await.expect("lists").entries().is_empty());
    awake.kill();
}

/// F18: a surviving process takes over the endpoint of a dead one; it is not deleted with the dead
/// process's registrations.
#[tokio::test(flavor = "multi_thread")]
async fn what_another_process_has_registered_again_is_not_deleted_with_the_dead() {
    let Some(space) = calm().await else { return };
    let survivor = reaper(&space).await;
    let mut killed = registrant(&space, "a", "10.0.0.1");
    is_registered(&survivor, "a", &mut killed).await;
    killed.kill();
    survivor.register(&endpoint("a", "10.0.0.2")).await.expect("registers");
    let leases = || async { space.objects("leases").await.len() };
    until(Duration::from_secs(20), "the lease of the dead is deleted", || async { leases().await == 1 })
        .await;
    tokio::time::sleep(PERIOD).await;
    let entry = survivor.get(&service("users"), &id("a")).await.expect("it stays");
    assert_eq!((entry.endpoint().address(), entry.health()), ("10.0.0.2", Health::Unknown));
}

/// An API server that is unreachable for longer than three leases takes no endpoint out: a silent
/// process is not a dead one.
#[tokio::test(flavor = "multi_thread")]
async fn an_outage_longer_than_the_lease_takes_no_endpoint_out() {
    let Some(mut plane) = rough().await else { return };
    let plane = plane.as_mut().expect("it was started");
    let (survivor, mut alive, paths) = {
        let space = Space::new(&*plane).await;
        let survivor = reaper(&space).await;
        let mut alive = registrant(&space, "alive", "10.0.0.1");
        is_registered(&survivor, "alive", &mut alive).await;
        (survivor, alive, ["leases", "endpointslices"].map(|resource| space.path(resource, "")))
    };
    let before = objects(plane, &paths).await;
    assert_eq!(before.len(), 2);
    let users = service("users");
    let mut watch = survivor.watch(&Query::service(&users)).expect("it watches");
    sees(&mut watch, Duration::from_secs(5), "it is there", |set| health(set, "alive").is_some()).await;
    // The survivor has seen the lease before, so it knows how long it was silent.
    tokio::time::sleep(PERIOD * 2).await;
    plane.kill_apiserver();
    tokio::time::sleep(LEASE * 3 + PERIOD).await;
    // It does not return first: the survivor reads the leases before it has renewed its own.
    alive.pause();
    plane.start_apiserver().await;
    tokio::time::sleep(PERIOD + PERIOD / 2).await;
    alive.resume();
    // Every set published from here on, for longer than an expiry takes, contains it.
    let until = Instant::now() + LEASE * 2 + PERIOD;
    while let Ok(item) = tokio::time::timeout_at(until, watch.next()).await {
        if let Ok(set) = item.expect("it goes on") {
            assert_eq!(health(&set, "alive"), Some(Health::Unknown));
        }
    }
    let set = survivor.list(&Query::service(&users)).await.expect("it is back");
    assert_eq!(health(&set, "alive"), Some(Health::Unknown));
    assert_eq!(objects(plane, &paths).await, before, "they are the same objects, none was recreated");
}

/// Returns the identities of the objects.
async fn objects(plane: &ControlPlane, paths: &[String]) -> Vec<Value> {
    let mut all = Vec::new();
    for path in paths {
        let answer = plane.request(plane.admin(), "GET", path, "").await;
        let list: Value = serde_json::from_str(&answer.body).expect("a list");
        all.extend(
            list["items"].as_array().expect("a list").iter().map(|item| item["metadata"]["uid"].clone()),
        );
    }
    all
}

/// F25, for registrations: what users do to a lease is repaired or accepted, and nothing panics.
#[tokio::test(flavor = "multi_thread")]
async fn a_lease_that_is_deleted_or_emptied_is_mended() {
    let Some(space) = calm().await else { return };
    let provider = space.builder().lease_duration(LEASE).build().await.expect("builds");
    provider.register(&endpoint("a", "10.0.0.1")).await.expect("registers");
    let lease = space.objects("leases").await.remove(0);
    let name = lease["metadata"]["name"].as_str().expect("a name").to_owned();
    let renewed = |lease: &Value| lease["spec"]["renewTime"].clone();
    // Emptied and relabelled: the next renewals restore it, and check what other processes did
    // meanwhile.
    until(Duration::from_secs(5), "it is emptied", async || {
        // It may be renewed in between.
        let mut emptied = space.objects("leases").await.remove(0);
        emptied["spec"] = json!({"holderIdentity": "", "leaseDurationSeconds": 1});
        emptied["metadata"]["labels"] = json!({"team": "blue"});
        space.admin("PUT", "leases", &name, &emptied.to_string()).await.status == 200
    })
    .await;
    crate::registration::mark(&space).await;
    until(Duration::from_secs(10), "it is renewed", async || {
        space
            .objects("leases")
            .await
            .first()
            .is_some_and(|now| renewed(now) != renewed(&lease) && !renewed(now).is_null())
    })
    .await;
    let mended = space.objects("leases").await.remove(0);
    for key in ["holderIdentity", "leaseDurationSeconds"] {
        assert_eq!(mended["spec"][key], lease["spec"][key], "{key}");
    }
    assert_eq!(
        mended["metadata"]["labels"]["failover.rs/registrant"],
        json!(name),
        "reapers find it by that"
    );
    assert_eq!(mended["metadata"]["labels"]["team"], "blue");
    let health = async || provider.get(&service("users"), &id("a")).await.expect("it is there").health();
    until(Duration::from_secs(5), "the mark is off", async || health().await == Health::Unknown).await;
    // Deleted, with its registrations, as by a reaper that considered this process dead.
    space.admin("DELETE", "leases", &name, "").await;
    let slice = space.objects("endpointslices").await.remove(0);
    space.admin("DELETE", "endpointslices", slice["metadata"]["name"].as_str().expect("a name"), "").await;
    until(Duration::from_secs(10), "it is registered again", async || {
        provider.get(&service("users"), &id("a")).await.is_ok()
    })
    .await;
    let (lease, slice) =
        (space.objects("leases").await.remove(0), space.objects("endpointslices").await.remove(0));
    assert_eq!(
        slice["metadata"]["ownerReferences"][0]["uid"], lease["metadata"]["uid"],
        "bound to the new lease"
    );
    let set = provider.list(&Query::all()).await.expect("lists");
    assert_eq!(ids(&set), ["a"]);
    provider.close().await.expect("closes");
}

/// A process that lost its lease finds on its return that its successor has registered the same id:
/// that registration stays.
#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_comes_back_does_not_register_over_its_successor() {
    let Some(space) = calm().await else { return };
    let old = space.builder().lease_duration(LEASE).build().await.expect("builds");
    for (name, address) in [("a", "10.0.0.1"), ("b", "10.0.0.1")] {
        old.register(&endpoint(name, address)).await.expect("registers");
    }
    let lease = space.objects("leases").await.remove(0);
    let new = space.provider().await;
    new.register(&endpoint("a", "10.0.0.2")).await.expect("registers");
    // Deletes the lease and its registrations, as a reaper does.
    let slices = space.objects("endpointslices").await;
    let of_b = slices.iter().find(|slice| slice["endpoints"][0]["addresses"][0] == "10.0.0.1").expect("b");
    for (kind, object) in [("leases", &lease), ("endpointslices", of_b)] {
        space.admin("DELETE", kind, object["metadata"]["name"].as_str().expect("a name"), "").await;
    }
    let users = service("users");
    until(Duration::from_secs(10), "an endpoint that was not taken over is registered again", async || {
        new.get(&users, &id("b")).await.is_ok()
    })
    .await;
    tokio::time::sleep(PERIOD).await;
    let entry = new.get(&users, &id("a")).await.expect("it is there");
    assert_eq!(entry.endpoint().address(), "10.0.0.2", "the newest registration wins");
}

/// A process checks for marks when it resumes; a mark on its successor's registration is not its
/// own.
#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_wakes_takes_no_mark_off_its_successor() {
    let Some(space) = calm().await else { return };
    let new = space.builder().lease_duration(LEASE).reaper(false).build().await.expect("builds");
    let mut sleeper = registrant(&space, "a", "10.0.0.1");
    is_registered(&new, "a", &mut sleeper).await;
    sleeper.pause();
    let lease = space.objects("leases").await.remove(0);
    new.register(&endpoint("a", "10.0.0.2")).await.expect("registers");
    mark(&space).await;
    tokio::time::sleep(LEASE + PERIOD).await;
    sleeper.resume();
    until(Duration::from_secs(10), "it has renewed its lease", async || {
        let leases = space.objects("leases").await;
        let now = leases.iter().find(|now| now["metadata"]["uid"] == lease["metadata"]["uid"]);
        now.is_some_and(|now| now["spec"]["renewTime"] != lease["spec"]["renewTime"])
    })
    .await;
    tokio::time::sleep(LEASE).await;
    let entry = new.get(&service("users"), &id("a")).await.expect("it is there");
    assert_eq!((entry.endpoint().address(), entry.health()), ("10.0.0.2", Health::Unhealthy));
}
