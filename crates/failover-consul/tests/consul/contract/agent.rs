//! A scripted agent with one node, one registered instance at most and one stored document, which
//! records what it is asked.

use std::sync::{Arc, Mutex};

use failover_testkit::{FaultServer, Reply, Request};
use serde_json::{Value, json};

use crate::fake::{good, instance};

/// Replaces the answer to one kind of request.
type Fault = (String, Arc<dyn Fn() -> Reply + Send + Sync>);

#[derive(Clone, Default)]
struct Script {
    kept: Arc<Mutex<Option<Value>>>,
    reason: Arc<Mutex<Option<String>>>,
    fault: Arc<Mutex<Option<Fault>>>,
}

pub(super) struct Agent {
    pub(super) server: FaultServer,
    script: Script,
}

/// Returns the method and the path of a request, which tell its kind.
pub(super) fn kind(request: &Request) -> String {
    format!("{} {}", request.method, request.path())
}

/// Returns whether a request is one of the watches of registrations, which come when they like.
fn is_of_guard(request: &Request) -> bool {
    request.method == "GET" && request.path().contains("/v1/agent/service/")
}

impl Agent {
    /// Returns the requests until now that operations made.
    pub(super) fn requests(&self) -> Vec<Request> {
        self.server.requests().into_iter().filter(|request| !is_of_guard(request)).collect()
    }

    pub(super) async fn start() -> Self {
        let script = Script::default();
        let answers = script.clone();
        let server = FaultServer::start(move |request| {
            let script = answers.clone();
            async move { script.answer(&request).await }
        })
        .await;
        Self { server, script }
    }

    /// Answers every request of this kind with `reply` from now on.
    pub(super) fn fail(&self, kind: &str, reply: Arc<dyn Fn() -> Reply + Send + Sync>) {
        *self.script.fault.lock().expect("free") = Some((kind.to_owned(), reply));
    }
}

impl Script {
    async fn answer(&self, request: &Request) -> Reply {
        let fault = self.fault.lock().expect("free").clone();
        if let Some((_, reply)) = fault.filter(|(of, _)| *of == kind(request)) {
            return reply();
        }
        // Nothing changes any more, so a blocking query is held.
        if request.query("index").is_some() || is_of_guard(request) {
            std::future::pending::<()>().await;
        }
        let path = request.path().strip_prefix("/proxy").unwrap_or(request.path());
        let Some(path) = path.strip_prefix("/v1/") else { return Reply::new(404, "") };
        let last = path.rsplit('/').next().unwrap_or_default();
        match (request.method.as_str(), path.strip_suffix(last).unwrap_or_default(), last) {
            ("GET", "agent/", "self") => good(100, r#"{"Config":{"Datacenter":"dc1","NodeName":"own"}}"#),
            ("GET", "status/", "leader") => good(100, "\"10.0.0.9:8300\""),
            ("GET", "catalog/", "services") => good(100, r#"{"users":["a"]}"#),
            ("GET", "health/service/", "users") => good(100, self.instances(request)),
            ("GET", "health/service/", _) => good(100, "[]"),
            ("POST", "internal/acl/", "authorize") => good(100, r#"[{"Allow":true}]"#),
            ("GET", "agent/health/service/id/", id) => self.local(id),
            ("PUT", "agent/service/", "register") => {
                *self.kept.lock().expect("free") = serde_json::from_slice(&request.body).ok();
                Reply::new(200, "")
            }
            ("PUT", "agent/service/deregister/", _) => {
                *self.kept.lock().expect("free") = None;
                Reply::new(200, "")
            }
            ("PUT", "agent/service/maintenance/", _) => {
                let reason =
                    request.query("reason").map(|reason| reason.replace('+', " ").replace("%3A", ":"));
                *self.reason.lock().expect("free") = reason;
                Reply::new(200, "")
            }
            ("PUT", "agent/check/update/", _) => Reply::new(200, ""),
            ("GET", path, "users") if path.starts_with("kv/") => {
                good(100, r#"[{"Key":"k","Value":"e30=","ModifyIndex":7}]"#)
            }
            ("GET", path, "") if path.starts_with("kv/") => {
                let below = path.trim_start_matches("kv/");
                let key = format!("{below}service/users");
                good(100, format!(r#"[{{"Key":"{key}","Value":"e30=","ModifyIndex":7}}]"#))
            }
            ("GET", path, _) if path.starts_with("kv/") => {
                Reply::new(404, "").header("X-Consul-Index", "100").header("X-Consul-KnownLeader", "true")
            }
            ("PUT", path, _) if path.starts_with("kv/") => good(100, "true"),
            _ => Reply::new(400, "the script has no such request"),
        }
    }

    /// Returns an instance of another node, and the own one if it is registered.
    fn instances(&self, request: &Request) -> String {
        let kept = self.kept.lock().expect("free").is_some();
        match request.query("filter") {
            Some(_) => "[]".to_owned(),
            None if kept => format!("[{},{}]", instance("x", 1), instance("a", 2)),
            None => format!("[{}]", instance("x", 1)),
        }
    }

    fn local(&self, id: &str) -> Reply {
        let kept = self.kept.lock().expect("free").clone();
        let Some(kept) = kept.filter(|kept| kept["ID"] == id) else { return Reply::new(404, "") };
        let service = json!({
            "ID": kept["ID"], "Service": kept["Name"], "Tags": kept["Tags"], "Meta": kept["Meta"],
            "Address": kept["Address"], "Port": kept["Port"], "Weights": kept["Weights"],
        });
        let check = &kept["Check"];
        let kind = if check["TTL"].is_null() { "http" } else { "ttl" };
        let mut checks =
            vec![json!({"CheckID": check["CheckID"], "Status": "passing", "ServiceID": id, "Type": kind})];
        let reason = self.reason.lock().expect("free").clone();
        checks.extend(reason.map(|reason| {
            let id = format!("_service_maintenance:{id}");
            json!({"CheckID": id, "Status": "critical", "ServiceID": kept["ID"], "Notes": reason})
        }));
        good(100, json!({"Service": service, "Checks": checks}).to_string())
    }
}
