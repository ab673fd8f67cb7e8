//! A server that registers itself, has Consul check it, and deregisters when its standard input
//! ends.

use std::error::Error;
use std::io::Read;
use std::time::Duration;

use axum::Router;
use axum::extract::Path;
use axum::routing::get;
use failover::consul::ConsulProvider;
use failover::{Endpoint, FailoverManager, HealthCheck};
use tokio::net::TcpListener;
use tokio::sync::oneshot;

use crate::SERVICE;

pub(crate) async fn serve(name: &str, port: &str) -> Result<(), Box<dyn Error>> {
    let port: u16 = port.parse()?;
    let listener = TcpListener::bind(("127.0.0.1", port)).await?;
    let says = format!(", says {name}");
    let user = move |Path(id): Path<u32>| async move { format!("user {id}{says}") };
    let routes = Router::new().route("/users/{id}", get(user)).route("/health", get(async || "well"));
    tokio::spawn(async move { axum::serve(listener, routes).await });

    let manager = FailoverManager::builder().provider(ConsulProvider::from_env()?).build().await?;
    // Consul checks once a second, and one failure is enough.
    let check = HealthCheck::builder()
        .path("/health")
        .interval(Duration::from_secs(1))
        .timeout(Duration::from_millis(500))
        .healthy_threshold(1)
        .unhealthy_threshold(1)
        .build()?;
    let endpoint =
        Endpoint::builder(name, SERVICE, "127.0.0.1", port).protocol("http").health_check(check).build()?;
    let serving = manager.register_self(endpoint).await?;
    println!("{name} listens on 127.0.0.1:{port} and is registered");

    let _ = input_ended().await;
    serving.drain_for(Duration::from_millis(500)).close().await?;
    println!("{name} is deregistered");
    manager.close().await?;
    Ok(())
}

/// Returns a channel that closes at the end of standard input: the starting process asks this one
/// to leave, or is gone.
fn input_ended() -> oneshot::Receiver<()> {
    let (sender, receiver) = oneshot::channel();
    std::thread::spawn(move || {
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        let _ = sender.send(());
    });
    receiver
}
