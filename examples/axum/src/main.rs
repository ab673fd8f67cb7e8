//! A service that calls another one, while one of that one's three servers is killed and one frozen:
//! no call fails. Then the service is asked to end, and answers what is in flight.
//!
//! `orders.rs` and `telemetry.rs` are what a program copies; the rest starts servers, and shows what
//! happens.

#![allow(clippy::disallowed_methods, reason = "a program that measures, in real time")]

mod collector;
mod orders;
mod telemetry;

use std::error::Error;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::Path;
use axum::routing::get;
use collector::Collector;
use example_support::{Load, Server, listen, say};
use tokio::task::JoinSet;
use tokio::time::sleep;

/// Requests per second, and the seconds of the run, of the kill and of the freeze.
const RATE: f64 = 200.0;
const END: f64 = 6.0;
const KILL: f64 = 2.0;
const FREEZE: f64 = 4.0;
/// Requests in flight when the service is asked to end, and the order whose user takes long.
const LAST: usize = 20;
const SLOW: u64 = 1_000;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let result = match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["users", name] => serve_users(name),
        ["orders", collector, ref users @ ..] => serve_orders(collector, users),
        ["stay"] => run(true),
        _ => run(false),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

#[tokio::main(flavor = "current_thread")]
async fn serve_users(name: &str) -> Result<(), Box<dyn Error>> {
    let name = name.to_owned();
    let user = async move |Path(id): Path<u64>| {
        if id == SLOW {
            sleep(Duration::from_millis(300)).await;
        }
        format!("ada, says {name}")
    };
    Ok(axum::serve(listen().await?, Router::new().route("/users/{id}", get(user))).await?)
}

#[tokio::main]
async fn serve_orders(collector: &str, users: &[&str]) -> Result<(), Box<dyn Error>> {
    let traces = telemetry::start(collector)?;
    let users: Vec<_> = users.iter().map(|user| user.parse()).collect::<Result<_, _>>()?;
    orders::serve(listen().await?, orders::manager(&users).await?).await?;
    traces.shutdown()?;
    Ok(())
}

#[tokio::main]
async fn run(stay: bool) -> Result<(), Box<dyn Error>> {
    let collector = Collector::default();
    let traces = collector.start().await?;
    let names = ["users-1", "users-2", "users-3"];
    let mut users =
        names.map(|name| Server::start(name, &["users", name])).into_iter().collect::<Result<Vec<_>, _>>()?;
    let addresses: Vec<_> = users.iter().map(|server| server.address().to_string()).collect();
    let arguments = ["orders", &traces].into_iter().chain(addresses.iter().map(String::as_str));
    let mut orders = Server::start("orders", &arguments.collect::<Vec<_>>())?;
    let url = format!("http://{}", orders.address());
    println!("orders answers at {url}: /orders/7, /metrics, /failover/");
    println!("{RATE} requests per second for {END} seconds:");

    let client = reqwest::Client::new();
    let (mut calls, mut failed) = (0_u64, 0_u64);
    let mut count = |answers: Vec<Result<String, String>>| {
        for answer in answers {
            calls += 1;
            failed += u64::from(answer.inspect_err(|why| println!("FAILED {why}")).is_err());
        }
        (calls, failed)
    };
    let mut load = Load::new(RATE);
    let (start, mut second, mut happened) = (Instant::now(), 1.0, 0);
    while start.elapsed().as_secs_f64() < END {
        let (calls, failed) = count(load.tick(|| ask(client.clone(), format!("{url}/orders/7"))).await?);
        let now = start.elapsed().as_secs_f64();
        if now >= KILL && happened == 0 {
            happened = 1;
            say(now, "31", "kills users-1");
            users[0].kill()?;
        }
        if now >= FREEZE && happened == 1 {
            happened = 2;
            say(now, "34", "freezes users-2: it accepts and never answers");
            users[1].freeze()?;
        }
        if now >= second {
            second += 1.0;
            say(now, "0", &format!("{calls} calls, {failed} failed"));
        }
    }
    count(load.rest().await?);
    let metrics = ask(client.clone(), format!("{url}/metrics")).await?;
    println!("\nSome of its metrics:");
    for line in metrics.lines().filter(|line| line.starts_with("failover_endpoint_available{")) {
        println!("  {line}");
    }
    if stay {
        println!("\n{url}/failover/ shows the rest. Ctrl-C ends the example.");
        tokio::signal::ctrl_c().await?;
        return Ok(());
    }

    println!("\n{LAST} slow requests are in flight, and orders is asked to end (SIGTERM):");
    let last: JoinSet<_> = (0..LAST).map(|_| ask(client.clone(), format!("{url}/orders/{SLOW}"))).collect();
    sleep(Duration::from_millis(150)).await;
    orders.terminate()?;
    let (calls, failed) = count(last.join_all().await);
    let ended = loop {
        match orders.ended()? {
            Some(ended) => break ended,
            None => sleep(Duration::from_millis(10)).await,
        }
    };
    println!("  all have ended, and so has orders: {ended}");
    if let Some(trace) = collector.trace_with("timeout") {
        println!("\nA trace that the collector received, of a call that first went to users-2:\n{trace}");
    }
    println!("calls={calls} failed={failed}");
    if failed > 0 || !ended.success() {
        Err(format!("{failed} calls failed; orders: {ended}").into())
    } else {
        Ok(())
    }
}

/// Sends one request, and returns its answer.
async fn ask(client: reqwest::Client, url: String) -> Result<String, String> {
    let answer = client.get(url).send().await.and_then(reqwest::Response::error_for_status);
    answer.map_err(|error| format!("{error:?}"))?.text().await.map_err(|error| format!("{error:?}"))
}
