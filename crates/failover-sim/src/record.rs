//! What callers saw, second by second.

use crate::Nanos;

/// Nanoseconds of a second.
pub(crate) const SECOND: Nanos = 1_000_000_000;

/// One second of a run. Calls count in the second in which they began.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Second {
    /// Calls that began.
    pub calls: u64,
    /// Calls that began in it and succeeded in the end.
    pub succeeded: u64,
    /// Calls that began in it and failed.
    pub failed: u64,
    /// Calls that began in it and whose first attempt failed.
    pub first_failed: u64,
    /// Attempts per endpoint.
    pub attempts: Vec<u64>,
    /// The median time of its calls, in nanoseconds.
    pub p50: u64,
    /// The 99th percentile of the time of its calls, in nanoseconds.
    pub p99: u64,
    /// The 99.9th percentile of the time of its calls, in nanoseconds.
    pub p999: u64,
    /// The retry tokens of the first client when the second ended; absent if its policy has none.
    pub retry_tokens: Option<u32>,
    /// Whether a fault held at an endpoint when the second ended.
    pub faulty: Vec<bool>,
    /// Endpoints that were not in use when the second ended, for the first client.
    pub out: Vec<bool>,
}

/// What one run came to.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Report {
    /// The policy's name.
    pub policy: String,
    /// The seed.
    pub seed: u64,
    /// Calls that ended.
    pub calls: u64,
    /// Calls that failed: what is visible.
    pub failed: u64,
    /// Calls whose first attempt failed.
    pub first_failed: u64,
    /// Attempts that were made.
    pub attempts: u64,
    /// The times of all calls that ended, in nanoseconds, ascending.
    pub times: Vec<u64>,
    /// Second by second.
    pub seconds: Vec<Second>,
    /// The time that each endpoint worked, in nanoseconds.
    pub worked: Vec<u64>,
    /// The times of the calls that began in each second, ascending.
    pub(crate) by_second: Vec<Vec<u64>>,
    /// Attempts at each endpoint in each tenth of a second.
    pub(crate) tenths: Vec<Vec<u32>>,
    /// When calls succeeded: the first success of each 10 ms.
    pub(crate) successes: Vec<u64>,
    /// When each call began.
    pub(crate) began: Vec<u64>,
    /// How often the first client reported that its own process had stood still; absent if its policy cannot.
    pub stalls: Option<u64>,
    /// The hash of the event log.
    pub hash: u64,
}

impl Report {
    /// The time below which this percentage (0 to 100) of the calls took, in nanoseconds.
    pub fn percentile(&self, percent: f64) -> u64 {
        percentile(&self.times, percent)
    }

    /// The mean time of a call, in nanoseconds.
    pub fn mean(&self) -> f64 {
        self.times.iter().sum::<u64>() as f64 / self.times.len().max(1) as f64
    }

    /// The share of calls that failed.
    pub fn visible(&self) -> f64 {
        share(self.failed, self.calls)
    }

    /// Attempts for each call.
    pub fn amplification(&self) -> f64 {
        share(self.attempts, self.calls)
    }

    /// Attempts at one endpoint from one second up to another.
    pub fn attempts_at(&self, endpoint: usize, from: usize, until: usize) -> u64 {
        self.between(from, until).map(|second| second.attempts.get(endpoint).copied().unwrap_or(0)).sum()
    }

    /// The share of the attempts from one second up to another that these endpoints got.
    pub(crate) fn share_of(&self, endpoints: &[usize], (from, until): (usize, usize)) -> f64 {
        let attempts = |index| self.attempts_at(index, from, until);
        let all: u64 = (0..self.worked.len()).map(attempts).sum();
        share(endpoints.iter().copied().map(attempts).sum(), all)
    }

    /// Calls that began from one second up to another, and those of them that failed.
    pub fn failed_between(&self, from: usize, until: usize) -> (u64, u64) {
        self.between(from, until)
            .fold((0, 0), |(calls, failed), s| (calls + s.succeeded + s.failed, failed + s.failed))
    }

    /// The share of the calls that began from one second up to another and succeeded.
    pub fn goodput(&self, from: usize, until: usize) -> f64 {
        let (calls, failed) = self.failed_between(from, until);
        1.0 - share(failed, calls)
    }

    /// Seconds from `after` until at least 99 % of the calls of five seconds succeed; `None` when that never happens.
    pub fn recovery(&self, after: usize) -> Option<usize> {
        const SPAN: usize = 5;
        let last = self.seconds.len().checked_sub(SPAN)?;
        (after..=last).find(|start| self.goodput(*start, start + SPAN) >= 0.99).map(|start| start - after)
    }

    /// Nanoseconds from a time until the next success of a call; `None` when there is none.
    pub fn first_success_after(&self, time: u64) -> Option<u64> {
        self.successes.iter().find(|at| **at >= time).map(|at| at - time)
    }

    fn between(&self, from: usize, until: usize) -> impl Iterator<Item = &Second> {
        self.seconds.iter().take(until).skip(from)
    }
}

pub(crate) fn share(part: u64, whole: u64) -> f64 {
    part as f64 / whole.max(1) as f64
}

pub(crate) fn percentile(sorted: &[u64], percent: f64) -> u64 {
    let place = (sorted.len() as f64 * percent / 100.0).ceil() as usize;
    sorted.get(place.clamp(1, sorted.len().max(1)) - 1).copied().unwrap_or(0)
}

/// How a call ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ended {
    pub(crate) succeeded: bool,
    pub(crate) first_failed: bool,
}

/// Collects a [`Report`] while a run goes on.
#[derive(Debug)]
pub(crate) struct Record {
    first_failed: u64,
    attempts: u64,
    failed: u64,
    times: Vec<u64>,
    seconds: Vec<Second>,
    /// The times of the calls of each second.
    by_second: Vec<Vec<u64>>,
    tenths: Vec<Vec<u32>>,
    /// The first success of each 10 ms: enough to find the first one after any time.
    successes: Vec<u64>,
    began: Vec<u64>,
    hash: u64,
}

impl Record {
    pub(crate) fn new(endpoints: usize, length: Nanos) -> Self {
        let seconds = (length / SECOND + 1) as usize;
        let empty = Second {
            attempts: vec![0; endpoints],
            faulty: vec![false; endpoints],
            out: vec![false; endpoints],
            ..Second::default()
        };
        Self {
            first_failed: 0,
            attempts: 0,
            failed: 0,
            times: Vec::new(),
            seconds: vec![empty; seconds],
            by_second: vec![Vec::new(); seconds],
            tenths: vec![vec![0; endpoints]; seconds * 10],
            successes: Vec::new(),
            began: Vec::new(),
            // The offset of 64-bit FNV-1a.
            hash: 0xcbf2_9ce4_8422_2325,
        }
    }

    /// Takes an event into the hash of the log.
    pub(crate) fn log(&mut self, kind: u64, subject: u64, now: Nanos) {
        for word in [kind, subject, now] {
            self.hash = (self.hash ^ word).wrapping_mul(0x0000_0100_0000_01b3).rotate_left(23);
        }
    }

    pub(crate) fn began(&mut self, now: Nanos) {
        self.began.push(now);
        if let Some(second) = self.seconds.get_mut((now / SECOND) as usize) {
            second.calls += 1;
        }
    }

    pub(crate) fn attempt(&mut self, endpoint: usize, now: Nanos) {
        self.attempts += 1;
        if let Some(second) = self.seconds.get_mut((now / SECOND) as usize) {
            second.attempts[endpoint] += 1;
        }
        if let Some(tenth) = self.tenths.get_mut((now / (SECOND / 10)) as usize) {
            tenth[endpoint] += 1;
        }
    }

    pub(crate) fn ended(&mut self, began: Nanos, now: Nanos, succeeded: bool, first_failed: bool) {
        self.times.push(now - began);
        self.failed += u64::from(!succeeded);
        self.first_failed += u64::from(first_failed);
        if succeeded && self.successes.last().is_none_or(|last| last / 10_000_000 != now / 10_000_000) {
            self.successes.push(now);
        }
        let index = (began / SECOND) as usize;
        if let Some(second) = self.seconds.get_mut(index) {
            second.succeeded += u64::from(succeeded);
            second.failed += u64::from(!succeeded);
            second.first_failed += u64::from(first_failed);
            self.by_second[index].push(now - began);
        }
    }

    /// Notes the state of the endpoints at the end of a second.
    pub(crate) fn state(&mut self, now: Nanos, faulty: Vec<bool>, out: Vec<bool>, tokens: Option<u32>) {
        let index = (now / SECOND).saturating_sub(1) as usize;
        if let Some(second) = self.seconds.get_mut(index) {
            (second.faulty, second.out, second.retry_tokens) = (faulty, out, tokens);
        }
    }

    pub(crate) fn report(mut self, policy: &str, seed: u64, worked: Vec<u64>, stalls: Option<u64>) -> Report {
        for (second, times) in self.seconds.iter_mut().zip(&mut self.by_second) {
            times.sort_unstable();
            (second.p50, second.p99) = (percentile(times, 50.0), percentile(times, 99.0));
            second.p999 = percentile(times, 99.9);
        }
        self.times.sort_unstable();
        // The last one is the second in which the run ends, which has no length.
        self.seconds.pop();
        self.by_second.pop();
        Report {
            policy: policy.to_owned(),
            seed,
            calls: self.times.len() as u64,
            failed: self.failed,
            first_failed: self.first_failed,
            attempts: self.attempts,
            times: self.times,
            seconds: self.seconds,
            by_second: self.by_second,
            tenths: self.tenths,
            worked,
            successes: self.successes,
            began: self.began,
            stalls,
            hash: self.hash,
        }
    }
}
