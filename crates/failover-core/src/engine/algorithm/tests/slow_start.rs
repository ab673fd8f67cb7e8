//! The shares of new endpoints, from one to thirty at a time.

use std::time::Duration;

use super::*;
use crate::config::SlowStartConfig;
use strategies::{Bench, balancer, entries};

const ALGORITHMS: [Algorithm; 5] = [
    Algorithm::RoundRobin,
    Algorithm::Random,
    Algorithm::Weighted,
    Algorithm::LeastConnections,
    Algorithm::PeakEwma,
];

fn slow(algorithm: Algorithm) -> Bench {
    let slow = SlowStartConfig::builder().window(Duration::from_secs(100)).build().unwrap();
    Bench::new(balancer(|b| b.algorithm(algorithm)).to_builder().slow_start(slow).build().unwrap())
}

#[tokio::test(start_paused = true)]
async fn each_of_many_new_endpoints_gets_its_part_of_the_share_of_an_old_one() {
    for algorithm in ALGORITHMS {
        for (old, new) in [(5, 1), (5, 4), (5, 10), (1, 30), (10, 30)] {
            let bench = slow(algorithm).with(entries(old));
            tokio::time::advance(Duration::from_secs(200)).await;
            bench.publish(entries(old + new));
            // The beginning of the window: a tenth.
            let shares = bench.shares(30_000);
            let of = |range: std::ops::Range<usize>| {
                let count = range.len() as f64;
                range.map(|n| shares.get(&format!("e{n:03}")).copied().unwrap_or(0) as f64).sum::<f64>()
                    / count
            };
            let part = of(old..old + new) / of(0..old);
            assert!((0.07..0.14).contains(&part), "{algorithm}, {new} new beside {old}: {part:.3}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn endpoints_that_are_all_new_share_evenly() {
    for algorithm in ALGORITHMS {
        let bench = slow(algorithm).with(entries(5));
        let shares = bench.shares(10_000);
        let fewest = shares.values().min().copied().unwrap_or(0);
        assert!(shares.len() == 5 && fewest > 1_600, "{algorithm}: {shares:?}");
    }
}
