//! Counts the attempts at one endpoint over a sliding window of time.
//!
//! The window is divided into ten slices, of which the oldest is dropped as a whole: it covers the
//! last nine to ten tenths of its length. Threads that enter a new slice at the same moment may lose
//! a few counts.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use crate::engine::strain::Evidence;
use crate::runtime::clock::Time;

/// The number of slices.
const SLICES: usize = 10;
/// Slices are numbered from here, so that 0 means none.
const FIRST: u64 = 1;

/// The rule of the failure rate, as plain numbers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct RatePolicy {
    /// The share of failures at which an endpoint is suspect.
    pub(crate) rate: f64,
    pub(crate) window: Duration,
    /// The number of attempts below which the rate is not judged.
    pub(crate) min_attempts: u32,
}

#[derive(Debug, Default)]
pub(crate) struct FailureWindow([Slice; SLICES]);

#[derive(Debug, Default)]
struct Slice {
    /// The number of the slice since the beginning of time, plus 1; 0 if it is empty.
    number: AtomicU64,
    successes: AtomicU32,
    hard: AtomicU32,
    ambiguous: AtomicU32,
}

/// How an attempt ended: `None` for a success.
pub(crate) type Ending = Option<Evidence>;

impl FailureWindow {
    /// Counts an attempt. Returns the evidence if the failure rate has reached the limit with it.
    pub(crate) fn record(&self, ending: Ending, now: Time, policy: &RatePolicy) -> Option<Evidence> {
        let current = FIRST + now.as_nanos() / slice_length(policy);
        let slice = &self.0[(current % SLICES as u64) as usize];
        let found = slice.number.load(Ordering::Acquire);
        let enters = found < current
            && slice.number.compare_exchange(found, current, Ordering::AcqRel, Ordering::Acquire).is_ok();
        if enters {
            slice.counts().into_iter().for_each(|count| count.store(0, Ordering::Relaxed));
        }
        let count = match ending {
            None => &slice.successes,
            Some(Evidence::Hard) => &slice.hard,
            Some(Evidence::Ambiguous { .. }) => &slice.ambiguous,
        };
        count.fetch_add(1, Ordering::Relaxed);
        self.judge(ending, current, policy)
    }

    fn judge(&self, ending: Ending, current: u64, policy: &RatePolicy) -> Option<Evidence> {
        let oldest = current.saturating_sub(SLICES as u64 - 1).max(FIRST);
        let in_window = |slice: &&Slice| slice.number.load(Ordering::Relaxed) >= oldest;
        let [successes, hard, ambiguous] = self.0.iter().filter(in_window).fold([0_u64; 3], |sum, slice| {
            let counts = slice.counts();
            [0, 1, 2].map(|of| sum[of] + u64::from(counts[of].load(Ordering::Relaxed)))
        });
        let all = successes + hard + ambiguous;
        let least = u64::from(policy.min_attempts);
        // A success raises no rate, but may be the one that makes the attempts numerous enough.
        if all < least || (ending.is_none() && all > least) {
            return None;
        }
        let reached = |failures: u64| failures as f64 >= policy.rate * all as f64;
        match ending {
            _ if reached(hard) => Some(Evidence::Hard),
            _ if !reached(hard + ambiguous) => None,
            Some(evidence @ Evidence::Ambiguous { .. }) => Some(evidence),
            _ => Some(Evidence::Ambiguous { silent: false }),
        }
    }

    /// Forgets all attempts.
    pub(crate) fn clear(&self) {
        for slice in &self.0 {
            slice.number.store(0, Ordering::Release);
        }
    }
}

impl Slice {
    fn counts(&self) -> [&AtomicU32; 3] {
        [&self.successes, &self.hard, &self.ambiguous]
    }
}

fn slice_length(policy: &RatePolicy) -> u64 {
    u64::try_from(policy.window.as_nanos()).unwrap_or(u64::MAX).div_ceil(SLICES as u64).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    const POLICY: RatePolicy = RatePolicy { rate: 0.5, window: Duration::from_secs(20), min_attempts: 5 };
    const AMBIGUOUS: Evidence = Evidence::Ambiguous { silent: false };

    fn at(seconds: f64) -> Time {
        Time::from_nanos((seconds * 1e9) as u64)
    }

    /// Runs a history of letters, one a second: S for a success, F and T for a hard failure and a
    /// timeout, `.` for no attempt. Returns the verdict of each attempt.
    fn run(history: &str) -> Vec<Option<Evidence>> {
        let window = FailureWindow::default();
        let ending = |letter| match letter {
            'F' => Some(Evidence::Hard),
            'T' => Some(AMBIGUOUS),
            _ => None,
        };
        let attempts = history.chars().enumerate().filter(|(_, letter)| *letter != '.');
        attempts.map(|(second, letter)| window.record(ending(letter), at(second as f64), &POLICY)).collect()
    }

    #[test]
    fn the_rate_counts_from_the_fifth_attempt_on() {
        for (history, verdict) in [
            // The rows of resilience4j.
            ("FFFSS", Some(Evidence::Hard)),
            ("SSSFF", None),
            ("SSSFFF", Some(Evidence::Hard)),
            ("FFFF", None),
            ("FFFS", None),
            // A timeout may be the fault of all.
            ("TTTSS", Some(AMBIGUOUS)),
            ("FTFSS", Some(AMBIGUOUS)),
            ("FTFFS", Some(Evidence::Hard)),
            ("SSSFT", None),
            // A success that only lowers the rate is no news.
            ("FFFFFSS", None),
        ] {
            assert_eq!(run(history).last().copied().flatten(), verdict, "{history}");
        }
    }

    #[test]
    fn attempts_leave_the_window() {
        assert_eq!(run("FFFF...............F").last(), Some(&Some(Evidence::Hard)), "within 20 s");
        assert_eq!(run("FFFF....................F").last(), Some(&None), "after 20 s");
        // Four failures of eight, and those before are forgotten.
        assert_eq!(run("SSSSSSSS............FFFF").last(), Some(&Some(Evidence::Hard)));
        let window = FailureWindow::default();
        let fail = |second| window.record(Some(Evidence::Hard), at(second), &POLICY);
        (0..4).for_each(|_| assert_eq!(fail(1.0), None));
        window.clear();
        assert_eq!(fail(1.0), None);
        // An idle time of any length leaves nothing behind.
        (0..3).for_each(|_| assert_eq!(fail(1.0), None));
        assert_eq!(fail(1.0 + 20.0 * f64::from(1 << 20)), None);
    }
}
