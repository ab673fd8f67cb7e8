//! Faults under load, in virtual time: ten endpoints that answer in 10 ms, 1 000 calls started per
//! second, 1 s per attempt and 3 s per call.

use std::future::pending;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use failover_core::{Clock, FailoverConfig, Outcome, Random, ServiceHandle, StrategyKind};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};

const RATE: u32 = 1_000;
const VICTIM: &str = "10.0.0.3:80";

/// How an endpoint responds to an attempt.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fault {
    /// Answers in 10 ms.
    None,
    /// Refuses connections.
    Refuses,
    /// Accepts the request and never answers.
    Hangs,
}

/// The simulated state, shared by all calls of a run.
struct World {
    faulty: AtomicBool,
    fault: Fault,
    attempts: AtomicU64,
    to_victim: AtomicU64,
    slow: AtomicU64,
    failed: AtomicU64,
}

fn service(strategy: StrategyKind, seed: u64) -> ServiceHandle {
    let config = FailoverConfig::builder()
        .strategy(strategy)
        .timeout(Duration::from_secs(3))
        .attempt_timeout(Duration::from_secs(1))
        .max_retries(1)
        .build()
        .expect("valid");
    ServiceHandle::builder("users")
        .endpoints((0..10).map(|n| format!("10.0.0.{n}:80")))
        .config(config)
        .clock(Clock::tokio())
        .random(Random::seeded(seed))
        .build()
        .expect("valid")
}

async fn attempt(world: &World, id: &str) -> Result<(), &'static str> {
    world.attempts.fetch_add(1, Ordering::Relaxed);
    let faulty = id == VICTIM && world.faulty.load(Ordering::Relaxed);
    world.to_victim.fetch_add(u64::from(faulty), Ordering::Relaxed);
    match if faulty { world.fault } else { Fault::None } {
        Fault::None => {
            sleep(Duration::from_millis(10)).await;
            // Calls in progress at the crash are lost.
            let crashed =
                world.fault == Fault::Refuses && id == VICTIM && world.faulty.load(Ordering::Relaxed);
            if crashed { Err("connection reset") } else { Ok(()) }
        }
        Fault::Refuses => Err("connection refused"),
        Fault::Hangs => pending().await,
    }
}

/// Runs a healthy second, then the fault for `seconds`.
async fn run(strategy: StrategyKind, seed: u64, fault: Fault, seconds: u32) -> (ServiceHandle, Arc<World>) {
    let service = service(strategy, seed);
    let world = Arc::new(World {
        faulty: AtomicBool::new(false),
        fault,
        attempts: AtomicU64::new(0),
        to_victim: AtomicU64::new(0),
        slow: AtomicU64::new(0),
        failed: AtomicU64::new(0),
    });
    let began = Instant::now();
    let mut calls = JoinSet::new();
    for n in 0..RATE * (seconds + 1) {
        sleep_until(began + Duration::from_secs(1) * n / RATE).await;
        if n == RATE {
            world.faulty.store(true, Ordering::Relaxed);
        }
        let (service, world) = (service.clone(), Arc::clone(&world));
        calls.spawn(async move {
            let began = Instant::now();
            let done = service
                .call()
                .classify(|reply: Result<&(), &&'static str>| match reply {
                    Ok(()) => Outcome::Success,
                    Err(_) => Outcome::NotSent,
                })
                .execute(async |endpoint| attempt(&world, endpoint.id().as_str()).await)
                .await;
            world.failed.fetch_add(u64::from(done.is_err()), Ordering::Relaxed);
            let slow = began.elapsed() >= Duration::from_millis(50);
            world.slow.fetch_add(u64::from(slow), Ordering::Relaxed);
            began.elapsed()
        });
    }
    while let Some(took) = calls.join_next().await {
        assert!(took.expect("no panic") <= Duration::from_millis(3_005), "no call outlives its deadline");
    }
    (service, world)
}

fn read(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}

#[tokio::test(start_paused = true)]
async fn one_crash_of_ten_is_not_seen_and_costs_at_most_seven_attempts_in_twenty_seconds() {
    for (strategy, seed) in
        [(StrategyKind::RoundRobin, 1), (StrategyKind::LeastConnections, 2), (StrategyKind::Random, 3)]
    {
        let (service, world) = run(strategy, seed, Fault::Refuses, 20).await;
        assert_eq!(read(&world.failed), 0, "{strategy}");
        let wasted = read(&world.to_victim);
        assert!((2..=7).contains(&wasted), "{strategy}: {wasted} attempts at the dead endpoint");
        let stats = service.stats();
        let failures: u64 = stats.endpoints.iter().map(|endpoint| endpoint.failures).sum();
        let attempts = read(&world.attempts);
        assert_eq!(attempts, stats.total_requests + failures, "{strategy}: one more for each that failed");
        assert!(attempts * 1_000 <= stats.total_requests * 1_001, "{strategy}: {attempts} attempts");
        assert_eq!(stats.in_flight, 0);
    }
}

#[tokio::test(start_paused = true)]
async fn one_black_hole_of_ten_is_not_seen_and_delays_what_was_sent_before_it_was_known() {
    // Round robin sends a tenth of a second's calls before the fifth timeout, and five more; least
    // connections sees that its calls do not return, and sends few. Each half-open round adds up to
    // three.
    let rounds = 3 * 3;
    for (strategy, most) in
        [(StrategyKind::RoundRobin, 105 + rounds), (StrategyKind::LeastConnections, 10 + rounds)]
    {
        let (service, world) = run(strategy, 4, Fault::Hangs, 20).await;
        assert_eq!(read(&world.failed), 0, "{strategy}");
        let slow = read(&world.slow);
        assert!((5..=most).contains(&slow), "{strategy}: {slow} calls were late");
        assert_eq!(service.stats().in_flight, 0);
    }
}

#[tokio::test(start_paused = true)]
async fn the_same_seed_gives_the_same_events() {
    let events = async || {
        let (service, _) = run(StrategyKind::Random, 5, Fault::Hangs, 3).await;
        service.events(usize::MAX).iter().map(|event| format!("{:?} {event}", event.at)).collect::<Vec<_>>()
    };
    let first = events().await;
    assert!(first.len() > 10);
    assert_eq!(first, events().await);
}
