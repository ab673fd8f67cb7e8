//! Latency percentiles of attempts: bounded in size, mergeable, and readable during writes.
//!
//! A bucket is one byte, because there are many buckets and nearly all of them are nearly empty;
//! every 256th count of a bucket is carried to a small table. When
//! that table is full, all counts are halved, so the histogram describes roughly the last hundred
//! thousand attempts.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU32, Ordering, fence};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use serde::Serialize;

use crate::engine::state::buckets::{BUCKETS, middle};
use crate::engine::state::durations::{DurationCounts, Durations};

/// The number of buckets whose count can exceed one byte.
const CARRIES: usize = 24;
/// The number of carries (256 counts each) in one bucket at which all counts are halved.
const MAX_CARRIES: u32 = 255;
/// Layout of a table entry, from the lowest bit: the number of carries, then the bucket plus 1.
const BUCKET_AT: u32 = 16;
/// Half of a carry of 256 counts.
const HALF: u8 = 128;
/// How often a reader retries when it overlaps with such a change.
const READS: usize = 100;

/// The latencies of one endpoint's attempts. One thread writes at a time; any thread may read.
#[derive(Debug)]
pub(crate) struct Histogram {
    low: [AtomicU8; BUCKETS],
    high: [AtomicU32; CARRIES],
    /// Odd while a change that affects more than one count is in progress.
    turn: AtomicU32,
    /// What halving has taken away, so that there are numbers that never decrease. Kept from the first
    /// reading of an endpoint with [`MANY`] attempts on.
    taken: ArcSwapOption<DurationCounts>,
}

/// The number of attempts from which on the counts may be halved soon.
pub(super) const MANY: u64 = 4_096;

/// Latencies at the time they were read, of one endpoint or of many.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Times(Box<[u64]>);

/// Latency percentiles of attempts that completed or timed out; cancelled attempts are not
/// included.
///
/// Each percentile is within 2 % of the exact one for latencies from 1 µs to 2 min; shorter and
/// longer latencies count as these limits. The most recent hundred thousand attempts on an endpoint
/// weigh most. In a [rush](crate::Clock#rushes), they are those of a sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Latency {
    /// The median: 50 % of the attempts took at most this long.
    #[serde(flatten, serialize_with = "crate::codec::seconds::p50")]
    pub p50: Duration,
    /// The 90th percentile: 90 % of the attempts took at most this long.
    #[serde(flatten, serialize_with = "crate::codec::seconds::p90")]
    pub p90: Duration,
    /// The 99th percentile: 99 % of the attempts took at most this long.
    #[serde(flatten, serialize_with = "crate::codec::seconds::p99")]
    pub p99: Duration,
    /// The 99.9th percentile: 99.9 % of the attempts took at most this long.
    #[serde(flatten, serialize_with = "crate::codec::seconds::p999")]
    pub p999: Duration,
}

impl Histogram {
    pub(crate) fn new() -> Self {
        Self {
            low: [const { AtomicU8::new(0) }; BUCKETS],
            high: [const { AtomicU32::new(0) }; CARRIES],
            turn: AtomicU32::new(0),
            taken: ArcSwapOption::const_empty(),
        }
    }

    /// Counts attempts in their [`bucket`]: one addition, except with every 256th.
    #[inline]
    pub(crate) fn record(&self, bucket: usize, count: u8) {
        let (sum, wrapped) = self.low[bucket].load(Ordering::Relaxed).overflowing_add(count);
        if wrapped {
            self.overflow(bucket, sum);
        } else {
            self.low[bucket].store(sum, Ordering::Relaxed);
        }
    }

    /// Carries 256 counts of a bucket whose byte overflowed, and keeps the rest. A concurrent reader
    /// retries.
    #[cold]
    fn overflow(&self, bucket: usize, rest: u8) {
        self.turn.fetch_add(1, Ordering::AcqRel);
        self.low[bucket].store(rest, Ordering::Relaxed);
        if !self.carry(bucket, 1) {
            // The table is full. Halving frees an entry, and these 256 counts are halved as well.
            self.halve();
            self.take(|taken| taken.add_fine(bucket, HALF.into()));
            let (sum, wrapped) = self.low[bucket].load(Ordering::Relaxed).overflowing_add(HALF);
            self.low[bucket].store(sum, Ordering::Relaxed);
            if wrapped {
                self.carry(bucket, 1);
            }
        }
        self.turn.fetch_add(1, Ordering::Release);
    }

    pub(crate) fn clear(&self) {
        self.low.iter().for_each(|count| count.store(0, Ordering::Relaxed));
        self.high.iter().for_each(|count| count.store(0, Ordering::Relaxed));
        self.taken.store(None);
    }

    /// Prepares for numbers that never decrease, given the number of attempts so far. One thread writes
    /// at a time.
    pub(super) fn keep_taken(&self, attempts: u64) {
        if attempts < MANY || self.taken.load().is_some() {
            return;
        }
        // The attempts that are not recorded any more are taken to be like those that are.
        let (now, _) = self.durations();
        let taken = DurationCounts::new();
        taken.add(&now.scaled_to(attempts.saturating_sub(now.count())));
        self.taken.store(Some(Arc::new(taken)));
    }

    /// Returns the durations in fixed buckets, and their mean with the precision of the percentiles.
    pub(super) fn durations(&self) -> (Durations, Duration) {
        let mut durations = Durations::NONE;
        let mut taken = Durations::NONE;
        let counts = self.read_while(|| {
            taken = self.taken.load().as_ref().map_or(Durations::NONE, |taken| taken.read());
        });
        for (bucket, count) in counts.into_iter().enumerate().filter(|(_, count)| *count > 0) {
            durations.add_fine(bucket, count.into());
        }
        let mean = durations.mean().unwrap_or_default();
        durations.add(&taken);
        (durations, mean)
    }

    /// Adds the counts of this histogram to `times`.
    pub(crate) fn read_into(&self, times: &mut Times) {
        for (to, from) in times.0.iter_mut().zip(self.counts()) {
            *to += u64::from(from);
        }
    }

    /// Returns the current counts. Writers continue in the meantime.
    fn counts(&self) -> [u32; BUCKETS] {
        self.read_while(|| {})
    }

    /// Returns the current counts, and runs `also` so that no change of several counts comes between
    /// the two.
    fn read_while(&self, mut also: impl FnMut()) -> [u32; BUCKETS] {
        let mut read = [0; BUCKETS];
        for _ in 0..READS {
            let turn = self.turn.load(Ordering::Acquire);
            self.read(&mut read);
            also();
            fence(Ordering::Acquire);
            if turn % 2 == 0 && self.turn.load(Ordering::Relaxed) == turn {
                break;
            }
            std::hint::spin_loop();
        }
        read
    }

    fn read(&self, to: &mut [u32; BUCKETS]) {
        for (to, low) in to.iter_mut().zip(&self.low) {
            *to = u32::from(low.load(Ordering::Relaxed));
        }
        for place in &self.high {
            let (bucket, times) = unpack(place.load(Ordering::Relaxed));
            if let Some(bucket) = bucket {
                to[bucket] += times << u8::BITS;
            }
        }
    }

    /// Adds `times` carries of 256 counts to a bucket. Returns false if the table has no entry for
    /// it.
    fn carry(&self, bucket: usize, times: u32) -> bool {
        let tag = (bucket as u32 + 1) << BUCKET_AT;
        for place in &self.high {
            let before = match unpack(place.load(Ordering::Relaxed)) {
                (None, _) => 0,
                (Some(of), before) if of == bucket => before,
                _ => continue,
            };
            place.store(tag | (before + times), Ordering::Relaxed);
            if before + times >= MAX_CARRIES {
                self.halve();
            }
            return true;
        }
        false
    }

    /// Halves every count.
    fn halve(&self) {
        let mut full = [0_u32; BUCKETS];
        for (full, low) in full.iter_mut().zip(&self.low) {
            *full = u32::from(low.swap(0, Ordering::Relaxed));
        }
        for place in &self.high {
            if let (Some(bucket), times) = unpack(place.swap(0, Ordering::Relaxed)) {
                full[bucket] += times << u8::BITS;
            }
        }
        // One of every two odd counts is rounded up. Otherwise a long tail of one attempt per
        // bucket would be lost.
        let mut up = false;
        let mut taken = Durations::NONE;
        for (bucket, full) in full.into_iter().enumerate() {
            let odd = full % 2 == 1;
            let count = full / 2 + u32::from(odd && up);
            up ^= odd;
            taken.add_fine(bucket, u64::from(full - count));
            let low = (count & u32::from(u8::MAX)) as u8;
            self.low[bucket].store(low, Ordering::Relaxed);
            let times = count >> u8::BITS;
            if times > 0 {
                self.carry(bucket, times);
            }
        }
        self.take(|all| all.add(&taken));
    }

    /// Records counts that are taken away, if that is kept.
    fn take(&self, add: impl FnOnce(&mut Durations)) {
        if let Some(all) = &*self.taken.load() {
            let mut taken = Durations::NONE;
            add(&mut taken);
            all.add(&taken);
        }
    }
}

fn unpack(place: u32) -> (Option<usize>, u32) {
    let bucket = (place >> BUCKET_AT).checked_sub(1).map(|bucket| bucket as usize);
    (bucket, place & ((1 << BUCKET_AT) - 1))
}

impl Times {
    pub(crate) fn none() -> Self {
        Self(vec![0; BUCKETS].into())
    }

    pub(crate) fn add(&mut self, other: &Self) {
        for (to, from) in self.0.iter_mut().zip(&other.0) {
            *to += from;
        }
    }

    /// The number of latencies.
    #[cfg(test)]
    pub(crate) fn total(&self) -> u64 {
        self.0.iter().sum()
    }

    /// Returns the percentiles, or `None` if there are no latencies.
    pub(crate) fn latency(&self) -> Option<Latency> {
        let all: u64 = self.0.iter().sum();
        (all > 0).then(|| Latency {
            p50: self.at_rank(all, 500),
            p90: self.at_rank(all, 900),
            p99: self.at_rank(all, 990),
            p999: self.at_rank(all, 999),
        })
    }

    /// Returns a percentile of the shortest `share` of the latencies.
    pub(crate) fn percentile(&self, share: f64, percentile: f64) -> Option<Duration> {
        let kept = (self.0.iter().sum::<u64>() as f64 * share) as u64;
        (kept > 0).then(|| self.at_rank(kept, (percentile * 1000.0) as u64))
    }

    fn at_rank(&self, all: u64, per_mille: u64) -> Duration {
        let rank = (u128::from(all) * u128::from(per_mille)).div_ceil(1000) as u64;
        let mut before = 0;
        let found = self.0.iter().position(|count| {
            before += count;
            before >= rank
        });
        Duration::from_nanos(middle(found.unwrap_or(BUCKETS - 1)) as u64)
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use proptest::prelude::*;

    use super::*;
    use crate::engine::state::buckets::{PER_DOUBLING, begin, bucket};

    fn read(histogram: &Histogram) -> Times {
        let mut times = Times::none();
        histogram.read_into(&mut times);
        times
    }

    fn record(histogram: &Histogram, nanos: &[u64]) {
        for nanos in nanos {
            histogram.record(bucket(*nanos), 1);
        }
    }

    /// Returns the exact percentiles, found by sorting.
    fn sorted(nanos: &mut [u64]) -> [u64; 4] {
        nanos.sort_unstable();
        [500, 900, 990, 999].map(|per_mille| nanos[(nanos.len() * per_mille).div_ceil(1000) - 1])
    }

    fn assert_close(histogram: &Histogram, nanos: &mut [u64]) {
        let Latency { p50, p90, p99, p999 } = read(histogram).latency().expect("recorded");
        for (read, exact) in [p50, p90, p99, p999].into_iter().zip(sorted(nanos)) {
            let (read, exact) = (read.as_nanos() as f64, exact as f64);
            assert!((read - exact).abs() <= 0.02 * exact + 1.0, "{read} for {exact}");
        }
    }

    #[test]
    fn it_is_small_enough_for_one_of_each_endpoint() {
        assert!(size_of::<Histogram>() <= 632, "{}", size_of::<Histogram>());
    }

    #[test]
    fn every_bucket_is_at_most_four_percent_wide_and_they_reach_from_a_microsecond_to_two_minutes() {
        assert_eq!((bucket(0), bucket(1_000), bucket(2_048)), (0, 0, PER_DOUBLING));
        let widest =
            (0..BUCKETS - 1).map(|index| begin(index + 1) as f64 / begin(index) as f64).fold(0.0, f64::max);
        assert!(widest <= 1.0408, "{widest}");
        assert!(begin(BUCKETS - 1) >= 120_000_000_000, "{}", begin(BUCKETS - 1));
        assert_eq!(bucket(u64::MAX), BUCKETS - 1);
    }

    #[test]
    fn every_bucket_begins_where_the_one_before_it_ends() {
        for index in 1..BUCKETS {
            assert_eq!((bucket(begin(index) - 1), bucket(begin(index))), (index - 1, index));
        }
    }

    #[test]
    fn the_mean_is_as_near_as_a_percentile() {
        let histogram = Histogram::new();
        record(&histogram, &[1_000_000, 3_000_000, 8_000_000]);
        let (_, mean) = histogram.durations();
        assert!(mean.abs_diff(Duration::from_millis(4)) < Duration::from_micros(80), "{mean:?}");
    }

    #[test]
    fn nothing_recorded_is_no_percentile() {
        assert_eq!(read(&Histogram::new()).latency(), None);
        assert_eq!(Histogram::new().durations(), (Durations::NONE, Duration::ZERO));
    }

    proptest! {
        #[test]
        fn percentiles_are_within_two_percent_of_what_sorting_gives(
            mut nanos in prop::collection::vec(1_024_u64..120_000_000_000, 1..3_000),
            quick in prop::collection::vec(1_024_u64..10_000_000, 0..3_000),
        ) {
            nanos.extend(quick);
            let histogram = Histogram::new();
            record(&histogram, &nanos);
            assert_close(&histogram, &mut nanos);
        }

        #[test]
        fn merging_is_the_same_as_recording_into_one(
            one in prop::collection::vec(any::<u32>(), 0..500),
            other in prop::collection::vec(any::<u32>(), 0..500),
        ) {
            let [a, b, both] = std::array::from_fn(|_| Histogram::new());
            for (nanos, alone) in one.iter().map(|n| (n, &a)).chain(other.iter().map(|n| (n, &b))) {
                alone.record(bucket((*nanos).into()), 1);
                both.record(bucket((*nanos).into()), 1);
            }
            let mut merged = read(&a);
            merged.add(&read(&b));
            prop_assert_eq!(merged, read(&both));
        }
    }

    #[test]
    fn a_long_tail_is_still_there_after_millions_of_attempts() {
        // One in 500 takes a second, so that p99.9 is a second and p99 is not.
        let histogram = Histogram::new();
        for n in 0..3_000_000_u64 {
            let millis = if n % 500 == 0 { 1_000 } else { 10 };
            histogram.record(bucket(millis * 1_000_000), 1);
        }
        let latency = read(&histogram).latency().expect("recorded");
        assert!(latency.p99 < Duration::from_millis(11), "{latency:?}");
        assert!(latency.p999.abs_diff(Duration::from_secs(1)) < Duration::from_millis(20), "{latency:?}");
        assert!(read(&histogram).total() < 200_000, "what is old has faded");
    }

    #[test]
    fn a_tail_that_is_spread_over_many_buckets_survives_being_halved() {
        // One in 1 000 takes 100 ms to 10 s, and hardly any two take the same time.
        let histogram = Histogram::new();
        for n in 0..600_000_u64 {
            let tail = 100_000_000 + n.wrapping_mul(0x9e37_79b9_7f4a_7c15) % 9_900_000_000;
            histogram.record(bucket(if n % 1_000 == 0 { tail } else { 10_000_000 }), 1);
        }
        let times = read(&histogram);
        let slow: u64 = times.0[bucket(50_000_000)..].iter().sum();
        let share = slow as f64 / times.total() as f64;
        assert!((0.8e-3..1.2e-3).contains(&share), "{share}");
    }

    #[test]
    fn what_changes_is_seen_after_some_hundred_thousand_attempts() {
        let histogram = Histogram::new();
        for (millis, attempts) in [(10, 1_000_000), (50, 300_000)] {
            (0..attempts).for_each(|_| histogram.record(bucket(millis * 1_000_000), 1));
        }
        assert!(read(&histogram).latency().expect("recorded").p50 > Duration::from_millis(48));
    }

    #[test]
    fn more_busy_buckets_than_the_table_holds_are_halved_and_stay_right() {
        let histogram = Histogram::new();
        let mut nanos: Vec<u64> = (0..200_000_u64).map(|n| 1_000_000 + n % 1_000 * 10_000).collect();
        record(&histogram, &nanos);
        let read = read(&histogram).total();
        assert!((8_000..100_000).contains(&read), "{read}");
        // The histogram keeps a sample of what was recorded, so the rank may fall into the adjacent
        // bucket.
        let p50 = self::read(&histogram).latency().expect("recorded").p50.as_nanos() as f64;
        let exact = sorted(&mut nanos)[0] as f64;
        assert!((p50 - exact).abs() <= 0.06 * exact, "{p50} for {exact}");
    }

    #[test]
    fn a_concurrent_reader_sees_the_counts_of_some_moment() {
        let histogram = Histogram::new();
        thread::scope(|scope| {
            let writer = scope.spawn(|| {
                (0..64_000).for_each(|n| histogram.record(bucket((10 + n % 3) * 1_000), 1));
            });
            let mut before = 0;
            while !writer.is_finished() {
                let now = read(&histogram).total();
                assert!(now <= 64_000 && now >= before, "{now} after {before}");
                before = now;
            }
        });
        assert_eq!(read(&histogram).total(), 64_000);
    }
}
