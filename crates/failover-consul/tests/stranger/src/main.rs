//! What the README shows, in a program with an HTTP client of its own, which must not notice.

use std::time::Duration;

use failover::consul::ConsulProvider;
use failover::{Endpoint, FailoverManager, HealthCheck};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    // A feature of somebody else's dependency would make this panic.
    reqwest::Client::builder().build()?;
    let https = ConsulProvider::builder().address("https://127.0.0.1:1").build()?;
    println!("no panic: {https:?}");

    let consul = ConsulProvider::from_env()?;
    let manager = FailoverManager::builder().provider(consul).build().await?;
    let check = HealthCheck::builder().path("/health").interval(Duration::from_secs(1)).build()?;
    let endpoint = Endpoint::builder("users-1", "user-service", "127.0.0.1", 8080)
        .protocol("http")
        .health_check(check)
        .build()?;
    let serving = manager.serve(endpoint).await?;

    let users = manager.service("user-service").await?;
    tokio::time::timeout(Duration::from_secs(5), users.ready()).await??;
    println!("{}", users.select()?.endpoint().url("/"));

    serving.close().await?;
    manager.close().await?;
    Ok(())
}
