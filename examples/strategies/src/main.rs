//! Distribution of calls by weighted, geographic and sticky selection, with real servers.
//!
//! `cargo run -p strategies` prints each server's actual and expected share, and fails if they
//! differ.

mod servers;

use std::collections::BTreeMap;
use std::error::Error;

use failover::config::{LoadBalancerConfig, Locality};
use failover::{Algorithm, Endpoint, FailoverConfig, ServiceHandle, StrategyKind};

use servers::{Server, ask};

type Shares = BTreeMap<String, usize>;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    weighted().await?;
    geographic().await?;
    sticky().await?;
    println!("\nevery share is what it was to be");
    Ok(())
}

async fn start(names: &[&'static str]) -> Result<Vec<Server>, Box<dyn Error>> {
    let mut servers = Vec::new();
    for name in names {
        servers.push(Server::start(name).await?);
    }
    Ok(servers)
}

/// Checks weighted round robin, which is exact over a period, here of 6 calls.
async fn weighted() -> Result<(), Box<dyn Error>> {
    println!("weighted round robin, weights 1, 2 and 3, 600 calls");
    let servers = start(&["one", "two", "three"]).await?;
    let balancer = LoadBalancerConfig::builder().algorithm(Algorithm::Weighted);
    let balancer = balancer.weight("one", 1).weight("two", 2).weight("three", 3).build()?;
    let config = FailoverConfig::builder().load_balancer(balancer).build()?;
    let users = service(&servers, config, |_| None)?;
    let shares = calls(&users, 600).await?;
    expect(&shares, &[("one", 100..=100), ("two", 200..=200), ("three", 300..=300)])
}

/// Checks geographic selection: the process's own zone comes first; with half of it gone it takes
/// 70 % (1.4 times its half), and the rest of the region takes the others.
async fn geographic() -> Result<(), Box<dyn Error>> {
    println!("\ngeographic, this process in zone eu-1, 1 000 calls each");
    let mut servers = start(&["near-1", "near-2", "region-1", "region-2", "far"]).await?;
    let config = FailoverConfig::builder()
        .strategy(StrategyKind::Geographic)
        .locality(Locality::new("eu", "eu-1")?)
        .build()?;
    let place = |name: &str| match name.split('-').next() {
        Some("near") => Some(("eu", "eu-1")),
        Some("region") => Some(("eu", "eu-2")),
        _ => Some(("us", "us-1")),
    };
    let users = service(&servers, config, place)?;
    println!("all are well:");
    let shares = zones(&calls(&users, 1_000).await?);
    expect(&shares, &[("near", 1_000..=1_000)])?;

    servers.remove(1).stop().await;
    // Five failures in a row open its breaker; these calls are retried elsewhere, and none fails.
    calls(&users, 100).await?;
    println!("near-2 is gone:");
    let shares = zones(&calls(&users, 1_000).await?);
    // Four standard deviations of 1 000 draws at 0.7.
    expect(&shares, &[("near", 642..=758), ("region", 242..=358)])
}

/// Checks sticky selection: sessions stay on their server, and only those of the lost server move.
async fn sticky() -> Result<(), Box<dyn Error>> {
    println!("\nsticky, 60 sessions on 3 servers, 3 calls each before and after one server is gone");
    let mut servers = start(&["a", "b", "c"]).await?;
    let config = FailoverConfig::builder().load_balancer(LoadBalancerConfig::builder().sticky(true).build()?);
    let users = service(&servers, config.build()?, |_| None)?;
    let first = sessions(&users).await?;
    servers.remove(2).stop().await;
    // A session moves once the breaker of its server is open; until then, its retries go elsewhere.
    calls(&users, 100).await?;
    let second = sessions(&users).await?;
    let third = sessions(&users).await?;
    let on_c = first.iter().filter(|name| *name == "c").count();
    let moved = first.iter().zip(&second).filter(|(before, after)| before != after).count();
    println!("  {on_c} sessions were on c, to be 20; {moved} moved, to be {on_c}; then none, to be none");
    if on_c != 20 || moved != on_c || second != third || second.iter().any(|name| name == "c") {
        return Err("a session is not where it was to be".into());
    }
    Ok(())
}

/// Returns the server of each of 60 sessions; fails if a session is on two servers.
async fn sessions(users: &ServiceHandle) -> Result<Vec<String>, Box<dyn Error>> {
    let mut places = Vec::new();
    for session in 0..60 {
        let key = format!("session-{session}");
        let mut replies = Vec::new();
        for _ in 0..3 {
            let done = users.call().key(&key).execute(async |endpoint| ask(&endpoint).await).await?;
            replies.push(done.value);
        }
        replies.dedup();
        match <[String; 1]>::try_from(replies) {
            Ok([place]) => places.push(place),
            Err(places) => return Err(format!("{key} was on {}", places.join(" and "))).map_err(Into::into),
        }
    }
    Ok(places)
}

fn service(
    servers: &[Server],
    config: FailoverConfig,
    place: impl Fn(&str) -> Option<(&'static str, &'static str)>,
) -> Result<ServiceHandle, Box<dyn Error>> {
    let mut builder = ServiceHandle::builder("user-service").config(config);
    for server in servers {
        let mut endpoint = Endpoint::builder(server.name, "user-service", "127.0.0.1", server.port);
        if let Some((region, zone)) = place(server.name) {
            endpoint = endpoint.region(region).zone(zone);
        }
        builder = builder.endpoint(endpoint.protocol("http").build()?);
    }
    Ok(builder.build()?)
}

async fn calls(users: &ServiceHandle, count: usize) -> Result<Shares, Box<dyn Error>> {
    let mut shares = Shares::new();
    for _ in 0..count {
        let done = users.execute(async |endpoint| ask(&endpoint).await).await?;
        *shares.entry(done.value).or_default() += 1;
    }
    Ok(shares)
}

fn zones(shares: &Shares) -> Shares {
    let mut zones = Shares::new();
    for (name, share) in shares {
        *zones.entry(name.split('-').next().unwrap_or_default().to_owned()).or_default() += share;
    }
    zones
}

fn expect(
    shares: &Shares,
    expected: &[(&str, std::ops::RangeInclusive<usize>)],
) -> Result<(), Box<dyn Error>> {
    for (name, range) in expected {
        let share = shares.get(*name).copied().unwrap_or(0);
        println!("  {name:8} {share:5} calls, to be {range:?}");
        if !range.contains(&share) {
            return Err(format!("{name} got {share}").into());
        }
    }
    match shares.keys().find(|name| !expected.iter().any(|(expected, _)| expected == name)) {
        Some(stranger) => Err(format!("{stranger} was to get none").into()),
        None => Ok(()),
    }
}
