pub(crate) mod sessions;
pub(crate) mod slow_start;
pub(crate) mod strategies;
pub(crate) mod weights;
pub(crate) mod zones;

use std::collections::{HashMap, HashSet};
use std::thread;

use super::*;
use crate::client::service::ServiceHandle;
use crate::config::{FailoverConfig, StrategyKind};
use crate::contract::classify::Outcome;
use crate::error::ErrorKind;

fn config(strategy: StrategyKind) -> FailoverConfig {
    FailoverConfig::builder().strategy(strategy).build().expect("valid")
}

fn service(strategy: StrategyKind, count: usize, seed: u64) -> ServiceHandle {
    ServiceHandle::builder("users")
        .endpoints((0..count).map(|n| format!("10.0.0.{n}:80")))
        .config(config(strategy))
        .random(Random::seeded(seed))
        .build()
        .expect("valid")
}

fn pick_id(service: &ServiceHandle) -> String {
    let pick = service.select().expect("available");
    let id = pick.endpoint().id().to_string();
    pick.finish(Outcome::Success);
    id
}

fn counts(ids: impl Iterator<Item = String>) -> HashMap<String, usize> {
    ids.fold(HashMap::new(), |mut counts, id| {
        *counts.entry(id).or_default() += 1;
        counts
    })
}

#[test]
fn round_robin_is_even_on_four_threads_in_a_rush() {
    let service = service(StrategyKind::RoundRobin, 10, 1);
    let threads: Vec<_> = (0..4)
        .map(|_| {
            let service = service.clone();
            thread::spawn(move || (0..2_500).map(|_| pick_id(&service)).collect::<Vec<_>>())
        })
        .collect();
    let picked = threads.into_iter().flat_map(|thread| thread.join().expect("no panic"));
    let counts = counts(picked);
    let (least, most) = (counts.values().min().unwrap(), counts.values().max().unwrap());
    // One call, plus one for each thread that may have unused turns.
    assert!(counts.len() == 10 && most - least <= 5, "{counts:?}");
}

#[test]
fn round_robin_takes_each_in_turn_from_a_random_place() {
    let mut starts = Vec::new();
    for seed in 0..20 {
        let service = service(StrategyKind::RoundRobin, 5, seed);
        let first: Vec<_> = (0..5).map(|_| pick_id(&service)).collect();
        let second: Vec<_> = (0..5).map(|_| pick_id(&service)).collect();
        assert_eq!(first, second);
        assert_eq!(counts(first.iter().cloned()).len(), 5);
        starts.push(first[0].clone());
    }
    starts.sort();
    starts.dedup();
    assert!(starts.len() >= 3, "clients start together: {starts:?}");
}

#[test]
fn random_is_even() {
    let service = service(StrategyKind::Random, 10, 1);
    let counts = counts((0..10_000).map(|_| pick_id(&service)));
    assert!(counts.values().all(|count| (850..1_150).contains(count)), "{counts:?}");
}

#[test]
fn least_connections_never_picks_the_one_busy_endpoint_of_two_or_three() {
    for count in [2, 3] {
        let service = service(StrategyKind::LeastConnections, count, 1);
        let busy = service.select().expect("available");
        let id = busy.endpoint().id().to_string();
        let picked = counts((0..1_000).map(|_| pick_id(&service)));
        assert_eq!(picked.get(&id), None, "of {count}");
        assert_eq!(picked.len(), count - 1);
    }
}

#[test]
fn least_connections_counts_calls_for_each_unit_of_weight() {
    let config = FailoverConfig::builder()
        .strategy(StrategyKind::LeastConnections)
        .load_balancer(
            crate::config::LoadBalancerConfig::builder().weight("10.0.0.0:80", 3).build().expect("valid"),
        )
        .build()
        .expect("valid");
    let service = ServiceHandle::builder("users")
        .endpoints(["10.0.0.0:80", "10.0.0.1:80"])
        .config(config)
        .random(Random::seeded(3))
        .build()
        .expect("valid");
    let held: Vec<_> = (0..400).map(|_| service.select().expect("available")).collect();
    let heavy = held.iter().filter(|pick| pick.endpoint().id() == "10.0.0.0:80").count();
    assert!((299..=301).contains(&heavy), "{heavy}");
}

#[test]
fn every_algorithm_goes_elsewhere_while_it_can() {
    let all = [
        StrategyKind::RoundRobin,
        StrategyKind::Random,
        StrategyKind::LeastConnections,
        StrategyKind::Weighted,
        StrategyKind::HealthBased,
        StrategyKind::IpHash,
    ];
    for strategy in all {
        for seed in 0..50 {
            let service = service(strategy, 4, seed);
            let engine = service.engine();
            let mut tried = Vec::new();
            for _ in 0..4 {
                let pick = engine.pick(Tried::of(&tried), true).expect("available");
                tried.push(pick.state());
            }
            let again = engine.pick(Tried::of(&tried), true).expect("when all were tried, one of them again");
            assert!(tried.contains(&again.state()));
            let distinct: HashSet<_> = tried.iter().collect();
            assert_eq!(distinct.len(), 4, "{strategy} repeats with seed {seed}");
        }
    }
}

/// Finagle's `LoadDistribution`: 5 clients with 150 unfinished calls each, and 10 servers; twice
/// the optimum is 150.
#[test]
fn many_clients_together_load_no_endpoint_with_twice_its_part() {
    for strategy in [
        StrategyKind::RoundRobin,
        StrategyKind::Random,
        StrategyKind::Weighted,
        StrategyKind::LeastConnections,
        StrategyKind::HealthBased,
    ] {
        let clients: Vec<_> = (0..5).map(|seed| service(strategy, 10, 1_000 * seed)).collect();
        let held: Vec<_> =
            clients.iter().flat_map(|client| (0..150).map(|_| client.select().expect("available"))).collect();
        let counts = counts(held.iter().map(|pick| pick.endpoint().id().to_string()));
        assert!(counts.len() == 10 && counts.values().all(|count| *count <= 150), "{strategy}: {counts:?}");
    }
}

#[test]
fn what_a_strategy_lacks_is_named() {
    for (document, says) in [
        (r#"{"strategy": "geographic"}"#, "strategy geographic needs `locality.zone`"),
        (r#"{"strategy": "custom"}"#, "strategy custom needs a `Strategy`"),
    ] {
        let config = FailoverConfig::from_json(document).expect("read as meant");
        let error = ServiceHandle::builder("users").endpoints(["10.0.0.1:80"]).config(config).build();
        let error = error.expect_err("it lacks something");
        assert_eq!((error.kind(), error.code()), (ErrorKind::Validation, "INVALID_STRATEGY"));
        assert!(error.to_string().starts_with(says), "{error}");
    }
}
