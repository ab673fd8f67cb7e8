//! The published conformance suite, on both versions of the real server.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use failover_conformance::{Report, Subject};
use failover_consul::ConsulProvider;
use failover_core::provider::Provider;
use failover_core::{Error, async_trait};
use failover_testkit::consul::{Agent, AgentOptions};
use failover_testkit::servers::Server;

struct Consul {
    agent: Mutex<Agent>,
    address: String,
    token: String,
    is_out: Mutex<bool>,
}

#[async_trait]
impl Subject for Consul {
    async fn provider(&self) -> Result<Arc<dyn Provider>, Error> {
        let provider = ConsulProvider::builder().address(&self.address).token(&self.token).build()?;
        provider.connect().await?;
        Ok(Arc::new(provider))
    }

    async fn unconnected(&self) -> Result<Option<Arc<dyn Provider>>, Error> {
        let provider = ConsulProvider::builder().address(&self.address).token(&self.token).build()?;
        Ok(Some(Arc::new(provider)))
    }

    fn patience(&self) -> Duration {
        Duration::from_secs(10)
    }

    fn calm(&self) -> Duration {
        Duration::from_millis(600)
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
        let builder = ConsulProvider::builder().address(&self.address).token(&self.token);
        let shown = format!("{builder:?}");
        vec![shown, format!("{:?}", builder.build())]
    }
}

async fn suite(server: Server) -> Option<Report> {
    let token = "5b1c7d0e-0000-4000-8000-00000000cafe".to_owned();
    let options = AgentOptions { token: Some(token.clone()), ..AgentOptions::new(server) };
    let agent = options.start()?;
    let subject =
        Consul { address: agent.address(), agent: Mutex::new(agent), token, is_out: Mutex::new(false) };
    let report = failover_conformance::run(&subject).await;
    println!("{report}");
    Some(report)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_suite_passes_on_the_newest_consul() {
    let Some(report) = suite(Server::Consul).await else { return };
    report.assert();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_suite_passes_on_consul_of_debian() {
    let Some(report) = suite(Server::ConsulDebian).await else { return };
    report.assert();
}
