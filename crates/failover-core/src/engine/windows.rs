//! Takes readings of a service's totals, and finds the one at which a window begins.

use std::time::Duration;

use crate::engine::Engine;
use crate::engine::readings::{Reading, SPACING, SPACING_BY_ENDPOINT};
use crate::runtime::clock::Time;

impl Engine {
    /// Takes a reading if one is due. Never waits: if a lock is taken, a later attempt takes it.
    #[inline]
    pub(crate) fn note_reading(&self, now: Time) {
        let spacing = || SPACING.max(SPACING_BY_ENDPOINT * self.snapshot.load().slots.len() as u32);
        if self.readings.is_due(now, spacing) {
            self.take_reading(now);
        }
    }

    #[cold]
    #[inline(never)]
    fn take_reading(&self, now: Time) {
        let Some(counters) = self.try_counters() else { return };
        let durations = self.accounts.call_durations(&counters.durations);
        let reading = Reading::new(now, counters.ended, &self.accounts.totals(), durations);
        self.readings.add(reading);
    }

    /// Returns the newest reading that is at least this old, or else the oldest.
    pub(crate) fn reading_before(&self, now: Time, age: Duration) -> Reading {
        self.readings.before(now, age).unwrap_or(Reading::nothing(self.began))
    }
}
