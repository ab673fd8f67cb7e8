//! A latency that is expensive to compute, computed at most once a second and read by all calls.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::runtime::clock::Time;

/// The interval between two computations.
const INTERVAL: Duration = Duration::from_secs(1);

/// The latency in nanoseconds, 0 if it is unknown, and when it is computed next.
#[derive(Debug, Default)]
pub(super) struct LatencyCache {
    latency: AtomicU64,
    due: AtomicU64,
}

impl LatencyCache {
    /// Returns the latency. If it is due, this call computes it; other calls read the old one
    /// meanwhile.
    pub(super) fn get(&self, now: Time, compute: impl FnOnce() -> Option<Duration>) -> Option<Duration> {
        let due = self.due.load(Ordering::Relaxed);
        let next = (now + INTERVAL).as_nanos();
        if now.as_nanos() >= due
            && self.due.compare_exchange(due, next, Ordering::Relaxed, Ordering::Relaxed).is_ok()
        {
            self.latency.store(compute().map_or(0, |latency| latency.as_nanos() as u64), Ordering::Relaxed);
        }
        let latency = self.latency.load(Ordering::Relaxed);
        (latency > 0).then(|| Duration::from_nanos(latency))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_computed_once_a_second() {
        let cache = LatencyCache::default();
        let at = |millis: u64| Time::from_nanos(millis * 1_000_000);
        let found = |now, millis: u64| cache.get(at(now), || Some(Duration::from_millis(millis)));
        assert_eq!(cache.get(at(0), || None), None);
        assert_eq!(found(999, 5), None);
        assert_eq!(found(1_000, 6), Some(Duration::from_millis(6)));
        assert_eq!(found(1_999, 7), Some(Duration::from_millis(6)));
        assert_eq!(found(2_000, 8), Some(Duration::from_millis(8)));
    }
}
