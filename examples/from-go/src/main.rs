//! The Go package's README, in Rust, against real servers: see README.md.

#![allow(clippy::disallowed_methods, reason = "a program that measures, in real time")]

mod database;
mod discovery;
mod quick_start;
mod servers;
mod weighted;

use std::process::ExitCode;

/// The result of an example.
type Outcome<T = ()> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

#[tokio::main]
async fn main() -> ExitCode {
    match all().await {
        Ok(()) => {
            println!("\nfrom-go: all as promised");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("from-go: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn all() -> Outcome {
    println!("--- quick start");
    quick_start::run().await?;
    println!("\n--- microservice load balancing");
    weighted::run().await?;
    println!("\n--- database failover");
    database::run().await?;
    println!("\n--- service discovery");
    discovery::run().await
}

/// Fails with this message unless the condition holds.
fn promise(holds: bool, what: &str, seen: impl std::fmt::Debug) -> Outcome {
    if holds { Ok(()) } else { Err(format!("promised: {what}; seen: {seen:?}").into()) }
}
