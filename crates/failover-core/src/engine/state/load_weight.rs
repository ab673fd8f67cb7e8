//! The weight that follows from the load that an endpoint reports.
//!
//! As in gRPC's client-side weighted round robin (proposal A58), a weight is used while it is
//! fresh, and only after the endpoint has reported for a while, because the first reports after a
//! start are not representative.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use crate::runtime::clock::Time;

/// How long a report remains valid.
pub(crate) const EXPIRY: Duration = Duration::from_secs(180);
/// How long an endpoint must have been reporting before its reports are used.
pub(crate) const BLACKOUT: Duration = Duration::from_secs(10);
/// Timestamps count in units of 2^20 ns (about 1 ms), and 32 bits last for 52 days.
const TICK: u32 = 20;

/// Holds the last reported weight. Of two concurrent reports one wins.
#[derive(Debug, Default)]
pub(crate) struct LoadWeight {
    /// The weight as a float in the upper half, the time of the report in the lower half; 0 if
    /// there was no report.
    word: AtomicU64,
    /// The start of the current series of reports without a gap.
    since: AtomicU32,
}

impl LoadWeight {
    /// Records a weight above 0.
    pub(crate) fn report(&self, weight: f32, now: Time) {
        if self.fresh(now).is_none() {
            self.since.store(tick(now), Ordering::Relaxed);
        }
        let word = (u64::from(weight.to_bits()) << 32) | u64::from(tick(now));
        self.word.store(word, Ordering::Relaxed);
    }

    /// Returns the weight if it is currently valid.
    pub(crate) fn usable(&self, now: Time) -> Option<f32> {
        let known_for = tick(now).wrapping_sub(self.since.load(Ordering::Relaxed));
        self.fresh(now).filter(|_| known_for >= ticks(BLACKOUT))
    }

    pub(crate) fn clear(&self) {
        self.word.store(0, Ordering::Relaxed);
    }

    fn fresh(&self, now: Time) -> Option<f32> {
        let word = self.word.load(Ordering::Relaxed);
        let age = tick(now).wrapping_sub(word as u32);
        (word != 0 && age < ticks(EXPIRY)).then(|| f32::from_bits((word >> 32) as u32))
    }
}

fn tick(now: Time) -> u32 {
    (now.as_nanos() >> TICK) as u32
}

fn ticks(duration: Duration) -> u32 {
    (duration.as_nanos() >> TICK) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Time {
        Time::from_nanos(1 + seconds * 1_000_000_000)
    }

    #[test]
    fn a_report_counts_after_ten_seconds_of_reports_and_for_three_minutes() {
        let load = LoadWeight::default();
        assert_eq!(load.usable(at(100)), None, "never");
        load.report(2.0, at(100));
        assert_eq!(load.usable(at(109)), None, "too new");
        load.report(3.0, at(109));
        assert_eq!(load.usable(at(111)), Some(3.0));
        assert_eq!(load.usable(at(288)), Some(3.0));
        assert_eq!(load.usable(at(290)), None, "too old");
        load.report(4.0, at(300));
        assert_eq!(load.usable(at(305)), None, "after a gap it is new");
        assert_eq!(load.usable(at(311)), Some(4.0));
        load.clear();
        assert_eq!(load.usable(at(311)), None);
    }
}
