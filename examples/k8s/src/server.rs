//! A server that registers itself and is removed when it ends, even after a crash.

use std::error::Error;
use std::net::{IpAddr, SocketAddr};

use axum::Router;
use axum::extract::Path;
use axum::routing::get;
use failover::{Endpoint, FailoverManager};
use tokio::net::TcpListener;

use crate::{SERVICE, provider};

pub(crate) async fn serve(name: &str, address: &str, port: &str) -> Result<(), Box<dyn Error>> {
    let (ip, port): (IpAddr, u16) = (address.parse()?, port.parse()?);
    let listener = TcpListener::bind(SocketAddr::new(ip, port)).await?;
    let manager = FailoverManager::builder().provider(provider().await?).build().await?;
    let endpoint = Endpoint::builder(name, SERVICE, address, port).protocol("http").build()?;
    // Registered as long as the guard lives. After a crash the lease expires, and another server
    // removes the endpoint.
    let serving = manager.register_self(endpoint).await?;
    println!("{name} listens on {address}:{port} and is registered");
    let says = format!(", says {name}");
    let user = move |Path(id): Path<u32>| async move { format!("user {id}{says}") };
    axum::serve(listener, Router::new().route("/users/{id}", get(user))).await?;
    serving.close().await?;
    Ok(())
}
