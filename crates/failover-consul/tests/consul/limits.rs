//! Agents that take no more connections or requests.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use failover_consul::ConsulProvider;
use failover_core::provider::{Provider, Query, Registry};
use failover_testkit::consul::AgentOptions;
use failover_testkit::servers::Server;
use failover_testkit::{Reply, until};
use tokio::task::JoinHandle;

use crate::fake::Fake;
use crate::support::{SECOND, builder, endpoint, has, name, next, quiet, see};

/// Watches services with their configuration, as a manager does, and keeps the number of endpoints
/// that each has.
struct Watcher {
    consul: Arc<ConsulProvider>,
    known: Vec<Arc<AtomicUsize>>,
    tasks: Vec<JoinHandle<()>>,
}

const NOT_KNOWN: usize = usize::MAX;

impl Watcher {
    fn start(consul: ConsulProvider, services: &[String]) -> Self {
        let consul = Arc::new(consul);
        let (mut known, mut tasks) = (Vec::new(), Vec::new());
        for service in services {
            let count = Arc::new(AtomicUsize::new(NOT_KNOWN));
            known.push(Arc::clone(&count));
            let (of, service) = (Arc::clone(&consul), name(service));
            tasks.push(tokio::spawn(async move {
                let mut endpoints = of.watch(&Query::service(&service)).expect("it watches");
                let mut documents = of.config_store().expect("it keeps configuration").watch();
                loop {
                    tokio::select! {
                        item = std::future::poll_fn(|c| endpoints.as_mut().poll_next(c)) => match item {
                            Some(Ok(set)) => count.store(set.entries().len(), Ordering::Relaxed),
                            Some(Err(_)) => {}
                            None => return,
                        },
                        item = std::future::poll_fn(|c| documents.as_mut().poll_next(c)) => {
                            if item.is_none() {
                                return;
                            }
                        }
                    }
                }
            }));
        }
        Self { consul, known, tasks }
    }

    fn knows(&self, expected: usize) -> usize {
        let is = |count: &&Arc<AtomicUsize>| count.load(Ordering::Relaxed) == expected;
        self.known.iter().filter(is).count()
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

fn names(count: usize) -> Vec<String> {
    (0..count).map(|n| format!("s-{n}")).collect()
}

/// Six processes of 20 services each ask an agent that has connections for half of them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_an_agent_has_no_connection_for_is_polled_on_the_newest() {
    six_processes(Server::Consul).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_an_agent_has_no_connection_for_is_polled_on_debian() {
    six_processes(Server::ConsulDebian).await;
}

async fn six_processes(server: Server) {
    let Some(agent) = (AgentOptions { connections: 80, ..AgentOptions::new(server) }).start() else { return };
    let services = names(20);
    let writer = builder(&agent.address()).connections(4).build().expect("valid");
    for service in &services {
        writer.register(&endpoint(&format!("in-{service}"), service, 1)).await.expect("registers");
    }
    let watchers: Vec<_> = (0..6)
        .map(|_| builder(&agent.address()).wait(SECOND * 10).build().expect("valid"))
        .map(|consul| Watcher::start(consul, &services))
        .collect();
    let known = |expected| watchers.iter().map(|watcher| watcher.knows(expected)).sum::<usize>();
    // An older agent frees a connection that a watch gave up only at the end of the watch's wait.
    until(SECOND * 100, "every process knows every service", || async { known(1) == 120 }).await;

    let requests = || watchers.iter().map(|watcher| watcher.consul.metrics().requests).sum::<u64>();
    let polled = || watchers.iter().map(|watcher| watcher.consul.metrics().polled).sum::<usize>();
    let before = requests();
    let time = SECOND * 20;
    tokio::time::sleep(time).await;
    let (made, polled) = (requests() - before, polled());
    println!("{server:?}: {made} requests in {time:?}, {polled} services polled");
    assert!((20..=110).contains(&polled), "{polled} are polled");
    // In 20 s, two or three polls or waits of each service, two questions for the leader per wait of each
    // process, and room for the first attempts to get another connection.
    let most = 3 * 126 + 6 * 4 + 40;
    assert!(made <= most, "{made} requests, at most {most} expected");

    // Changes are seen, whether a service is polled or watched, and the registrant's own requests find
    // a connection.
    for service in &services {
        writer.register(&endpoint(&format!("two-{service}"), service, 2)).await.expect("registers");
    }
    until(SECOND * 60, "every process knows the change", || async { known(2) == 120 }).await;
}

/// A process whose watches hold all connections of the agent can register, and its heartbeats arrive.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watch_gives_its_connection_up_for_a_registration() {
    for server in [Server::Consul, Server::ConsulDebian] {
        let Some(agent) = (AgentOptions { connections: 12, ..AgentOptions::new(server) }).start() else {
            return;
        };
        // Older agents free the connection only at the end of the wait.
        let consul = builder(&agent.address()).wait(SECOND * 4).build().expect("valid");
        let watcher = Watcher::start(consul, &names(30));
        until(SECOND * 60, "all are known", || async { watcher.knows(0) == 30 }).await;
        for n in 0..5 {
            let one = endpoint(&format!("a-{n}"), "s-0", n + 1);
            until(SECOND * 10, "it is registered", || async { watcher.consul.register(&one).await.is_ok() })
                .await;
        }
        until(SECOND * 30, "they are seen", || async { watcher.known[0].load(Ordering::Relaxed) == 5 }).await;
    }
}

/// A long poll that is refused is no error: the service is polled from then on.
#[tokio::test]
async fn a_refused_watch_is_polled_and_no_listener_notices() {
    for refusal in [|| Reply::new(429, "too many concurrent connections"), || Reply::new(429, "")] {
        let fake = Fake::start(&["a"]).await;
        fake.fail(move |request| request.query("index").map(|_| refusal()));
        let consul = builder(&fake.address()).poll(SECOND).build().expect("valid");
        let users = name("users");
        let mut stream = consul.watch(&Query::service(&users)).expect("it watches");
        see(&mut stream, SECOND, "the endpoint", has(&["a"])).await;
        quiet(&mut stream, SECOND * 5).await;
        let asked = fake.reads();
        assert!((5..=9).contains(&asked), "{asked} requests in 5 s");
        assert_eq!(consul.metrics().polled, 1);
        fake.set(&["a", "b"], 101);
        let seen = see(&mut stream, SECOND * 3, "the change", has(&["a", "b"])).await;
        assert!(seen.iter().all(Result::is_ok), "{seen:?}");
    }
}

/// Answers below 500 make many services ask about as often as one, and other requests that succeed
/// meanwhile wake none of them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_services_that_are_refused_ask_about_as_often_as_one() {
    let statuses = [429, 403, 400, 404, 301].map(|status| tokio::spawn(refused(20, status)));
    for status in statuses {
        status.await.expect("each of them");
    }
}

async fn refused(services: usize, status: u16) {
    let fake = Fake::start(&["a"]).await;
    let consul = builder(&fake.address()).build().expect("valid");
    let names = names(services);
    let watcher = Watcher::start(consul, &names);
    until(SECOND * 10, "all are known", || async { watcher.knows(0) == services }).await;
    fake.fail(move |request| {
        let is_watch =
            request.path().starts_with("/v1/health/service/s-") || request.path().starts_with("/v1/kv/");
        is_watch.then(|| Reply::new(status, "no"))
    });
    let refusals = || {
        let is_watch = |path: &str| path.starts_with("/v1/health/service/s-") || path.starts_with("/v1/kv/");
        fake.server.requests().iter().filter(|request| is_watch(request.path())).count()
    };
    let before = refusals();
    let users = Query::service(&name("users"));
    for _ in 0..60 {
        watcher.consul.list(&users).await.expect("is answered");
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
    let made = refusals() - before;
    println!("{status}: {made} requests of {services} services in 15 s");
    // Each service learns it once, or twice where a poll follows the refused watch; then they take
    // turns.
    assert!(made <= 2 * (services + 1) + 20, "{status}: {made} requests");
    // It ends by itself, within the longest of the first pauses.
    let since = fake.server.request_count();
    fake.heal();
    until(SECOND * 12, "all are answered again", || async {
        let asked: BTreeSet<_> =
            fake.server.requests()[since..].iter().map(|r| r.path().to_owned()).collect();
        asked.iter().filter(|path| path.starts_with("/v1/health/service/s-")).count() == services
    })
    .await;
}

/// The same for ten minutes, in virtual time: with many services about as many requests as with one.
#[tokio::test(start_paused = true)]
async fn ten_minutes_of_refusals_cost_many_services_little_more_than_one() {
    for status in [429, 403, 400, 404, 301] {
        let mut made = Vec::new();
        for services in [1, 20] {
            let fake = Fake::start(&["a"]).await;
            let names = names(services);
            let watcher = Watcher::start(builder(&fake.address()).build().expect("valid"), &names);
            while watcher.knows(0) < services {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            let is_watch =
                |path: &str| path.starts_with("/v1/health/service/s-") || path.starts_with("/v1/kv/");
            fake.fail(move |request| is_watch(request.path()).then(|| Reply::new(status, "no")));
            let before = fake.server.request_count();
            let users = Query::service(&name("users"));
            for _ in 0..60 {
                tokio::time::sleep(SECOND * 10).await;
                watcher.consul.list(&users).await.expect("is answered");
            }
            let refused = fake.server.requests()[before..].iter().filter(|r| is_watch(r.path())).count();
            made.push(refused);
        }
        println!("{status}: {made:?} requests in ten minutes");
        assert!(made[0] <= 40, "{status}: {made:?}");
        // Each service learns by itself that it gets no watch.
        let alone = if status == 429 { 20 } else { 0 };
        assert!(made[1] <= 40 + alone, "{status}: {made:?}");
    }
}

/// All configuration of a provider costs one blocking query.
#[tokio::test]
async fn the_configuration_of_many_services_is_one_blocking_query() {
    let fake = Fake::start(&["a"]).await;
    let watcher = Watcher::start(builder(&fake.address()).build().expect("valid"), &names(20));
    until(SECOND * 10, "all are known", || async { watcher.knows(0) == 20 }).await;
    tokio::time::sleep(SECOND).await;
    let asked: Vec<_> =
        fake.server.requests().into_iter().filter(|r| r.path().starts_with("/v1/kv/")).collect();
    assert_eq!(asked.len(), 2, "one read and one wait: {asked:?}");
    assert!(asked.iter().all(|request| request.path() == "/v1/kv/failover/config/"), "{asked:?}");
    // The connections of the first reads are not kept.
    until(SECOND * 35, "no more connections than watches", || async { fake.server.open_connections() <= 21 })
        .await;
    let first =
        next(&mut watcher.consul.watch(&Query::service(&name("users"))).expect("it watches"), SECOND).await;
    assert_eq!(first.expect("good").entries().len(), 1);
}
