//! The published conformance suite, on both versions of the real server.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use failover_conformance::{Level, Report, Subject};
use failover_consul::{ConsulBuilder, ConsulProvider};
use failover_core::provider::Provider;
use failover_core::{Endpoint, Error, ErrorKind, async_trait};
use failover_testkit::consul::{Agent, AgentOptions};
use failover_testkit::servers::Server;
use serde_json::{Value, json};

/// The shortest, so that owners renew often.
const TTL: Duration = Duration::from_secs(10);
/// The most operations that Consul accepts in a transaction.
const IN_ONE_TRANSACTION: usize = 64;

struct Consul {
    agent: Mutex<Agent>,
    address: String,
    token: String,
    version: String,
    is_out: Mutex<bool>,
}

impl Consul {
    fn builder(&self) -> ConsulBuilder {
        ConsulProvider::builder().address(&self.address).token(&self.token).ttl(TTL)
    }

    /// Changes the catalog as an operator does; other nodes' services are left alone by the agent.
    fn put(&self, path: &str, body: &Value) -> Result<(), Error> {
        let agent = self.agent.lock().expect("one at a time");
        let answer = agent.call("PUT", path, &body.to_string());
        match answer {
            Ok((200, _)) => Ok(()),
            other => Err(Error::new(ErrorKind::Internal, format!("{path}: {other:?}"))),
        }
    }
}

#[async_trait]
impl Subject for Consul {
    async fn provider(&self) -> Result<Arc<dyn Provider>, Error> {
        let provider = self.builder().build()?;
        provider.connect().await?;
        Ok(Arc::new(provider))
    }

    async fn unconnected(&self) -> Result<Option<Arc<dyn Provider>>, Error> {
        Ok(Some(Arc::new(self.builder().build()?)))
    }

    fn patience(&self) -> Duration {
        Duration::from_secs(10)
    }

    fn calm(&self) -> Duration {
        Duration::from_millis(600)
    }

    /// An owner renews three times within its time to live, and then looks whose the id is.
    fn renewal(&self) -> Duration {
        TTL
    }

    fn backend(&self) -> String {
        self.version.clone()
    }

    async fn write_all(&self, _: &dyn Provider, endpoints: &[Endpoint]) -> Result<bool, Error> {
        self.put("/v1/catalog/register", &json!({ "Node": "crowd", "Address": "10.9.9.1" }))?;
        let set = |endpoint: &Endpoint| {
            let service = json!({
                "ID": endpoint.id().as_str(), "Service": endpoint.service().as_str(),
                "Address": endpoint.address(), "Port": endpoint.port(),
            });
            json!({ "Service": { "Verb": "set", "Node": "crowd", "Service": service } })
        };
        for part in endpoints.chunks(IN_ONE_TRANSACTION) {
            self.put("/v1/txn", &part.iter().map(set).collect())?;
        }
        Ok(true)
    }

    async fn remove_all(&self, provider: &dyn Provider, endpoints: &[Endpoint]) -> Result<bool, Error> {
        self.put("/v1/catalog/deregister", &json!({ "Node": "crowd" }))?;
        let registry = provider.registry().expect("it has one");
        for endpoint in endpoints.iter().filter(|endpoint| !endpoint.id().as_str().starts_with("crowd-")) {
            registry.deregister(endpoint.service(), endpoint.id()).await?;
        }
        Ok(true)
    }

    async fn hostile(&self, service: &str, begins: bool) -> bool {
        if !begins {
            // It is not there most times.
            let _ = self.put("/v1/catalog/deregister", &json!({ "Node": "hostile" }));
            return true;
        }
        for (number, broken) in broken().into_iter().enumerate() {
            let mut entry = json!({ "ID": format!("broken-{number}"), "Service": service, "Port": 80 });
            entry["Address"] = format!("10.9.8.{number}").into();
            entry.as_object_mut().expect("a table").extend(broken);
            let body = json!({ "Node": "hostile", "Address": "10.9.9.2", "Service": entry });
            self.put("/v1/catalog/register", &body).unwrap_or_else(|error| panic!("{body}: {error}"));
        }
        true
    }

    async fn outage(&self, begins: bool) -> bool {
        let mut is_out = self.is_out.lock().expect("one at a time");
        let mut agent = self.agent.lock().expect("one at a time");
        match (begins, *is_out) {
            (true, false) => agent.kill(),
            (false, true) => agent.restart(),
            _ => {}
        }
        *is_out = begins;
        true
    }

    fn secrets(&self) -> Vec<String> {
        vec![self.token.clone()]
    }

    fn shown(&self) -> Vec<String> {
        let builder = self.builder();
        let shown = format!("{builder:?}");
        vec![shown, format!("{:?}", builder.build())]
    }
}

/// Returns fields that no provider should believe; the server accepts all of them.
fn broken() -> Vec<serde_json::Map<String, Value>> {
    let ours = |key: &str, value: &str| json!({ "Meta": { "fo-v": "1", key: value } });
    let all = [
        json!({ "Port": 0 }),
        json!({ "Port": 70_000 }),
        json!({ "Port": -1 }),
        json!({ "Weights": { "Passing": 0, "Warning": 0 } }),
        json!({ "Weights": { "Passing": 65_535, "Warning": 65_535 } }),
        ours("fo-weight", "-1"),
        ours("fo-weight", "1e9"),
        ours("fo-weight", "99999999999999999999"),
        ours("fo-prio", "\u{1b}[31m"),
        ours("fo-ctime", "yesterday"),
        ours("fo-x0", "{\"health_check\": "),
        ours("fo-x99", "[[[["),
        ours("fo-v", "999"),
        ours("fo-region", &"x".repeat(512)),
        json!({ "ID": "x".repeat(5_000) }),
        json!({ "ID": "fo.%zz%" }),
        json!({ "ID": "control \u{1b}[31m \u{7f} \n" }),
        json!({ "Address": "" }),
        json!({ "Address": "no address" }),
        json!({ "Tags": (0..2_000).map(|number| format!("tag-{number}")).collect::<Vec<_>>() }),
        json!({ "Kind": "connect-proxy", "Proxy": { "DestinationServiceName": "web" } }),
    ];
    all.into_iter().filter_map(|broken| broken.as_object().cloned()).collect()
}

async fn suite(server: Server) -> Option<Report> {
    let token = "5b1c7d0e-0000-4000-8000-00000000cafe".to_owned();
    let options = AgentOptions { token: Some(token.clone()), ..AgentOptions::new(server) };
    let agent = options.start()?;
    let (_, own) = agent.call("GET", "/v1/agent/self", "").expect("it answers");
    let own: Value = serde_json::from_str(&own).expect("JSON");
    let version = format!("Consul {}", own["Config"]["Version"].as_str().expect("a version"));
    let (address, agent, is_out) = (agent.address(), Mutex::new(agent), Mutex::new(false));
    let subject = Consul { agent, address, token, version, is_out };
    let report = failover_conformance::run(&subject).await;
    println!("{report}");
    Some(report)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_suite_passes_on_the_newest_consul() {
    let Some(report) = suite(Server::Consul).await else { return };
    for level in Level::ALL {
        report.assert_level(level);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_suite_passes_on_consul_of_debian() {
    let Some(report) = suite(Server::ConsulDebian).await else { return };
    for level in Level::ALL {
        report.assert_level(level);
    }
}
