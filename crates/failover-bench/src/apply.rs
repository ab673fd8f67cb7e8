//! Measures what a change of 10 000 endpoints costs a user, and their memory.

use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

use failover_core::config::LoadBalancerConfig;
use failover_core::provider::EndpointEntry;
use failover_core::{Algorithm, Endpoint, FailoverConfig, ServiceHandle};
use pingora_load_balancing::LoadBalancer;
use pingora_load_balancing::selection::RoundRobin;

use crate::feed::Fed;
use crate::measure::{Row, quantile};
use crate::ours::urls;

const N: usize = 10_000;

fn endpoints() -> Vec<Endpoint> {
    (0..N)
        .map(|i| {
            let address = format!("10.0.{}.{}", i / 250, i % 250 + 1);
            Endpoint::builder(format!("e{i}"), "bench", address, 80).build().expect("valid")
        })
        .collect()
}

fn config(algorithm: Algorithm) -> FailoverConfig {
    let balancer = LoadBalancerConfig::builder().algorithm(algorithm).build().expect("valid");
    FailoverConfig::builder().load_balancer(balancer).build().expect("valid")
}

/// Measures a registry's answers; the second of each round changes nothing. If `copied`, every
/// endpoint is a new allocation, as from a provider that keeps nothing; otherwise unchanged
/// endpoints are shared with the previous answer.
fn answers(all: &[Endpoint], copied: bool, rounds: usize) -> (Vec<f64>, Vec<f64>) {
    let fed = Fed::new("bench");
    let mut all: Vec<_> = all.iter().cloned().map(Arc::new).collect();
    let read = |all: &[Arc<Endpoint>]| {
        let entry = |e: &Arc<Endpoint>| {
            EndpointEntry::new(if copied { Arc::new((**e).clone()) } else { Arc::clone(e) })
        };
        all.iter().map(entry).collect::<Vec<_>>()
    };
    fed.answer(read(&all));
    let (mut replaced, mut unchanged) = (Vec::new(), Vec::new());
    for round in 0..rounds {
        let (id, address) = (format!("new{round}"), format!("10.1.0.{}", round % 250 + 1));
        let place = (round * 997 + N / 2) % N;
        all[place] = Arc::new(Endpoint::builder(id.as_str(), "bench", address, 80).build().expect("valid"));
        let (one, same) = (read(&all), read(&all));
        replaced.push(fed.answer(one));
        assert!(fed.service().endpoint(&id).is_some(), "it is applied");
        unchanged.push(fed.answer(same));
    }
    (replaced, unchanged)
}

pub(crate) fn rows(rounds: usize) -> Vec<Row> {
    let row = |peer, name: &str, samples: Vec<f64>| Row {
        peer,
        name: name.to_owned(),
        n: N,
        threads: 1,
        nanos: quantile(samples, 0.5),
        gain: None,
        allocations: f64::NAN,
    };
    let all = endpoints();
    let build = |algorithm: Algorithm| {
        let all = all.clone();
        let began = Instant::now();
        let service =
            ServiceHandle::builder("bench").endpoints(all).config(config(algorithm)).build().expect("valid");
        (began.elapsed().as_secs_f64() * 1e9, service)
    };
    let (mut new, mut keyed, mut peer, mut same) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let addresses = urls(N);
    for round in 0..rounds {
        let (nanos, service) = build(Algorithm::RoundRobin);
        new.push(nanos);
        keyed.push(build(Algorithm::IpHash).0);
        // All endpoints stay; the table is rebuilt.
        let other = if round % 2 == 0 { Algorithm::Random } else { Algorithm::PeakEwma };
        let began = Instant::now();
        service.configure(config(other)).expect("valid");
        same.push(began.elapsed().as_secs_f64() * 1e9);
        let began = Instant::now();
        black_box(LoadBalancer::<RoundRobin>::try_from_iter(&addresses).expect("addresses"));
        peer.push(began.elapsed().as_secs_f64() * 1e9);
    }
    let (replaced, unchanged) = answers(&all, false, rounds);
    let (replaced_copied, unchanged_copied) = answers(&all, true, rounds);
    let mut resident = f64::NAN;
    let counted = allocation_counter::measure(|| {
        let service = build(Algorithm::RoundRobin).1;
        resident = service.endpoints().len() as f64;
        std::mem::forget(service);
    });
    let bytes = counted.bytes_current as f64 / N as f64;
    let mut memory = row("failover", "resident (bytes for each endpoint, its own data too)", vec![bytes]);
    memory.allocations = f64::NAN;
    vec![
        row("failover", "apply all_new", new),
        row("failover", "apply all_new, ip_hash", keyed),
        row("failover", "apply configuration, all stay", same),
        row("failover", "apply one_replaced", replaced),
        row("failover", "apply nothing_changed", unchanged),
        row("failover", "apply one_replaced, all copied", replaced_copied),
        row("failover", "apply nothing_changed, all copied", unchanged_copied),
        row("pingora", "apply all_new, addresses parsed", peer),
        memory,
    ]
}
