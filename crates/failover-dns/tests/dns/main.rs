//! The provider with a real name server.

#![allow(clippy::disallowed_methods, reason = "tests with a real server, in real time")]

mod answers;
mod conformance;
mod hostile;
mod lines;
mod process;
mod search;
mod server;
mod srv;

use std::time::{Duration, Instant};

use failover_core::config::EmptyPolicy;
use failover_core::provider::{EndpointSet, Provider, Query};
use failover_core::{Error, FailoverConfig, FailoverManager, ServiceHandle, ServiceName};
use failover_dns::{DnsProvider, DnsProviderBuilder, Family};
use hickory_proto::op::ResponseCode;
use hickory_proto::rr::RecordType;
use server::{Mood, NameServer};

const SOON: Duration = Duration::from_secs(5);

/// A provider of IPv4 addresses with port 80.
fn asking(server: &NameServer) -> DnsProviderBuilder {
    let asks = DnsProvider::builder().nameserver(server.address).port(80).family(Family::V4);
    asks.timeout(Duration::from_millis(500))
}

/// A provider of SRV records.
fn asking_srv(server: &NameServer) -> DnsProviderBuilder {
    let asks = DnsProvider::builder().nameserver(server.address).srv().family(Family::V4);
    asks.timeout(Duration::from_millis(500))
}

async fn list(asks: DnsProviderBuilder, name: &str) -> Result<EndpointSet, Error> {
    let service = ServiceName::new(name).expect("a service name");
    asks.build().expect("valid").list(&Query::service(&service)).await
}

async fn watching(asks: DnsProviderBuilder, name: &str) -> (FailoverManager, ServiceHandle) {
    watching_with(FailoverConfig::default(), asks, name).await
}

/// A service that an answer without endpoints empties at once.
async fn believing(asks: DnsProviderBuilder, name: &str) -> (FailoverManager, ServiceHandle) {
    let config = FailoverConfig::builder().empty_policy(EmptyPolicy::Trust).build().expect("valid");
    watching_with(config, asks, name).await
}

async fn watching_with(
    config: FailoverConfig,
    asks: DnsProviderBuilder,
    name: &str,
) -> (FailoverManager, ServiceHandle) {
    let builder = FailoverManager::builder().service_config(config).provider(asks.build().expect("valid"));
    let manager = builder.build().await.expect("builds");
    let service = manager.service(name).await.expect("a handle");
    (manager, service)
}

fn ids(set: &EndpointSet) -> Vec<String> {
    let mut ids: Vec<_> = set.entries().iter().map(|entry| entry.endpoint().id().to_string()).collect();
    ids.sort();
    ids
}

fn known(service: &ServiceHandle) -> Vec<String> {
    let mut ids: Vec<_> = service.stats().endpoints.iter().map(|endpoint| endpoint.id.to_string()).collect();
    ids.sort();
    ids
}

/// Waits until it holds, and returns how long that took.
async fn until(what: &str, holds: impl Fn() -> bool) -> Duration {
    until_within(SOON, what, holds).await
}

async fn until_within(limit: Duration, what: &str, holds: impl Fn() -> bool) -> Duration {
    let begin = Instant::now();
    while !holds() {
        assert!(begin.elapsed() < limit, "{what} after {:?}", begin.elapsed());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    begin.elapsed()
}
