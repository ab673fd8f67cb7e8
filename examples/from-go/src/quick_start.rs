//! "Quick Start": register two endpoints, configure, select, execute, check their health, read the
//! statistics, close.

use std::time::Duration;

use failover::config::{CircuitBreakerConfig, LoadBalancerConfig};
use failover::memory::MemoryProvider;
use failover::{
    Completed, Endpoint, FailoverConfig, FailoverManager, Health, HealthCheck, ManagerConfig, StrategyKind,
};

use crate::servers::Server;
use crate::{Outcome, promise};

pub(crate) async fn run() -> Outcome {
    let servers = [Server::http("service-1").await?, Server::http("service-2").await?];

    // Create failover manager
    let settings = ManagerConfig::builder()
        .default_provider("memory") // "consul" in the Go text: any provider does
        .retry_attempts(3)
        .retry_delay(Duration::from_secs(1))
        .timeout(Duration::from_secs(30))
        .fallback_enabled(true)
        .build()?;
    let builder = FailoverManager::builder().config(&settings);
    let manager = builder.probes(failover::probe::standard()).build().await?;

    // Register providers
    manager.register_provider(MemoryProvider::new()).await?;

    // Register service endpoints
    let check = HealthCheck::builder()
        .path("/health")
        .interval(Duration::from_secs(30))
        .timeout(Duration::from_secs(5))
        .build()?;
    for (id, server) in ["service-1", "service-2"].into_iter().zip(&servers) {
        let endpoint = Endpoint::builder(id, "user-service", "127.0.0.1", server.port)
            .protocol("http")
            .health_check(check.clone())
            .metadata("version", "1.0.0")
            .metadata("region", "us-east-1")
            .tags(["api", "user"])
            .build()?;
        manager.register_endpoint(endpoint).await?;
    }

    // Configure failover
    let config = FailoverConfig::builder()
        .strategy(StrategyKind::RoundRobin)
        .probe_endpoints(true)
        .max_retries(3)
        .retry_delay(Duration::from_secs(1))
        .circuit_breaker(
            CircuitBreakerConfig::builder()
                .failure_threshold(5)
                .recovery_timeout(Duration::from_secs(30))
                .half_open_max_calls(3)
                .build()?,
        )
        .load_balancer(LoadBalancerConfig::builder().weight("service-1", 1).weight("service-2", 1).build()?)
        .build()?;
    manager.configure(config).await?;

    // Select endpoint with failover: a selection names its service
    let users = manager.service("user-service").await?;
    {
        let pick = users.select()?;
        let endpoint = pick.endpoint();
        println!("Selected endpoint: {} ({}:{})", endpoint.id(), endpoint.address(), endpoint.port());
    }

    // Execute with failover: a failed call is an `Err` here, where Go hides the error in the result
    let http = reqwest::Client::new();
    let done: Completed<String> = users
        .execute(async |endpoint| {
            println!("Calling API on {}", endpoint.authority());
            http.get(endpoint.url("/users/7")).send().await?.error_for_status()?.text().await
        })
        .await?;
    let (attempts, took) = (done.attempts.len(), done.attempts.duration());
    println!("Execution result: {} ({attempts} attempt, {took:.0?})", done.value);
    promise(done.value.starts_with("user 7 by service-"), "the answer of a service", &done.value)?;

    // Health check all endpoints
    for report in manager.health_check_all().await? {
        println!("Endpoint {report}");
        promise(report.probed && report.health == Health::Healthy, "a healthy endpoint", &report)?;
    }

    // Get statistics
    for (provider, stats) in manager.provider_stats() {
        println!(
            "Provider {provider}: {} requests, {} succeeded, {} failed",
            stats.total_requests, stats.successful_requests, stats.failed_requests
        );
        promise(stats.successful_requests == 1, "one request that succeeded", &stats)?;
    }
    println!("{} events, and why each endpoint is given calls:", manager.events(100).len());
    print!("{}", users.explain());

    // Close manager
    manager.close().await?;
    Ok(())
}
