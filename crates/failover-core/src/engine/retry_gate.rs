//! The retry gate: no retry after an ambiguous failure while many attempts at a tier fail so.
//!
//! A budget alone does not protect the endpoints from many clients, each with a full budget. The
//! gate needs no reserve: it looks at the share of ambiguous failures (timeouts and overload
//! answers) among the latest attempts, an average with a weight of 1/50 for each. A success writes
//! nothing: the number of successes since the last failure is read from the endpoints' counters.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use crate::runtime::clock::Time;

/// The share of the past that remains after one attempt.
const KEEP: f32 = 0.98;

/// Up to this many endpoints, each failure reads the counters of all; beyond it, the first failure of
/// each millisecond does, so that the cost of a failure does not grow with the number of endpoints.
const FEW: usize = 64;
/// A millisecond, in powers of two of nanoseconds.
const TICK: u32 = 20;

/// The share of ambiguous failures among the latest attempts at one tier.
#[derive(Debug)]
pub(crate) struct RetryGate {
    /// The share, as the bits of a float from 0 to 1.
    share: AtomicU32,
    /// The millisecond of the last update.
    tick: AtomicU32,
    /// The successes of the tier at the last update.
    successes: AtomicU64,
}

impl RetryGate {
    pub(crate) const fn new() -> Self {
        Self { share: AtomicU32::new(0), tick: AtomicU32::new(0), successes: AtomicU64::new(0) }
    }

    /// Updates the share with the number of successes of the tier's endpoints and, if `failed`, one
    /// ambiguous failure. Concurrent updates may lose a few attempts, which the average tolerates.
    pub(crate) fn update(
        &self,
        failed: bool,
        endpoints: usize,
        now: Time,
        successes: impl FnOnce() -> u64,
    ) -> f32 {
        let mut share = self.share();
        let tick = (now.as_nanos() >> TICK) as u32;
        if endpoints <= FEW || self.tick.swap(tick, Ordering::Relaxed) != tick {
            let successes = successes();
            let since = successes.saturating_sub(self.successes.swap(successes, Ordering::Relaxed));
            share *= KEEP.powi(i32::try_from(since).unwrap_or(i32::MAX));
        }
        if failed {
            share += (1.0 - share) * (1.0 - KEEP);
        }
        self.share.store(share.to_bits(), Ordering::Relaxed);
        share
    }

    /// The share at the last update.
    pub(crate) fn share(&self) -> f32 {
        f32::from_bits(self.share.load(Ordering::Relaxed))
    }

    /// Continues with other endpoints, whose successes so far do not count.
    pub(crate) fn rebase(&self, successes: u64) {
        self.successes.store(successes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn update(gate: &RetryGate, successes: u64, failed: bool) -> f32 {
        gate.update(failed, 3, Time::from_nanos(1), || successes)
    }

    #[test]
    fn among_many_endpoints_successes_are_read_once_in_a_millisecond() {
        let gate = RetryGate::new();
        let at = |tick: u64| Time::from_nanos(tick << TICK);
        gate.update(true, 10_000, at(5), || 0);
        let failed = gate.update(true, 10_000, at(5), || unreachable!("read in this millisecond"));
        assert!((failed - 0.0396).abs() < 1e-6, "{failed}");
        assert!(gate.update(false, 10_000, at(6), || 1_000) < 1e-6);
    }

    #[test]
    fn five_failures_in_a_row_pass_and_six_close_it() {
        let gate = RetryGate::new();
        for failures in 1..=5 {
            assert!(update(&gate, 0, true) <= 0.10, "{failures}");
        }
        assert!(update(&gate, 0, true) > 0.10);
    }

    #[test]
    fn successes_open_it_again() {
        let gate = RetryGate::new();
        gate.rebase(1_000);
        (0..500).for_each(|_| {
            update(&gate, 1_000, true);
        });
        assert!(gate.share() > 0.99);
        assert!(update(&gate, 1_113, false) > 0.10);
        assert!(update(&gate, 1_115, false) <= 0.10);
    }

    #[test]
    fn the_share_of_a_mixture_is_its_rate() {
        let gate = RetryGate::new();
        let mut sum = 0.0;
        for round in 1..=10_000_u64 {
            let share = update(&gate, round * 4, true);
            sum += f64::from(share) * f64::from(u8::from(round > 5_000)) / 5_000.0;
        }
        // Read after each failure, one of five attempts.
        assert!((sum - 0.2).abs() < 0.02, "{sum}");
    }

    #[test]
    fn fewer_successes_than_before_are_no_decay() {
        let gate = RetryGate::new();
        update(&gate, 100, true);
        let before = gate.share();
        assert!((update(&gate, 50, false) - before).abs() < f32::EPSILON);
    }
}
