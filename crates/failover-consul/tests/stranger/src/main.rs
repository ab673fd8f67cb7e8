//! The README's example in a program with another HTTP client, which must be unaffected.

use std::time::Duration;

use failover::consul::ConsulProvider;
use failover::{Endpoint, FailoverManager, HealthCheck};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    // A feature of another dependency would make this panic.
    reqwest::Client::builder().build()?;
    ConsulProvider::builder().address("https://127.0.0.1:1").build()?;
    println!("both HTTP clients were made: neither panics for the other's provider of cryptography");

    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let port = listener.local_addr()?.port();
    tokio::spawn(answer(listener));

    let consul = ConsulProvider::from_env()?;
    println!("asking {}", std::env::var("CONSUL_HTTP_ADDR").unwrap_or("the agent's usual address".to_owned()));
    let manager = FailoverManager::builder().provider(consul).build().await?;
    let check = HealthCheck::builder().path("/health").interval(Duration::from_secs(1)).build()?;
    let endpoint = Endpoint::builder("users-1", "user-service", "127.0.0.1", port)
        .protocol("http")
        .health_check(check)
        .build()?;
    let serving = manager.register_self(endpoint).await?;
    println!("registered users-1 of user-service, which the agent checks each second");

    let users = manager.service("user-service").await?;
    tokio::time::timeout(Duration::from_secs(5), users.ready()).await??;
    let url = users.select()?.endpoint().url("/");
    println!("user-service is found at {url}");
    let answer = reqwest::get(&url).await?.status();
    println!("and answers {answer}");
    if !answer.is_success() {
        return Err("user-service does not answer as it should".into());
    }

    serving.close().await?;
    let leaving = async {
        while users.select().is_ok() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(5), leaving).await.map_err(|_| "it is found after it has left")?;
    manager.close().await?;
    println!("it has deregistered, and discovery finds no endpoint of that name any more: good");
    Ok(())
}

/// Answers 200 to every request.
async fn answer(listener: TcpListener) {
    while let Ok((mut stream, _)) = listener.accept().await {
        let _ = stream.read(&mut [0; 1024]).await;
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n").await;
    }
}
