//! Serves the status page of a service with three endpoints, one of which fails at times.
//!
//! `cargo run -p failover-status --example serve`, then open the address that it prints. The token of
//! the operations is `FAILOVER_TOKEN`, if that is set.

use std::io::Error;
use std::time::Duration;

use axum::Router;
use failover_core::{Endpoint, FailoverManager};
use failover_memory::MemoryProvider;
use failover_status::{Operations, router, router_with_operations};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let manager = FailoverManager::builder().provider(MemoryProvider::new()).build().await?;
    for (id, port) in [("users-1", 8081), ("users-2", 8082), ("users-3", 8083)] {
        let endpoint = Endpoint::builder(id, "user-service", "127.0.0.1", port).protocol("http").build()?;
        manager.register_endpoint(endpoint).await?;
    }
    let users = manager.service("user-service").await?;
    tokio::spawn(async move {
        for number in 0_u64.. {
            // `users-2` refuses for 20 s of each minute.
            let fails = number % 6_000 > 4_000;
            let _ = users
                .execute(async |endpoint| {
                    tokio::time::sleep(Duration::from_millis(1 + number % 7)).await;
                    if fails && endpoint.id() == "users-2" {
                        Err(Error::other("connection refused"))
                    } else {
                        Ok(())
                    }
                })
                .await;
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });

    let pages = match std::env::var("FAILOVER_TOKEN") {
        Ok(token) => router_with_operations(&manager, Operations::with_token(token)?),
        Err(_) => router(&manager),
    };
    let app = Router::new().nest("/failover", pages);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    println!("http://{}/failover", listener.local_addr()?);
    axum::serve(listener, app).await?;
    Ok(())
}
