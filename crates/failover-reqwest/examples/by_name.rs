//! Requests to a service by its name, with the small client and with a middleware.
//!
//! `cargo run -p failover-reqwest --example by_name`
//!
//! Of three servers one answers with errors, and one does not listen; no request fails.

use std::error::Error;
use std::net::SocketAddr;

use axum::http::StatusCode;
use axum::{Router, routing::get};
use failover_core::ServiceHandle;
use failover_reqwest::{Client, FailoverMiddleware};
use failover_tower::AnsweredBy;
use tokio::net::TcpListener;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    // With another of reqwest's TLS features, this line is not needed.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let well = serve(Router::new().route("/users/7", get(async || "ada"))).await?;
    let broken = serve(Router::new().fallback(async || StatusCode::INTERNAL_SERVER_ERROR)).await?;
    let nobody = TcpListener::bind("127.0.0.1:0").await?.local_addr()?;
    let users =
        ServiceHandle::fixed("user-service", [well, broken, nobody].map(|at| format!("http://{at}")))?;

    println!("the client:");
    let client = Client::new(users.clone())?;
    for _ in 0..6 {
        let response = client.get("http://user-service/users/7").send().await?.error_for_status()?;
        let by = response.extensions().get::<AnsweredBy>().cloned().ok_or("an endpoint has answered")?;
        println!("  {} from {}, attempt {}", response.text().await?, by.endpoint().authority(), by.attempt());
    }

    println!("the middleware:");
    let chain = reqwest_middleware::ClientBuilder::new(reqwest::Client::new())
        .with(FailoverMiddleware::new(users.clone()))
        .build();
    for _ in 0..3 {
        println!(
            "  {}",
            chain.get("http://user-service/users/7").send().await?.error_for_status()?.text().await?
        );
    }

    println!("a name that nobody knows:");
    let error = client.get("http://order-service/").send().await.err().ok_or("there is no such service")?;
    println!("  {error}");
    println!("\n{}", users.explain());
    Ok(())
}

async fn serve(routes: Router) -> std::io::Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    tokio::spawn(async move { axum::serve(listener, routes).await });
    Ok(address)
}
