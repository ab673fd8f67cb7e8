//! What an endpoint has said of its load, as the weight that follows from it.
//!
//! gRPC's client-side weighted round robin (proposal A58): a weight counts while it is fresh, and only once the endpoint
//! has reported for a while, because the first reports of one that has just started say little.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use crate::runtime::clock::Time;

/// How long a report counts.
pub(crate) const EXPIRY: Duration = Duration::from_secs(180);
/// How long an endpoint has to have reported before its reports count.
pub(crate) const BLACKOUT: Duration = Duration::from_secs(10);
/// Stamps count in 2^20 ns, a good millisecond, and 32 bits last for 52 days.
const TICK: u32 = 20;

/// Of two reports at the same moment one wins.
#[derive(Debug, Default)]
pub(crate) struct LoadWeight {
    /// The weight as a float in the upper half, when it was reported in the lower; 0 when it never was.
    word: AtomicU64,
    /// Since when it has been reported without a gap.
    since: AtomicU32,
}

impl LoadWeight {
    /// A weight above 0.
    pub(crate) fn report(&self, weight: f32, now: Time) {
        if self.fresh(now).is_none() {
            self.since.store(tick(now), Ordering::Relaxed);
        }
        let word = (u64::from(weight.to_bits()) << 32) | u64::from(tick(now));
        self.word.store(word, Ordering::Relaxed);
    }

    /// The weight, if it counts now.
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
