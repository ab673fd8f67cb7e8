//! The configuration store, in the key-value store.

use std::future::poll_fn;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use failover_core::events::EventKind;
use failover_core::provider::{ConfigKey, ConfigSet, ConfigStore, ConfigStream, Provider, Revision};
use failover_core::{Error, ErrorKind, FailoverConfig, FailoverManager};
use failover_testkit::consul::AgentOptions;
use failover_testkit::servers::Server;
use failover_testkit::{FaultServer, Reply, Request, until};
use tokio::time::timeout;

use crate::support::{SECOND, builder, name, provider};

/// A value that is no text or no document is rejected with an event, and replaced.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_value_that_is_no_text_is_rejected_and_can_be_replaced() {
    use base64::Engine as _;

    let base64 = |bytes: &[u8]| base64::engine::general_purpose::STANDARD.encode(bytes);
    let valid = br#"{"max_retries": 1}"#;
    let values: [&[u8]; 5] =
        [b"\xff\x00\xfe\xc3(", b"", b"{", b"\xff{\"max_retries\": 1}", &[b"\xff\xfe", &valid[..]].concat()];
    for server in [Server::Consul, Server::ConsulDebian] {
        let Some(agent) = (AgentOptions { dev: true, ..AgentOptions::new(server) }).start() else { continue };
        for (number, value) in values.iter().enumerate() {
            let service = format!("users-{number}");
            let path = format!("failover/config/service/{service}");
            let body =
                format!(r#"[{{"KV": {{"Verb": "set", "Key": "{path}", "Value": "{}"}}}}]"#, base64(value));
            let (status, said) = agent.call("PUT", "/v1/txn", &body).expect("answers");
            assert_eq!(status, 200, "{said}");
            let consul = provider(&agent.address());
            let manager = FailoverManager::builder().provider(consul).build().await.expect("builds");
            let users = manager.service(&service).await.expect("a handle");
            until(SECOND * 5, "it is rejected", || async {
                users.events(100).iter().any(|event| event.kind == EventKind::ConfigRejected)
            })
            .await;
            let config = FailoverConfig::builder().max_retries(7).build().expect("valid");
            manager.configure_service(&service, config).await.expect("replaces it");
            until(SECOND * 5, "the new one", || async { users.config().max_retries() == 7 }).await;
            let (_, stored) = agent.call("GET", &format!("/v1/kv/{path}?raw"), "").expect("answers");
            assert!(stored.contains("max_retries"), "{stored}");
        }
    }
}

type Item = Result<ConfigSet, Error>;

async fn next(stream: &mut ConfigStream<'_>, limit: Duration) -> Option<Item> {
    let item = timeout(limit, poll_fn(|context| stream.as_mut().poll_next(context))).await.ok()?;
    Some(item.expect("it goes on"))
}

/// Returns the document of `users`.
fn document(item: Option<Item>) -> Option<String> {
    let set = item.expect("in time").expect("good");
    set.get(&ConfigKey::Service(name("users"))).map(|stored| stored.document().to_owned())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_26_configuration_on_the_newest() {
    configuration(Server::Consul).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_26_configuration_on_debian() {
    configuration(Server::ConsulDebian).await;
}

async fn configuration(server: Server) {
    let Some(mut agent) = AgentOptions::new(server).start() else { return };
    let consul = builder(&agent.address()).wait(SECOND * 5).build().expect("valid");
    let store = consul.config_store().expect("it keeps configuration");
    let key = ConfigKey::Service(name("users"));
    let mut stream = store.watch();
    assert_eq!(document(next(&mut stream, SECOND * 5).await), None);

    // While the key does not exist, every change of another key ends the wait.
    let before = consul.metrics().requests;
    for n in 0..200 {
        agent.call("PUT", &format!("/v1/kv/other/{n}"), "x").expect("answers");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let requests = consul.metrics().requests - before;
    assert!(requests <= 8, "{requests} requests for 200 changes of other keys");
    assert!(next(&mut stream, Duration::from_millis(10)).await.is_none(), "and nothing is published");

    // One of twenty concurrent writers wins.
    let writers: Vec<_> = (0..20)
        .map(|n| {
            let (consul, key) = (provider(&agent.address()), key.clone());
            tokio::spawn(async move {
                ConfigStore::store(&consul, &key, &format!("{{\"v\":{n}}}"), None)
                    .await
                    .map_err(|error| error.kind())
            })
        })
        .collect();
    let mut won = Vec::new();
    for writer in writers {
        match writer.await.expect("ends") {
            Ok(revision) => won.push(revision),
            Err(kind) => assert_eq!(kind, ErrorKind::Conflict),
        }
    }
    assert_eq!(won.len(), 1);
    let stored = store.load(&key).await.expect("loads").expect("there");
    assert_eq!(stored.revision(), &won[0]);
    assert_eq!(document(next(&mut stream, SECOND * 12).await).as_deref(), Some(stored.document()));

    // Now that it exists, changes of other keys do not end the wait.
    let before = consul.metrics().requests;
    for n in 0..20 {
        agent.call("PUT", &format!("/v1/kv/other/{n}"), "y").expect("answers");
    }
    assert!(consul.metrics().requests - before <= 2);

    // A document that is too large, an empty one, and one of exactly the maximum.
    let large = "x".repeat(512 * 1024 + 1);
    let error = store.store(&key, &large, Some(&won[0])).await.expect_err("too large");
    assert_eq!((error.kind(), error.code()), (ErrorKind::Validation, "TOO_LARGE"));
    let revision = store.store(&key, &large[1..], Some(&won[0])).await.expect("just fits");
    assert_eq!(document(next(&mut stream, SECOND * 10).await).map(|text| text.len()), Some(512 * 1024));
    let revision = store.store(&key, "", Some(&revision)).await.expect("empty");
    assert_eq!(document(next(&mut stream, SECOND * 10).await).as_deref(), Some(""));
    let stale = Revision::new("no index");
    assert_eq!(
        store.store(&key, "{}", Some(&stale)).await.expect_err("never was one").kind(),
        ErrorKind::Conflict
    );

    // Deleted by another client: published, and the old revision is a conflict.
    agent.call("DELETE", "/v1/kv/failover/config/service/users", "").expect("answers");
    assert_eq!(document(next(&mut stream, SECOND * 10).await), None);
    assert_eq!(store.store(&key, "{}", Some(&revision)).await.expect_err("gone").kind(), ErrorKind::Conflict);
    let revision = store.store(&key, "{\"v\":9}", None).await.expect("created again");

    // An outage is an error, and the document is published after it.
    assert_eq!(document(next(&mut stream, SECOND * 10).await).as_deref(), Some("{\"v\":9}"));
    agent.kill();
    assert!(next(&mut stream, SECOND * 5).await.expect("it is said").is_err());
    agent.restart();
    loop {
        match next(&mut stream, SECOND * 10).await.expect("goes on") {
            Err(_) => {}
            Ok(set) => {
                let stored = set.get(&key).expect("there");
                assert_eq!(stored.revision(), &revision, "not published as missing");
                break;
            }
        }
    }
    let odd = ConfigKey::Service(name("a..b"));
    assert_eq!(store.load(&odd).await.expect_err("not in newer versions").kind(), ErrorKind::Unsupported);
}

/// The response to a write is lost: the outcome is looked up, and no update is lost or applied
/// twice.
#[tokio::test]
async fn row_20_row_26_a_write_whose_answer_is_lost_is_looked_up() {
    for (found, index, expected) in [
        // It was written.
        ("{\"v\":2}", 8, Ok("8")),
        // It was not written, and the previous document is still there.
        ("{\"v\":1}", 7, Err(ErrorKind::Connection)),
        // Another writer was first.
        ("{\"v\":3}", 9, Err(ErrorKind::Conflict)),
    ] {
        let server = FaultServer::start(move |request: Request| async move {
            if request.method == "PUT" {
                assert_eq!(request.query("cas"), Some("7"));
                return Reply::close();
            }
            let value = base64(found);
            let body = format!(r#"[{{"Key":"k","Value":"{value}","ModifyIndex":{index},"Flags":0}}]"#);
            Reply::json(200, body).header("X-Consul-Index", "9").header("X-Consul-KnownLeader", "true")
        })
        .await;
        let consul = builder(&server.address().to_string()).build().expect("valid");
        let store = consul.config_store().expect("it keeps configuration");
        let stored = store.store(&ConfigKey::Default, "{\"v\":2}", Some(&Revision::new("7"))).await;
        let seen = stored.as_ref().map(Revision::as_str).map_err(Error::kind);
        assert_eq!(seen, expected, "{found}: {stored:?}");
    }
}

fn base64(text: &str) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(text)
}

/// A response that is not Consul's own is rejected.
#[tokio::test]
async fn row_26_a_404_of_something_else_is_no_missing_document() {
    let server = FaultServer::start(|_| async { Reply::new(404, "<html>not here</html>") }).await;
    let consul = builder(&server.address().to_string()).build().expect("valid");
    let store = consul.config_store().expect("it keeps configuration");
    let error = store.load(&ConfigKey::Default).await.expect_err("not consul's");
    assert_eq!(error.code(), "BAD_ANSWER");
    for body in ["[]", "[{\"Value\":\"%%%\",\"ModifyIndex\":1}]", "{}", ""] {
        let server = FaultServer::start(move |_| async move { Reply::json(200, body) }).await;
        let consul = builder(&server.address().to_string()).build().expect("valid");
        let store = consul.config_store().expect("it keeps configuration");
        assert_eq!(store.load(&ConfigKey::Default).await.expect_err(body).code(), "BAD_ANSWER");
    }
}

/// Of Consul's sessions, meant for elections, two effects matter here: locks held by other clients,
/// and keys deleted when a session ends.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_25_a_session_that_ends_takes_its_document_along_and_costs_no_hot_loop_on_the_newest() {
    session(Server::Consul).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_25_a_session_that_ends_takes_its_document_along_and_costs_no_hot_loop_on_debian() {
    session(Server::ConsulDebian).await;
}

async fn session(server: Server) {
    let Some(agent) = AgentOptions::new(server).start() else { return };
    let consul = builder(&agent.address()).wait(SECOND * 5).build().expect("valid");
    let key = ConfigKey::Service(name("users"));
    let mut stream = consul.config_store().expect("it keeps configuration").watch();
    assert_eq!(document(next(&mut stream, SECOND * 5).await), None);
    let created = agent
        .call("PUT", "/v1/session/create", r#"{"Behavior":"delete","LockDelay":"15s"}"#)
        .expect("answers");
    let created: serde_json::Value = serde_json::from_str(&created.1).expect("it is JSON");
    let id = created["ID"].as_str().expect("it has an id");
    let path = format!("/v1/kv/failover/config/service/users?acquire={id}");
    assert_eq!(agent.call("PUT", &path, "{\"v\":1}").expect("answers").1.trim(), "true");
    assert_eq!(document(next(&mut stream, SECOND * 15).await).as_deref(), Some("{\"v\":1}"));

    // A lock binds only clients that acquire it.
    let held = consul.load(&key).await.expect("loads").expect("there");
    let revision =
        ConfigStore::store(&consul, &key, "{\"v\":2}", Some(held.revision())).await.expect("stores");
    assert_eq!(document(next(&mut stream, SECOND * 5).await).as_deref(), Some("{\"v\":2}"));

    let before = consul.metrics().requests;
    agent.call("PUT", &format!("/v1/session/destroy/{id}"), "").expect("answers");
    assert_eq!(document(next(&mut stream, SECOND * 5).await), None, "the key went with its session");
    let stale =
        ConfigStore::store(&consul, &key, "{\"v\":3}", Some(&revision)).await.expect_err("it is gone");
    assert_eq!(stale.kind(), ErrorKind::Conflict);
    // The lock delay applies only to clients that lock.
    ConfigStore::store(&consul, &key, "{\"v\":4}", None).await.expect("stores");
    assert!(consul.metrics().requests - before <= 12, "{}", consul.metrics().requests - before);
}

/// Consul leaves out what a token may not read. A document is deleted only if its key says so.
#[tokio::test]
async fn a_document_that_the_token_may_no_longer_read_is_not_deleted() {
    /// 0: there; 1: left out and refused; 2: left out and deleted.
    static PHASE: AtomicUsize = AtomicUsize::new(0);
    let server = FaultServer::start(|request: Request| async move {
        let phase = PHASE.load(Ordering::Relaxed);
        let below = request.path().ends_with("/config/");
        let document = |key: &str| format!(r#"{{"Key":"{key}","Value":"e30=","ModifyIndex":7,"Flags":0}}"#);
        let default = document("failover/config/default");
        let foreign = document("failover/config/notes/a");
        let users = document("failover/config/service/users");
        let reply = match (below, phase) {
            (true, 0) => Reply::json(200, format!("[{default},{foreign},{users}]")),
            (true, _) => Reply::json(200, format!("[{default}]")),
            (false, 1) => Reply::new(403, "Permission denied: token lacks permission 'key:read'"),
            (false, _) => Reply::new(404, ""),
        };
        // A wait that ends at once, so that each phase is read soon.
        tokio::time::sleep(Duration::from_millis(50)).await;
        let index = if below { 10 + phase } else { 50 };
        reply.header("X-Consul-Index", &index.to_string()).header("X-Consul-KnownLeader", "true")
    })
    .await;
    let consul = builder(&server.address().to_string()).build().expect("valid");
    let mut stream = consul.config_store().expect("it keeps configuration").watch();
    let keys = |set: &ConfigSet| {
        let mut keys: Vec<_> = set.iter().map(|(key, _)| format!("{key:?}")).collect();
        keys.sort();
        keys
    };
    let both = ["Default", "Service(\"users\")"];
    assert_eq!(keys(&next(&mut stream, SECOND * 5).await.expect("in time").expect("good")), both);
    PHASE.store(1, Ordering::Relaxed);
    for _ in 0..2 {
        let item = next(&mut stream, SECOND * 12).await.expect("in time");
        assert_eq!(item.expect_err("it is refused").kind(), ErrorKind::Permission);
    }
    PHASE.store(2, Ordering::Relaxed);
    let set = loop {
        if let Ok(set) = next(&mut stream, SECOND * 12).await.expect("in time") {
            break set;
        }
    };
    assert_eq!(keys(&set), ["Default"]);
}

/// One blocking query for all configuration, however many services there are; none if it is off.
#[tokio::test]
async fn one_query_for_configuration_serves_all_services() {
    for (stored_config, expected) in [(true, 2), (false, 0)] {
        let server = FaultServer::start(|request: Request| async move {
            if request.query("index").is_some() {
                return Reply::black_hole(200);
            }
            let is_configuration = request.path().starts_with("/v1/kv");
            let reply = if is_configuration { Reply::new(404, "") } else { Reply::json(200, "[]") };
            reply.header("X-Consul-Index", "9").header("X-Consul-KnownLeader", "true")
        })
        .await;
        let consul = builder(&server.address().to_string()).build().expect("valid");
        let manager = FailoverManager::builder().provider(consul).stored_config(stored_config);
        let manager = manager.start_timeout(Duration::from_millis(100)).build().await.expect("builds");
        let mut handles = Vec::new();
        for number in 0..20 {
            handles.push(manager.service(&format!("users-{number}")).await.expect("a handle"));
        }
        tokio::time::sleep(SECOND).await;
        let of_configuration = server.requests().iter().filter(|r| r.path().starts_with("/v1/kv")).count();
        // The first answer, and the query that waits for another one.
        assert_eq!(of_configuration, expected, "20 services");
    }
}
