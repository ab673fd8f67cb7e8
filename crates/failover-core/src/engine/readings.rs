//! Readings of a service's totals, so that what happened in the last ten seconds and in the last minute
//! is the difference of two.
//!
//! No task takes them: an attempt that ends does, at most once in [`SPACING`] and only among those that
//! have other work as well, and so does a reader of the statistics.

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
/// The number of the newest readings that are kept: for a minute of seconds, from attempts and from
/// those who read the statistics.
const FINE: usize = 128;
/// The minimum time between two older ones, and the number that is kept.
const COARSE_SPACING: Duration = Duration::from_secs(5);
const COARSE: usize = 14;
/// The part of a window by which it may be longer to have durations.
const LONGER: u32 = 5;

/// The totals of a service at one time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reading {
    pub(crate) at: Time,
    pub(crate) attempts: AttemptCounts,
    pub(crate) failed: u64,
    pub(crate) refused: u64,
    /// Of whole calls; absent where reading them would have taken too long.
    pub(crate) durations: Option<Durations>,
}

impl Reading {
    pub(crate) fn new(
        at: Time,
        attempts: AttemptCounts,
        calls: &CallTotals,
        durations: Option<Durations>,
    ) -> Self {
        Self { at, attempts, failed: calls.failed, refused: calls.refused, durations }
    }

    pub(super) const fn nothing(at: Time) -> Self {
        Self { at, attempts: AttemptCounts::NONE, failed: 0, refused: 0, durations: Some(Durations::NONE) }
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

    /// Keeps a reading with durations, unless there is one that is hardly older.
    pub(super) fn add_full(&self, reading: Reading) {
        self.kept().add_full(reading);
    }

    /// Returns the newest reading that is at least this old, or else the oldest.
    pub(super) fn before(&self, now: Time, age: Duration) -> Option<Reading> {
        self.kept().before(now, age)
    }

    /// Returns the newest reading that is at least this old, and all that are newer.
    pub(super) fn since(&self, now: Time, age: Duration) -> Vec<Reading> {
        let kept = self.kept();
        let fine_from = kept.fine.front().map_or(now, |first| first.at);
        let mut all: Vec<_> =
            kept.coarse.iter().filter(|of| of.at < fine_from).chain(&kept.fine).copied().collect();
        let first = all.iter().rposition(|reading| now.since(reading.at) >= age).unwrap_or(0);
        all.drain(..first);
        all
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        // No operation under the lock can leave it half updated.
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    fn add(&mut self, reading: Reading) {
        let is_full = |reading: &Reading| reading.durations.is_some();
        match self.coarse.back_mut() {
            Some(before) if reading.at.since(before.at) < COARSE_SPACING => {
                if is_full(&reading) && !is_full(before) {
                    *before = reading;
                }
            }
            _ => push(&mut self.coarse, COARSE, reading),
        }
        push(&mut self.fine, FINE, reading);
    }

    /// Adds a reading with durations, unless there is one that is hardly older.
    fn add_full(&mut self, reading: Reading) {
        let before = self.fine.iter().rev().find(|before| before.durations.is_some());
        if before.is_none_or(|before| reading.at.since(before.at) >= SPACING) {
            self.add(reading);
        }
    }

    fn before(&self, now: Time, age: Duration) -> Option<Reading> {
        let mut newest_first = self.fine.iter().rev().chain(self.coarse.iter().rev());
        let Some(first) = newest_first.find(|reading| now.since(reading.at) >= age) else {
            return self.coarse.front().copied();
        };
        // One with durations is worth a window that is a little longer.
        let is_better = |reading: &&Reading| {
            let is_older = reading.at <= first.at && first.at.since(reading.at) <= age / LONGER;
            is_older && reading.durations.is_some()
        };
        let better = first.durations.is_none().then(|| newest_first.find(is_better)).flatten();
        Some(*better.unwrap_or(first))
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
    fn the_newest_reading_that_is_old_enough_is_found_and_a_fixed_number_is_kept() {
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
