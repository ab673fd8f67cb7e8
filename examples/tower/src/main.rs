//! Requests through tower's layers while one of three servers is killed and one is frozen: no call
//! fails.
//!
//! `client.rs` is what a program copies; the rest starts servers, and shows what happens.

#![allow(clippy::disallowed_methods, reason = "a program that measures, in real time")]

mod client;
mod servers;

use std::error::Error;
use std::process::ExitCode;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

use example_support::{Load, Server, Shares, say};

/// Requests per second, and the seconds of the run, of the kill and of the freeze.
const RATE: f64 = 400.0;
const END: f64 = 9.0;
const KILL: f64 = 3.0;
const FREEZE: f64 = 6.0;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let result = match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["serve", name] => servers::serve(name),
        _ => run(),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

#[tokio::main]
async fn run() -> Result<(), Box<dyn Error>> {
    let mut servers = Server::start_all(3)?;
    let users = client::service(&servers)?;
    let http = client::client(&users);
    println!("Three servers, {RATE} requests per second for {END} seconds, every fourth a POST.");
    let mut load = Load::new(RATE);
    let number = AtomicU64::new(0);
    let (start, mut second) = (Instant::now(), 1.0);
    let mut shares = Shares::default();
    let (mut calls, mut failed, mut happened) = (0_u64, 0_u64, 0);
    loop {
        let ended = if start.elapsed().as_secs_f64() < END {
            load.tick(|| client::request(http.clone(), number.fetch_add(1, Relaxed))).await?
        } else {
            break;
        };
        count(ended, &mut calls, &mut failed, &mut shares);
        let now = start.elapsed().as_secs_f64();
        if now >= KILL && happened == 0 {
            happened = 1;
            say(now, "31", &format!("kills {}", servers[0].name()));
            servers[0].kill()?;
        }
        if now >= FREEZE && happened == 1 {
            happened = 2;
            say(now, "34", &format!("freezes {}: it accepts and never answers", servers[1].name()));
            servers[1].freeze()?;
        }
        if now >= second {
            second += 1.0;
            say(now, "0", &format!("{calls} calls, {failed} failed; {shares}"));
            shares = Shares::default();
        }
    }
    count(load.rest().await?, &mut calls, &mut failed, &mut shares);
    let stats = users.stats();
    println!(
        "\n{} calls needed another attempt, {} attempts went to another server.",
        stats.retried, stats.failovers
    );
    println!("calls={calls} failed={failed}");
    if failed > 0 { Err(format!("{failed} calls failed").into()) } else { Ok(()) }
}

fn count(ended: Vec<Result<String, String>>, calls: &mut u64, failed: &mut u64, shares: &mut Shares) {
    for answer in ended {
        *calls += 1;
        match answer {
            Ok(server) => shares.add(&server),
            Err(why) => {
                println!("FAILED {why}");
                *failed += 1;
            }
        }
    }
}
