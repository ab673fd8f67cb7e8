//! "Database Failover": a primary and a standby. When the primary dies, the standby answers; when
//! the primary returns, so do the queries.

use std::sync::Arc;
use std::time::{Duration, Instant};

use failover::config::CircuitBreakerConfig;
use failover::memory::MemoryProvider;
use failover::{Endpoint, FailoverConfig, FailoverManager, HealthCheck, ServiceHandle, StrategyKind};
use tokio::time::sleep;

use crate::servers::{Server, query};
use crate::{Outcome, promise};

const LIMIT: Duration = Duration::from_secs(10);

pub(crate) async fn run() -> Outcome {
    let primary = Server::database("primary", 0).await?;
    let standby = Server::database("standby", 0).await?;
    let port = primary.port;

    // Configure database failover (with shorter waits than in the Go text, which has 60 s and 5 s)
    let config = FailoverConfig::builder()
        .strategy(StrategyKind::HealthBased)
        .probe_endpoints(true)
        .circuit_breaker(
            CircuitBreakerConfig::builder()
                .failure_threshold(3)
                .recovery_timeout(Duration::from_millis(500))
                .build()?,
        )
        .max_retries(2)
        .retry_delay(Duration::from_millis(50))
        .build()?;

    // A closure is a probe
    let select_1 =
        |endpoint: Arc<Endpoint>| async move { query(&endpoint.authority(), "SELECT 1").await.map(drop) };
    let manager = FailoverManager::builder()
        .provider(MemoryProvider::new())
        .probe("sql", select_1)
        .service_config(config)
        .build()
        .await?;
    let check = HealthCheck::builder().interval(Duration::from_millis(200)).build()?;
    for (id, port, priority) in [("primary", port, 0), ("standby", standby.port, 1)] {
        let endpoint = Endpoint::builder(id, "orders-db", "127.0.0.1", port)
            .protocol("sql")
            .priority(priority) // 0 first
            .health_check(check.clone())
            .build()?;
        manager.register_endpoint(endpoint).await?;
    }
    println!("{}", manager.health_check("primary").await?);

    let db = manager.service("orders-db").await?;
    promise(ask(&db).await? == "primary", "the primary answers", ())?;
    println!("the primary answers");

    drop(primary);
    let mut failed = 0;
    for _ in 0..200 {
        failed += u32::from(ask(&db).await.is_err());
        sleep(Duration::from_millis(2)).await;
    }
    promise(failed == 0, "no query fails while the primary is dead", failed)?;
    promise(ask(&db).await? == "standby", "the standby answers", ())?;
    println!("the primary is dead: the standby answers, 0 of 200 queries failed");

    let _primary = Server::database("primary", port).await?;
    let begun = Instant::now();
    while ask(&db).await? != "primary" {
        promise(begun.elapsed() < LIMIT, "the primary answers again", db.explain().to_string())?;
        sleep(Duration::from_millis(20)).await;
    }
    println!("the primary is back and answers again");
    for event in db.events(50).iter().filter(|event| !event.reason.contains("attempt")) {
        println!("  {event}");
    }
    manager.close().await?;
    Ok(())
}

/// Executes a database query with failover and returns the name of the server that answered.
async fn ask(db: &ServiceHandle) -> Outcome<String> {
    // Execute database query
    let done =
        db.execute(async |endpoint| query(&endpoint.authority(), "SELECT name FROM users").await).await?;
    Ok(done.value.trim_start_matches("row of ").to_owned())
}
