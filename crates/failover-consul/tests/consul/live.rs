//! One real agent: registration, checks, maintenance, ownership, loss of data.

use std::time::{Duration, Instant};

use failover_consul::ConsulProvider;
use failover_core::events::EventKind;
use failover_core::provider::{Provider, Query, RegistrationStatus, Registry};
use failover_core::{Endpoint, ErrorKind, FailoverManager, Health, HealthCheck, Lifecycle};
use failover_testkit::consul::{Agent, AgentOptions};
use failover_testkit::servers::Server;
use failover_testkit::until;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::support::{SECOND, builder, endpoint, has, ids, name, next, provider, quiet, see};

/// Runs the test on both versions, if they are installed.
macro_rules! both {
    ($($name:ident => $test:ident;)+) => {
        mod newest {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() { super::$test(failover_testkit::servers::Server::Consul).await; })+
        }
        mod debian {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() { super::$test(failover_testkit::servers::Server::ConsulDebian).await; })+
        }
    };
}

both! {
    row_01_an_agent_that_is_killed_and_comes_back_loses_nothing => killed;
    row_02_row_19_an_agent_without_its_data_is_registered_with_again => data_lost;
    row_17_row_21_the_same_registration_is_no_event_and_the_newest_owner_wins => owners;
    row_22_the_same_id_in_another_service_is_a_conflict => same_id;
    row_23_foreign_services_are_read => foreign;
    a_dead_registration_does_not_hide_the_living_one_at_its_address => hidden;
    row_27_closing_ends_watches_and_deregisters_what_it_keeps_alive => closing;
    row_19_what_somebody_else_removes_is_registered_again => removed;
    row_28_an_update_keeps_maintenance_and_health => maintenance;
    claims_are_seen_and_health_that_the_agent_checks_is_its_own => claims;
    checks_of_the_agent_find_what_dies => checks;
    what_became_of_a_registration_is_known_without_a_request => registrations;
    a_manager_tells_of_a_loss_and_of_a_takeover => told;
}

fn agent(server: Server, dev: bool) -> Option<Agent> {
    AgentOptions { dev, ..AgentOptions::new(server) }.start()
}

async fn killed(server: Server) {
    let Some(mut agent) = agent(server, false) else { return };
    let provider = provider(&agent.address());
    provider.register(&endpoint("a", "users", 1)).await.expect("registers");
    let users = name("users");
    let mut stream = provider.watch(&Query::service(&users)).expect("it watches");
    see(&mut stream, SECOND * 5, "the endpoint", has(&["a"])).await;
    agent.kill();
    let seen = see(&mut stream, SECOND * 5, "an error", Result::is_err).await;
    assert_eq!(seen.len(), 1, "{seen:?}");
    tokio::time::sleep(SECOND * 3).await;
    agent.restart();
    let back = Instant::now();
    let seen = see(&mut stream, SECOND * 8, "it is fresh", Result::is_ok).await;
    assert!(back.elapsed() < SECOND * 5, "fresh {:?} after the agent", back.elapsed());
    assert_eq!(ids(seen.last().expect("one").as_ref().expect("good")), ["a"]);
    provider.register(&endpoint("b", "users", 2)).await.expect("registers");
    see(&mut stream, SECOND * 5, "a change after it", has(&["a", "b"])).await;
}

/// A process crashed, and its successor registered its address under another id.
async fn hidden(server: Server) {
    let Some(agent) = agent(server, true) else { return };
    let register = |id: &str, status: &str| {
        let body = format!(
            r#"{{"Name": "users", "ID": "{id}", "Address": "10.1.2.1", "Port": 8080,
                "Check": {{"TTL": "10m", "Status": "{status}"}}}}"#
        );
        let (status, _) = agent.call("PUT", "/v1/agent/service/register", &body).expect("answers");
        assert_eq!(status, 200);
    };
    // The order of the ids makes no difference.
    register("b", "passing");
    register("a", "critical");
    register("c", "critical");
    let manager =
        FailoverManager::builder().provider(provider(&agent.address())).build().await.expect("builds");
    let users = manager.service("users").await.expect("a handle");
    until(SECOND * 5, "the three entries", || async { users.stats().sources[0].endpoints == 3 }).await;
    for _ in 0..1_000 {
        let done = users.execute(async |endpoint| Ok::<_, String>(endpoint.id().to_string())).await;
        assert_eq!(done.expect("the living one answers").value, "b");
    }
    let explained = users.explain();
    let others: Vec<_> = explained.endpoints[0].others.iter().map(|other| other.id.as_str()).collect();
    assert_eq!((explained.endpoints.len(), others), (1, vec!["a", "c"]), "{explained}");
    // An operator's maintenance of either entry takes the address out.
    let maintenance = "/v1/agent/service/maintenance/a?enable=true&reason=disk";
    assert_eq!(agent.call("PUT", maintenance, "").expect("answers").0, 200);
    until(SECOND * 5, "it is out", || async { users.select().is_err() }).await;
}

async fn data_lost(server: Server) {
    let Some(mut agent) = agent(server, true) else { return };
    let keeper = provider(&agent.address());
    let watcher = builder(&agent.address()).wait(SECOND * 5).build().expect("valid");
    keeper.register(&endpoint("a", "users", 1)).await.expect("registers");
    let by_agent = Endpoint::builder("c", "users", "127.0.0.1", 9).protocol("tcp");
    let check = HealthCheck::builder().interval(SECOND * 60).build().expect("valid");
    let _kept_too = keeper.register(&by_agent.health_check(check).build().expect("valid")).await;
    keeper
        .set_lifecycle(&name("users"), endpoint("a", "users", 1).id(), Lifecycle::Draining)
        .await
        .expect("drains");
    let users = name("users");
    let mut stream = watcher.watch(&Query::service(&users)).expect("it watches");
    see(&mut stream, SECOND * 5, "the endpoints", has(&["a", "c"])).await;
    agent.kill();
    // A restart sooner than the watcher's next request would leave it nothing to say.
    let mut seen = see(&mut stream, SECOND * 10, "the outage is said", Result::is_err).await;
    agent.restart();
    // It is registered again with the next heartbeat at the latest; no empty set is published
    // meanwhile.
    let drained = |item: &Result<failover_core::provider::EndpointSet, _>| {
        item.as_ref()
            .is_ok_and(|set| set.entries().iter().any(|entry| entry.lifecycle() == Lifecycle::Draining))
    };
    seen.extend(see(&mut stream, SECOND * 20, "it is registered again, draining", drained).await);
    for item in seen.iter().flatten() {
        assert!(!item.entries().is_empty(), "an empty set was published: {seen:?}");
    }
    assert!(seen.iter().any(Result::is_err), "the outage was said");
    // Not after a deregistration by this process.
    keeper.deregister(&users, endpoint("a", "users", 1).id()).await.expect("deregisters");
    agent.kill();
    agent.restart();
    tokio::time::sleep(SECOND * 4).await;
    let (_, body) = agent.call("GET", "/v1/agent/services", "").expect("answers");
    assert!(!body.contains("10.1.2.1"), "{body}");
}

async fn owners(server: Server) {
    let Some(agent) = agent(server, false) else { return };
    let first = builder(&agent.address()).ttl(SECOND * 10).build().expect("valid");
    let second = provider(&agent.address());
    let users = name("users");
    let watcher = provider(&agent.address());
    let mut stream = watcher.watch(&Query::service(&users)).expect("it watches");
    first.register(&endpoint("a", "users", 1)).await.expect("registers");
    see(&mut stream, SECOND * 5, "the endpoint", has(&["a"])).await;
    first.register(&endpoint("a", "users", 1)).await.expect("registers again");
    quiet(&mut stream, SECOND).await;
    // The newest registration wins, whichever process made it, and there is only one.
    second.register(&endpoint("a", "users", 2)).await.expect("takes over");
    let moved = |item: &Result<failover_core::provider::EndpointSet, _>| {
        item.as_ref()
            .is_ok_and(|set| set.entries().len() == 1 && set.entries()[0].endpoint().address() == "10.1.2.2")
    };
    see(&mut stream, SECOND * 5, "the newer address", moved).await;
    // A tool that changes the weight does not take it over: the process that registered it keeps
    // sending heartbeats.
    {
        let tool = provider(&agent.address());
        tool.update(&endpoint("a", "users", 2).to_builder().weight(5).build().expect("valid"))
            .await
            .expect("updates");
        assert_eq!((tool.metrics().registered, second.metrics().registered), (0, 1));
        tool.close().await.expect("closes");
        let heavier = |item: &Result<failover_core::provider::EndpointSet, _>| {
            item.as_ref()
                .is_ok_and(|set| set.entries().len() == 1 && set.entries()[0].endpoint().weight() == 5)
        };
        see(&mut stream, SECOND * 5, "the weight", heavier).await;
    }
    // The older process detects it with one of its heartbeats and stops them.
    until(SECOND * 15, "it is not kept any more", || async { first.metrics().registered == 0 }).await;
    // The older process leaves: the newer one's registration stays, whether the older one
    // deregisters or closes.
    let a = endpoint("a", "users", 1);
    assert!(!first.deregister(&users, a.id()).await.expect("not its own any more"));
    first.register(&endpoint("b", "users", 3)).await.expect("registers");
    second.register(&endpoint("b", "users", 4)).await.expect("takes over");
    first.close().await.expect("closes");
    let newer = |item: &Result<failover_core::provider::EndpointSet, _>| {
        item.as_ref()
            .is_ok_and(|set| set.entries().iter().any(|entry| entry.endpoint().address() == "10.1.2.4"))
    };
    see(&mut stream, SECOND * 5, "both of the newer process", newer).await;
    quiet(&mut stream, SECOND).await;
    let admin = provider(&agent.address());
    assert!(
        admin
            .deregister(&users, endpoint("b", "users", 4).id())
            .await
            .expect("a provider that never had it may remove it")
    );
    let b = endpoint("b", "users", 4);
    until(SECOND * 5, "its owner lives and has it again", || async {
        admin.get(&users, b.id()).await.is_ok()
    })
    .await;
    assert!(second.deregister(&users, a.id()).await.expect("its own"));
    assert!(!second.deregister(&users, a.id()).await.expect("gone already"));
    assert!(second.deregister(&users, b.id()).await.expect("its own, too"));
    see(&mut stream, SECOND * 5, "it is gone", has(&[])).await;
}

async fn removed(server: Server) {
    let Some(agent) = agent(server, false) else { return };
    let keeper = builder(&agent.address()).ttl(SECOND * 10).build().expect("valid");
    let a = endpoint("a", "users", 1);
    keeper.register(&a).await.expect("registers");
    keeper.set_health(a.service(), a.id(), Health::Degraded).await.expect("claims");
    let (status, _) = agent.call("PUT", "/v1/agent/service/deregister/a", "").expect("answers");
    assert_eq!(status, 200);
    let is_back = || async {
        keeper.get(a.service(), a.id()).await.is_ok_and(|entry| entry.health() == Health::Degraded)
    };
    until(SECOND * 6, "it is registered again, as it was", is_back).await;
    // Heartbeats keep it alive beyond its time to live.
    tokio::time::sleep(SECOND * 12).await;
    assert!(is_back().await, "it was kept alive");
    // If the provider is dropped without closing, it expires.
    drop(keeper);
    let reader = provider(&agent.address());
    let lapsed = || async {
        reader.get(a.service(), a.id()).await.is_ok_and(|entry| entry.health() == Health::Unhealthy)
    };
    until(SECOND * 15, "it has lapsed", lapsed).await;
}

async fn same_id(server: Server) {
    let Some(agent) = agent(server, false) else { return };
    let provider = provider(&agent.address());
    provider.register(&endpoint("a", "users", 1)).await.expect("registers");
    let error = provider.register(&endpoint("a", "orders", 2)).await.expect_err("an id counts for the agent");
    assert_eq!(error.kind(), ErrorKind::Conflict);
    assert!(error.to_string().contains("service users"), "{error}");
    let set = provider.list(&Query::service(&name("users"))).await.expect("lists");
    assert_eq!(ids(&set), ["a"], "nothing was overwritten");
    let orders = name("orders");
    assert!(
        !provider.deregister(&orders, endpoint("a", "orders", 2).id()).await.expect("not of that service")
    );
    assert_eq!(
        provider.get(&orders, endpoint("a", "orders", 2).id()).await.expect_err("none").kind(),
        ErrorKind::NotFound
    );
}

async fn foreign(server: Server) {
    let Some(agent) = agent(server, false) else { return };
    for body in [
        r#"{"Name": "users", "ID": "theirs", "Port": 80}"#,
        r#"{"Name": "users", "ID": "bad", "Port": 0, "Address": "10.0.0.2"}"#,
        r#"{"Name": "users", "ID": "meta", "Port": 81, "Address": "10.0.0.3", "Meta": {"version": "2"}, "Tags": ["a", "a"]}"#,
        r#"{"Name": "odd name/with ü", "ID": "odd", "Port": 82, "Address": "10.0.0.4"}"#,
    ] {
        assert_eq!(agent.call("PUT", "/v1/agent/service/register", body).expect("answers").0, 200);
    }
    let provider = builder(&agent.address()).default_protocol("http").build().expect("valid");
    let users = name("users");
    until(SECOND * 5, "all are in the catalog", || async {
        provider.list(&Query::service(&users)).await.is_ok_and(|set| set.entries().len() == 2)
    })
    .await;
    let set = provider.list(&Query::service(&users)).await.expect("lists");
    assert_eq!((ids(&set), set.rejected_count()), (vec!["meta".to_owned(), "theirs".to_owned()], 1));
    let theirs = provider.get(&users, &"theirs".try_into().expect("valid")).await.expect("there");
    assert_eq!(theirs.endpoint().url("/"), "http://127.0.0.1:80/", "the address of its node");
    let all = provider.list(&Query::all()).await.expect("lists");
    assert!(all.rejected().iter().any(|entry| entry.what().contains("odd name")), "{:?}", all.rejected());
    // The filter selects the id, even with quotes in it.
    let odd = "a\"b\\c".try_into().expect("valid");
    assert_eq!(provider.get(&users, &odd).await.expect_err("none").kind(), ErrorKind::NotFound);
}

async fn closing(server: Server) {
    let Some(agent) = agent(server, false) else { return };
    let (closes, stays) = (provider(&agent.address()), provider(&agent.address()));
    let check = HealthCheck::builder().interval(SECOND * 60).build().expect("valid");
    let checked =
        Endpoint::builder("checked", "users", "127.0.0.1", 9).health_check(check).build().expect("valid");
    closes.register(&endpoint("lease", "users", 1)).await.expect("registers");
    closes.register(&checked).await.expect("registers");
    assert_eq!(closes.metrics().registered, 2);
    let users = name("users");
    let mut others = stays.watch(&Query::service(&users)).expect("it watches");
    see(&mut others, SECOND * 5, "both", has(&["checked", "lease"])).await;
    let names: Vec<_> = (0..20).map(|n| name(&format!("s-{n}"))).collect();
    let mut streams: Vec<_> =
        names.iter().map(|name| closes.watch(&Query::service(name)).expect("it watches")).collect();
    for stream in &mut streams {
        next(stream, SECOND * 5).await.expect("a first answer");
    }
    assert_eq!(closes.metrics().services, 20);
    let begun = Instant::now();
    closes.close().await.expect("closes");
    assert!(begun.elapsed() < SECOND, "{:?}", begun.elapsed());
    for stream in &mut streams {
        let ended =
            tokio::time::timeout(SECOND, std::future::poll_fn(|c| stream.as_mut().poll_next(c))).await;
        assert!(ended.expect("at once").is_none());
    }
    drop(streams);
    until(SECOND, "no task is left", || async { closes.metrics().services == 0 }).await;
    see(&mut others, SECOND * 5, "what it kept alive is gone, the other stays", has(&["checked"])).await;
    assert_eq!(closes.list(&Query::service(&users)).await.expect_err("closed").kind(), ErrorKind::Shutdown);
    closes.connect().await.expect("opens again");
    assert!(closes.list(&Query::service(&users)).await.is_ok());
}

async fn maintenance(server: Server) {
    let Some(agent) = agent(server, false) else { return };
    let (writer, reader) = (provider(&agent.address()), provider(&agent.address()));
    let users = name("users");
    let a = endpoint("a", "users", 1);
    writer.register(&a).await.expect("registers");
    let mut stream = reader.watch(&Query::service(&users)).expect("it watches");
    see(&mut stream, SECOND * 5, "the endpoint", has(&["a"])).await;
    writer.set_health(&users, a.id(), Health::Degraded).await.expect("claims");
    writer.set_lifecycle(&users, a.id(), Lifecycle::Maintenance).await.expect("says so");
    let is = |health, lifecycle| {
        move |item: &Result<failover_core::provider::EndpointSet, failover_core::Error>| {
            let entry = item.as_ref().ok().and_then(|set| set.entries().first().cloned());
            entry.is_some_and(|entry| entry.health() == health && entry.lifecycle() == lifecycle)
        }
    };
    see(&mut stream, SECOND * 5, "both claims", is(Health::Degraded, Lifecycle::Maintenance)).await;
    // One update changes the weight, another the kind of check.
    let check = HealthCheck::builder().interval(SECOND * 60).build().expect("valid");
    let heavier = a.to_builder().weight(7).build().expect("valid");
    let checked = a.to_builder().weight(9).health_check(check).build().expect("valid");
    for changed in [&heavier, &checked] {
        writer.update(changed).await.expect("updates");
        let weight = changed.weight();
        let seen = see(&mut stream, SECOND * 5, "the new weight", |item| {
            item.as_ref()
                .is_ok_and(|set| set.entries().first().is_some_and(|e| e.endpoint().weight() == weight))
        })
        .await;
        let entry = writer.get(&users, a.id()).await.expect("there");
        assert_eq!(entry.lifecycle(), Lifecycle::Maintenance);
        if weight == 7 {
            assert_eq!(entry.health(), Health::Degraded);
            // It was never in service.
            for set in seen.iter().flatten() {
                assert_eq!(set.entries()[0].lifecycle(), Lifecycle::Maintenance, "{seen:?}");
            }
        }
    }
    // A new registration resets health and lifecycle.
    writer.register(&a).await.expect("registers");
    see(&mut stream, SECOND * 5, "in service and healthy", is(Health::Healthy, Lifecycle::InService)).await;
    let missing = endpoint("missing", "users", 9);
    assert_eq!(writer.update(&missing).await.expect_err("not there").kind(), ErrorKind::NotFound);
    let lifecycle = writer.set_lifecycle(&users, missing.id(), Lifecycle::Draining).await;
    assert_eq!(lifecycle.expect_err("not there").kind(), ErrorKind::NotFound);
}

async fn claims(server: Server) {
    let Some(agent) = agent(server, false) else { return };
    let provider = provider(&agent.address());
    let users = name("users");
    let a = endpoint("a", "users", 1);
    let check = HealthCheck::builder().interval(SECOND * 60).build().expect("valid");
    let b = endpoint("b", "users", 2).to_builder().health_check(check).build().expect("valid");
    provider.register(&a).await.expect("registers");
    provider.register(&b).await.expect("registers");
    for health in [Health::Unhealthy, Health::Degraded, Health::Healthy] {
        provider.set_health(&users, a.id(), health).await.expect("claims");
        assert_eq!(provider.get(&users, a.id()).await.expect("there").health(), health);
        assert_eq!(
            provider.set_health(&users, b.id(), health).await.expect_err("checked by the agent").kind(),
            ErrorKind::Unsupported
        );
    }
    let unknown = provider.set_health(&users, a.id(), Health::Unknown).await;
    assert_eq!(unknown.expect_err("no word for it").kind(), ErrorKind::Unsupported);
    for lifecycle in [Lifecycle::Draining, Lifecycle::Maintenance, Lifecycle::Draining, Lifecycle::InService]
    {
        provider.set_lifecycle(&users, a.id(), lifecycle).await.expect("says so");
        assert_eq!(provider.get(&users, a.id()).await.expect("there").lifecycle(), lifecycle);
    }
}

/// Answers 200 to every request until dropped.
async fn serve() -> (u16, tokio::task::JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("bound").port();
    let task = tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            // A connection closed with the request unread would be reset.
            let _ = stream.read(&mut [0; 1024]).await;
            let _ =
                stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n").await;
            let _ = stream.shutdown().await;
        }
    });
    (port, task)
}

async fn checks(server: Server) {
    let Some(agent) = agent(server, false) else { return };
    let manager =
        FailoverManager::builder().provider(provider(&agent.address())).build().await.expect("builds");
    let check = HealthCheck::builder().path("/").interval(SECOND).unhealthy_threshold(1).healthy_threshold(1);
    let check = check.build().expect("valid");
    let mut servers = Vec::new();
    for (id, protocol) in [("http-1", "http"), ("tcp-1", "tcp")] {
        let (port, task) = serve().await;
        let endpoint = Endpoint::builder(id, "users", "127.0.0.1", port).protocol(protocol);
        manager
            .register_endpoint(endpoint.health_check(check.clone()).build().expect("valid"))
            .await
            .expect("registers");
        servers.push(task);
    }
    let reader: ConsulProvider = provider(&agent.address());
    let users = name("users");
    let health = |of: Health| {
        let (reader, users) = (&reader, &users);
        move || async move {
            let set = reader.list(&Query::service(users)).await;
            set.is_ok_and(|set| {
                set.entries().len() == 2 && set.entries().iter().all(|entry| entry.health() == of)
            })
        }
    };
    tokio::time::sleep(Duration::from_millis(2500)).await;
    assert!(health(Health::Healthy)().await, "the checks succeed");
    for server in &servers {
        server.abort();
    }
    until(SECOND * 10, "both are found to be dead", health(Health::Unhealthy)).await;
    manager.close().await.expect("closes");
}

async fn registrations(server: Server) {
    let Some(agent) = agent(server, true) else { return };
    let consul = builder(&agent.address()).ttl(SECOND * 10).build().expect("valid");
    let a = endpoint("a", "users", 1);
    consul.register(&a).await.expect("registers");
    consul.set_lifecycle(a.service(), a.id(), Lifecycle::Draining).await.expect("drains");
    let requests = consul.metrics().requests;
    for _ in 0..100 {
        assert_eq!(consul.registration(&a).await.expect("known"), RegistrationStatus::Registered);
    }
    assert!(consul.metrics().requests - requests <= 2, "at most a heartbeat");

    // Lost, repaired by the next heartbeat, told once; and registering is then no reset.
    assert_eq!(agent.call("PUT", "/v1/agent/service/deregister/a", "").expect("answers").0, 200);
    until(SECOND * 8, "the event", || async {
        consul.registration(&a).await.is_ok_and(|status| status == RegistrationStatus::Missing)
    })
    .await;
    consul.register(&a).await.expect("again");
    assert_eq!(consul.registration(&a).await.expect("known"), RegistrationStatus::Registered);
    let found = consul.get(a.service(), a.id()).await.expect("there");
    assert_eq!((found.lifecycle(), consul.metrics().registered), (Lifecycle::Draining, 1));
    // What was not lost is reset.
    consul.register(&a).await.expect("again");
    assert_eq!(consul.get(a.service(), a.id()).await.expect("there").lifecycle(), Lifecycle::InService);

    // Taken over, with the address of the other.
    let other = provider(&agent.address());
    other.register(&endpoint("a", "users", 2)).await.expect("takes over");
    until(SECOND * 15, "the event", || async {
        let taken = RegistrationStatus::TakenOver { by: "10.1.2.2:8080".to_owned() };
        consul.registration(&a).await.is_ok_and(|status| status == taken)
    })
    .await;
    // Of another process: read from the agent.
    let stranger = provider(&agent.address());
    let status = stranger.registration(&endpoint("a", "users", 2)).await.expect("read");
    assert_eq!(status, RegistrationStatus::Registered);
    let status = stranger.registration(&endpoint("b", "users", 2)).await.expect("read");
    assert_eq!(status, RegistrationStatus::Missing);

    // No agent: the error of the last heartbeat.
    drop(agent);
    until(SECOND * 20, "the event", || async {
        other.registration(&endpoint("a", "users", 2)).await.is_err()
    })
    .await;
}

async fn told(server: Server) {
    let Some(agent) = agent(server, true) else { return };
    let consul = builder(&agent.address()).ttl(SECOND * 10).build().expect("valid");
    let manager = FailoverManager::builder().provider(consul).build().await.expect("builds");
    let guard = manager.register_self(endpoint("a", "users", 1)).await.expect("registers");
    let count = |kind| manager.events(100).iter().filter(|event| event.kind == kind).count();
    let before = count(EventKind::Registered);
    assert_eq!(agent.call("PUT", "/v1/agent/service/deregister/a", "").expect("answers").0, 200);
    until(SECOND * 20, "lost and registered again", || async {
        count(EventKind::RegistrationLost) == 1 && count(EventKind::Registered) == before + 1
    })
    .await;
    let other = provider(&agent.address());
    other.register(&endpoint("a", "users", 2)).await.expect("takes over");
    until(SECOND * 30, "taken over", || async { count(EventKind::RegistrationTakenOver) == 1 }).await;
    guard.close().await.expect("leaves it alone");
    let kept = other.get(&name("users"), endpoint("a", "users", 2).id()).await.expect("there");
    assert_eq!(kept.endpoint().address(), "10.1.2.2");
}
