//! Weights under the algorithms that draw at random.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::client::pick::OwnedPick;
use crate::config::LoadBalancerConfig;
use crate::runtime::clock::Clock;

const DRAWING: [Algorithm; 4] =
    [Algorithm::Random, Algorithm::LeastConnections, Algorithm::PeakEwma, Algorithm::IpHash];

/// A service with endpoints `10.0.0.0:80` and so on of these weights.
fn weighted(algorithm: Algorithm, weights: &[u32]) -> ServiceHandle {
    let ids = || (0..weights.len()).map(|n| format!("10.0.0.{n}:80"));
    let balancer = LoadBalancerConfig::builder().algorithm(algorithm);
    let balancer = balancer.weights(ids().zip(weights.iter().copied())).build().expect("valid");
    ServiceHandle::builder("users")
        .endpoints(ids())
        .config(FailoverConfig::builder().load_balancer(balancer).build().expect("valid"))
        .clock(Clock::tokio())
        .random(Random::seeded(5))
        .build()
        .expect("valid")
}

fn number(pick: &OwnedPick) -> usize {
    pick.endpoint().address().rsplit('.').next().and_then(|last| last.parse().ok()).expect("an address")
}

/// Makes calls of which `concurrency` are in flight, each for as long as `lasts` says, in order of
/// their ends. Returns the share of each endpoint in percent.
async fn shares(
    service: &ServiceHandle,
    count: usize,
    concurrency: usize,
    lasts: impl Fn(usize) -> Duration,
) -> Vec<f64> {
    const CALLS: usize = 20_000;
    let mut counts = vec![0_u32; count];
    let mut in_flight: VecDeque<(Duration, OwnedPick)> = VecDeque::new();
    let mut now = Duration::ZERO;
    for _ in 0..CALLS {
        if in_flight.len() == concurrency {
            let (end, pick) = in_flight.pop_front().expect("some are in flight");
            tokio::time::advance(end.saturating_sub(now)).await;
            now = end;
            pick.finish(Outcome::Success);
        }
        let pick = service.select_owned().expect("available");
        counts[number(&pick)] += 1;
        let end = now + lasts(number(&pick));
        let at = in_flight.partition_point(|(other, _)| *other <= end);
        in_flight.insert(at, (end, pick));
    }
    counts.into_iter().map(|count| f64::from(count) * 100.0 / CALLS as f64).collect()
}

fn assert_close(found: &[f64], expected: &[f64], within: f64, of: &str) {
    let close = found.iter().zip(expected).all(|(found, expected)| (found - expected).abs() <= within);
    assert!(close, "{of}: {found:.1?}, expected {expected:.1?}");
}

#[tokio::test(start_paused = true)]
async fn one_call_at_a_time_gives_shares_by_weight() {
    for algorithm in DRAWING {
        for weights in [&[2, 1][..], &[101, 100], &[1, 3, 6], &[1, 1, 1, 1, 96], &[1_000_000, 1]] {
            for millis in [0, 10] {
                let service = weighted(algorithm, weights);
                let lasts = |_| Duration::from_millis(millis);
                let found = shares(&service, weights.len(), 1, lasts).await;
                let sum = f64::from(weights.iter().sum::<u32>());
                let expected: Vec<_> = weights.iter().map(|w| f64::from(*w) * 100.0 / sum).collect();
                assert_close(&found, &expected, 2.0, &format!("{algorithm} {weights:?} {millis} ms"));
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn concurrent_calls_keep_the_shares_of_the_weights() {
    for algorithm in DRAWING {
        for concurrency in [2, 3, 10, 100] {
            let service = weighted(algorithm, &[2, 1]);
            let found = shares(&service, 2, concurrency, |_| Duration::from_millis(10)).await;
            // With two or three at a time, whole calls hardly divide as the weights do.
            let within = if concurrency < 10 { 12.0 } else { 2.0 };
            assert_close(&found, &[66.7, 33.3], within, &format!("{algorithm} {concurrency} at a time"));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_slow_endpoint_loses_calls_whatever_its_weight() {
    for (algorithm, most) in [(Algorithm::PeakEwma, 1.0), (Algorithm::LeastConnections, 25.0)] {
        for weights in [[10, 9, 9], [2, 1, 1], [1, 2, 2]] {
            let service = weighted(algorithm, &weights);
            let slow = |number| Duration::from_millis(if number == 0 { 200 } else { 10 });
            let found = shares(&service, 3, 6, slow).await;
            assert!(found[0] <= most, "{algorithm} {weights:?}: {found:.1?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn the_others_share_by_weight_while_one_is_out_and_after_a_change_of_weights() {
    for algorithm in DRAWING {
        let service = weighted(algorithm, &[7, 2, 1]);
        let id = "10.0.0.0:80";
        let hour = Duration::from_secs(3600);
        service.force(id, crate::inspect::Forced::Out, hour).expect("known");
        let found = shares(&service, 3, 1, |_| Duration::ZERO).await;
        assert_close(&found, &[0.0, 66.7, 33.3], 2.0, &format!("{algorithm}, one out"));
        let even = LoadBalancerConfig::builder().algorithm(algorithm).build().expect("valid");
        let config = FailoverConfig::builder().load_balancer(even).build().expect("valid");
        service.engine().configure(Arc::new(config)).expect("valid");
        let found = shares(&service, 3, 1, |_| Duration::ZERO).await;
        assert_close(&found, &[0.0, 50.0, 50.0], 2.0, &format!("{algorithm}, without weights"));
    }
}

#[tokio::test(start_paused = true)]
async fn one_call_with_an_algorithm_of_its_own_follows_the_weights_too() {
    let service = weighted(Algorithm::RoundRobin, &[9, 1]);
    let picks = (0..10_000).map(|_| {
        let pick = service.call().algorithm(Algorithm::Random).select_owned().expect("available");
        number(&pick)
    });
    let heavy = picks.filter(|number| *number == 0).count();
    assert!((8_800..9_200).contains(&heavy), "{heavy}");
}
