//! The process that calls the service by its name, and counts.

use std::collections::BTreeMap;
use std::error::Error;
use std::time::{Duration, Instant};

use failover::config::CircuitBreakerConfig;
use failover::{Classify, FailoverConfig, FailoverManager, Outcome, ServiceHandle};
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, timeout};

use crate::{SERVICE, provider};

/// Calls begun in each second.
const RATE: f64 = 1_000.0;

/// What one call has come to: who answered, or why nobody did.
struct Finished {
    served_by: Result<String, String>,
    took: Duration,
}

#[derive(Default)]
struct Count {
    calls: u64,
    failed: u64,
    served: BTreeMap<String, u64>,
}

impl Count {
    fn add(&mut self, finished: &Finished) {
        self.calls += 1;
        match &finished.served_by {
            Ok(id) => *self.served.entry(id.clone()).or_default() += 1,
            Err(_) => self.failed += 1,
        }
    }

    fn shares(&self) -> String {
        let share =
            |(id, count): (&String, &u64)| format!("{id} {:.0} %", *count as f64 * 100.0 / self.calls as f64);
        self.served.iter().map(share).collect::<Vec<_>>().join(", ")
    }
}

/// Whatever a server answers, it has answered; a connection that was refused carried no request.
#[derive(Clone)]
struct Rules;

impl Classify<String, reqwest::Error> for Rules {
    fn classify(&self, reply: Result<&String, &reqwest::Error>) -> Outcome {
        match reply {
            Ok(_) => Outcome::Success,
            Err(error) if error.is_connect() => Outcome::NotSent,
            Err(_) => Outcome::Failure,
        }
    }
}

pub(crate) async fn call(seconds: &str) -> Result<(), Box<dyn Error>> {
    let seconds: f64 = seconds.parse()?;
    // A server that was started again is tried within a second, not after the usual five and more.
    let recovery = Duration::from_secs(1);
    let breaker =
        CircuitBreakerConfig::builder().recovery_timeout(recovery).max_recovery_timeout(recovery).build()?;
    let config = FailoverConfig::builder()
        .circuit_breaker(breaker)
        .timeout(Duration::from_secs(5))
        .attempt_timeout(Duration::from_millis(500))
        .build()?;
    let manager =
        FailoverManager::builder().provider(provider().await?).service_config(config).build().await?;
    let users = manager.service(SERVICE).await?;
    timeout(Duration::from_secs(20), all_are_known(&users))
        .await
        .map_err(|_| "not all three servers are found")?;
    let users = users.with_classifier(Rules);
    // What is asked for is on this machine, whatever proxy the environment names.
    let http = reqwest::Client::builder().no_proxy().build()?;
    println!("{:5.1}  calling {SERVICE} for {seconds} s", 0.0);
    let (begun, mut made, mut next) = (Instant::now(), 0.0, 1.0);
    let (mut all, mut second, mut last) = (Count::default(), Count::default(), Count::default());
    let mut times = Vec::new();
    let mut calls = JoinSet::new();
    let mut ticks = interval(Duration::from_millis(1));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    loop {
        ticks.tick().await;
        let now = begun.elapsed().as_secs_f64();
        // After a pause of the machine the calls that it swallowed are not made up for.
        made = f64::max(made, now * RATE - 0.1 * RATE);
        while made < now * RATE && now < seconds {
            made += 1.0;
            calls.spawn(one(users.clone(), http.clone()));
        }
        while let Some(finished) = calls.try_join_next() {
            let finished = finished?;
            if let Err(why) = &finished.served_by {
                println!("{now:5.1}  FAILED {why}");
            }
            all.add(&finished);
            second.add(&finished);
            times.push(finished.took);
        }
        if now >= next {
            next += 1.0;
            let freshness = if users.is_stale() { "the registry is away" } else { "the registry is there" };
            println!(
                "{now:5.1}  {} calls, {} failed; served by {}; {freshness}",
                second.calls,
                second.failed,
                second.shares()
            );
            last = std::mem::take(&mut second);
        }
        if now >= seconds && calls.is_empty() {
            break;
        }
    }
    let stats = users.stats();
    times.sort_unstable();
    let p99 = times.get(times.len() * 99 / 100).copied().unwrap_or_default().as_micros().div_ceil(1_000);
    println!(
        "calls={} failed={} retried={} failovers={} p99_ms={p99}",
        all.calls, all.failed, stats.retried, stats.failovers
    );
    manager.close().await?;
    if all.failed > 0 {
        return Err(format!("{} calls failed", all.failed).into());
    }
    if last.served.len() < 3 {
        return Err(format!("in the end only {} answered", last.shares()).into());
    }
    Ok(())
}

async fn all_are_known(users: &ServiceHandle) {
    while users.endpoints().len() < 3 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn one(users: ServiceHandle<Rules>, http: reqwest::Client) -> Finished {
    let began = Instant::now();
    let answer = users
        .execute(async |attempt| {
            http.get(attempt.url("/users/7")).send().await?.error_for_status()?.text().await
        })
        .await;
    let took = began.elapsed();
    let served_by = match answer {
        Ok(done) => Ok(done.endpoint.id().to_string()),
        Err(error) => Err(error.to_string()),
    };
    Finished { served_by, took }
}
