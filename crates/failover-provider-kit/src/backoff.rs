//! Pauses after failures: pure functions of the failures, the time and a random number.

use std::time::Duration;

use failover_core::Time;

/// Exponential steps up to a limit, with a random share.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BackoffSteps {
    first: Duration,
    factor: f64,
    limit: Duration,
    random: f64,
}

impl BackoffSteps {
    /// Creates steps that start at `first`, grow by `factor` (at least 1) and end at `limit`.
    ///
    /// Half of each step is random, see [`with_random_share`](Self::with_random_share).
    pub const fn new(first: Duration, factor: f64, limit: Duration) -> Self {
        Self { first, factor, limit, random: 0.5 }
    }

    /// Sets the random share of each step, from 0 (none) to 1 (full jitter); default 0.5.
    #[must_use]
    pub const fn with_random_share(mut self, share: f64) -> Self {
        self.random = share;
        self
    }

    /// Returns the longest delay of the step with this number, which starts at 0.
    pub fn longest(&self, number: u32) -> Duration {
        // Bounds the exponent; a step that overflows is at the limit.
        let grown = self.first.as_secs_f64() * self.factor.powi(i32::try_from(number.min(64)).unwrap_or(64));
        Duration::try_from_secs_f64(grown).map_or(self.limit, |grown| grown.min(self.limit))
    }

    /// Returns the delay of the step with this number for a random number `unit` from 0 to 1.
    pub fn delay(&self, number: u32, unit: f64) -> Duration {
        self.longest(number).mul_f64(1.0 - self.random + self.random * unit)
    }
}

/// Pauses before a request is repeated, after consecutive failures.
///
/// Short pauses find a server that restarts soon; in a long outage longer ones keep the number of
/// requests small. [`then_after`](Self::then_after) gives each phase its own steps.
///
/// ```
/// use std::time::Duration;
/// use failover_provider_kit::{Backoff, BackoffSteps, Timing};
///
/// let (timing, second) = (Timing::tokio(), Duration::from_secs(1));
/// let mut backoff = Backoff::new(BackoffSteps::new(second / 4, 2.0, 4 * second))
///     .then_after(25 * second, BackoffSteps::new(8 * second, 2.0, 30 * second));
/// let pause = backoff.after_failure(timing.now(), timing.unit());
/// assert!(pause <= second / 4);
/// backoff.reset(); // after an answer
/// ```
#[derive(Clone, Debug)]
pub struct Backoff {
    early: BackoffSteps,
    late: Option<(Duration, BackoffSteps)>,
    began: Option<Time>,
    early_failures: u32,
    late_failures: u32,
}

impl Backoff {
    /// Creates a back-off with no failures so far.
    pub const fn new(steps: BackoffSteps) -> Self {
        Self { early: steps, late: None, began: None, early_failures: 0, late_failures: 0 }
    }

    /// Uses other steps, starting with the first, once failures have lasted for `outage`.
    #[must_use]
    pub const fn then_after(mut self, outage: Duration, steps: BackoffSteps) -> Self {
        self.late = Some((outage, steps));
        self
    }

    /// Counts one more failure, and returns how long to wait; `unit` is random, from 0 to 1.
    pub fn after_failure(&mut self, now: Time, unit: f64) -> Duration {
        let began = *self.began.get_or_insert(now);
        let late = self.late.filter(|(outage, _)| now.since(began) >= *outage);
        let (steps, failures) = match late {
            Some((_, steps)) => (steps, &mut self.late_failures),
            None => (self.early, &mut self.early_failures),
        };
        let delay = steps.delay(*failures, unit);
        *failures = failures.saturating_add(1);
        delay
    }

    /// Resets the failures after a success.
    pub fn reset(&mut self) {
        (self.began, self.early_failures, self.late_failures) = (None, 0, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Timing;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn steps_grow_to_their_limit_and_never_beyond() {
        let steps = BackoffSteps::new(SECOND / 4, 2.0, 4 * SECOND);
        let longest: Vec<_> = (0..6).map(|n| steps.longest(n).as_millis()).collect();
        assert_eq!(longest, [250, 500, 1000, 2000, 4000, 4000]);
        assert_eq!(steps.longest(u32::MAX), 4 * SECOND);
        assert_eq!((steps.delay(0, 0.0), steps.delay(0, 1.0)), (SECOND / 8, SECOND / 4));
        assert_eq!(steps.with_random_share(1.0).delay(3, 0.0), Duration::ZERO);
        let huge = BackoffSteps::new(Duration::MAX, 1e9, 30 * SECOND);
        assert_eq!(huge.longest(64), 30 * SECOND);
    }

    #[test]
    fn a_long_outage_has_its_own_steps_and_an_answer_resets_them() {
        let steps = BackoffSteps::new(SECOND, 2.0, 4 * SECOND);
        let late = BackoffSteps::new(8 * SECOND, 2.0, 30 * SECOND);
        let mut backoff = Backoff::new(steps).then_after(10 * SECOND, late);
        let begin = Timing::tokio().now();
        let at = |seconds: u64, backoff: &mut Backoff| {
            backoff.after_failure(begin + seconds as u32 * SECOND, 1.0).as_secs()
        };
        let pauses: Vec<_> = [0, 1, 3, 7, 11, 19, 35].map(|s| at(s, &mut backoff)).into();
        assert_eq!(pauses, [1, 2, 4, 4, 8, 16, 30]);
        backoff.reset();
        assert_eq!(at(70, &mut backoff), 1);
    }
}
