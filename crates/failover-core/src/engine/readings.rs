//! Readings of a service's totals, so that what happened in the last ten seconds and in the last minute
//! is the difference of two.
//!
//! No task takes them: an attempt that ends does, at most once in [`SPACING`] and only among those that
//! have other work as well, and so does whoever reads the statistics.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::engine::accounting::CallTotals;
use crate::engine::state::counters::AttemptCounts;
use crate::engine::state::durations::Durations;
use crate::runtime::clock::Time;

/// The minimum time between two readings, and of that for each endpoint: a reading visits all of them.
pub(super) const SPACING: Duration = Duration::from_secs(1);
pub(super) const SPACING_BY_ENDPOINT: Duration = Duration::from_millis(1);
/// The number of the newest readings that are kept.
const FINE: usize = 12;
/// The minimum time between two older ones, and the number that is kept.
const COARSE_SPACING: Duration = Duration::from_secs(5);
const COARSE: usize = 14;

/// The totals of a service at one time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reading {
    pub(crate) at: Time,
    pub(crate) attempts: AttemptCounts,
    pub(crate) failed: u64,
    pub(crate) refused: u64,
    pub(crate) durations: Durations,
}

impl Reading {
    pub(crate) fn new(at: Time, attempts: AttemptCounts, calls: &CallTotals, durations: Durations) -> Self {
        Self { at, attempts, failed: calls.failed, refused: calls.refused, durations }
    }

    pub(super) const fn nothing(at: Time) -> Self {
        Self { at, attempts: AttemptCounts::NONE, failed: 0, refused: 0, durations: Durations::NONE }
    }
}

/// Earlier readings of a service. Never allocates after its creation.
#[derive(Debug)]
pub(super) struct Readings {
    /// When the next one is due, in nanoseconds.
    due: AtomicU64,
    kept: Mutex<Kept>,
}

#[derive(Debug)]
struct Kept {
    fine: VecDeque<Reading>,
    coarse: VecDeque<Reading>,
}

impl Readings {
    pub(super) fn new(began: Time) -> Self {
        let of = |capacity| {
            let mut readings = VecDeque::with_capacity(capacity);
            readings.push_back(Reading::nothing(began));
            readings
        };
        Self {
            due: AtomicU64::new((began + SPACING).as_nanos()),
            kept: Mutex::new(Kept { fine: of(FINE), coarse: of(COARSE) }),
        }
    }

    /// Whether this caller takes the next reading.
    #[inline]
    pub(super) fn is_due(&self, now: Time, spacing: impl FnOnce() -> Duration) -> bool {
        let due = self.due.load(Ordering::Relaxed);
        now.as_nanos() >= due && {
            let next = (now + spacing()).as_nanos();
            self.due.compare_exchange(due, next, Ordering::Relaxed, Ordering::Relaxed).is_ok()
        }
    }

    /// Keeps a reading, unless somebody reads at this moment.
    pub(super) fn add(&self, reading: Reading) {
        if let Ok(mut kept) = self.kept.try_lock() {
            kept.add(reading);
        }
    }

    /// Returns the newest reading that is at least this old, or else the oldest.
    pub(super) fn before(&self, now: Time, age: Duration) -> Option<Reading> {
        self.kept().before(now, age)
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        // No operation under the lock can leave it half updated.
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    fn add(&mut self, reading: Reading) {
        let before = self.coarse.back().map_or(Time::from_nanos(0), |reading| reading.at);
        if reading.at.since(before) >= COARSE_SPACING {
            push(&mut self.coarse, COARSE, reading);
        }
        push(&mut self.fine, FINE, reading);
    }

    fn before(&self, now: Time, age: Duration) -> Option<Reading> {
        let mut newest_first = self.fine.iter().rev().chain(self.coarse.iter().rev());
        newest_first.find(|reading| now.since(reading.at) >= age).or(self.coarse.front()).copied()
    }
}

fn push(readings: &mut VecDeque<Reading>, capacity: usize, reading: Reading) {
    if readings.len() == capacity {
        readings.pop_front();
    }
    readings.push_back(reading);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Time {
        Time::from_nanos(seconds * 1_000_000_000)
    }

    #[test]
    fn the_newest_reading_that_is_old_enough_is_found_and_no_more_than_26_are_kept() {
        let readings = Readings::new(at(100));
        let before = |now, age| {
            readings
                .kept()
                .before(at(now), Duration::from_secs(age))
                .map(|reading| reading.at.as_nanos() / 1_000_000_000)
        };
        assert_eq!((before(103, 10), before(103, 60)), (Some(100), Some(100)), "since the beginning");
        for second in 101..400 {
            assert!(readings.is_due(at(second), || SPACING));
            assert!(!readings.is_due(at(second), || SPACING), "one takes it");
            readings.kept().add(Reading::nothing(at(second)));
        }
        assert_eq!(before(399, 10), Some(389));
        assert!((335..=339).contains(&before(399, 60).expect("kept")), "{:?}", before(399, 60));
        let kept = readings.kept();
        assert_eq!((kept.fine.len(), kept.coarse.len()), (FINE, COARSE));
        assert_eq!((kept.fine.capacity(), kept.coarse.capacity()), (FINE, COARSE));
    }
}
