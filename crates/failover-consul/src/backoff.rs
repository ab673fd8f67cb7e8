//! The pauses after failures.

use std::time::Duration;

use failover_provider_kit::{Backoff, BackoffSteps};

/// Returns the back-off after failures. For the first 25 s, pauses are at most 4 s, so that an
/// agent that restarts is found quickly. Later pauses double up to 30 s, so that an outage of ten
/// minutes costs at most 40 requests. The random share of each pause, half at first and a tenth
/// later, keeps clients apart.
pub(crate) const fn backoff() -> Backoff {
    let early = BackoffSteps::new(Duration::from_millis(250), 2.0, Duration::from_secs(4));
    let late = BackoffSteps::new(Duration::from_secs(8), 2.0, Duration::from_secs(30));
    Backoff::new(early).then_after(Duration::from_secs(25), late.with_random_share(0.1))
}

#[cfg(test)]
mod tests {
    use failover_provider_kit::Timing;

    use super::*;

    #[test]
    fn a_server_that_is_back_soon_is_found_soon_and_a_long_outage_costs_few_requests() {
        for unit in [0.0, 0.5, 1.0] {
            let (begin, mut pauses, mut requests) = (Timing::tokio().now(), backoff(), 0);
            let mut at = begin;
            while at.since(begin) < Duration::from_secs(600) {
                requests += 1;
                let pause = pauses.after_failure(at, unit);
                let young = at.since(begin) < Duration::from_secs(25);
                assert!(pause <= Duration::from_secs(if young { 4 } else { 30 }));
                at = at + pause;
            }
            assert!(requests <= 40, "{requests} requests in ten minutes at {unit}");
        }
    }

    /// R2: of a thousand clients that lose their server together, few return at the same moment.
    #[test]
    fn clients_do_not_come_back_together() {
        let timing = Timing::tokio();
        for outage in [10, 30, 60, 120, 300, 600] {
            let begin = timing.now();
            let end = begin + Duration::from_secs(outage);
            let mut slots = std::collections::HashMap::new();
            for _ in 0..1000 {
                let (mut pauses, mut at) = (backoff(), begin);
                while at < end {
                    at = at + pauses.after_failure(at, timing.unit());
                }
                *slots.entry(at.since(end).as_millis() / 100).or_insert(0) += 1;
            }
            let most = slots.values().max().copied().unwrap_or(0);
            assert!(most <= 60, "{most} of 1000 within 100 ms after {outage} s");
        }
    }
}
