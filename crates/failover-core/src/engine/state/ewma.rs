//! Peak-EWMA: a moving average of latency that rises at once and decays slowly.
//!
//! The algorithm is Finagle's `PeakEwma`: a sample above the average replaces it at once; a sample
//! below it lowers it with a time constant of 10 s; the average also decays without samples. The
//! penalty for failures is that of linkerd's load biaser, so that an endpoint that fails fast does
//! not appear fast.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::runtime::clock::Time;

/// The time constant of the decay, in nanoseconds.
const TAU: f32 = 10e9;
/// The time constant of the decay of a penalty, so that a single failure does not take an endpoint out
/// of use for the half minute in which 20 times the usual latency would decay.
const PENALTY_TAU: f32 = 1e9;
/// The minimum latency recorded for a failed attempt.
pub(crate) const PENALTY: Duration = Duration::from_secs(5);
/// The longest pause that an endpoint can request.
pub(crate) const LONGEST_PENALTY: Duration = Duration::from_secs(300);
/// Timestamps count in units of 2^20 ns (about 1 ms): precise enough for a time constant of 10 s,
/// and 32 bits last for 52 days.
const TICK: u32 = 20;

/// Clock readings of two threads differ by less than this many ticks, about 17 s.
const SKEW: u32 = 1 << 14;

/// Nanoseconds as a float in the upper half, negative if they are a penalty, the timestamp in the lower
/// half; 0 if nothing is known.
#[derive(Debug)]
pub(crate) struct PeakEwma(AtomicU64);

impl PeakEwma {
    pub(crate) const fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    /// Returns the decayed average in nanoseconds; 0 if nothing is known.
    #[inline]
    pub(crate) fn at(&self, now: Time) -> f32 {
        decayed(self.0.load(Ordering::Relaxed), now)
    }

    /// Records a sample. Of two concurrent samples one may be lost, unless it is a peak.
    #[inline]
    pub(crate) fn update(&self, nanos: u64, now: Time) {
        let word = self.0.load(Ordering::Relaxed);
        let sample = float(nanos);
        if sample > value(word).abs() {
            return self.raise(sample, sample, now);
        }
        // A sample within the same tick as the previous one would change nothing.
        if word as u32 != tick(now) {
            self.0.store(pack(updated(word, sample, now), now), Ordering::Relaxed);
        }
    }

    /// Records a sample that is a lower bound: it has an effect only if it is above the average.
    pub(crate) fn raise_to(&self, sample: Duration, now: Time) {
        let sample = float(sample.as_nanos() as u64);
        self.raise(sample, sample, now);
    }

    /// Records a penalty: like a lower bound, but it decays soon.
    pub(crate) fn penalise(&self, penalty: Duration, now: Time) {
        let penalty = float(penalty.as_nanos() as u64);
        self.raise(penalty, -penalty, now);
    }

    /// Returns about when the attempt of the latest sample began, if it took as long as the average;
    /// the beginning of time if there is no sample.
    pub(crate) fn last_start(&self, now: Time) -> Time {
        let word = self.0.load(Ordering::Relaxed);
        if word == 0 {
            return Time::from_nanos(0);
        }
        let age = u64::from(tick(now).wrapping_sub(word as u32)) << TICK;
        Time::from_nanos(now.as_nanos().saturating_sub(age).saturating_sub(value(word).abs() as u64))
    }

    /// Sets the initial average of a new endpoint, derived from its peers.
    pub(crate) fn seed(&self, nanos: f32, now: Time) {
        self.0.store(pack(nanos, now), Ordering::Relaxed);
    }

    pub(crate) fn clear(&self) {
        self.0.store(0, Ordering::Relaxed);
    }

    #[cold]
    fn raise(&self, sample: f32, stored: f32, now: Time) {
        let _ = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |word| {
            (sample > decayed(word, now)).then(|| pack(stored, now))
        });
    }
}

/// Converts a sample; 0 becomes 1, so that a sample of 0 is not taken for no sample.
#[inline]
#[allow(clippy::cast_possible_wrap, reason = "292 years do not wrap")]
fn float(nanos: u64) -> f32 {
    // Converts through a signed integer, for which processors have an instruction.
    (nanos as i64 as f32).max(1.0)
}

fn pack(nanos: f32, now: Time) -> u64 {
    (u64::from(nanos.to_bits()) << 32) | u64::from(tick(now))
}

fn value(word: u64) -> f32 {
    f32::from_bits((word >> 32) as u32)
}

fn tick(now: Time) -> u32 {
    (now.as_nanos() >> TICK) as u32
}

/// Returns the fraction of the past that remains.
#[inline]
fn decay(word: u64, now: Time, tau: f32) -> f32 {
    let ticks = tick(now).wrapping_sub(word as u32);
    // The clock readings of two threads may differ slightly: a timestamp in the near future counts
    // as now.
    if ticks == 0 || ticks > u32::MAX - SKEW {
        return 1.0;
    }
    let past = ticks as f32 * ((1_u32 << TICK) as f32 / tau);
    if past < 0.1 {
        // The first terms of the series are within 0.02 % at a fraction of the cost.
        return 1.0 - past + past * past / 2.0;
    }
    (-past).exp()
}

#[inline]
fn decayed(word: u64, now: Time) -> f32 {
    let value = value(word);
    if value < 0.0 {
        return -value * decay(word, now, PENALTY_TAU);
    }
    if word == 0 { 0.0 } else { value * decay(word, now, TAU) }
}

#[inline]
fn updated(word: u64, sample: f32, now: Time) -> f32 {
    let before = value(word);
    if before < 0.0 {
        // What is left of the penalty is no latency that was measured.
        return sample.max(decayed(word, now));
    }
    if word == 0 || sample > before {
        return sample;
    }
    let decay = decay(word, now, TAU);
    sample * (1.0 - decay) + before * decay
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    fn at(ms: u64) -> Time {
        Time::from_nanos(1 + ms * MS)
    }

    #[test]
    fn a_penalty_is_gone_after_seconds_and_the_next_answer_replaces_it() {
        let ewma = PeakEwma::new();
        ewma.update(10 * MS, at(0));
        ewma.penalise(Duration::from_millis(200), at(0));
        assert!((ewma.at(at(0)) - 200e6).abs() < 100.0);
        assert!(ewma.at(at(3_000)) < 10e6);
        ewma.update(10 * MS, at(3_000));
        assert!((ewma.at(at(3_000)) - 10e6).abs() < 100.0);
        ewma.penalise(Duration::from_millis(200), at(4_000));
        ewma.update(10 * MS, at(4_100));
        assert!(ewma.at(at(4_100)) > 170e6, "an answer soon after it does not hide it");
    }

    #[test]
    fn weeks_without_calls_leave_nothing_of_a_penalty() {
        let word = pack(5e9, at(0));
        for days in [1, 27, 40, 51] {
            let found = decayed(word, at(days * 24 * 3_600_000));
            assert!(found < 1.0, "{days} days: {found}");
        }
    }

    #[test]
    fn silence_decays_it_as_in_towers_own_test() {
        // A penalty has the time constant of that test.
        let word = pack(-10.0, at(0));
        let first = decayed(word, at(100));
        assert!(first > 9.0 && first < 10.0, "{first}");
        let later = decayed(word, at(200));
        assert!(later > 8.0 && later < 9.0, "{later}");
    }

    #[test]
    fn a_peak_counts_at_once_and_a_fast_answer_slowly() {
        let ewma = PeakEwma::new();
        assert!(ewma.at(at(0)) == 0.0);
        ewma.update(10 * MS, at(0));
        ewma.update(100 * MS, at(0));
        assert!((ewma.at(at(0)) - 100e6).abs() < 1.0);
        ewma.update(10 * MS, at(10_000));
        // A tenth of the sample's weight is 1 - 1/e.
        let expected = 10e6 * (1.0 - (-1.0_f32).exp()) + 100e6 * (-1.0_f32).exp();
        let found = ewma.at(at(10_000));
        assert!((found / expected - 1.0).abs() < 0.01, "{found} {expected}");
    }

    #[test]
    fn a_lower_bound_counts_only_above_the_average() {
        let ewma = PeakEwma::new();
        ewma.update(50 * MS, at(0));
        ewma.raise_to(Duration::from_millis(20), at(0));
        assert!((ewma.at(at(0)) - 50e6).abs() < 1.0);
        ewma.raise_to(Duration::from_millis(70), at(0));
        assert!((ewma.at(at(0)) - 70e6).abs() < 10.0);
    }

    #[test]
    fn a_clock_reading_in_the_past_does_no_harm() {
        let ewma = PeakEwma::new();
        ewma.update(50 * MS, at(1_000));
        assert!((ewma.at(at(900)) - 50e6).abs() < 1.0);
    }
}
