//! Answers `GET /metrics` for a service with two endpoints, one of which fails.
//!
//! `cargo run -p failover-metrics --example scrape`, then `curl` the address that it prints.

use std::io::Error;

use failover_core::{Endpoint, FailoverManager};
use failover_memory::MemoryProvider;
use failover_metrics::{CONTENT_TYPE, render};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let manager = FailoverManager::builder().provider(MemoryProvider::new()).build().await?;
    for (id, port) in [("users-1", 8081), ("users-2", 8082)] {
        manager.register_endpoint(Endpoint::builder(id, "user-service", "127.0.0.1", port).build()?).await?;
    }
    let users = manager.service("user-service").await?;
    for _ in 0..100 {
        let call = users.execute(async |endpoint| {
            if endpoint.id() == "users-2" { Err(Error::other("connection refused")) } else { Ok(()) }
        });
        call.await?;
    }

    // A program with a web framework returns the text from a handler instead.
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("http://{}/metrics", listener.local_addr()?);
    loop {
        let (mut stream, _) = listener.accept().await?;
        let _request = stream.read(&mut [0; 4096]).await?;
        let body = render(&manager);
        let head =
            format!("HTTP/1.1 200 OK\r\ncontent-type: {CONTENT_TYPE}\r\ncontent-length: {}\r\n", body.len());
        stream.write_all(format!("{head}connection: close\r\n\r\n{body}").as_bytes()).await?;
    }
}
