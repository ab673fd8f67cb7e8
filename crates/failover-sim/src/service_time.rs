//! How long a server works on one request.

use failover_core::Error;
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
    /// By measured percentiles, from 0 to 100, ascending; linear between two of them.
    Percentiles(Vec<(f64, Nanos)>),
}

impl ServiceTime {
    pub(crate) fn sample(&self, random: &mut SmallRng) -> Nanos {
        match self {
            Self::Constant(time) => *time,
            Self::Uniform(low, high) => random.random_range(*low..=*high),
            Self::Exponential(mean) => exponential(*mean as f64, random),
            Self::Percentiles(points) => at(points, random.random::<f64>() * 100.0),
        }
    }
}

impl ServiceTime {
    /// Reads lines of a percentile and milliseconds, such as `99,120.5`; the first line may name the columns. Below the
    /// first percentile and above the last one the time is theirs.
    ///
    /// # Errors
    ///
    /// `Validation` with the file, the line, and what would be right.
    pub(crate) fn percentiles(file: &str, text: &str) -> Result<Self, Error> {
        let mut points: Vec<(f64, Nanos)> = Vec::new();
        for (index, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || (index == 0 && line.starts_with(|c: char| c.is_ascii_alphabetic())) {
                continue;
            }
            let before = points.last().copied().unwrap_or((-1.0, 1));
            let point = line.split_once(',').and_then(|(percent, ms)| {
                let point = (percent.trim().parse::<f64>().ok()?, ms.trim().parse::<f64>().ok()?);
                Some(point).filter(|(percent, ms)| *percent <= 100.0 && (0.001..=3_600_000.0).contains(ms))
            });
            let point = point.map(|(percent, ms)| (percent, (ms * 1e6) as Nanos));
            let point = point.filter(|(percent, time)| *percent > before.0 && *time >= before.1);
            let wanted = "a percentile of 0 to 100 and milliseconds of 0.001 to 3600000, such as 99,120.5, both above \
                          those of the line before";
            points.push(
                point.ok_or_else(|| Error::invalid(&format!("{file} line {}", index + 1), line, wanted))?,
            );
        }
        let (Some(first), Some(last)) = (points.first().copied(), points.last().copied()) else {
            return Err(Error::invalid(file, "no line", "lines such as 50,12.5"));
        };
        points.insert(0, (0.0, first.1));
        points.push((100.0, last.1));
        Ok(Self::Percentiles(points))
    }
}

/// The time at a percentile.
fn at(points: &[(f64, Nanos)], percent: f64) -> Nanos {
    let above = points.iter().position(|(other, _)| *other > percent).unwrap_or(points.len() - 1).max(1);
    let ((low, shorter), (high, longer)) = (points[above - 1], points[above]);
    let part = if high > low { (percent - low) / (high - low) } else { 0.0 };
    shorter + (part * (longer - shorter) as f64) as Nanos
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

    #[test]
    fn samples_have_the_percentiles_of_their_file() {
        let file = "percentile,ms\n50,10\n90,20\n99,100\n99.9,1000\n";
        let times = ServiceTime::percentiles("fleet.csv", file).expect("it is valid");
        let mut random = SmallRng::seed_from_u64(1);
        let mut samples: Vec<_> = (0..200_000).map(|_| times.sample(&mut random)).collect();
        samples.sort_unstable();
        for (percent, ms) in
            [(25.0, 10.0), (50.0, 10.0), (70.0, 15.0), (90.0, 20.0), (99.0, 100.0), (99.95, 1000.0)]
        {
            let measured = samples[(percent * 2_000.0) as usize - 1] as f64 / 1e6;
            assert!((measured / ms - 1.0).abs() < 0.05, "p{percent}: {measured} ms, {ms} by the file");
        }
    }

    #[test]
    fn a_bad_file_of_percentiles_is_refused_by_its_line() {
        for (file, place) in [
            ("", "no line"),
            ("percentile,ms\n", "no line"),
            ("50,10\n40,20\n", "line 2"),
            ("50,10\n90,5\n", "line 2"),
            ("50,-1\n", "line 1"),
            ("50,0\n", "line 1"),
            ("50,NaN\n", "line 1"),
            ("50,10\nNaN,20\n", "line 2"),
            ("101,10\n", "line 1"),
            ("50;10\n", "line 1"),
            ("50,1e12\n", "line 1"),
        ] {
            let error = ServiceTime::percentiles("fleet.csv", file).expect_err(file).to_string();
            assert!(error.contains(place) && error.contains("fleet.csv"), "{file}: {error}");
        }
    }
}
