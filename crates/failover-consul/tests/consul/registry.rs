//! Writes to the agent, request by request.

use std::sync::{Arc, Mutex};

use failover_core::provider::{Provider, Registry};
use failover_core::{ErrorKind, Health};
use failover_testkit::{FaultServer, Reply, Request};
use serde_json::{Value, json};

use crate::fake::Fake;
use crate::support::{SECOND, builder, endpoint};

/// An agent with one instance, which can lose the responses to registrations.
#[derive(Clone, Default)]
struct Script {
    kept: Arc<Mutex<Option<Value>>>,
    checks: Arc<Mutex<Value>>,
    loses_requests: bool,
    loses_answers: bool,
}

impl Script {
    fn answer(&self, request: &Request) -> Reply {
        match (request.method.as_str(), request.path()) {
            ("PUT", "/v1/agent/service/register") => {
                if !self.loses_requests {
                    *self.kept.lock().expect("one at a time") = serde_json::from_slice(&request.body).ok();
                }
                if self.loses_requests || self.loses_answers { Reply::close() } else { Reply::new(200, "") }
            }
            ("PUT", path) if path.starts_with("/v1/agent/service/deregister/") => {
                *self.kept.lock().expect("one at a time") = None;
                if self.loses_answers { Reply::close() } else { Reply::new(200, "") }
            }
            ("PUT", _) => Reply::new(200, ""),
            (_, path) if path.starts_with("/v1/agent/health/service/id/") => {
                let Some(kept) = self.kept.lock().expect("one at a time").clone() else {
                    return Reply::new(404, "");
                };
                let service = json!({
                    "ID": kept["ID"], "Service": kept["Name"], "Tags": kept["Tags"], "Meta": kept["Meta"],
                    "Address": kept["Address"], "Port": kept["Port"], "Weights": kept["Weights"],
                });
                let checks = self.checks.lock().expect("one at a time").clone();
                Reply::json(
                    503,
                    json!({"AggregatedStatus": "critical", "Service": service, "Checks": checks}).to_string(),
                )
            }
            (_, "/v1/agent/self") => Reply::json(200, r#"{"Config":{"Datacenter":"dc1","NodeName":"n"}}"#),
            _ => Reply::json(200, "[]").header("X-Consul-Index", "1"),
        }
    }

    async fn start(&self) -> FaultServer {
        let script = self.clone();
        FaultServer::start(move |request| {
            let reply = script.answer(&request);
            async move { reply }
        })
        .await
    }
}

/// Row 20: a completed operation is not reported as failed, and a failed one not as completed.
#[tokio::test]
async fn row_20_an_answer_that_is_lost_is_looked_up() {
    let a = endpoint("a", "users", 1);
    let lost = Script { loses_answers: true, ..Script::default() };
    let server = lost.start().await;
    let provider = builder(&server.address().to_string()).build().expect("valid");
    provider.register(&a).await.expect("it has arrived");
    assert_eq!(provider.metrics().registered, 1);
    assert!(provider.deregister(a.service(), a.id()).await.expect("it has arrived, too"));
    assert_eq!(provider.metrics().registered, 0);

    let never = Script { loses_requests: true, ..Script::default() };
    let server = never.start().await;
    let provider = builder(&server.address().to_string()).build().expect("valid");
    let error = provider.register(&a).await.expect_err("it has not");
    assert_eq!((error.kind(), error.code()), (ErrorKind::Connection, "CONNECTION_LOST"));
    assert_eq!(provider.metrics().registered, 0, "nothing is kept");
}

/// See `lost_data`: what to do is in the error, because the agent's answer is none.
#[tokio::test]
async fn an_agent_that_ends_the_connection_of_who_registers_is_told_with_the_remedy() {
    for (reply, status, is_told) in
        [(Reply::reset as fn() -> Reply, 404, true), (Reply::close, 404, true), (Reply::close, 500, false)]
    {
        let fake = Fake::start(&[]).await;
        fake.fail(move |request| {
            let registers = request.path() == "/v1/agent/service/register";
            Some(if registers { reply() } else { Reply::json(status, "unknown service ID") })
        });
        let provider = builder(&fake.address()).build().expect("valid");
        let error = provider.register(&endpoint("a", "users", 1)).await.expect_err("no answer");
        assert_eq!(error.to_string().contains("PUT /v1/catalog/deregister"), is_told, "{error}");
        assert_eq!(provider.metrics().registered, 0);
    }
}

/// Row 20: an update whose response is lost does not stop the heartbeats of the previous
/// registration.
#[tokio::test]
async fn row_20_what_was_kept_is_kept_on_when_an_update_fails() {
    let script = Script::default();
    let server = script.start().await;
    let provider = builder(&server.address().to_string()).deadline(SECOND).build().expect("valid");
    let a = endpoint("a", "users", 1);
    provider.register(&a).await.expect("registers");
    drop(server);
    assert!(provider.update(&a.to_builder().weight(9).build().expect("valid")).await.is_err());
    assert!(provider.register(&a).await.is_err());
    assert_eq!(provider.metrics().registered, 1);
}

/// Row 28: replacing the checks would end maintenance until it is started again.
#[tokio::test]
async fn row_28_an_update_under_maintenance_leaves_the_checks_in_place() {
    let script = Script::default();
    let server = script.start().await;
    let provider = builder(&server.address().to_string()).build().expect("valid");
    let a = endpoint("a", "users", 1);
    provider.register(&a).await.expect("registers");
    provider.set_health(a.service(), a.id(), Health::Degraded).await.expect("claims");
    *script.checks.lock().expect("one at a time") = json!([
        {"CheckID": "service:a", "Status": "critical", "ServiceID": "a", "Type": "ttl"},
        {"CheckID": "disk", "Status": "critical", "ServiceID": ""},
        {"CheckID": "_service_maintenance:a", "Status": "critical", "ServiceID": "a", "Notes": "disk"},
    ]);
    provider.update(&a.to_builder().weight(9).build().expect("valid")).await.expect("updates");
    let requests = server.requests();
    let writes: Vec<_> = requests.iter().filter(|r| r.path() == "/v1/agent/service/register").collect();
    assert_eq!(writes[0].query("replace-existing-checks"), Some("true"));
    assert_eq!(writes[1].query("replace-existing-checks"), None);
    let body: Value = serde_json::from_slice(&writes[1].body).expect("JSON");
    assert_eq!((&body["Check"]["Status"], &body["Weights"]["Passing"]), (&json!("warning"), &json!(9)));
    assert!(
        !requests.iter().any(|r| r.path().starts_with("/v1/agent/service/maintenance")),
        "it was never ended"
    );

    // For an endpoint kept by another process, its own check counts, not the node's.
    let other = builder(&server.address().to_string()).build().expect("valid");
    *script.checks.lock().expect("one at a time") = json!([
        {"CheckID": "service:a", "Status": "passing", "ServiceID": "a", "Type": "ttl"},
        {"CheckID": "disk", "Status": "critical", "ServiceID": ""},
    ]);
    other.update(&a).await.expect("updates");
    let last =
        server.requests().into_iter().rfind(|r| r.path() == "/v1/agent/service/register").expect("one");
    let now: Value = serde_json::from_slice(&last.body).expect("JSON");
    assert_eq!(
        (&now["Check"]["Status"], &now["Meta"]["fo-owner"]),
        (&json!("passing"), &body["Meta"]["fo-owner"])
    );
}

/// An older agent that does not know a field of a check gets the check without it.
#[tokio::test]
async fn what_an_older_agent_refuses_of_a_check_is_left_out() {
    let script = Script::default();
    let old = script.clone();
    let server = FaultServer::start(move |request: Request| {
        let knows = !String::from_utf8_lossy(&request.body).contains("TLSServerName");
        let reply = if knows {
            old.answer(&request)
        } else {
            Reply::new(400, "Request decode failed: unknown field")
        };
        async move { reply }
    })
    .await;
    let provider = builder(&server.address().to_string()).build().expect("valid");
    let check = failover_core::HealthCheck::builder().build().expect("valid");
    let a = endpoint("a", "users", 1).to_builder().protocol("https").server_name("users.example");
    provider.register(&a.health_check(check).build().expect("valid")).await.expect("registers");
    assert!(script.kept.lock().expect("one at a time").is_some());
}

/// Row 22: an agent restarted under another node name is the same agent.
#[tokio::test]
async fn row_22_an_agent_with_a_new_name_is_no_other_node() {
    let names = Arc::new(Mutex::new("old"));
    let (script, named) = (Script::default(), Arc::clone(&names));
    let server = FaultServer::start(move |request: Request| {
        let node = *named.lock().expect("one at a time");
        let reply = match request.path() {
            "/v1/agent/self" => {
                let body = format!(r#"{{"Config":{{"Datacenter":"dc1","NodeName":"{node}"}}}}"#);
                Reply::json(200, body)
            }
            // The catalog still lists it.
            "/v1/health/service/users" => {
                let service = r#"{"ID":"a","Service":"users","Address":"10.1.2.1","Port":8080}"#;
                let body = format!(r#"[{{"Node":{{"Node":"{node}"}},"Service":{service}}}]"#);
                Reply::json(200, body).header("X-Consul-Index", "7")
            }
            _ => script.answer(&request),
        };
        async move { reply }
    })
    .await;
    let provider = builder(&server.address().to_string()).build().expect("valid");
    let a = endpoint("a", "users", 1);
    // The missing leader does not matter here.
    let _ = provider.connect().await;
    *names.lock().expect("one at a time") = "new";
    provider.register(&a).await.expect("registers");
}
