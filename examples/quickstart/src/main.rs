//! The main use case with real servers: three HTTP servers under load, one of them killed and
//! another frozen, and no call fails.
//!
//! `cargo run -p quickstart` starts the servers, prints each event as it happens, and ends with a
//! table and the line `calls=N failed=N retried=N failovers=N p99_ms=N`. `--samples FILE` writes
//! the data for `cargo xtask picture`.

#![allow(clippy::disallowed_methods, reason = "a program that measures, in real time")]

mod calibrate;
mod checks;
mod client;
mod clock;
mod kills;
mod live;
mod load;
mod narrator;
mod report;
mod samples;
mod servers;

use std::error::Error;
use std::process::ExitCode;
use std::time::Duration;

use failover::config::{CircuitBreakerConfig, RetryBudgetConfig};
use failover::memory::MemoryProvider;
use failover::{Endpoint, FailoverConfig, FailoverManager, StrategyKind};

use calibrate::Plan;
use client::{Client, HttpRules};
use clock::Clock;
use samples::Mark;
use servers::Server;

/// Duration of the load, in seconds.
const LOAD: f64 = 12.0;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let result = match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => run(story(None)),
        ["--samples", file] => run(story(Some(file))),
        ["kills", number] => match number.parse() {
            Ok(number) => run(kills::story(number)),
            Err(_) => Err(format!("`{number}` is no number of kills").into()),
        },
        ["serve", name, port] => serve(name, port),
        _ => Err("usage: quickstart [--samples FILE | kills NUMBER]".into()),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn serve(name: &str, port: &str) -> Result<(), Box<dyn Error>> {
    Ok(servers::serve(name.to_owned(), port.parse()?)?)
}

#[tokio::main]
async fn run(story: impl Future<Output = Result<(), Box<dyn Error>>>) -> Result<(), Box<dyn Error>> {
    tokio::select! {
        result = story => result,
        // Dropping the scenario ends the servers.
        _ = tokio::signal::ctrl_c() => Err("interrupted".into()),
    }
}

async fn story(samples: Option<&str>) -> Result<(), Box<dyn Error>> {
    let mut servers = servers::start(3)?;
    for server in &servers {
        println!("{} listens on 127.0.0.1:{}, process {}", server.name(), server.port(), server.pid());
    }
    let plan = Plan::measure(&servers).await?;
    println!("{plan}");
    let client = Client::new()?;
    let manager = FailoverManager::builder()
        .provider(MemoryProvider::new())
        .service_config(config(Duration::from_secs(1), plan.attempt_timeout())?)
        .build()
        .await?;
    for server in &servers {
        let endpoint = Endpoint::builder(server.name(), "user-service", "127.0.0.1", server.port());
        manager.register_endpoint(endpoint.protocol("http").build()?).await?;
    }
    checks::run(&manager, &client, &servers).await?;

    let users = manager.service("user-service").await?.with_classifier(HttpRules);
    println!("\ncalling {} for {LOAD} s\n", users.name());
    let clock = Clock::start();
    let narrator = tokio::spawn(narrator::print(users.subscribe(), clock));
    let goes_on = move || clock.seconds() < LOAD;
    let load = tokio::spawn(load::run(users.clone(), client, clock, plan.rate(), goes_on));
    // The first server is not disturbed: slow replies there are caused by the machine.
    let plain = tokio::spawn(calibrate::slowest(calibrate::url(&servers[0]), goes_on));
    let marks = disturb(&mut servers, clock).await?;
    let mut ledger = load.await??;
    narrator.abort();

    let stats = users.stats();
    println!("\n{}", report::table(&stats));
    let names: Vec<_> = servers.iter().map(|server| server.name().to_owned()).collect();
    let mut complaints = ledger.complaints(&names);
    complaints.extend(ledger.differences(&stats));
    for complaint in &complaints {
        println!("NOT GOOD: {complaint}");
    }
    if ledger.rate() < 0.8 * plan.rate() {
        println!("the machine became busier: {:.0} calls per second were made", ledger.rate());
    }
    let slowest = plain.await??;
    if slowest >= plan.attempt_timeout() {
        println!(
            "the machine paused: a plain request without the library took {} ms; calls that failed then say \
             nothing about the library",
            slowest.as_millis()
        );
    }
    let summary = ledger.summary();
    println!("{summary}");
    if let Some(file) = samples {
        std::fs::write(file, ledger.samples().csv(&marks, &summary))?;
    }
    manager.close().await?;
    if complaints.is_empty() { Ok(()) } else { Err(complaints.join("; ").into()) }
}

/// Configures the service: an attempt times out after `attempt_timeout`, and a server with five
/// failures in a row gets no calls for `recovery`. Calls go to the server with the fewest in
/// flight, so that a frozen server gets few of them even before its breaker opens.
fn config(recovery: Duration, attempt_timeout: Duration) -> Result<FailoverConfig, failover::Error> {
    let breaker = CircuitBreakerConfig::builder()
        .failure_threshold(5)
        .recovery_timeout(recovery)
        .max_recovery_timeout(recovery)
        .build()?;
    // Until an attempt times out, all calls may start on a frozen server: 3 600. Each of their
    // retries costs 5 tokens, and the default of 500 would have to be earned back in between.
    let budget = RetryBudgetConfig::builder().capacity(20_000).build()?;
    FailoverConfig::builder()
        .strategy(StrategyKind::LeastConnections)
        .timeout(Duration::from_secs(10))
        .max_retries(4)
        .attempt_timeout(attempt_timeout)
        .circuit_breaker(breaker)
        .retry_budget(budget)
        .build()
}

/// Kills and freezes servers at fixed times.
async fn disturb(servers: &mut [Server], clock: Clock) -> Result<Vec<Mark>, Box<dyn Error>> {
    let mut marks = Vec::new();
    let mut mark = |kind, server: &Server| {
        marks.push(Mark { seconds: clock.seconds(), kind, server: server.name().to_owned() });
    };
    clock.until(2.0).await;
    clock.say(format_args!("** killing {} (SIGKILL)", servers[1].name()));
    servers[1].kill()?;
    mark("kill", &servers[1]);

    clock.until(5.0).await;
    servers[1].restart()?;
    mark("return", &servers[1]);
    clock.say(format_args!("** started {} again, process {}", servers[1].name(), servers[1].pid()));

    #[cfg(unix)]
    {
        clock.until(7.0).await;
        clock.say(format_args!(
            "** freezing {} (SIGSTOP): it takes calls and answers none",
            servers[2].name()
        ));
        servers[2].freeze()?;
        mark("freeze", &servers[2]);

        clock.until(9.5).await;
        clock.say(format_args!("** {} goes on (SIGCONT)", servers[2].name()));
        servers[2].thaw()?;
        mark("thaw", &servers[2]);
    }
    #[cfg(not(unix))]
    clock.say("a server is frozen on Unix only; this part is left out here");

    clock.until(LOAD).await;
    Ok(marks)
}
