//! Outlier detection: finds the endpoints that fail clearly more often than the others.
//!
//! The rules are Envoy's, applied to the attempts of one interval. By *success rate*, an endpoint is
//! an outlier if its rate is below the mean of all rates by more than a factor times their standard
//! deviation. By *failure percentage*, it is one if it fails at least that share of its attempts.
//! One more condition keeps noise out, because Envoy's first rule ejects an endpoint for one failure
//! of 100 if the others had none: the difference from the others must be larger than chance explains.
//! Only failures that prove something about one endpoint count, not timeouts and overload answers.

use std::time::Duration;

use crate::config::OutlierConfig;

/// How far, in standard deviations of its own sample, an outlier's rate is from that of the others.
const SIGNIFICANT: f64 = 3.0;

/// The settings, as plain numbers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct OutlierPolicy {
    pub(crate) enabled: bool,
    pub(crate) interval: Duration,
    pub(crate) min_endpoints: u32,
    pub(crate) min_attempts: u32,
    /// Multiplies the standard deviation.
    pub(crate) deviations: f64,
    pub(crate) failure_percentage: f64,
    /// The share of the endpoints that may be out as outliers at the same time.
    pub(crate) max_ejected: f64,
    /// From which duration on a success is slow; `None` if durations do not count.
    pub(crate) slow_call: Option<Duration>,
    pub(crate) slow_percentage: f64,
}

impl From<&OutlierConfig> for OutlierPolicy {
    fn from(config: &OutlierConfig) -> Self {
        Self {
            enabled: config.enabled(),
            interval: config.interval(),
            min_endpoints: config.min_endpoints(),
            min_attempts: config.min_attempts(),
            deviations: config.deviations(),
            failure_percentage: config.failure_percentage(),
            max_ejected: config.max_ejected(),
            slow_call: config.slow_call(),
            slow_percentage: config.slow_percentage(),
        }
    }
}

/// The attempts of one endpoint in an interval.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sample {
    pub(crate) successes: u64,
    pub(crate) failures: u64,
    /// The successes that were slow.
    pub(crate) slow: u64,
}

/// Why an endpoint is an outlier.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Outlier {
    SuccessRate { rate: f64, below: f64 },
    FailurePercentage { percentage: f64 },
    SlowCalls { percentage: f64 },
}

impl Sample {
    fn attempts(self) -> f64 {
        (self.successes + self.failures) as f64
    }

    fn rate(self) -> f64 {
        self.successes as f64 / self.attempts()
    }

    fn slow_percentage(self) -> f64 {
        100.0 * self.slow as f64 / self.attempts().max(1.0)
    }

    fn plus(self, other: Self) -> Self {
        let successes = self.successes + other.successes;
        Self { successes, failures: self.failures + other.failures, slow: self.slow + other.slow }
    }

    fn minus(self, other: Self) -> Self {
        let successes = self.successes - other.successes;
        Self { successes, failures: self.failures - other.failures, slow: self.slow - other.slow }
    }

    /// Whether its failures are more than chance explains at the failure rate of the others.
    fn differs_from(self, others: Sample) -> bool {
        // One failure is added, so that a rate of 0 leaves some deviation.
        let expected = (others.failures as f64 + 1.0) / (others.attempts() + 1.0);
        let deviation = (self.attempts() * expected * (1.0 - expected)).sqrt();
        self.failures as f64 > self.attempts() * expected + SIGNIFICANT * deviation.max(1.0)
    }
}

/// Returns the outliers with their places, the worst first.
pub(crate) fn outliers(samples: &[Sample], policy: &OutlierPolicy) -> Vec<(usize, Outlier)> {
    let counts = |sample: &&Sample| sample.successes + sample.failures >= u64::from(policy.min_attempts);
    let known: Vec<Sample> = samples.iter().filter(counts).copied().collect();
    if known.is_empty() || known.len() < policy.min_endpoints as usize {
        return Vec::new();
    }
    let all = known.iter().fold(Sample::default(), |sum, of| sum.plus(*of));
    let (mean, deviation) = spread(known.iter().map(|sample| sample.rate()));
    let below = mean - policy.deviations * deviation;
    let mut found: Vec<_> = samples
        .iter()
        .enumerate()
        .filter(|(_, sample)| counts(sample))
        .filter_map(|(place, sample)| {
            let rate = sample.rate();
            let percentage = 100.0 * (1.0 - rate);
            let others = all.minus(*sample);
            let slow = sample.slow_percentage();
            if percentage >= policy.failure_percentage {
                Some((place, Outlier::FailurePercentage { percentage }))
            } else if rate < below && sample.differs_from(others) {
                Some((place, Outlier::SuccessRate { rate, below }))
            } else if slow >= policy.slow_percentage && others.slow_percentage() < slow / 2.0 {
                Some((place, Outlier::SlowCalls { percentage: slow }))
            } else {
                None
            }
        })
        .collect();
    let worse =
        |place: usize| (samples[place].successes - samples[place].slow) as f64 / samples[place].attempts();
    found.sort_by(|a, b| worse(a.0).total_cmp(&worse(b.0)));
    found
}

/// Returns the mean and the standard deviation.
fn spread(rates: impl Iterator<Item = f64> + Clone) -> (f64, f64) {
    let count = rates.clone().count() as f64;
    let mean = rates.clone().sum::<f64>() / count;
    let variance = rates.map(|rate| (rate - mean).powi(2)).sum::<f64>() / count;
    (mean, variance.sqrt())
}

/// The number of endpoints that may be out as outliers: at least one, unless the share is 0.
pub(crate) fn allowed(endpoints: u32, max_ejected: f64) -> u32 {
    let share = (f64::from(endpoints) * max_ejected) as u32;
    if max_ejected > 0.0 { share.max(1) } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy() -> OutlierPolicy {
        OutlierPolicy::from(&OutlierConfig::default())
    }

    fn of(failures: u64, attempts: u64) -> Sample {
        Sample { successes: attempts - failures, failures, slow: 0 }
    }

    fn places(samples: &[Sample]) -> Vec<usize> {
        outliers(samples, &policy()).into_iter().map(|(place, _)| place).collect()
    }

    #[test]
    fn the_success_rates_of_envoys_own_test() {
        let rates = [50.0, 100.0, 100.0, 100.0, 100.0_f64];
        let (mean, deviation) = spread(rates.into_iter());
        assert!((mean - 90.0).abs() < 1e-9);
        assert!((mean - 1.9 * deviation - 52.0).abs() < 1e-9);
        assert_eq!(places(&[of(100, 200), of(0, 200), of(0, 200), of(0, 200), of(0, 200)]), [0]);
    }

    #[test]
    fn the_failure_percentages_of_envoys_own_test() {
        let others = [of(0, 300); 4];
        let alone = |sample| {
            let policy = OutlierPolicy { deviations: 100.0, ..policy() };
            outliers(&[[sample].as_slice(), &others].concat(), &policy).len()
        };
        assert_eq!((alone(of(250, 300)), alone(of(300, 350))), (0, 1));
    }

    #[test]
    fn a_tenth_of_errors_is_an_outlier_at_one_endpoint_and_not_at_most() {
        let well = of(0, 1_000);
        let ill = of(100, 1_000);
        assert_eq!(places(&[well, well, well, well, well, ill, well, well, well, well]), [5]);
        assert_eq!(places(&[ill, well, ill, ill, ill]), [] as [usize; 0]);
        assert_eq!(places(&[ill; 10]), [] as [usize; 0]);
    }

    #[test]
    fn noise_is_no_outlier() {
        let clean = of(0, 100);
        for failures in [1, 2, 3] {
            let samples = [clean, clean, clean, clean, clean, clean, clean, clean, clean, of(failures, 100)];
            assert_eq!(places(&samples), [] as [usize; 0], "{failures} of 100");
        }
    }

    #[test]
    fn small_samples_and_few_endpoints_are_left_alone() {
        assert_eq!(places(&[of(99, 99), of(0, 99), of(0, 99), of(0, 99), of(0, 99)]), [] as [usize; 0]);
        assert_eq!(places(&[of(50, 100), of(0, 100), of(0, 100), of(0, 100)]), [] as [usize; 0]);
        // One endpoint with a small sample does not count among the five.
        let few = [of(0, 100), of(0, 100), of(0, 100), of(30, 100), of(9, 9)];
        assert_eq!(places(&few), [] as [usize; 0]);
        assert_eq!(places(&[]), [] as [usize; 0]);
    }

    #[test]
    fn slow_attempts_make_an_outlier_unless_the_others_are_slow_too() {
        let slow = |slow| Sample { successes: 100, failures: 0, slow };
        for (one, others, expected) in [(50, 0, 1), (49, 0, 0), (100, 49, 1), (100, 50, 0), (100, 100, 0)] {
            let samples = [slow(one), slow(others), slow(others), slow(others), slow(others)];
            assert_eq!(places(&samples).len(), expected, "{one} and {others} of 100");
        }
    }

    #[test]
    fn the_worst_comes_first() {
        let samples: Vec<_> = (0..20).map(|n| of(if n < 2 { 500 + 100 * n } else { 0 }, 1_000)).collect();
        assert_eq!(places(&samples), [1, 0]);
    }

    #[test]
    fn the_cap_is_grpcs() {
        for (endpoints, share, expected) in [(3, 0.1, 1), (3, 0.0, 0), (100, 0.1, 10), (0, 0.1, 1)] {
            assert_eq!(allowed(endpoints, share), expected, "{endpoints} {share}");
        }
    }
}
