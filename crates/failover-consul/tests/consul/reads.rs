//! Consistency of reads, and answers that are too old.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use failover_consul::Consistency;
use failover_core::ErrorKind;
use failover_core::provider::{ConfigKey, Provider, Query};
use failover_testkit::{FaultServer, Reply, Request, TempDir, until};
use tokio::time::timeout;

use crate::fake::{Fake, instance};
use crate::support::{SECOND, builder, has, ids, name, next, quiet, see};

#[tokio::test]
async fn reads_say_which_data_they_want_and_from_where() {
    for (consistency, watched, listed) in [
        (Consistency::Stale(SECOND), Some("stale"), None),
        (Consistency::Leader, None, None),
        (Consistency::Consistent, Some("consistent"), Some("consistent")),
    ] {
        let fake = Fake::start(&["a"]).await;
        let consul = builder(&fake.address()).consistency(consistency).datacenter("dc1").namespace("team");
        let consul = consul.wait(SECOND * 7).build().expect("valid");
        let users = name("users");
        let mut stream = consul.watch(&Query::service(&users)).expect("it watches");
        next(&mut stream, SECOND).await.expect("good");
        until(SECOND, "the one that waits", || async { fake.reads() == 2 }).await;
        consul.list(&Query::service(&users)).await.expect("lists");
        let requests = fake.server.requests();
        let mode = |request: &Request| {
            ["stale", "consistent"].into_iter().find(|mode| request.query(mode).is_some())
        };
        for request in &requests {
            assert_eq!(
                (request.query("dc"), request.query("ns")),
                (Some("dc1"), Some("team")),
                "{request:?}"
            );
        }
        let waits = requests.iter().find(|r| r.query("index").is_some()).expect("a blocking query");
        assert_eq!(
            (mode(waits), waits.query("wait"), waits.query("index")),
            (watched, Some("7s"), Some("100"))
        );
        let list = requests.last().expect("the list");
        assert_eq!((mode(list), list.query("index")), (listed, None));
        let _ = consul.config_store().expect("it keeps configuration").load(&ConfigKey::Default).await;
        let load = fake.server.requests().into_iter().next_back().expect("a load");
        assert_eq!((load.path(), mode(&load)), ("/v1/kv/failover/config/default", listed));
    }
}

/// With `near_agent`, lists ask for the nearest first and keep that order; watches do not, because the
/// servers cannot stream by distance.
#[tokio::test]
async fn lists_name_the_nearest_first_where_that_is_wanted() {
    for near in [false, true] {
        let fake = Fake::start(&["b", "a"]).await;
        let consul = builder(&fake.address()).near_agent(near).build().expect("valid");
        let users = name("users");
        let set = consul.list(&Query::service(&users)).await.expect("lists");
        let listed: Vec<_> = set.entries().iter().map(|entry| entry.endpoint().id().as_str()).collect();
        assert_eq!(listed, if near { ["b", "a"] } else { ["a", "b"] });
        let asked = &fake.server.requests()[0];
        assert_eq!(asked.query("near"), near.then_some("_agent"), "{asked:?}");
        let mut stream = consul.watch(&Query::service(&users)).expect("it watches");
        let set = next(&mut stream, SECOND).await.expect("good");
        assert_eq!(set.entries()[0].endpoint().id(), "a");
        until(SECOND, "the one that waits", || async { fake.reads() == 3 }).await;
        assert!(fake.server.requests()[1..].iter().all(|request| request.query("near").is_none()));
    }
}

/// Starts a server that answers `a` from a lagging server, and `a` and `b` from the leader.
async fn lagging(head: &'static [(&'static str, &'static str)]) -> FaultServer {
    FaultServer::start(move |request: Request| async move {
        if request.query("stale").is_some() {
            let body = format!("[{}]", instance("a", 1));
            let reply = Reply::json(200, body).header("X-Consul-Index", "9");
            return head.iter().fold(reply, |reply, (name, value)| reply.header(name, value));
        }
        if request.query("index").is_some() {
            return Reply::hang();
        }
        let body = format!("[{},{}]", instance("a", 1), instance("b", 2));
        Reply::json(200, body).header("X-Consul-Index", "10").header("X-Consul-KnownLeader", "true")
    })
    .await
}

/// Row 4: an answer that lags too much is published only if there is no other set, as stale, and
/// the leader is asked.
#[tokio::test]
async fn row_04_an_answer_that_lags_too_much_is_not_taken_and_the_leader_is_asked() {
    for (head, code) in [
        (&[("X-Consul-LastContact", "11000"), ("X-Consul-KnownLeader", "true")], "STALE"),
        (&[("X-Consul-LastContact", "0"), ("X-Consul-KnownLeader", "false")], "NO_LEADER"),
    ] {
        let server = lagging(head).await;
        let consul = builder(&server.address().to_string()).build().expect("valid");
        let users = name("users");
        let mut stream = consul.watch(&Query::service(&users)).expect("it watches");
        let first = next(&mut stream, SECOND).await.expect("better than nothing");
        assert_eq!(ids(&first), ["a"]);
        assert_eq!(first.age().as_secs(), if code == "STALE" { 11 } else { 0 });
        let error = next(&mut stream, SECOND).await.expect_err("and it is said");
        assert_eq!(error.code(), code, "{error}");
        see(&mut stream, SECOND * 5, "what the leader says", has(&["a", "b"])).await;
    }
}

/// Newer servers answer blocking queries from a backend that does not know the leader and says so.
/// That is not a loss of the leader; a separate request asks for it.
#[tokio::test]
async fn row_04_a_streaming_answer_without_a_leader_counts_and_the_leader_is_asked_for() {
    let leads = Arc::new(AtomicBool::new(true));
    let leader = Arc::clone(&leads);
    let server = FaultServer::start(move |request: Request| {
        let leads = leader.load(Ordering::Relaxed);
        async move {
            match request.path() {
                "/v1/status/leader" => Reply::json(200, if leads { "\"10.0.0.9:8300\"" } else { "\"\"" }),
                _ if request.query("index").is_some() => {
                    tokio::time::sleep(SECOND).await;
                    Reply::json(200, format!("[{}]", instance("a", 1)))
                        .header("X-Consul-Index", "9")
                        .header("X-Consul-KnownLeader", "false")
                        .header("X-Consul-Query-Backend", "streaming")
                }
                // Without a leader, leader reads fail.
                _ if !leads && request.query("stale").is_none() => Reply::new(500, "No cluster leader"),
                _ => Reply::json(200, format!("[{}]", instance("a", 1)))
                    .header("X-Consul-Index", "9")
                    .header("X-Consul-KnownLeader", "true")
                    .header("X-Consul-Query-Backend", "blocking-query"),
            }
        }
    })
    .await;
    let consul = builder(&server.address().to_string()).wait(SECOND).build().expect("valid");
    let users = name("users");
    let mut stream = consul.watch(&Query::service(&users)).expect("it watches");
    next(&mut stream, SECOND).await.expect("good");
    quiet(&mut stream, SECOND * 3).await;
    let asked = server.requests().iter().filter(|r| r.path() == "/v1/status/leader").count();
    assert!((1..=4).contains(&asked), "{asked}");
    leads.store(false, Ordering::Relaxed);
    let error = next(&mut stream, SECOND * 4).await.expect_err("it is said");
    assert_eq!(error.code(), "NO_LEADER", "{error}");
    leads.store(true, Ordering::Relaxed);
    see(&mut stream, SECOND * 5, "it is fresh again", has(&["a"])).await;
}

/// Row 7 and S3: the deadline of a request includes its wait for a connection.
#[tokio::test]
async fn row_11_waiting_for_a_connection_has_a_deadline_too() {
    let server = FaultServer::start(|_| async { Reply::hang() }).await;
    let consul = Arc::new(
        builder(&server.address().to_string()).connections(4).deadline(SECOND).build().expect("valid"),
    );
    let begun = std::time::Instant::now();
    let many: Vec<_> = (0..20)
        .map(|_| {
            let consul = Arc::clone(&consul);
            tokio::spawn(async move { consul.list(&Query::service(&name("users"))).await.is_err() })
        })
        .collect();
    for one in many {
        assert!(one.await.expect("ends"));
    }
    assert!(begun.elapsed() < Duration::from_millis(2600), "{:?}", begun.elapsed());
    assert!(server.connections() <= 4, "{}", server.connections());
}

/// All requests of an operation share one deadline; here each takes most of it.
#[tokio::test]
async fn every_operation_has_one_deadline() {
    let server = FaultServer::start(|request: Request| async move {
        tokio::time::sleep(SECOND * 7 / 10).await;
        let body = match request.path() {
            "/v1/catalog/services" => r#"{"consul":[]}"#,
            "/v1/agent/self" => "{}",
            "/v1/status/leader" => "\"10.0.0.9:8300\"",
            path if path.starts_with("/v1/kv/") => "true",
            _ => "[]",
        };
        Reply::json(200, body).header("X-Consul-Index", "9").header("X-Consul-KnownLeader", "true")
    })
    .await;
    let consul = builder(&server.address().to_string()).deadline(SECOND).build().expect("valid");
    let store = consul.config_store().expect("it keeps configuration");
    let begun = std::time::Instant::now();
    let (service, all) = (Query::service(&name("users")), Query::all());
    let (one, many, connected, pinged, stored) = tokio::join!(
        consul.list(&service),
        consul.list(&all),
        consul.connect(),
        consul.ping(),
        store.store(&ConfigKey::Default, "{}", None),
    );
    for error in [one.err(), many.err(), connected.err(), pinged.err(), stored.err()] {
        assert_eq!(error.expect("it takes longer").kind(), ErrorKind::Timeout);
    }
    assert!(begun.elapsed() < Duration::from_millis(1500), "{:?}", begun.elapsed());
}

/// R10: a request whose token is refused is repeated with the token that the file then holds.
#[tokio::test]
async fn row_13_a_request_with_a_token_that_was_replaced_is_made_again() {
    let server = FaultServer::start(|request: Request| async move {
        if request.header("x-consul-token") != Some("second") {
            return Reply::new(403, "ACL not found");
        }
        Reply::json(200, format!("[{}]", instance("a", 1))).header("X-Consul-Index", "9")
    })
    .await;
    let directory = TempDir::new().expect("a directory");
    let file = directory.path().join("token");
    std::fs::write(&file, "first").expect("written");
    let consul = builder(&server.address().to_string()).token_file(&file).build().expect("valid");
    let users = Query::service(&name("users"));
    let refused = consul.list(&users).await.expect_err("the file holds it still");
    assert_eq!((refused.kind(), server.request_count()), (ErrorKind::Permission, 1));
    std::fs::write(&file, "second").expect("written");
    assert_eq!(ids(&consul.list(&users).await.expect("with the new one")), ["a"]);
    assert_eq!(server.request_count(), 3);
    // While the file is being rewritten, the previous token stays in use.
    std::fs::write(&file, "").expect("written");
    tokio::time::sleep(Duration::from_millis(5100)).await;
    consul.list(&users).await.expect("with the one before");
}

/// Servers that restart refuse a token with "ACL not found" until they have read their data.
#[tokio::test]
async fn a_token_that_was_accepted_is_tried_again_soon_after_a_restart_refuses_it() {
    let fake = Fake::start(&["a"]).await;
    let consul = builder(&fake.address()).build().expect("valid");
    let users = name("users");
    let mut endpoints = consul.watch(&Query::service(&users)).expect("it watches");
    let mut documents = consul.config_store().expect("it keeps configuration").watch();
    see(&mut endpoints, SECOND * 5, "the endpoint", has(&["a"])).await;
    let mut document = async || {
        let next = std::future::poll_fn(|context| documents.as_mut().poll_next(context));
        timeout(SECOND * 6, next).await.expect("in time").expect("it goes on")
    };
    document().await.expect("none is stored");
    fake.fail(|_| Some(Reply::new(403, "ACL not found")));
    see(&mut endpoints, SECOND * 5, "the refusal", Result::is_err).await;
    document().await.expect_err("refused as well");
    tokio::time::sleep(SECOND * 2).await;
    fake.heal();
    fake.set(&["a", "b"], 101);
    see(&mut endpoints, SECOND * 6, "the change", has(&["a", "b"])).await;
    while document().await.is_err() {}
}

/// Row 9: `Retry-After` is kept even if other requests succeed.
#[tokio::test]
async fn row_09_retry_after_is_kept_whatever_is_answered_to_others() {
    let server = FaultServer::start(|request: Request| async move {
        match request.path() {
            "/v1/health/service/busy" => Reply::new(503, "").header("Retry-After", "3"),
            _ => Reply::json(200, format!("[{}]", instance("a", 1))).header("X-Consul-Index", "9"),
        }
    })
    .await;
    let consul = builder(&server.address().to_string()).build().expect("valid");
    let (busy, users) = (name("busy"), Query::service(&name("users")));
    let mut stream = consul.watch(&Query::service(&busy)).expect("it watches");
    next(&mut stream, SECOND).await.expect_err("too busy");
    for _ in 0..10 {
        consul.list(&users).await.expect("lists");
        tokio::time::sleep(SECOND / 5).await;
    }
    let asked = server.requests().iter().filter(|r| r.path().ends_with("/busy")).count();
    assert_eq!(asked, 1);
}

/// Servers that have a leader, briefly have none, or have none at all.
async fn electing(leads: Arc<AtomicBool>, streams: bool) -> FaultServer {
    FaultServer::start(move |request: Request| {
        let leads = Arc::clone(&leads);
        async move {
            // The header describes the leader as of the start of the wait.
            let led = leads.load(Ordering::Relaxed);
            match request.path() {
                "/v1/status/leader" => Reply::json(200, if led { "\"10.0.0.9:8300\"" } else { "\"\"" }),
                _ if request.query("stale").is_none() && !led => {
                    tokio::time::sleep(SECOND * 7).await;
                    Reply::new(500, "No cluster leader")
                }
                _ => {
                    let waits = request.query("index").is_some();
                    if waits {
                        tokio::time::sleep(SECOND * 4).await;
                    }
                    let streams = streams && waits;
                    Reply::json(200, format!("[{}]", instance("a", 1)))
                        .header("X-Consul-Index", "9")
                        .header("X-Consul-KnownLeader", if led && !streams { "true" } else { "false" })
                        .header(
                            "X-Consul-Query-Backend",
                            if streams { "streaming" } else { "blocking-query" },
                        )
                }
            }
        }
    })
    .await
}

/// Row 3: an election takes seconds, and a watch survives it silently.
#[tokio::test]
async fn row_03_an_election_is_no_loss_of_the_leader() {
    tokio::join!(outlives_an_election(true), outlives_an_election(false));
}

async fn outlives_an_election(streams: bool) {
    let leads = Arc::new(AtomicBool::new(true));
    let server = electing(Arc::clone(&leads), streams).await;
    let consul = builder(&server.address().to_string()).wait(SECOND * 4).build().expect("valid");
    let users = name("users");
    let mut stream = consul.watch(&Query::service(&users)).expect("it watches");
    next(&mut stream, SECOND).await.expect("good");
    tokio::time::sleep(SECOND * 3).await;
    // The wait ends during this.
    leads.store(false, Ordering::Relaxed);
    tokio::time::sleep(SECOND * 2).await;
    leads.store(true, Ordering::Relaxed);
    quiet(&mut stream, SECOND * 3).await;
}

/// Row 4: the loss of the leader is reported within two waits, whatever the servers' answers state.
#[tokio::test]
async fn row_04_the_loss_of_the_leader_is_said_within_two_waits() {
    tokio::join!(says_that_it_is_lost(true), says_that_it_is_lost(false));
}

async fn says_that_it_is_lost(streams: bool) {
    let leads = Arc::new(AtomicBool::new(true));
    let server = electing(Arc::clone(&leads), streams).await;
    let consul = builder(&server.address().to_string()).wait(SECOND * 4).build().expect("valid");
    let users = name("users");
    let mut stream = consul.watch(&Query::service(&users)).expect("it watches");
    next(&mut stream, SECOND).await.expect("good");
    tokio::time::sleep(SECOND / 2).await;
    leads.store(false, Ordering::Relaxed);
    let error = next(&mut stream, SECOND * 7).await.expect_err("it is said");
    assert_eq!(error.code(), "NO_LEADER", "{error}");
}

/// Row 4 and row 5: a watch that asks the leader because the index went back reports its absence
/// before the servers do.
#[tokio::test]
async fn row_04_a_question_that_the_servers_hold_back_is_not_waited_for() {
    let leads = Arc::new(AtomicBool::new(true));
    let is_led = Arc::clone(&leads);
    let server = FaultServer::start(move |request: Request| {
        let is_led = is_led.load(Ordering::Relaxed);
        async move {
            match request.path() {
                "/v1/status/leader" => Reply::json(200, if is_led { "\"10.0.0.9:8300\"" } else { "\"\"" }),
                _ if request.query("stale").is_none() => {
                    tokio::time::sleep(SECOND * 7).await;
                    Reply::new(500, "No cluster leader")
                }
                _ => {
                    let waits = request.query("index").is_some();
                    if waits {
                        tokio::time::sleep(SECOND).await;
                    }
                    Reply::json(200, format!("[{}]", instance("a", 1)))
                        .header("X-Consul-Index", if waits { "5" } else { "9" })
                }
            }
        }
    })
    .await;
    let consul = builder(&server.address().to_string()).wait(SECOND * 4).build().expect("valid");
    let users = name("users");
    let mut stream = consul.watch(&Query::service(&users)).expect("it watches");
    next(&mut stream, SECOND).await.expect("good");
    leads.store(false, Ordering::Relaxed);
    let begun = std::time::Instant::now();
    let error = next(&mut stream, SECOND * 7).await.expect_err("it is said");
    assert_eq!(error.code(), "NO_LEADER", "{error}");
    assert!(begun.elapsed() < SECOND * 7, "{:?}", begun.elapsed());
}

/// Row 3: an answer describes the start of its wait, which may be in an election that is over by
/// its end.
#[tokio::test]
async fn row_03_an_answer_that_began_in_an_election_is_asked_for_again() {
    let server = FaultServer::start(|request: Request| async move {
        let waits = request.query("index").is_some();
        if request.path() == "/v1/status/leader" {
            return Reply::json(200, "\"10.0.0.9:8300\"");
        }
        if waits {
            tokio::time::sleep(SECOND).await;
        }
        Reply::json(200, format!("[{}]", instance("a", 1)))
            .header("X-Consul-Index", "9")
            .header("X-Consul-KnownLeader", if waits { "false" } else { "true" })
    })
    .await;
    let consul = builder(&server.address().to_string()).wait(SECOND).build().expect("valid");
    let users = name("users");
    let mut stream = consul.watch(&Query::service(&users)).expect("it watches");
    next(&mut stream, SECOND).await.expect("good");
    quiet(&mut stream, SECOND * 3).await;
    let of_leader = server
        .requests()
        .iter()
        .filter(|r| r.path().contains("health") && r.query("stale").is_none())
        .count();
    assert!(of_leader >= 1, "the leader is asked for what it has");
}
