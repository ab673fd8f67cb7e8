//! The provider contract.

use std::sync::Arc;

use failover_conformance::{Level, Subject};
use failover_core::{Endpoint, async_trait};

use super::*;

struct Served(NameServer);

impl Served {
    fn make(&self) -> Arc<dyn Provider> {
        let asks = asking(&self.0).port(8080).suffix("example.test").timeout(Duration::from_millis(300));
        Arc::new(asks.build().expect("valid"))
    }

    fn name(endpoint: &Endpoint) -> String {
        format!("{}.example.test", endpoint.service())
    }
}

#[async_trait]
impl Subject for Served {
    async fn provider(&self) -> Result<Arc<dyn Provider>, Error> {
        let provider = self.make();
        provider.connect().await.map(|()| provider)
    }

    async fn unconnected(&self) -> Result<Option<Arc<dyn Provider>>, Error> {
        Ok(Some(self.make()))
    }

    async fn write(&self, _: &dyn Provider, endpoint: &Endpoint) -> Result<bool, Error> {
        let mut zone = self.0.zone();
        zone.remove_address(&Self::name(endpoint), endpoint.address());
        zone.address(&Self::name(endpoint), endpoint.address());
        Ok(true)
    }

    async fn remove(&self, _: &dyn Provider, endpoint: &Endpoint) -> Result<bool, Error> {
        self.0.zone().remove_address(&Self::name(endpoint), endpoint.address());
        Ok(true)
    }

    /// Short: see below.
    fn service(&self, clause: u32) -> String {
        format!("c{clause}")
    }

    /// A DNS message has 65 535 bytes. This name server repeats the name, here 18 bytes, before each
    /// address of 14.
    fn crowd(&self) -> usize {
        2_000
    }

    async fn hostile(&self, service: &str, begins: bool) -> bool {
        let name = format!("{service}.example.test");
        let mut zone = self.0.zone();
        for address in ["0.0.0.0", "255.255.255.255", "224.0.0.1", "127.0.0.1", "169.254.169.254", "10.9.9.9"]
        {
            zone.remove_address(&name, address);
            if begins {
                // Twice, as a careless zone has it.
                zone.address(&name, address);
                zone.address(&name, address);
            }
        }
        true
    }

    fn has_secrets(&self) -> bool {
        false
    }

    fn backend(&self) -> String {
        "A records of hickory-server".to_owned()
    }

    async fn outage(&self, begins: bool) -> bool {
        self.0.zone().mood = if begins { Mood::Silent } else { Mood::Answers };
        true
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_provider_keeps_the_contract() {
    let report = failover_conformance::run(&Served(NameServer::start().await)).await;
    println!("{report}");
    report.assert_covers([1, 2, 3, 11, 20, 21, 22, 23, 30, 31, 32, 34, 35, 50, 52, 60, 61, 62]);
    for level in [Level::Read, Level::Watch, Level::Survive] {
        report.assert_level(level);
    }
}
