//! Requests per second through the client and the middleware, and through reqwest alone, in turns, on one
//! endpoint.
//!
//! `cargo run --release -p failover-reqwest --example throughput`

#![allow(clippy::disallowed_methods, reason = "a program that measures")]

use std::error::Error;
use std::time::{Duration, Instant};

use failover_core::ServiceHandle;
use failover_reqwest::{Client, FailoverMiddleware};

const TURNS: usize = 20;
const TURN: Duration = Duration::from_millis(500);
const CONCURRENT: usize = 8;

fn main() -> Result<(), Box<dyn Error>> {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
    listener.set_nonblocking(true)?;
    let url = format!("http://{}/users/7", listener.local_addr()?);
    let users = ServiceHandle::fixed("users", [url.trim_end_matches("/users/7")])?;
    let serving = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    serving.spawn(async move {
        let routes = axum::Router::new().fallback(|| async { "hello" });
        axum::serve(tokio::net::TcpListener::from_std(listener).expect("a socket"), routes).await
    });
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let bare = reqwest::Client::new();
        let client = Client::new(users.clone())?;
        let chain = reqwest_middleware::ClientBuilder::new(reqwest::Client::new())
            .with(FailoverMiddleware::new(users))
            .build();
        let named = "http://users/users/7";
        let mut rates = [const { Vec::new() }; 3];
        for turn in 0..=TURNS {
            let of_turn = [
                rate(async || drop(bare.get(&url).send().await.expect("an answer").bytes().await)).await,
                rate(async || drop(client.get(named).send().await.expect("an answer").bytes().await)).await,
                rate(async || drop(chain.get(named).send().await.expect("an answer").bytes().await)).await,
            ];
            // The first turn makes the connections.
            if turn > 0 {
                rates.iter_mut().zip(of_turn).for_each(|(rates, rate)| rates.push(rate));
            }
        }
        let [bare, client, chain] = rates.map(median);
        println!(
            "bare={bare:.0}/s client={client:.0}/s ({:.1}%) middleware={chain:.0}/s ({:.1}%)",
            100.0 * client / bare,
            100.0 * chain / bare
        );
        Ok(())
    })
}

/// Returns the requests per second of a turn.
async fn rate(request: impl AsyncFn()) -> f64 {
    let start = Instant::now();
    let caller = || async {
        let mut calls = 0_u32;
        while start.elapsed() < TURN {
            request().await;
            calls += 1;
        }
        calls
    };
    let calls: u32 =
        futures_util::future::join_all((0..CONCURRENT).map(|_| caller())).await.into_iter().sum();
    f64::from(calls) / start.elapsed().as_secs_f64()
}

fn median(mut turns: Vec<f64>) -> f64 {
    turns.sort_by(f64::total_cmp);
    turns[turns.len() / 2]
}
