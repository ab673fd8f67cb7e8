//! An agent that loses its data while the servers live.

use std::sync::Arc;
use std::time::{Duration, Instant};

use failover_core::provider::{EndpointSet, Provider, Query, Registry};
use failover_core::{Endpoint, Error, FailoverManager, HealthCheck, Lifecycle};
use failover_testkit::consul::{Agent, AgentOptions};
use failover_testkit::servers::Server;
use failover_testkit::{Reply, until};

use crate::cluster::Load;
use crate::fake::{Fake, instance};
use crate::support::{SECOND, builder, endpoint, has, ids, name, next, provider, see};

/// One server, and a client agent to which programs talk.
fn pair(server: Server, node_id: Option<&str>) -> Option<(Agent, Agent)> {
    let one = AgentOptions { node: "server".to_owned(), ..AgentOptions::new(server) }.start()?;
    let options = AgentOptions {
        node: "client".to_owned(),
        node_id: node_id.map(str::to_owned),
        servers: 0,
        join: vec![one.lan()],
        ..AgentOptions::new(server)
    };
    Some((one, options.start()?))
}

/// An endpoint that the agent checks, rarely enough to stay as it is.
fn checked(id: &str, last: u8) -> Endpoint {
    let check = HealthCheck::builder().interval(SECOND * 60).build().expect("valid");
    let endpoint = Endpoint::builder(id, "users", format!("10.1.2.{last}"), 8080).protocol("tcp");
    endpoint.health_check(check).build().expect("valid")
}

fn on_agent(agent: &Agent, id: &str) -> bool {
    let services = agent.call("GET", "/v1/agent/services", "");
    services.is_ok_and(|(status, body)| status == 200 && body.contains(&format!("\"{id}\"")))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_that_loses_its_data_costs_no_call_on_the_newest() {
    loses(Server::Consul, None).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_that_loses_its_data_costs_no_call_on_debian() {
    loses(Server::ConsulDebian, None).await;
}

/// Another agent, under another node name, takes the place of the first.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_that_is_replaced_costs_no_call_on_the_newest() {
    loses(Server::Consul, Some("another")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_that_is_replaced_costs_no_call_on_debian() {
    loses(Server::ConsulDebian, Some("another")).await;
}

/// The ID that a node keeps, as one does that takes it from its machine.
const ID: &str = "8d6f2c1e-54f0-4c5d-9a0f-0d6a4f7b9c11";

async fn loses(server: Server, another: Option<&str>) {
    let Some((first, mut client)) = pair(server, Some(ID)) else { return };
    let owner = provider(&client.address());
    owner.register(&checked("a", 1)).await.expect("registers");
    // The second has a time to live.
    owner.register(&endpoint("b", "users", 2)).await.expect("registers");
    let users = name("users");
    let mut managers = Vec::new();
    for (what, address) in [("through the agent", client.address()), ("through a server", first.address())] {
        let manager =
            FailoverManager::builder().provider(Arc::new(provider(&address))).build().await.expect("builds");
        let handle = manager.service("users").await.expect("a service");
        until(SECOND * 10, "both are known", || async { handle.endpoints().len() == 2 }).await;
        managers.push((what, manager, handle.clone(), Load::start(handle)));
    }
    let remote = provider(&first.address());
    let mut stream = remote.watch(&Query::service(&users)).expect("it watches");
    see(&mut stream, SECOND * 5, "both", has(&["a", "b"])).await;

    client.lose_data();
    if let Some(node) = another {
        client.rename(node);
    }
    let node = client.node().to_owned();
    client.relaunch();
    until(SECOND * 30, "the agent answers", || async {
        client.call("GET", "/v1/agent/services", "").is_ok()
    })
    .await;
    let back = Instant::now();
    until(SECOND * 5, "the owner has noticed", || async { on_agent(&client, "a") && on_agent(&client, "b") })
        .await;
    println!("{server:?} {node}: registered again {:?} after the agent's return", back.elapsed());
    assert!(back.elapsed() < Duration::from_millis(1500), "{:?}", back.elapsed());
    client.wait_ready();
    // The agent aligns the catalog with its data within seconds.
    tokio::time::sleep(SECOND * 8).await;
    for (what, manager, handle, load) in managers {
        let (calls, failed) = load.stop().await;
        println!("{server:?} {node}: {what}: calls={calls} failed={failed}");
        assert_eq!(failed, 0, "{what}: of {calls} calls");
        assert!(calls > 5_000, "{calls}");
        assert_eq!(handle.endpoints().len(), 2, "{what}");
        manager.close().await.expect("closes");
    }
    // Callers elsewhere never saw the service without endpoints, either.
    let mut seen: Vec<Result<EndpointSet, Error>> = Vec::new();
    while let Ok(item) = tokio::time::timeout(
        Duration::from_millis(100),
        std::future::poll_fn(|context| stream.as_mut().poll_next(context)),
    )
    .await
    {
        seen.push(item.expect("it goes on"));
    }
    assert!(seen.iter().flatten().all(|set| !set.entries().is_empty()), "{seen:?}");
}

/// An agent that has lost the ID of its node, too, cannot write to the catalog while the old node has its
/// name. Once it has compared itself with the catalog, 1.22.7 ends the connection of who registers what
/// the old node has.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_node_with_a_new_id_refuses_is_told_and_mended_with_its_node() {
    for server in [Server::Consul, Server::ConsulDebian] {
        let Some((first, mut client)) = pair(server, None) else { return };
        let owner = provider(&client.address());
        owner.register(&checked("a", 1)).await.expect("registers");
        until(SECOND * 10, "the catalog has it", || async {
            first
                .call("GET", "/v1/catalog/service/users", "")
                .is_ok_and(|(_, body)| body.contains("10.1.2.1"))
        })
        .await;
        drop(owner);
        client.lose_data();
        client.restart();
        // The agent compares itself with the catalog within a second of joining.
        tokio::time::sleep(SECOND * 3).await;
        let another = provider(&client.address());
        match another.register(&checked("a", 1)).await {
            Ok(()) => assert_eq!(server, Server::ConsulDebian),
            Err(error) => {
                assert!(error.to_string().contains("/v1/catalog/deregister"), "{error}");
                let old = r#"{"Node": "client"}"#;
                assert_eq!(first.call("PUT", "/v1/catalog/deregister", old).expect("answers").0, 200);
                until(SECOND * 90, "it is registered", || async {
                    another.register(&checked("a", 1)).await.is_ok()
                })
                .await;
            }
        }
        assert!(on_agent(&client, "a"), "{server:?}");
    }
}

/// A node leaves the catalog with its instances, as one does whose agent has left: callers keep its
/// endpoints for the grace, and not longer.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_node_takes_along_is_kept_for_the_grace() {
    for server in [Server::Consul, Server::ConsulDebian] {
        let Some(agent) = (AgentOptions { dev: true, ..AgentOptions::new(server) }).start() else { return };
        let remote = builder(&agent.address()).empty_grace(SECOND * 3).build().expect("valid");
        let users = name("users");
        let mut stream = remote.watch(&Query::service(&users)).expect("it watches");
        see(&mut stream, SECOND * 5, "nothing", has(&[])).await;
        let register = r#"{"Node": "far", "ID": "40e4a748-2192-161a-0510-9bf59fe950b5", "Address": "10.1.2.9",
            "Service": {"ID": "a", "Service": "users", "Address": "10.1.2.1", "Port": 80}}"#;
        for (deregister, least) in
            [(r#"{"Node": "far", "ServiceID": "a"}"#, Duration::ZERO), (r#"{"Node": "far"}"#, SECOND * 5 / 2)]
        {
            assert_eq!(agent.call("PUT", "/v1/catalog/register", register).expect("answers").0, 200);
            see(&mut stream, SECOND * 5, "the endpoint", has(&["a"])).await;
            let begun = Instant::now();
            assert_eq!(agent.call("PUT", "/v1/catalog/deregister", deregister).expect("answers").0, 200);
            let seen = see(&mut stream, SECOND * 10, "it is empty", has(&[])).await;
            println!("{server:?}: empty after {:?}", begun.elapsed());
            assert!(begun.elapsed() >= least, "{:?}", begun.elapsed());
            assert!(begun.elapsed() < least + SECOND * 4, "{:?}", begun.elapsed());
            assert!(seen.last().expect("one").as_ref().expect("good").is_confirmed(), "{seen:?}");
            let codes: Vec<_> = seen.iter().filter_map(|item| item.as_ref().err().map(Error::code)).collect();
            let held = if least.is_zero() { vec![] } else { vec!["EMPTY_AFTER_RETURN"] };
            assert_eq!(codes, held);
        }
    }
}

/// Somebody deregisters an endpoint: its owner notices at once, whatever checks it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_deregistered_behind_its_owners_back_is_back_within_a_second() {
    for server in [Server::Consul, Server::ConsulDebian] {
        let Some(agent) = (AgentOptions { dev: true, ..AgentOptions::new(server) }).start() else { return };
        let owner = provider(&agent.address());
        owner.register(&checked("a", 1)).await.expect("registers");
        owner.register(&endpoint("b", "users", 2)).await.expect("registers");
        owner
            .set_lifecycle(&name("users"), endpoint("b", "users", 2).id(), Lifecycle::Draining)
            .await
            .expect("drains");
        tokio::time::sleep(SECOND / 2).await;
        for id in ["a", "b", "a"] {
            let (status, _) =
                agent.call("PUT", &format!("/v1/agent/service/deregister/{id}"), "").expect("answers");
            assert_eq!(status, 200);
            let gone = Instant::now();
            until(SECOND * 5, "it is back", || async { on_agent(&agent, id) }).await;
            println!("{server:?}: {id} is back after {:?}", gone.elapsed());
            assert!(gone.elapsed() < SECOND * 3 / 2, "{id}: {:?}", gone.elapsed());
            tokio::time::sleep(SECOND * 2).await;
        }
        let kept = owner.get(&name("users"), endpoint("b", "users", 2).id()).await.expect("there");
        assert_eq!(kept.lifecycle(), Lifecycle::Draining, "as it was");
        // Its own deregistration is none of that kind.
        owner.deregister(&name("users"), endpoint("a", "users", 1).id()).await.expect("deregisters");
        tokio::time::sleep(SECOND * 2).await;
        assert!(!on_agent(&agent, "a"));
    }
}

/// An honest deregistration just after the agent's return takes effect once the grace is over.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deregistration_after_the_agents_return_takes_effect_after_the_grace() {
    let Some(mut agent) = AgentOptions::new(Server::Consul).start() else { return };
    let owner = provider(&agent.address());
    let watcher = builder(&agent.address()).empty_grace(SECOND * 4).build().expect("valid");
    owner.register(&checked("a", 1)).await.expect("registers");
    let users = name("users");
    let mut stream = watcher.watch(&Query::service(&users)).expect("it watches");
    see(&mut stream, SECOND * 5, "the endpoint", has(&["a"])).await;
    agent.kill();
    see(&mut stream, SECOND * 5, "the outage", Result::is_err).await;
    agent.restart();
    see(&mut stream, SECOND * 10, "it is back", has(&["a"])).await;
    let begun = Instant::now();
    owner.deregister(&users, endpoint("a", "users", 1).id()).await.expect("deregisters");
    let seen = see(&mut stream, SECOND * 12, "it is empty", has(&[])).await;
    println!("empty after {:?}", begun.elapsed());
    assert!(begun.elapsed() < SECOND * 8, "{:?}", begun.elapsed());
    let set = seen.last().expect("one").as_ref().expect("good");
    assert!(set.is_confirmed(), "it is certain, and applied at once: {seen:?}");
    let held = seen.iter().any(|item| item.as_ref().is_err_and(|error| error.code() == "EMPTY_AFTER_RETURN"));
    assert!(held, "{seen:?}");
}

/// The same without a server: the first answer after the return is empty, and the index went on.
#[tokio::test]
async fn an_empty_answer_after_the_agents_return_is_held_for_the_grace_alone() {
    let fake = Fake::start(&["a"]).await;
    let consul = builder(&fake.address()).empty_grace(SECOND * 3).build().expect("valid");
    let users = name("users");
    let mut stream = consul.watch(&Query::service(&users)).expect("it watches");
    assert_eq!(ids(&next(&mut stream, SECOND).await.expect("good")), ["a"]);
    fake.fail(|_| Some(Reply::reset()));
    see(&mut stream, SECOND * 2, "the outage", Result::is_err).await;
    fake.set(&[], 120);
    fake.heal();
    let begun = Instant::now();
    let seen = see(&mut stream, SECOND * 10, "the empty set", has(&[])).await;
    assert!(begun.elapsed() >= Duration::from_millis(2500), "{:?}", begun.elapsed());
    assert!(begun.elapsed() < SECOND * 7, "{:?}", begun.elapsed());
    assert!(seen.last().expect("one").as_ref().expect("good").is_confirmed(), "{seen:?}");
    let codes: Vec<_> = seen.iter().filter_map(|item| item.as_ref().err().map(Error::code)).collect();
    assert!(codes.contains(&"EMPTY_AFTER_RETURN"), "{codes:?}");
}

/// What was in service and is gone is believed after a moment, without a word before; what was taken out
/// of service first, at once.
#[tokio::test]
async fn a_sudden_emptying_is_held_for_a_moment_and_an_orderly_one_is_not() {
    let fake = Fake::start(&["a", "b"]).await;
    let consul = builder(&fake.address()).build().expect("valid");
    let users = name("users");
    let mut stream = consul.watch(&Query::service(&users)).expect("it watches");
    let maintained =
        instance("a", 1).replace("serfHealth", "_service_maintenance:a").replace("passing", "critical");
    for (before, least) in [
        (vec![instance("a", 1), instance("b", 2)], 3),
        (vec![maintained.clone(), instance("b", 2)], 3),
        (vec![maintained], 0),
    ] {
        let count = before.len();
        let index = fake.set_instances(before);
        let full =
            |set: &Result<EndpointSet, Error>| set.as_ref().is_ok_and(|set| set.entries().len() == count);
        see(&mut stream, SECOND * 5, "the instances", full).await;
        fake.set(&[], index + 10);
        let begun = Instant::now();
        let seen = see(&mut stream, SECOND * 6, "the empty set", has(&[])).await;
        assert_eq!(seen.len(), 1, "{seen:?}");
        let (least, took) = (Duration::from_secs(least), begun.elapsed());
        assert!(took >= least.saturating_sub(SECOND / 2) && took < least + SECOND * 2, "{least:?}: {took:?}");
    }
    // What is back before that was never gone.
    let index = fake.set_instances(vec![instance("a", 1)]);
    see(&mut stream, SECOND * 5, "the instance", has(&["a"])).await;
    fake.set(&[], index + 10);
    tokio::time::sleep(SECOND).await;
    fake.set(&["a", "b"], index + 20);
    let seen = see(&mut stream, SECOND * 5, "both", has(&["a", "b"])).await;
    assert_eq!(seen.len(), 1, "{seen:?}");
}

/// Servers that are restored from an older snapshot have lost what was registered since.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn servers_that_are_restored_from_a_snapshot_do_not_empty_a_service() {
    for server in [Server::Consul, Server::ConsulDebian] {
        let Some(agent) = AgentOptions::new(server).start() else { return };
        let (status, before) = agent.call_bytes("GET", "/v1/snapshot", b"").expect("answers");
        assert_eq!(status, 200);
        let owner = provider(&agent.address());
        owner.register(&checked("a", 1)).await.expect("registers");
        let watcher = provider(&agent.address());
        let users = name("users");
        let mut stream = watcher.watch(&Query::service(&users)).expect("it watches");
        see(&mut stream, SECOND * 5, "the endpoint", has(&["a"])).await;
        let (status, said) = agent.call_bytes("PUT", "/v1/snapshot", &before).expect("answers");
        assert_eq!(status, 200, "{}", String::from_utf8_lossy(&said));
        let until = Instant::now() + SECOND * 8;
        let mut seen = Vec::new();
        while let Ok(item) = tokio::time::timeout_at(
            until.into(),
            std::future::poll_fn(|context| stream.as_mut().poll_next(context)),
        )
        .await
        {
            seen.push(item.expect("it goes on"));
        }
        println!("{server:?}: {seen:?}");
        assert!(seen.iter().flatten().all(|set| !set.entries().is_empty()), "{seen:?}");
    }
}
