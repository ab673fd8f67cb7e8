//! Rates and percentiles of periods.

use std::time::Duration;

use failover_core::AttemptClass;
use failover_core::inspect::{Durations, WindowStats};
use serde_json::{Value, json};

/// The number of one-second samples.
pub(crate) const SAMPLES: usize = 60;

/// What happened in a period, for a reader.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Figures {
    pub(crate) calls_per_second: f64,
    pub(crate) failed_per_second: f64,
    /// Absent without calls, or where the durations of the period are not known.
    pub(crate) p50: Option<Duration>,
    pub(crate) p99: Option<Duration>,
}

impl Figures {
    pub(crate) fn of(window: &WindowStats) -> Self {
        let attempts = &window.attempts;
        let answered = attempts.of(AttemptClass::Success) + attempts.of(AttemptClass::Rejected);
        let rate = |count: u64| match window.length.as_secs_f64() {
            seconds if seconds > 0.0 => count as f64 / seconds,
            _ => 0.0,
        };
        let percentile = |share| window.call_durations.as_ref().and_then(|of| percentile(of, share));
        Self {
            calls_per_second: rate(answered + window.failed_requests),
            failed_per_second: rate(window.failed_requests),
            p50: percentile(0.5),
            p99: percentile(0.99),
        }
    }

    /// The share of the calls that failed, 0 to 1.
    pub(crate) fn failed_share(&self) -> f64 {
        if self.calls_per_second > 0.0 { self.failed_per_second / self.calls_per_second } else { 0.0 }
    }

    pub(crate) fn json(&self) -> Value {
        json!({
            "calls_per_second": self.calls_per_second,
            "failed_per_second": self.failed_per_second,
            "p50_seconds": self.p50.map(|of| of.as_secs_f64()),
            "p99_seconds": self.p99.map(|of| of.as_secs_f64()),
        })
    }
}

/// Returns the duration that this share of the durations does not exceed, by interpolation within a
/// bucket. Of those above the last bound, nothing but that is known: then it is the last bound.
pub(crate) fn percentile(durations: &Durations, share: f64) -> Option<Duration> {
    let wanted = durations.count() as f64 * share;
    if durations.count() == 0 {
        return None;
    }
    let (mut from, mut below) = (Duration::ZERO, 0);
    for bucket in durations.buckets() {
        if bucket.count as f64 >= wanted && bucket.count > below {
            let part = (wanted - below as f64) / (bucket.count - below) as f64;
            return Some(from + bucket.at_most.saturating_sub(from).mul_f64(part.clamp(0.0, 1.0)));
        }
        (from, below) = (bucket.at_most, bucket.count);
    }
    Some(from)
}

/// Returns one sample for each of the last 60 seconds, oldest first: the figures of the period that it
/// is in.
pub(crate) fn samples(history: &[WindowStats]) -> Vec<Figures> {
    let mut newest_first = Vec::with_capacity(SAMPLES);
    let mut end = Duration::ZERO;
    for window in history.iter().rev() {
        end += window.length;
        let figures = Figures::of(window);
        while newest_first.len() < SAMPLES && end.as_secs_f64() > newest_first.len() as f64 + 0.5 {
            newest_first.push(figures);
        }
    }
    newest_first.reverse();
    newest_first
}

/// Writes a duration with as many digits as it is worth, and a space that does not break.
pub(crate) fn shown(duration: Duration) -> String {
    let (number, unit) = match duration.as_secs_f64() {
        0.0 => ("0".to_owned(), "s"),
        of if of < 0.000_999_5 => (format!("{:.0}", of * 1e6), "µs"),
        of if of < 0.099_95 => (format!("{:.1}", of * 1e3), "ms"),
        of if of < 0.999_5 => (format!("{:.0}", of * 1e3), "ms"),
        of if of < 99.95 => (format!("{of:.1}"), "s"),
        of if of < 5_970.0 => (format!("{:.0}", of / 60.0), "min"),
        of if of < 172_800.0 => (format!("{:.0}", of / 3_600.0), "h"),
        of => (format!("{:.0}", of / 86_400.0), "d"),
    };
    format!("{number}\u{a0}{unit}")
}

/// Writes a rate with as many digits as it is worth.
pub(crate) fn rate(of: f64) -> String {
    if of == 0.0 || of >= 100.0 { format!("{of:.0}") } else { format!("{of:.1}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_and_rates_have_the_digits_that_they_are_worth() {
        for (micros, text) in [
            (0, "0 s"),
            (250, "250 µs"),
            (2_500, "2.5 ms"),
            (250_000, "250 ms"),
            (1_250_000, "1.2 s"),
            (600_000_000, "10 min"),
            (7_200_000_000, "2 h"),
            (259_200_000_000, "3 d"),
        ] {
            assert_eq!(shown(Duration::from_micros(micros)).replace('\u{a0}', " "), text);
        }
        assert_eq!([rate(0.0), rate(3.21), rate(1_234.5)], ["0", "3.2", "1234"]);
    }
}
