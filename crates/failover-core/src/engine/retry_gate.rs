//! The retry gate: no retry after an ambiguous failure while many attempts at a tier fail so.
//!
//! A budget alone does not protect the endpoints from many clients, each with a full budget. The
//! gate needs no reserve: it looks at the share of ambiguous failures (timeouts and overload
//! answers) among the latest attempts, an average with a weight of 1/50 for each. A success writes
//! nothing: the number of successes since the last failure is read from the endpoints' counters.
//!
//! The share does not see the overload of many queues that fill one by one. As long as some endpoint
//! answers, one that does not passes for silent, and its failures do not count: they would keep calls
//! from moving away from a dead one. But an overload of queues slows the answers down before it makes
//! them late. While they are slow, each failure of an endpoint that has just answered is therefore
//! also a *stray*, and the gate closes when successes do not make up for the strays.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

use crate::runtime::clock::Time;

/// The share of the past that remains after one attempt.
const KEEP: f32 = 0.98;

/// The number of strays that closes the gate: it lets calls move away from twenty endpoints that die.
const TOO_MANY: f32 = 20.0;
/// More strays are not remembered, so that the gate opens after a hundred successes without another one.
const MAX_STRAYS: f32 = 21.0;
/// The strays that a success makes up for.
const REGAINED: f32 = 0.02;

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
    /// The strays that no success has made up for, as the bits of a float.
    strays: AtomicU32,
    /// Whether answers were slow at the last ambiguous failure.
    slow: AtomicBool,
}

impl RetryGate {
    pub(crate) const fn new() -> Self {
        Self {
            share: AtomicU32::new(0),
            tick: AtomicU32::new(0),
            successes: AtomicU64::new(0),
            strays: AtomicU32::new(0),
            slow: AtomicBool::new(false),
        }
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
            self.set_strays(self.strays() - since as f32 * REGAINED);
        }
        if failed {
            share += (1.0 - share) * (1.0 - KEEP);
        }
        self.share.store(share.to_bits(), Ordering::Relaxed);
        share
    }

    /// Takes back the latest failures: they say nothing about the other endpoints after all.
    pub(crate) fn retract(&self, failures: u8) {
        let share = (0..failures).fold(self.share(), |share, _| (share - (1.0 - KEEP)) / KEEP);
        self.share.store(share.max(0.0).to_bits(), Ordering::Relaxed);
    }

    /// Records whether the tier's answers are slow, at an ambiguous failure, and whether that is the first
    /// one of its endpoint since it answered.
    pub(crate) fn heed(&self, slow: bool, first: bool) {
        self.slow.store(slow, Ordering::Relaxed);
        if slow && first {
            self.set_strays(self.strays() + 1.0);
        }
    }

    /// Whether a retry may follow an ambiguous failure. A limit of 1 is none.
    pub(crate) fn admits(&self, limit: f32) -> bool {
        limit >= 1.0 || (self.share() <= limit && !(self.is_slow() && self.strays() >= TOO_MANY))
    }

    /// Whether answers were slow at the last ambiguous failure.
    pub(crate) fn is_slow(&self) -> bool {
        self.slow.load(Ordering::Relaxed)
    }

    fn strays(&self) -> f32 {
        f32::from_bits(self.strays.load(Ordering::Relaxed))
    }

    fn set_strays(&self, strays: f32) {
        self.strays.store(strays.clamp(0.0, MAX_STRAYS).to_bits(), Ordering::Relaxed);
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

    #[test]
    fn strays_close_it_while_answers_are_slow_until_successes_make_up_for_them() {
        let gate = RetryGate::new();
        (0..19).for_each(|_| gate.heed(true, true));
        assert!(gate.admits(0.1));
        gate.heed(true, true);
        assert!(!gate.admits(0.1));
        (0..1_000).for_each(|_| gate.heed(true, true));
        update(&gate, 95, false);
        gate.heed(true, true);
        assert!(!gate.admits(0.1), "less than a hundred successes");
        update(&gate, 205, false);
        gate.heed(true, true);
        assert!(gate.admits(0.1), "more than a hundred");
        (0..2).for_each(|_| gate.heed(true, true));
        assert!(!gate.admits(0.1));
        assert!(gate.admits(1.0), "a limit of 1 is none");
        gate.heed(false, true);
        assert!(gate.admits(0.1), "answers are quick");
    }

    #[test]
    fn the_failures_of_an_endpoint_after_its_first_one_are_no_strays() {
        let gate = RetryGate::new();
        gate.heed(true, true);
        (0..100).for_each(|_| gate.heed(true, false));
        assert!(gate.admits(0.1));
    }

    #[test]
    fn failures_that_are_taken_back_have_not_been() {
        let gate = RetryGate::new();
        (0..3).for_each(|_| {
            update(&gate, 0, true);
        });
        let before = gate.share();
        (0..5).for_each(|_| {
            update(&gate, 0, true);
        });
        gate.retract(5);
        assert!((gate.share() - before).abs() < 1e-6);
        gate.retract(0);
        assert!((gate.share() - before).abs() < 1e-6);
        gate.retract(100);
        assert!(gate.share() >= 0.0 && gate.share() < f32::EPSILON);
    }
}
