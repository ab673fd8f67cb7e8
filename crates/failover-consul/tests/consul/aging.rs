//! Endpoints that the agent deregisters itself, after too long in critical state.

use std::time::Instant;

use failover_consul::ConsulProvider;
use failover_core::provider::{EndpointSet, Provider};
use failover_core::provider::{Query, Registry};
use failover_core::{Endpoint, Error, Health, HealthCheck};
use failover_testkit::consul::{Agent, AgentOptions};
use failover_testkit::free_port;
use failover_testkit::servers::Server;
use tokio::time::sleep;

use crate::support::{SECOND, builder, endpoint, ids, name};

fn provider(agent: &Agent) -> ConsulProvider {
    let consul = builder(&agent.address()).deregister_critical_after(SECOND * 60).ttl(SECOND * 10);
    consul.build().expect("valid")
}

/// Returns an endpoint whose port has no listener.
fn dead(id: &str) -> Endpoint {
    let check = HealthCheck::builder().interval(SECOND).healthy_threshold(1).unhealthy_threshold(1);
    let endpoint = Endpoint::builder(id, "users", "127.0.0.1", free_port()).protocol("tcp");
    endpoint.health_check(check.build().expect("valid")).build().expect("valid")
}

/// Consul's minimum is a minute, and it looks every 30 s, so both versions run concurrently.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_has_been_critical_for_a_minute_is_deregistered_by_the_agent() {
    let all = [Server::Consul, Server::ConsulDebian].map(|server| tokio::spawn(reaped(server)));
    for one in all {
        one.await.expect("each of them");
    }
}

async fn reaped(server: Server) {
    let Some(agent) = AgentOptions::new(server).start() else { return };
    let users = name("users");
    let (gone, stays) = (provider(&agent), provider(&agent));
    gone.register(&dead("checked")).await.expect("registers");
    gone.register(&endpoint("lease", "users", 1)).await.expect("registers");
    stays.register(&dead("kept")).await.expect("registers");
    stays.register(&endpoint("alive", "users", 2)).await.expect("registers");
    // Simulates a killed process: its registrations get no more heartbeats.
    drop(gone);
    let begun = Instant::now();
    let (mut critical, mut lost, mut seen) = (None, None, EndpointSet::default());
    while begun.elapsed() < SECOND * 150 {
        let listed: Result<EndpointSet, Error> = stays.list(&Query::service(&users)).await;
        seen = listed.expect("lists");
        let is_dead = |id: &str| {
            seen.entries().iter().any(|e| e.endpoint().id() == id && e.health() == Health::Unhealthy)
        };
        if critical.is_none() && ["checked", "lease", "kept"].iter().all(|id| is_dead(id)) {
            critical = Some(begun.elapsed());
        }
        let unattended = ids(&seen).iter().any(|id| id == "checked" || id == "lease");
        if lost.is_none() && !unattended {
            lost = Some(begun.elapsed());
        }
        // An endpoint that a provider keeps is registered again after the agent deregistered it.
        if lost.is_some() && ids(&seen) == ["alive", "kept"] {
            break;
        }
        sleep(SECOND / 2).await;
    }
    println!("{server:?}: critical after {critical:?}, deregistered after {lost:?}");
    assert_eq!(ids(&seen), ["alive", "kept"], "critical {critical:?}, lost {lost:?}");
    let (critical, lost) = (critical.expect("first"), lost.expect("then"));
    assert!(lost >= SECOND * 55 && lost > critical, "critical {critical:?}, lost {lost:?}");
}
