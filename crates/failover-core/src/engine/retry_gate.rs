//! The retry gate: no retry after an ambiguous failure while many attempts at a tier fail so.
//!
//! A budget alone does not protect the endpoints from many clients, each with a full budget. The
//! gate needs no reserve: it looks at the share of ambiguous failures (timeouts and overload
//! answers) among the latest attempts, an average with a weight of 1/50 for each. A success writes
//! nothing: the number of successes since the last failure is read from the endpoints' counters.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// The share of the past that remains after one attempt.
const KEEP: f32 = 0.98;

/// The share of ambiguous failures among the latest attempts at one tier.
#[derive(Debug)]
pub(crate) struct RetryGate {
    /// The share, as the bits of a float from 0 to 1.
    share: AtomicU32,
    /// The successes of the tier at the last update.
    successes: AtomicU64,
}

impl RetryGate {
    pub(crate) const fn new() -> Self {
        Self { share: AtomicU32::new(0), successes: AtomicU64::new(0) }
    }

    /// Updates the share with the tier's number of successes and, if `failed`, one ambiguous
    /// failure. Concurrent updates may lose a few attempts, which the average tolerates.
    pub(crate) fn update(&self, successes: u64, failed: bool) -> f32 {
        let since = successes.saturating_sub(self.successes.swap(successes, Ordering::Relaxed));
        let decay = KEEP.powi(i32::try_from(since).unwrap_or(i32::MAX));
        let mut share = self.share() * decay;
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

    #[test]
    fn five_failures_in_a_row_pass_and_six_close_it() {
        let gate = RetryGate::new();
        for failures in 1..=5 {
            assert!(gate.update(0, true) <= 0.10, "{failures}");
        }
        assert!(gate.update(0, true) > 0.10);
    }

    #[test]
    fn successes_open_it_again() {
        let gate = RetryGate::new();
        gate.rebase(1_000);
        (0..500).for_each(|_| {
            gate.update(1_000, true);
        });
        assert!(gate.share() > 0.99);
        assert!(gate.update(1_113, false) > 0.10);
        assert!(gate.update(1_115, false) <= 0.10);
    }

    #[test]
    fn the_share_of_a_mixture_is_its_rate() {
        let gate = RetryGate::new();
        let mut sum = 0.0;
        for round in 1..=10_000_u64 {
            let share = gate.update(round * 4, true);
            sum += f64::from(share) * f64::from(u8::from(round > 5_000)) / 5_000.0;
        }
        // Read after each failure, one of five attempts.
        assert!((sum - 0.2).abs() < 0.02, "{sum}");
    }

    #[test]
    fn fewer_successes_than_before_are_no_decay() {
        let gate = RetryGate::new();
        gate.update(100, true);
        let before = gate.share();
        assert!((gate.update(50, false) - before).abs() < f32::EPSILON);
    }
}
