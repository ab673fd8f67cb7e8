//! Full-jitter exponential back-off.

use std::time::Duration;

/// Computes `unit * min(max, base * multiplier^(wait - 1))`, the "full jitter" of AWS's
/// *Exponential Backoff and Jitter* and Envoy's default (base 25 ms, at most 10 times that).
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Backoff {
    base: Duration,
    max: Duration,
    multiplier: f64,
}

impl Backoff {
    pub(crate) const fn new(base: Duration, max: Duration, multiplier: f64) -> Self {
        Self { base, max, multiplier }
    }

    /// Returns the delay before retry number `wait`, starting at 1. `unit` is a random number from
    /// 0 to 1.
    ///
    /// The result is within (0, max] for any input, as long as neither `base` nor `max` is zero.
    pub(crate) fn delay(&self, wait: u32, unit: f64) -> Duration {
        let exponent = i32::try_from(wait.saturating_sub(1)).unwrap_or(i32::MAX);
        let grown = self.base.as_secs_f64() * self.multiplier.powi(exponent);
        let bounded = grown.min(self.max.as_secs_f64());
        // Never exactly zero, because two attempts in the same instant would be no back-off.
        let delay = Duration::from_secs_f64(bounded * if unit.is_nan() { 1.0 } else { unit.clamp(0.0, 1.0) });
        delay.max(Duration::from_nanos(1).min(self.max)).min(self.max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEFAULT: Backoff = Backoff::new(Duration::from_millis(25), Duration::from_millis(250), 2.0);

    #[test]
    fn the_delay_doubles_up_to_the_maximum() {
        let delays: Vec<_> = (1..=6).map(|wait| DEFAULT.delay(wait, 1.0).as_millis()).collect();
        assert_eq!(delays, [25, 50, 100, 200, 250, 250]);
    }

    #[test]
    fn aws_delays_of_one_second_with_and_without_a_cap_of_three() {
        let free = Backoff::new(Duration::from_secs(1), Duration::from_secs(20), 2.0);
        let capped = Backoff::new(Duration::from_secs(1), Duration::from_secs(3), 2.0);
        let seconds =
            |backoff: Backoff| (1..=4).map(|wait| backoff.delay(wait, 1.0).as_secs()).collect::<Vec<_>>();
        assert_eq!(seconds(free), [1, 2, 4, 8]);
        assert_eq!(seconds(capped), [1, 2, 3, 3]);
    }

    #[test]
    fn any_attempt_number_stays_within_bounds() {
        // App-vNext/Polly#2163: an exponent that overflows must not give zero or a negative time.
        for wait in [0, 1, 2, 10, 100, 1000, 1024, 1025, 2049, u32::MAX] {
            for unit in [0.0, 0.5, 1.0, -1.0, 2.0, f64::NAN] {
                let delay = DEFAULT.delay(wait, unit);
                assert!(
                    delay > Duration::ZERO && delay <= Duration::from_millis(250),
                    "{wait} {unit} {delay:?}"
                );
            }
        }
    }
}
