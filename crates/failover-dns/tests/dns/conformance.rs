//! The provider contract.

use std::sync::Arc;

use failover_conformance::{Level, Subject};
use failover_core::{Endpoint, async_trait};
use hickory_proto::rr::rdata::SRV;
use hickory_proto::rr::{Name, RData};

use super::*;

/// A name server with A records, or with SRV records whose targets have them.
struct Served {
    server: NameServer,
    srv: bool,
}

impl Served {
    fn make(&self) -> Arc<dyn Provider> {
        let asks = if self.srv {
            asking_srv(&self.server).srv_prefix("_http._tcp")
        } else {
            asking(&self.server).port(8080)
        };
        let asks = asks.suffix("example.test").timeout(Duration::from_millis(300));
        Arc::new(asks.build().expect("valid"))
    }

    /// Returns the name that has a service's records.
    fn name(&self, service: &str) -> String {
        let prefix = if self.srv { "_http._tcp." } else { "" };
        format!("{prefix}{service}.example.test")
    }

    fn change(&self, endpoint: &Endpoint, add: bool) {
        let name = self.name(endpoint.service().as_str());
        let mut zone = self.server.zone();
        if !self.srv {
            zone.remove_address(&name, endpoint.address());
            if add {
                zone.address(&name, endpoint.address());
            }
            return;
        }
        let target = format!("h{}.{}.test", endpoint.address().replace('.', "-"), endpoint.service());
        zone.remove_srv(&name, &server::name(&target));
        zone.remove(&target);
        if add {
            zone.srv(&name, (1, 1, 8080), &target);
            zone.address(&target, endpoint.address());
        }
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
        self.change(endpoint, true);
        Ok(true)
    }

    async fn remove(&self, _: &dyn Provider, endpoint: &Endpoint) -> Result<bool, Error> {
        self.change(endpoint, false);
        Ok(true)
    }

    /// Short: see below.
    fn service(&self, clause: u32) -> String {
        format!("c{clause}")
    }

    /// A DNS message has 65 535 bytes. This name server repeats the name, here 18 bytes, before each
    /// address of 14; an SRV record with its target's address takes about 100.
    fn crowd(&self) -> usize {
        if self.srv { 500 } else { 2_000 }
    }

    async fn hostile(&self, service: &str, begins: bool) -> bool {
        let name = self.name(service);
        let mut zone = self.server.zone();
        if !self.srv {
            for address in
                ["0.0.0.0", "255.255.255.255", "224.0.0.1", "127.0.0.1", "169.254.169.254", "10.9.9.9"]
            {
                zone.remove_address(&name, address);
                if begins {
                    // Twice, as a careless zone has it.
                    zone.address(&name, address);
                    zone.address(&name, address);
                }
            }
            return true;
        }
        for (number, (priority, weight, port, target)) in targets().into_iter().enumerate() {
            zone.remove_srv(&name, &target);
            if begins {
                zone.add(&name, RData::SRV(SRV::new(priority, weight, port, target.clone())));
                // The first ones do not exist, or cannot.
                if number > 2 {
                    zone.add_at(target, std::net::IpAddr::from([10, 9, 9, number as u8]).into());
                }
            }
        }
        true
    }

    fn has_secrets(&self) -> bool {
        false
    }

    fn backend(&self) -> String {
        format!("{} records of hickory-server", if self.srv { "SRV" } else { "A" })
    }

    async fn outage(&self, begins: bool) -> bool {
        self.server.zone().mood = if begins { Mood::Silent } else { Mood::Answers };
        true
    }
}

/// Returns priorities, weights, ports and targets that no provider should believe.
fn targets() -> Vec<(u16, u16, u16, Name)> {
    let odd = |label: &[u8]| Name::from_labels([label, b"test"]).expect("a name");
    vec![
        (0, 0, 0, Name::root()),
        (1, 1, 80, server::name("missing.test")),
        (1, 1, 80, odd(b"missing \x1b[31m")),
        (1, 1, 0, server::name("port-0.test")),
        (65_535, 65_535, 65_535, server::name("largest.test")),
        (0, 0, 1, server::name("least.test")),
        (1, 1, 80, odd(b"a b\n\x1b[31m")),
        (1, 1, 80, odd(b"\xff\x00;\"")),
        (1, 1, 80, odd(&[b'x'; 63])),
    ]
}

async fn certified(srv: bool) {
    let report = failover_conformance::run(&Served { server: NameServer::start().await, srv }).await;
    println!("{report}");
    report.assert_covers([1, 2, 3, 11, 20, 21, 22, 23, 30, 31, 32, 34, 35, 50, 52, 60, 61, 62]);
    for level in [Level::Read, Level::Watch, Level::Survive] {
        report.assert_level(level);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn addresses_keep_the_contract() {
    certified(false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn srv_records_keep_the_contract() {
    certified(true).await;
}
