//! Durations in a few fixed buckets that never decrease, so that rates and sums over processes can be
//! computed from them.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde::ser::{SerializeSeq, SerializeStruct};
use serde::{Serialize, Serializer};

use crate::engine::state::buckets::{BUCKETS as FINE, begin, middle};

const MILLISECOND: u64 = 1_000_000;
const SECOND: u64 = 1_000 * MILLISECOND;
/// The upper bounds in nanoseconds. What is longer than the last one has a bucket of its own.
const BOUNDS: [u64; 14] = [
    MILLISECOND / 2,
    MILLISECOND,
    MILLISECOND * 5 / 2,
    MILLISECOND * 5,
    MILLISECOND * 10,
    MILLISECOND * 25,
    MILLISECOND * 50,
    MILLISECOND * 100,
    MILLISECOND * 250,
    MILLISECOND * 500,
    SECOND,
    SECOND * 5 / 2,
    SECOND * 5,
    SECOND * 10,
];
const BUCKETS: usize = BOUNDS.len() + 1;
/// The bucket of each bucket of the histogram of percentiles.
const COARSE: [u8; FINE] = coarse();

const fn coarse() -> [u8; FINE] {
    let mut coarse = [0; FINE];
    let (mut fine, mut bucket) = (0, 0);
    while fine < FINE {
        // A bound is within a fine bucket, all of which then counts as at most the bound.
        while bucket < BOUNDS.len() && begin(fine) > BOUNDS[bucket] {
            bucket += 1;
        }
        coarse[fine] = bucket as u8;
        fine += 1;
    }
    coarse
}

/// How many durations there were up to each of 14 fixed bounds, and their sum.
///
/// None of these numbers ever decreases while the process runs, and those of several endpoints,
/// services or processes may be added. The bounds are 0.5, 1, 2.5, 5, 10, 25, 50, 100, 250 and 500 ms,
/// and 1, 2.5, 5 and 10 s. A bound holds within 4 %, and the sum within 2 %. Where calls end on several
/// threads within the same nanoseconds, a duration may be lost, so that the count can be below the
/// exact number of calls. In a [rush](crate::Clock#rushes), one call of eight is timed and counts as
/// eight, so that the count can differ from the exact number by seven for each rush of a thread.
///
/// serde writes `{"count": 3, "sum_seconds": 0.021, "buckets": [{"le_seconds": 0.0005, "count": 0}, …]}`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Durations {
    counts: [u64; BUCKETS],
    sum: u64,
}

/// The number of durations up to a bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct DurationBucket {
    /// The upper bound.
    pub at_most: Duration,
    /// The number of durations of at most that length, which includes those of the buckets before.
    pub count: u64,
}

impl Durations {
    pub(crate) const NONE: Self = Self { counts: [0; BUCKETS], sum: 0 };

    /// Returns the number of durations.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// Returns the sum of all durations.
    pub fn sum(&self) -> Duration {
        Duration::from_nanos(self.sum)
    }

    /// Returns the mean, or `None` if there is no duration.
    pub fn mean(&self) -> Option<Duration> {
        self.sum.checked_div(self.count()).map(Duration::from_nanos)
    }

    /// Returns the buckets in ascending order, each with the durations of those before. Durations above
    /// the last bound are only in [`count`](Self::count).
    pub fn buckets(&self) -> impl Iterator<Item = DurationBucket> {
        BOUNDS.into_iter().zip(self.counts).scan(0, |before, (bound, count)| {
            *before += count;
            Some(DurationBucket { at_most: Duration::from_nanos(bound), count: *before })
        })
    }

    /// Returns the durations since an earlier reading of the same counts.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        let mut since = *self;
        for (now, before) in since.counts.iter_mut().zip(earlier.counts) {
            *now = now.saturating_sub(before);
        }
        since.sum = self.sum.saturating_sub(earlier.sum);
        since
    }

    /// Adds the durations of another endpoint, service or process.
    pub fn add(&mut self, other: &Self) {
        for (to, from) in self.counts.iter_mut().zip(other.counts) {
            *to += from;
        }
        self.sum = self.sum.saturating_add(other.sum);
    }

    /// Returns the larger of each two numbers.
    pub(crate) fn max(&self, other: &Self) -> Self {
        let counts = std::array::from_fn(|bucket| self.counts[bucket].max(other.counts[bucket]));
        Self { counts, sum: self.sum.max(other.sum) }
    }

    /// Adds `count` durations of a bucket of the histogram.
    pub(super) fn add_fine(&mut self, fine: usize, count: u64) {
        self.counts[usize::from(COARSE[fine])] += count;
        self.sum = self.sum.saturating_add((middle(fine) * count as f64) as u64);
    }

    /// Returns these durations as if there were `count` of them.
    pub(super) fn scaled_to(&self, count: u64) -> Self {
        let all = u128::from(self.count().max(1));
        let scale = |of: u64| (u128::from(of) * u128::from(count) / all) as u64;
        Self { counts: self.counts.map(scale), sum: scale(self.sum) }
    }
}

impl Serialize for Durations {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        struct Buckets<'a>(&'a Durations);
        impl Serialize for Buckets<'_> {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                let mut buckets = serializer.serialize_seq(Some(BOUNDS.len()))?;
                for bucket in self.0.buckets() {
                    buckets.serialize_element(&bucket)?;
                }
                buckets.end()
            }
        }
        let mut durations = serializer.serialize_struct("Durations", 3)?;
        durations.serialize_field("count", &self.count())?;
        durations.serialize_field("sum_seconds", &self.sum().as_secs_f64())?;
        durations.serialize_field("buckets", &Buckets(self))?;
        durations.end()
    }
}

impl Serialize for DurationBucket {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut bucket = serializer.serialize_struct("DurationBucket", 2)?;
        bucket.serialize_field("le_seconds", &self.at_most.as_secs_f64())?;
        bucket.serialize_field("count", &self.count)?;
        bucket.end()
    }
}

/// Durations that several threads add to.
#[derive(Debug)]
#[repr(align(64))]
pub(crate) struct DurationCounts {
    counts: [AtomicU64; BUCKETS],
    sum: AtomicU64,
}

impl DurationCounts {
    pub(crate) const fn new() -> Self {
        Self { counts: [const { AtomicU64::new(0) }; BUCKETS], sum: AtomicU64::new(0) }
    }

    /// Counts one duration of a bucket of the histogram.
    pub(crate) fn record(&self, fine: usize) {
        self.counts[usize::from(COARSE[fine])].fetch_add(1, Ordering::Relaxed);
        self.sum.fetch_add(middle(fine) as u64, Ordering::Relaxed);
    }

    pub(crate) fn add(&self, durations: &Durations) {
        for (to, from) in self.counts.iter().zip(durations.counts) {
            to.fetch_add(from, Ordering::Relaxed);
        }
        self.sum.fetch_add(durations.sum, Ordering::Relaxed);
    }

    pub(crate) fn read(&self) -> Durations {
        Durations {
            counts: std::array::from_fn(|bucket| self.counts[bucket].load(Ordering::Relaxed)),
            sum: self.sum.load(Ordering::Relaxed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::state::buckets::bucket;

    #[test]
    fn a_duration_counts_up_to_the_first_bound_that_it_does_not_exceed_by_four_percent() {
        for (nanos, bound) in BOUNDS.iter().flat_map(|bound| [(*bound, *bound), (*bound * 95 / 100, *bound)])
        {
            assert_eq!(BOUNDS[usize::from(COARSE[bucket(nanos)])], bound, "{nanos}");
            let above = usize::from(COARSE[bucket(nanos.max(bound) * 105 / 100)]);
            assert!(above == BOUNDS.len() || BOUNDS[above] > bound, "{nanos}");
        }
        assert_eq!((COARSE[0], usize::from(COARSE[FINE - 1])), (0, BOUNDS.len()));
    }

    #[test]
    fn buckets_are_cumulative_and_what_is_longer_than_all_is_in_the_count() {
        let counts = DurationCounts::new();
        for millis in [0, 1, 3, 3, 700, 60_000] {
            counts.record(bucket(millis * MILLISECOND));
        }
        let durations = counts.read();
        let found: Vec<_> = durations.buckets().map(|bucket| bucket.count).collect();
        assert_eq!(found, [1, 2, 2, 4, 4, 4, 4, 4, 4, 4, 5, 5, 5, 5]);
        assert_eq!(durations.count(), 6);
        let sum = durations.sum().as_secs_f64();
        assert!((sum - 60.707).abs() < 60.707 * 0.02, "{sum}");
        let json = serde_json::to_value(durations).expect("JSON");
        assert_eq!(json["count"], 6);
        assert_eq!(json["buckets"][2], serde_json::json!({"le_seconds": 0.0025, "count": 2}));
        assert_eq!(durations.since(&durations), Durations::NONE);
        let mut twice = durations;
        twice.add(&durations);
        assert_eq!((twice.count(), twice.since(&durations)), (12, durations));
    }
}
