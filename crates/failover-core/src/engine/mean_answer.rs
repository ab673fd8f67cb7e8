//! How long answers take while a service has failures.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::runtime::clock::Time;

/// The weight of one answer.
const WEIGHT: f32 = 1.0 / 32.0;
/// One answer in 2^23 ns (about 8 ms) counts, so that few answers write a value that all threads share.
const TICK: u32 = 23;

/// A moving average of the durations of answers. Failures do not count: unlike in an endpoint's peak
/// EWMA, nothing but measured answers is in it.
///
/// Nanoseconds as a float in the upper half, the tick of the last answer in the lower half; 0 if nothing is
/// known.
#[derive(Debug)]
pub(crate) struct MeanAnswer(AtomicU64);

impl MeanAnswer {
    pub(crate) const fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    /// Records an answer. Of two concurrent ones, one may be lost.
    pub(crate) fn record(&self, nanos: u64, now: Time) {
        let word = self.0.load(Ordering::Relaxed);
        let tick = (now.as_nanos() >> TICK) as u32;
        let answer = nanos.max(1) as f32;
        let mean = match word {
            0 => answer,
            _ if word as u32 == tick => return,
            _ => nanos_of(word) + (answer - nanos_of(word)) * WEIGHT,
        };
        self.0.store(u64::from(mean.to_bits()) << 32 | u64::from(tick), Ordering::Relaxed);
    }

    /// The average in nanoseconds; 0 if nothing is known.
    pub(crate) fn nanos(&self) -> f32 {
        nanos_of(self.0.load(Ordering::Relaxed))
    }

    pub(crate) fn clear(&self) {
        self.0.store(0, Ordering::Relaxed);
    }
}

fn nanos_of(word: u64) -> f32 {
    f32::from_bits((word >> 32) as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    #[test]
    fn it_follows_the_answers_of_about_the_last_thirty_two() {
        let mean = MeanAnswer::new();
        assert!(mean.nanos() < 1.0);
        let answers = |from: u64, ms: u64| {
            (from..from + 32).for_each(|at| mean.record(ms * MS, Time::from_nanos(at * 10 * MS)));
            mean.nanos() / MS as f32
        };
        assert!((answers(0, 100) - 100.0).abs() < 0.1);
        let later = answers(32, 500);
        assert!((320.0..360.0).contains(&later), "{later}");
        mean.clear();
        assert!((answers(64, 7) - 7.0).abs() < 0.1, "nothing of the past remains");
    }

    #[test]
    fn a_rush_counts_no_more_than_one_answer_in_eight_milliseconds() {
        let mean = MeanAnswer::new();
        mean.record(10 * MS, Time::from_nanos(100 << TICK));
        (1..10_000).for_each(|of| mean.record(900 * MS, Time::from_nanos((101 << TICK) + of)));
        assert!(mean.nanos() < 40.0 * MS as f32, "{}", mean.nanos());
    }
}
