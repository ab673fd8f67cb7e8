//! "Service Discovery Integration": endpoints found elsewhere are registered, and another manager
//! sees them immediately.

use std::time::{Duration, Instant};

use failover::memory::MemoryCluster;
use failover::provider::Query;
use failover::{Endpoint, FailoverManager, HealthCheck};
use tokio::time::sleep;

use crate::servers::Server;
use crate::{Outcome, promise};

/// A result of an external service discovery.
struct Found {
    id: String,
    address: &'static str,
    port: u16,
}

pub(crate) async fn run() -> Outcome {
    let servers = [Server::http("user-a").await?, Server::http("user-b").await?];
    let cluster = MemoryCluster::new();
    let here = FailoverManager::builder().provider(cluster.provider()).build().await?;
    let elsewhere = FailoverManager::builder().provider(cluster.provider()).build().await?;
    let users = elsewhere.service("user-service").await?;
    promise(users.select().is_err(), "no endpoint is registered yet", ())?;

    // Register endpoints from service discovery
    for found in discover_services(&servers) {
        let endpoint = Endpoint::builder(found.id, "user-service", found.address, found.port)
            .protocol("http")
            .health_check(HealthCheck::builder().path("/health").interval(Duration::from_secs(30)).build()?)
            .metadata("found-by", "discover_services")
            .tag("discovered")
            .build()?;
        here.register_endpoint(endpoint).await?;
    }
    let begun = Instant::now();
    while users.endpoints().len() < 2 {
        promise(
            begun.elapsed() < Duration::from_secs(1),
            "the other manager sees them",
            users.endpoints().len(),
        )?;
        sleep(Duration::from_millis(1)).await;
    }
    println!("registered here, seen by another manager after {} ms", begun.elapsed().as_millis());

    let tagged = Query::service(users.name()).tag("discovered");
    println!("{} endpoints have the tag", here.list_endpoints(&tagged).await?.entries().len());
    here.deregister_endpoint("user-a").await?; // the id alone is enough if it belongs to one service only
    let begun = Instant::now();
    while users.endpoints().len() > 1 {
        promise(begun.elapsed() < Duration::from_secs(1), "the other manager sees that it is gone", ())?;
        sleep(Duration::from_millis(1)).await;
    }
    let http = reqwest::Client::new();
    let done =
        users.execute(async |endpoint| http.get(endpoint.url("/users/3")).send().await?.text().await).await?;
    println!("one is deregistered, the other answers: {}", done.value);
    promise(done.value == "user 3 by user-b", "the one that is left answers", &done.value)?;
    here.close().await?;
    elsewhere.close().await?;
    Ok(())
}

fn discover_services(servers: &[Server]) -> Vec<Found> {
    let ids = ["user-a", "user-b"];
    let found =
        |(id, server): (&str, &Server)| Found { id: id.to_owned(), address: "127.0.0.1", port: server.port };
    ids.into_iter().zip(servers).map(found).collect()
}
