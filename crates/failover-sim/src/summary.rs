//! What several runs of one scenario came to, in one line.

use crate::record::{Report, SECOND, percentile, share};
use crate::scenario::Scenario;

/// The figures of several runs of one scenario under one policy, taken together.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Summary {
    /// Calls that ended.
    pub calls: u64,
    /// Calls that failed.
    pub failed: u64,
    /// Calls that succeeded, per second.
    pub goodput: f64,
    /// The median time of a call, in nanoseconds.
    pub p50: u64,
    /// The 99th percentile, in nanoseconds.
    pub p99: u64,
    /// The 99.9th percentile, in nanoseconds.
    pub p999: u64,
    /// Attempts for each call.
    pub amplification: f64,
    /// Seconds until 99 % of the calls succeed: from the end of the last fault, or from its beginning where it lasts;
    /// the median of the runs. `None` when that does not happen in most of them.
    pub recovery: Option<usize>,
    /// The share of the attempts that each endpoint got.
    pub shares: Vec<f64>,
}

impl Summary {
    /// Takes the reports of several seeds together, without what began in the first seconds.
    pub fn of(scenario: &Scenario, reports: &[Report], warm_up: usize) -> Self {
        let mut times: Vec<u64> = Vec::new();
        let (mut calls, mut failed, mut attempts, mut seconds) = (0, 0, vec![0; scenario.endpoints.len()], 0);
        for report in reports {
            times.extend(report.by_second.iter().skip(warm_up).flatten());
            let until = report.seconds.len();
            let (ended, visible) = report.failed_between(warm_up, until);
            (calls, failed, seconds) =
                (calls + ended, failed + visible, seconds + until - warm_up.min(until));
            for (index, sum) in attempts.iter_mut().enumerate() {
                *sum += report.attempts_at(index, warm_up, until);
            }
        }
        times.sort_unstable();
        let all: u64 = attempts.iter().sum();
        let from = (scenario.recovers_from() / SECOND) as usize;
        let mut recoveries: Vec<_> =
            reports.iter().map(|report| report.recovery(from).unwrap_or(usize::MAX)).collect();
        recoveries.sort_unstable();
        Self {
            calls,
            failed,
            goodput: share(calls - failed, seconds as u64),
            p50: percentile(&times, 50.0),
            p99: percentile(&times, 99.0),
            p999: percentile(&times, 99.9),
            amplification: share(all, calls),
            recovery: recoveries.get(recoveries.len() / 2).copied().filter(|seconds| *seconds < usize::MAX),
            shares: attempts.into_iter().map(|one| share(one, all)).collect(),
        }
    }

    /// The names of the columns of [`line`](Self::line).
    pub fn header() -> String {
        format!(
            "{:>8} {:>9} {:>8} {:>8} {:>8} {:>8} {:>7} {:>7} {:>10}",
            "calls", "failed %", "ok/s", "p50 ms", "p99 ms", "p99.9", "att/call", "back s", "share %"
        )
    }

    /// The figures in columns. The shares are the least and the largest one of all endpoints.
    pub fn line(&self) -> String {
        let ms = |nanos: u64| format!("{:.1}", nanos as f64 / 1e6);
        let recovery = self.recovery.map_or_else(|| "never".to_owned(), |seconds| seconds.to_string());
        let percent = |share: f64| format!("{:.1}", share * 100.0);
        let least = self.shares.iter().copied().fold(f64::MAX, f64::min);
        let largest = self.shares.iter().copied().fold(0.0, f64::max);
        format!(
            "{:8} {:>9} {:8.1} {:>8} {:>8} {:>8} {:8.3} {recovery:>7} {:>10}",
            self.calls,
            format!("{:.3}", share(self.failed, self.calls) * 100.0),
            self.goodput,
            ms(self.p50),
            ms(self.p99),
            ms(self.p999),
            self.amplification,
            format!("{}-{}", percent(least), percent(largest)),
        )
    }
}
