//! Three servers, a client agent, and a second datacenter.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use failover_core::provider::{EndpointSet, Provider, Query, Registry};
use failover_core::{Error, FailoverManager, ServiceHandle};
use failover_testkit::consul::Cluster;
use failover_testkit::servers::Server;
use failover_testkit::until;
use tokio::task::JoinHandle;

use crate::support::{SECOND, builder, endpoint, has, ids, name, provider, see};

/// Makes a thousand calls per second until stopped.
pub(crate) struct Load {
    goes_on: Arc<AtomicBool>,
    calls: Arc<AtomicU64>,
    failed: Arc<AtomicU64>,
    task: JoinHandle<()>,
}

impl Load {
    pub(crate) fn start(service: ServiceHandle) -> Self {
        let (goes_on, calls, failed) =
            (Arc::new(AtomicBool::new(true)), Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
        let (on, made, lost) = (Arc::clone(&goes_on), Arc::clone(&calls), Arc::clone(&failed));
        let task = tokio::spawn(async move {
            let begun = Instant::now();
            while on.load(Ordering::Relaxed) {
                let due = (begun.elapsed().as_secs_f64() * 1000.0) as u64;
                while made.load(Ordering::Relaxed) < due {
                    made.fetch_add(1, Ordering::Relaxed);
                    if service.execute(async |_| Ok::<_, std::io::Error>(())).await.is_err() {
                        lost.fetch_add(1, Ordering::Relaxed);
                    }
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        });
        Self { goes_on, calls, failed, task }
    }

    pub(crate) async fn stop(self) -> (u64, u64) {
        self.goes_on.store(false, Ordering::Relaxed);
        self.task.await.expect("ends");
        (self.calls.load(Ordering::Relaxed), self.failed.load(Ordering::Relaxed))
    }
}

fn never_empty(seen: &[Result<EndpointSet, Error>]) {
    assert!(
        seen.iter().flatten().all(|set| !set.entries().is_empty()),
        "an empty set was published: {seen:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_03_row_04_row_20_leader_and_quorum_loss_cost_no_call_on_the_newest() {
    losses(Server::Consul).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_03_row_04_row_20_leader_and_quorum_loss_cost_no_call_on_debian() {
    losses(Server::ConsulDebian).await;
}

async fn losses(server: Server) {
    let Some(mut cluster) = Cluster::start(server) else { return };
    let wait = SECOND * 5;
    let consul = Arc::new(builder(&cluster.client.address()).wait(wait).build().expect("valid"));
    let users = name("users");
    for (id, last) in [("a", 1), ("b", 2), ("c", 3)] {
        consul.register(&endpoint(id, "users", last)).await.expect("registers");
    }
    let manager = FailoverManager::builder().provider(Arc::clone(&consul)).build().await.expect("builds");
    let handle = manager.service("users").await.expect("a service");
    until(SECOND * 5, "all are known", || async { handle.endpoints().len() == 3 }).await;
    let mut stream = consul.watch(&Query::service(&users)).expect("it watches");
    see(&mut stream, SECOND * 5, "the endpoints", has(&["a", "b", "c"])).await;
    let load = Load::start(handle.clone());

    // The leader dies: another one is elected within seconds, and the watch continues.
    let first = cluster.leader().expect("a leader");
    cluster.servers[first].kill();
    until(SECOND * 20, "another leader", || async { cluster.leader().is_some_and(|leader| leader != first) })
        .await;
    let begun = Instant::now();
    until(SECOND * 10, "a registration works again", || async {
        consul.register(&endpoint("d", "users", 4)).await.is_ok()
    })
    .await;
    never_empty(&see(&mut stream, SECOND * 10, "it is seen", has(&["a", "b", "c", "d"])).await);
    println!("{server:?}: {:?} from the new leader to a registration that is seen", begun.elapsed());

    // The next leader dies: two of three servers are gone, and there is no quorum.
    let second = cluster.leader().expect("a leader");
    cluster.servers[second].kill();
    let lost = Instant::now();
    let seen = see(&mut stream, wait * 2, "it is said to be stale", Result::is_err).await;
    println!(
        "{server:?}: {:?} from the loss of the quorum until it was said: {:?}",
        lost.elapsed(),
        seen.last()
    );
    never_empty(&seen);
    until(SECOND, "the service is stale", || async { handle.is_stale() }).await;
    assert!(handle.select().is_ok());
    tokio::time::sleep(SECOND * 3).await;
    // The agent accepts registrations even so, after a delay; they reach the servers later.
    let register = Instant::now();
    let registered = consul.register(&endpoint("e", "users", 5)).await;
    println!("{server:?}: registering without a quorum took {:?}: {registered:?}", register.elapsed());
    assert!(register.elapsed() < SECOND * 31, "every operation has one deadline");
    assert!(consul.list(&Query::service(&users)).await.is_err(), "a list is an error");
    assert!(consul.ping().await.is_err());
    assert!(handle.is_stale() && handle.endpoints().len() == 4, "what is known is served");

    for one in [first, second] {
        cluster.servers[one].relaunch();
    }
    until(SECOND * 60, "a leader again", || async { cluster.leader().is_some() }).await;
    let back = Instant::now();
    until(SECOND * 10, "fresh again", || async { !handle.is_stale() }).await;
    println!("{server:?}: {:?} from the return of a leader until it was fresh", back.elapsed());
    assert!(back.elapsed() < SECOND * 5, "{:?}", back.elapsed());
    if registered.is_err() {
        // The outcome was unknown: registering again is the right reaction.
        consul.register(&endpoint("e", "users", 5)).await.expect("registers");
    }
    never_empty(
        &see(&mut stream, SECOND * 20, "what was registered meanwhile", has(&["a", "b", "c", "d", "e"]))
            .await,
    );
    // The agent itself dies and restarts.
    cluster.client.kill();
    see(&mut stream, SECOND * 5, "it is said to be stale", Result::is_err).await;
    tokio::time::sleep(SECOND * 2).await;
    cluster.client.restart();
    let back = Instant::now();
    until(SECOND * 10, "fresh again", || async { !handle.is_stale() }).await;
    println!("{server:?}: {:?} from the return of the agent until it was fresh", back.elapsed());
    assert!(back.elapsed() < SECOND * 5, "{:?}", back.elapsed());
    let (calls, failed) = load.stop().await;
    println!("{server:?}: calls={calls} failed={failed}");
    assert_eq!(failed, 0, "of {calls} calls");
    assert!(calls > 5_000, "{calls}");
    drop(stream);
    manager.close().await.expect("closes");
}

/// Row 24: each datacenter is a source; the second is used only if the first has no endpoints, and
/// its loss has no effect.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_22_row_24_two_datacenters_and_two_nodes() {
    for server in [Server::Consul, Server::ConsulDebian] {
        let Some(mut cluster) = Cluster::start(server) else { return };
        let users = name("users");
        let (near, s2, far) = (
            provider(&cluster.client.address()),
            provider(&cluster.servers[1].address()),
            provider(&cluster.far.address()),
        );
        near.register(&endpoint("a", "users", 1)).await.expect("registers");
        far.register(&endpoint("far", "users", 9)).await.expect("registers");
        // Row 22: another node must not take over, change or remove an id that is alive.
        until(SECOND * 5, "it is in the catalog", || async {
            s2.list(&Query::service(&users)).await.is_ok_and(|set| ids(&set) == ["a"])
        })
        .await;
        let moved = endpoint("a", "users", 2);
        for refused in [
            s2.register(&moved).await.expect_err("alive elsewhere"),
            s2.update(&moved).await.expect_err("not its own"),
            s2.deregister(&users, moved.id()).await.expect_err("not its own"),
            s2.set_lifecycle(&users, moved.id(), failover_core::Lifecycle::Draining)
                .await
                .expect_err("not its own"),
        ] {
            assert_eq!(refused.code(), "NOT_OWNER", "{refused}");
            assert!(refused.to_string().contains("node client"), "{refused}");
        }
        // A registration that skips the check creates a second instance.
        let (status, _) = cluster.servers[1]
            .call(
                "PUT",
                "/v1/agent/service/register",
                r#"{"Name": "users", "ID": "a", "Port": 80, "Address": "10.1.2.7"}"#,
            )
            .expect("answers");
        assert_eq!(status, 200);
        until(SECOND * 5, "two endpoints", || async {
            near.list(&Query::service(&users)).await.is_ok_and(|set| ids(&set) == ["a@client", "a@s2"])
        })
        .await;
        // Operations accept the listed names, and only the agent of a node changes its instance.
        let [here, other] = ["a@client", "a@s2"].map(|id| failover_core::EndpointId::new(id).expect("valid"));
        near.set_lifecycle(&users, &here, failover_core::Lifecycle::Draining).await.expect("its own");
        let own = near.get(&users, moved.id()).await.expect("its own, by the id alone");
        assert_eq!(own.lifecycle(), failover_core::Lifecycle::Draining);
        near.set_lifecycle(&users, moved.id(), failover_core::Lifecycle::InService).await.expect("its own");
        near.update(&endpoint("a@client", "users", 1)).await.expect("its own");
        for refused in [
            near.set_lifecycle(&users, &other, failover_core::Lifecycle::Draining)
                .await
                .expect_err("another's"),
            near.deregister(&users, &other).await.expect_err("another's"),
        ] {
            assert_eq!(refused.code(), "NOT_OWNER", "{refused}");
        }
        let third = provider(&cluster.servers[0].address());
        let ambiguous = third.get(&users, moved.id()).await.expect_err("on two nodes");
        assert_eq!(ambiguous.kind(), failover_core::ErrorKind::Validation);
        assert!(ambiguous.to_string().contains("a@client or a@s2"), "{ambiguous}");
        let there =
            near.get(&users, &"a@s2".try_into().expect("valid")).await.expect("the one on the other node");
        assert_eq!(there.endpoint().address(), "10.1.2.7");

        // Reads the second datacenter through the first one's agent.
        let dc2 =
            builder(&cluster.client.address()).datacenter("dc2").wait(SECOND * 2).build().expect("valid");
        let refused = dc2.register(&endpoint("x", "users", 3)).await.expect_err("an agent registers at home");
        assert_eq!(refused.kind(), failover_core::ErrorKind::Unsupported, "{refused}");
        let manager = FailoverManager::builder()
            .provider_as("consul-dc1", near)
            .provider_as("consul-dc2", dc2)
            .build()
            .await
            .expect("builds");
        let handle =
            manager.service_from("users", [("consul-dc1", 0), ("consul-dc2", 1)]).await.expect("a service");
        until(SECOND * 10, "both are known", || async { handle.endpoints().len() == 3 }).await;
        for _ in 0..10 {
            let pick = handle.select().expect("an endpoint");
            assert!(pick.endpoint().id().as_str().starts_with('a'), "the first tier: {}", pick.endpoint());
        }
        let load = Load::start(handle.clone());
        cluster.far.kill();
        let stale = |provider: &'static str| {
            let handle = handle.clone();
            move || {
                let handle = handle.clone();
                async move { handle.stats().sources.iter().any(|s| &*s.provider == provider && s.stale) }
            }
        };
        until(SECOND * 30, "the second datacenter is stale", stale("consul-dc2")).await;
        assert!(!stale("consul-dc1")().await, "and the first is not");
        assert_eq!(handle.endpoints().len(), 3, "what is known of it stays");
        cluster.far.relaunch();
        let fresh = || async { !stale("consul-dc2")().await };
        until(SECOND * 60, "it is fresh again", fresh).await;
        let (calls, failed) = load.stop().await;
        assert_eq!(failed, 0, "of {calls} calls");
        manager.close().await.expect("closes");
    }
}
