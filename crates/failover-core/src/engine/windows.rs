//! Takes readings of a service's totals, and finds the one at which a window begins.

use std::time::Duration;

use crate::engine::Engine;
use crate::engine::readings::{Reading, SPACING, SPACING_BY_ENDPOINT};
use crate::runtime::clock::Time;

/// The largest number of endpoints whose durations an ending attempt reads, at about half a microsecond
/// each.
const MAX_READ: usize = 64;

impl Engine {
    /// Takes a reading if one is due, for an attempt that ends. Never waits: if a lock is taken, a later
    /// attempt takes it.
    #[inline]
    pub(super) fn note_reading(&self, now: Time) {
        let spacing = || SPACING.max(SPACING_BY_ENDPOINT * self.snapshot.load().slots.len() as u32);
        if self.readings.is_due(now, spacing) {
            self.take_reading(now);
        }
    }

    #[cold]
    #[inline(never)]
    fn take_reading(&self, now: Time) {
        let with_durations = self.snapshot.load().slots.len() <= MAX_READ;
        let Some((attempts, durations)) = self.try_counts(with_durations) else { return };
        let durations = durations.map(|durations| self.accounts.call_durations(&durations));
        self.readings.add(Reading::new(now, attempts, &self.accounts.totals(), durations));
    }

    /// Keeps a reading that was taken for the statistics, which has durations.
    pub(crate) fn keep_reading(&self, reading: Reading) {
        self.readings.add_full(reading);
    }

    /// Returns the readings of about the last minute, oldest first.
    pub(crate) fn readings_since(&self, now: Time, age: Duration) -> Vec<Reading> {
        self.readings.since(now, age)
    }

    /// Returns the newest reading that is at least this old, or else the oldest.
    pub(crate) fn reading_before(&self, now: Time, age: Duration) -> Reading {
        self.readings.before(now, age).unwrap_or(Reading::nothing(self.began))
    }
}
