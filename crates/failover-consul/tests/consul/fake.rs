//! A scripted agent, which answers as Consul does unless a test overrides it.

use std::sync::Arc;
use std::time::Duration;

use failover_testkit::{FaultServer, Reply, Request};
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

type Fault = Arc<dyn Fn(&Request) -> Option<Reply> + Send + Sync>;

#[derive(Clone, Default)]
struct Data {
    index: u64,
    instances: Vec<String>,
    names: Vec<String>,
    fault: Option<Fault>,
}

pub(crate) struct Fake {
    pub(crate) server: FaultServer,
    data: watch::Sender<Data>,
}

/// Returns an instance as `health/service` lists it.
pub(crate) fn instance(id: &str, last: u8) -> String {
    format!(
        r#"{{"Node":{{"Node":"n","Address":"10.9.9.9","Datacenter":"dc1"}},
            "Service":{{"ID":"{id}","Service":"users","Address":"10.0.0.{last}","Port":8080}},
            "Checks":[{{"CheckID":"serfHealth","Status":"passing","ServiceID":""}}]}}"#
    )
}

impl Fake {
    /// Serves `users` with these ids at index 100.
    pub(crate) async fn start(ids: &[&str]) -> Self {
        let (data, _) = watch::channel(Data { index: 100, ..Data::default() });
        let answers = data.clone();
        let server = FaultServer::start(move |request| answer(answers.subscribe(), request)).await;
        let fake = Self { server, data };
        fake.set(ids, 100);
        fake
    }

    pub(crate) fn address(&self) -> String {
        self.server.address().to_string()
    }

    pub(crate) fn set(&self, ids: &[&str], index: u64) {
        self.data.send_modify(|data| {
            data.instances = ids.iter().zip(1..).map(|(id, last)| instance(id, last)).collect();
            data.names = vec!["consul".to_owned()];
            data.names.extend((!ids.is_empty()).then(|| "users".to_owned()));
            data.index = index;
        });
    }

    /// Sets the instances at a new index, which is returned.
    pub(crate) fn set_instances(&self, instances: Vec<String>) -> u64 {
        self.data.send_modify(|data| {
            data.instances = instances;
            data.names = vec!["consul".to_owned(), "users".to_owned()];
            data.index += 10;
        });
        self.data.borrow().index
    }

    pub(crate) fn set_names(&self, names: &[&str]) {
        self.data.send_modify(|data| data.names = names.iter().map(|name| (*name).to_owned()).collect());
    }

    /// Overrides responses by `fault`, which returns `None` for requests to answer normally. A
    /// pending wait ends immediately.
    pub(crate) fn fail(&self, fault: impl Fn(&Request) -> Option<Reply> + Send + Sync + 'static) {
        self.data.send_modify(|data| data.fault = Some(Arc::new(fault)));
    }

    pub(crate) fn heal(&self) {
        self.data.send_modify(|data| data.fault = None);
    }

    /// Returns the number of requests for instances.
    pub(crate) fn reads(&self) -> usize {
        self.server.requests().iter().filter(|r| r.path().starts_with("/v1/health/service/")).count()
    }
}

pub(crate) fn good(index: u64, body: impl Into<Vec<u8>>) -> Reply {
    Reply::json(200, body)
        .header("X-Consul-Index", &index.to_string())
        .header("X-Consul-KnownLeader", "true")
        .header("X-Consul-LastContact", "0")
}

async fn answer(mut data: watch::Receiver<Data>, request: Request) -> Reply {
    let asked = request.query("index").and_then(|index| index.parse::<u64>().ok()).unwrap_or(0);
    let wait = request.query("wait").and_then(|wait| wait.trim_end_matches('s').parse().ok()).unwrap_or(300);
    let end = Instant::now() + Duration::from_secs(wait);
    let data = loop {
        let now = data.borrow_and_update().clone();
        if let Some(reply) = now.fault.as_ref().and_then(|fault| fault(&request)) {
            return reply;
        }
        let waits = asked > 0 && now.index == asked;
        if !waits || timeout_at(end, data.changed()).await.is_err() {
            break now;
        }
    };
    let index = data.index;
    match request.path() {
        "/v1/health/service/users" => good(index, format!("[{}]", data.instances.join(","))),
        path if path.starts_with("/v1/health/service/") => good(index, "[]"),
        "/v1/catalog/services" => {
            let names: Vec<_> = data.names.iter().map(|name| format!("\"{name}\":[]")).collect();
            good(index, format!("{{{}}}", names.join(",")))
        }
        "/v1/status/leader" => good(index, "\"10.0.0.9:8300\""),
        "/v1/agent/self" => good(index, r#"{"Config":{"Datacenter":"dc1","NodeName":"n"}}"#),
        path if path.starts_with("/v1/kv/") => {
            Reply::new(404, "").header("X-Consul-Index", &index.to_string())
        }
        _ => Reply::new(404, "no such thing"),
    }
}
