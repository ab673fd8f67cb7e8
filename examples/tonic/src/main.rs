//! gRPC calls while one of three servers is killed and one is frozen, through failover's channel and,
//! in the same run, through tonic's own balancer.
//!
//! `client.rs` is what a program copies; the rest starts servers, and shows what happens.

#![allow(clippy::disallowed_methods, reason = "a program that measures, in real time")]

mod client;
#[rustfmt::skip]
#[allow(clippy::pedantic, unreachable_pub, reason = "generated")]
mod greeter;
mod servers;

use std::error::Error;
use std::fmt;
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use example_support::{Load, Server, say};

/// Calls per second, half of them through each; the seconds of the run, of the kill and of the freeze.
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
    let (ours, tonics) = (client::client(&users), client::balanced(&servers)?);
    println!("Three servers, {} calls per second through each client for {END} seconds.", RATE / 2.0);
    let (mut load, number) = (Load::new(RATE), AtomicU64::new(0));
    let call = || {
        let (ours, tonics) = (ours.clone(), tonics.clone());
        let is_ours = number.fetch_add(1, Ordering::Relaxed) % 2 == 0;
        async move { (is_ours, if is_ours { client::greet(ours).await } else { client::greet(tonics).await }) }
    };
    let (mut counts, start, mut second, mut happened) = (Counts::default(), Instant::now(), 1.0, 0);
    while start.elapsed().as_secs_f64() < END {
        counts.add(load.tick(call).await?);
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
            say(now, "0", &format!("failover: {} | balance_list: {}", counts.ours, counts.tonics));
        }
    }
    counts.add(load.rest().await?);
    let (stats, Counts { ours, tonics }) = (users.stats(), counts);
    println!("\n{} calls of failover needed another attempt.", stats.retried);
    if let Some(why) = tonics.first {
        println!("The first failure of balance_list: {why:.40}");
    }
    println!("balance_list calls={} failed={}", tonics.calls, tonics.failed);
    println!("calls={} failed={}", ours.calls, ours.failed);
    match ours.first {
        Some(why) => Err(format!("{} calls failed, the first one with {why}", ours.failed).into()),
        None => Ok(()),
    }
}

/// The calls of both clients.
#[derive(Default)]
struct Counts {
    ours: Count,
    tonics: Count,
}

#[derive(Default)]
struct Count {
    calls: u64,
    failed: u64,
    first: Option<String>,
}

impl Counts {
    fn add(&mut self, ended: Vec<(bool, Result<(), String>)>) {
        for (is_ours, answer) in ended {
            let count = if is_ours { &mut self.ours } else { &mut self.tonics };
            count.calls += 1;
            if let Err(why) = answer {
                count.failed += 1;
                count.first.get_or_insert(why);
            }
        }
    }
}

impl fmt::Display for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} calls, {} failed", self.calls, self.failed)
    }
}
