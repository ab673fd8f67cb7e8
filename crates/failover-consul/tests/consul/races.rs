//! Concurrent writes: none overtakes another, even if its caller no longer waits.

use std::collections::HashMap;
use std::future::poll_fn;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use failover_consul::ConsulProvider;
use failover_core::provider::{Provider, Query, Registry};
use failover_core::{Endpoint, ErrorKind, Health, Lifecycle};
use failover_testkit::{FaultServer, Reply, Request, until};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep, timeout};

use crate::support::{SECOND, builder, endpoint, name};

/// An agent with slow writes, which completes every write it has received, even if the client
/// disconnects.
#[derive(Clone, Default)]
struct Slow {
    kept: Arc<Mutex<HashMap<String, Value>>>,
    /// Maintenance reasons by id.
    reasons: Arc<Mutex<HashMap<String, String>>>,
    /// The delay of writes to paths that contain this text.
    pause: Arc<Mutex<(&'static str, Duration)>>,
    /// Whether heartbeats get no answer.
    is_deaf: Arc<Mutex<bool>>,
    /// Whether reads of a service get no answer.
    holds_reads: Arc<Mutex<bool>>,
}

impl Slow {
    async fn start(&self) -> FaultServer {
        let slow = self.clone();
        FaultServer::start(move |request| {
            let slow = slow.clone();
            async move {
                if request.method != "PUT" {
                    let is_held = *slow.holds_reads.lock().expect("free");
                    if is_held && request.path().starts_with("/v1/health/service/") {
                        return Reply::hang();
                    }
                    return slow.read(&request);
                }
                if request.path().starts_with("/v1/agent/check/update/")
                    && *slow.is_deaf.lock().expect("free")
                {
                    return Reply::hang();
                }
                let (path, pause) = *slow.pause.lock().expect("free");
                let pause = if request.target.contains(path) { pause } else { Duration::ZERO };
                let writing = tokio::spawn(async move {
                    sleep(pause).await;
                    slow.write(&request)
                });
                writing.await.expect("writes")
            }
        })
        .await
    }

    fn write(&self, request: &Request) -> Reply {
        let mut kept = self.kept.lock().expect("free");
        let mut reasons = self.reasons.lock().expect("free");
        let path = request.path();
        let id = path.rsplit('/').next().unwrap_or_default().trim_start_matches("service:").to_owned();
        if path == "/v1/agent/service/register" {
            let body: Value = serde_json::from_slice(&request.body).expect("JSON");
            kept.insert(body["ID"].as_str().expect("an id").to_owned(), body);
        } else if !kept.contains_key(&id) {
            return Reply::new(404, "unknown");
        } else if path.contains("/deregister/") {
            kept.remove(&id);
            reasons.remove(&id);
        } else if request.query("enable") == Some("true") {
            reasons
                .entry(id)
                .or_insert(request.query("reason").unwrap_or_default().replace('+', " ").replace("%3A", ":"));
        } else if path.contains("/maintenance/") {
            reasons.remove(&id);
        }
        Reply::new(200, "")
    }

    fn read(&self, request: &Request) -> Reply {
        if request.path() == "/v1/agent/self" {
            return Reply::json(200, r#"{"Config":{"Datacenter":"dc1","NodeName":"n"}}"#);
        }
        let Some(id) = request.path().strip_prefix("/v1/agent/health/service/id/") else {
            return Reply::json(200, "[]").header("X-Consul-Index", "1");
        };
        let kept = self.kept.lock().expect("free");
        let Some(kept) = kept.get(id) else { return Reply::new(404, "unknown") };
        let mut checks = vec![
            json!({"CheckID": format!("service:{id}"), "Status": "passing", "ServiceID": id, "Type": "ttl"}),
        ];
        if let Some(reason) = self.reasons.lock().expect("free").get(id) {
            let check = format!("_service_maintenance:{id}");
            checks.push(json!({"CheckID": check, "Status": "critical", "ServiceID": id, "Notes": reason}));
        }
        let service = json!({
            "ID": kept["ID"], "Service": kept["Name"], "Tags": kept["Tags"], "Meta": kept["Meta"],
            "Address": kept["Address"], "Port": kept["Port"], "Weights": kept["Weights"],
        });
        Reply::json(200, json!({"Service": service, "Checks": checks}).to_string())
    }

    fn takes(&self, path: &'static str, time: Duration) {
        *self.pause.lock().expect("free") = (path, time);
    }

    fn has(&self, id: &str) -> bool {
        self.kept.lock().expect("free").contains_key(id)
    }

    fn loses_all(&self) {
        self.kept.lock().expect("free").clear();
    }
}

const SHORT: Duration = Duration::from_millis(50);
const LONG: Duration = Duration::from_millis(500);

fn provider(server: &FaultServer) -> Arc<ConsulProvider> {
    Arc::new(builder(&server.address().to_string()).ttl(SECOND * 10).build().expect("valid"))
}

fn a() -> Endpoint {
    endpoint("a", "users", 1)
}

fn writes(server: &FaultServer, path: &str) -> usize {
    server.requests().iter().filter(|r| r.method == "PUT" && r.path().starts_with(path)).count()
}

const REGISTER: &str = "/v1/agent/service/register";

#[tokio::test]
async fn a_registration_whose_caller_left_does_not_come_after_the_deregistration() {
    let slow = Slow::default();
    let server = slow.start().await;
    let consul = provider(&server);
    slow.takes(REGISTER, LONG);
    assert!(timeout(SHORT, consul.register(&a())).await.is_err(), "it takes longer");
    assert!(consul.deregister(&name("users"), a().id()).await.expect("deregisters"), "it was there by then");
    sleep(LONG * 2).await;
    assert!(!slow.has("a"), "it has come back");
    assert_eq!(consul.metrics().registered, 0);
}

#[tokio::test]
async fn a_deregistration_whose_caller_left_does_not_come_after_the_registration() {
    let slow = Slow::default();
    let server = slow.start().await;
    let consul = provider(&server);
    consul.register(&a()).await.expect("registers");
    slow.takes("/deregister/", LONG);
    assert!(timeout(SHORT, consul.deregister(&name("users"), a().id())).await.is_err(), "it takes longer");
    consul.register(&a()).await.expect("registers");
    sleep(LONG * 2).await;
    assert!(slow.has("a"), "it is gone");
}

/// Row 19: a heartbeat is registering again what the agent has lost.
#[tokio::test]
async fn row_19_what_is_deregistered_is_not_registered_again_for_an_agent_that_lost_it() {
    let slow = Slow::default();
    let server = slow.start().await;
    let consul = provider(&server);
    consul.register(&a()).await.expect("registers");
    slow.takes(REGISTER, LONG);
    slow.loses_all();
    until(SECOND * 8, "a heartbeat finds that out", || async { writes(&server, REGISTER) == 2 }).await;
    assert!(!slow.has("a"));
    consul.deregister(&name("users"), a().id()).await.expect("deregisters");
    sleep(LONG * 2).await;
    assert!(!slow.has("a"), "it has come back");
    assert_eq!(consul.metrics().registered, 0);
}

/// Row 19: an endpoint can be changed even if the agent has just lost it.
#[tokio::test]
async fn row_19_what_an_agent_has_lost_can_be_changed() {
    let slow = Slow::default();
    let server = slow.start().await;
    let consul = provider(&server);
    let users = name("users");
    consul.register(&a()).await.expect("registers");
    slow.loses_all();
    consul.set_lifecycle(&users, a().id(), Lifecycle::Draining).await.expect("it is kept here");
    assert_eq!(slow.reasons.lock().expect("free")["a"], "failover: draining");
    slow.loses_all();
    consul.set_health(&users, a().id(), Health::Degraded).await.expect("it is kept here");
    slow.loses_all();
    consul.update(&a()).await.expect("it is kept here");
    assert!(slow.has("a"));
    // An endpoint that was never registered here, or no longer is, does not exist.
    assert!(consul.deregister(&users, a().id()).await.expect("deregisters"));
    let gone = consul.set_health(&users, a().id(), Health::Healthy).await.expect_err("gone");
    assert_eq!(gone.kind(), ErrorKind::NotFound);
    assert!(!slow.has("a"));
}

/// Changing the reason of a maintenance takes two requests.
#[tokio::test]
async fn a_change_of_maintenance_whose_caller_left_does_not_end_half_way() {
    let slow = Slow::default();
    let server = slow.start().await;
    let consul = provider(&server);
    let users = name("users");
    consul.register(&a()).await.expect("registers");
    consul.set_lifecycle(&users, a().id(), Lifecycle::Draining).await.expect("drains");
    slow.takes("enable=false", LONG);
    let a = a();
    let changing = consul.set_lifecycle(&users, a.id(), Lifecycle::Maintenance);
    assert!(timeout(SHORT, changing).await.is_err(), "it takes longer");
    sleep(LONG * 2).await;
    let reason = slow.reasons.lock().expect("free").get("a").cloned();
    assert_eq!(reason.as_deref(), Some("failover: maintenance"));
}

/// Row 21: an older process that deregisters twice leaves the newer one's registration alone twice.
#[tokio::test]
async fn row_21_what_was_taken_over_is_left_alone_however_often_it_is_deregistered() {
    let slow = Slow::default();
    let server = slow.start().await;
    let (older, newer) = (provider(&server), provider(&server));
    let users = name("users");
    older.register(&a()).await.expect("registers");
    newer.register(&a()).await.expect("takes over");
    for _ in 0..3 {
        assert!(!older.deregister(&users, a().id()).await.expect("not its own any more"));
    }
    assert_eq!((older.metrics().registered, newer.metrics().registered), (0, 1));
    assert!(slow.has("a"));
    // Until it registers the endpoint again.
    older.register(&a()).await.expect("takes over");
    assert!(older.deregister(&users, a().id()).await.expect("its own"));
}

/// Row 27: closing waits briefly for operations in progress and reverts them.
#[tokio::test]
async fn row_27_a_registration_that_closing_overtakes_is_not_left_behind() {
    let slow = Slow::default();
    let server = slow.start().await;
    let consul = provider(&server);
    slow.takes(REGISTER, LONG);
    let registering = tokio::spawn({
        let consul = Arc::clone(&consul);
        async move { consul.register(&a()).await }
    });
    until(SECOND, "it is under way", || async { writes(&server, REGISTER) == 1 }).await;
    let begun = Instant::now();
    consul.close().await.expect("closes");
    assert!(begun.elapsed() < SECOND, "{:?}", begun.elapsed());
    let error = registering.await.expect("ends").expect_err("closed meanwhile");
    assert_eq!(error.kind(), ErrorKind::Shutdown, "{error}");
    sleep(LONG).await;
    assert!(!slow.has("a"), "it is left behind");
}

/// Row 19 and row 27: the same for a heartbeat that registers the endpoint again.
#[tokio::test]
async fn row_27_a_heartbeat_that_closing_overtakes_leaves_nothing_behind() {
    let slow = Slow::default();
    let server = slow.start().await;
    let consul = provider(&server);
    consul.register(&a()).await.expect("registers");
    slow.takes(REGISTER, LONG);
    slow.loses_all();
    until(SECOND * 8, "a heartbeat finds that out", || async { writes(&server, REGISTER) == 2 }).await;
    consul.close().await.expect("closes");
    sleep(LONG * 2).await;
    assert!(!slow.has("a"), "it is left behind");
}

/// Row 27: a watch started while the provider is closed ends with it.
#[tokio::test]
async fn row_27_a_watch_that_begins_while_it_is_closed_ends_with_it() {
    let slow = Slow::default();
    let server = slow.start().await;
    let consul = provider(&server);
    consul.register(&a()).await.expect("registers");
    slow.takes("/deregister/", LONG);
    let closing = tokio::spawn({
        let consul = Arc::clone(&consul);
        async move { consul.close().await }
    });
    until(SECOND, "it deregisters", || async { writes(&server, "/v1/agent/service/deregister") == 1 }).await;
    let users = name("users");
    let mut stream = consul.watch(&Query::service(&users)).expect("it watches");
    let _ = timeout(SHORT, poll_fn(|context| stream.as_mut().poll_next(context))).await;
    closing.await.expect("ends").expect("closes");
    let ends = async { while poll_fn(|context| stream.as_mut().poll_next(context)).await.is_some() {} };
    assert!(timeout(SECOND, ends).await.is_ok(), "it goes on");
    assert_eq!(consul.metrics().services, 0);
}

/// A heartbeat without an answer must leave time for another within the time to live.
#[tokio::test]
async fn a_heartbeat_in_silence_is_made_again_before_the_time_to_live_is_over() {
    let slow = Slow::default();
    let server = slow.start().await;
    let consul = provider(&server);
    let begun = Instant::now();
    consul.register(&a()).await.expect("registers");
    *slow.is_deaf.lock().expect("free") = true;
    let beats = || writes(&server, "/v1/agent/check/update/");
    until(SECOND * 6, "a heartbeat", || async { beats() == 1 }).await;
    until(SECOND * 8, "the next one", || async { beats() == 2 }).await;
    assert!(begun.elapsed() < SECOND * 10, "{:?}", begun.elapsed());
}

/// Servers without a leader delay reads, while the agent still accepts heartbeats.
#[tokio::test]
async fn heartbeats_go_on_while_reads_are_held_back() {
    let slow = Slow::default();
    let server = slow.start().await;
    let consul = provider(&server);
    consul.register(&a()).await.expect("registers");
    *slow.holds_reads.lock().expect("free") = true;
    let reading: Vec<_> = (0..40)
        .map(|_| {
            let consul = Arc::clone(&consul);
            tokio::spawn(async move { consul.list(&Query::service(&name("users"))).await.is_err() })
        })
        .collect();
    until(SECOND * 12, "three heartbeats", || async { writes(&server, "/v1/agent/check/update/") == 3 })
        .await;
    assert!(server.open_connections() <= 17, "{}", server.open_connections());
    for one in reading {
        one.abort();
    }
}
