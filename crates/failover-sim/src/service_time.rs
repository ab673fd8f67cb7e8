//! How long a server works on one request.

use rand::RngExt;
use rand::rngs::SmallRng;

use crate::Nanos;

/// A distribution of service times.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum ServiceTime {
    /// Every request takes the same time.
    Constant(Nanos),
    /// Evenly between the two.
    Uniform(Nanos, Nanos),
    /// With this mean.
    Exponential(Nanos),
}

impl ServiceTime {
    pub(crate) fn sample(&self, random: &mut SmallRng) -> Nanos {
        match self {
            Self::Constant(time) => *time,
            Self::Uniform(low, high) => random.random_range(*low..=*high),
            Self::Exponential(mean) => exponential(*mean as f64, random),
        }
    }
}

/// An exponentially distributed time, at least 1 ns.
pub(crate) fn exponential(mean: f64, random: &mut SmallRng) -> Nanos {
    let unit: f64 = random.random();
    ((-(1.0 - unit).ln() * mean) as Nanos).max(1)
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    #[test]
    fn samples_have_the_mean_of_their_distribution() {
        let mut random = SmallRng::seed_from_u64(1);
        for (times, mean) in [
            (ServiceTime::Constant(500_000), 5e5),
            (ServiceTime::Uniform(9_000_000, 11_000_000), 1e7),
            (ServiceTime::Exponential(10_000_000), 1e7),
        ] {
            let sum: u64 = (0..200_000).map(|_| times.sample(&mut random)).sum();
            let measured = sum as f64 / 200_000.0;
            assert!((measured / mean - 1.0).abs() < 0.02, "{times:?}: {measured}");
        }
    }
}
