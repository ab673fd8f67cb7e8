//! The caller's view: counted continuously, printed each second, evaluated at the end.

use std::collections::BTreeMap;
use std::error::Error;
use std::fmt::Write;
use std::time::Duration;

use example_support::{Shares, p99_ms};
use failover::AttemptRecord;
use failover::inspect::ServiceStats;

use crate::client::Reply;
use crate::clock::Clock;
use crate::load::Finished;
use crate::samples::Samples;

/// Maximum number of failed calls shown in full.
const SHOWN: u64 = 20;

/// The caller's own count, independent of the library's statistics.
pub(crate) struct Ledger {
    clock: Clock,
    total: Counts,
    second: Counts,
    /// The next whole second to print.
    next: f64,
    took: Vec<Duration>,
    /// When each endpoint last answered a call successfully.
    last_success: BTreeMap<String, f64>,
    samples: Samples,
    /// Duration of the load, in seconds.
    load: f64,
}

#[derive(Default)]
struct Counts {
    calls: u64,
    failed: u64,
    retried: u64,
    failovers: u64,
    served: Shares,
}

impl Counts {
    fn add(&mut self, served_by: Option<&str>, attempts: &[&AttemptRecord]) {
        let moves = attempts.windows(2).filter(|pair| pair[0].endpoint.id() != pair[1].endpoint.id());
        self.calls += 1;
        self.retried += u64::from(attempts.len() > 1);
        self.failovers += moves.count() as u64;
        match served_by {
            Some(endpoint) => self.served.add(endpoint),
            None => self.failed += 1,
        }
    }
}

impl Ledger {
    pub(crate) fn new(clock: Clock) -> Self {
        Self {
            clock,
            total: Counts::default(),
            second: Counts::default(),
            next: 1.0,
            took: Vec::new(),
            last_success: BTreeMap::new(),
            samples: Samples::default(),
            load: 0.0,
        }
    }

    pub(crate) fn record(&mut self, finished: &Finished) {
        self.took.push(finished.took);
        let (served_by, attempts): (_, Vec<&AttemptRecord>) = match &finished.answer {
            Ok(done) if done.value.status == 200 => {
                (Some(done.endpoint.id().as_str()), done.attempts.iter().collect())
            }
            Ok(done) => {
                let (id, Reply { status, body }) = (done.endpoint.id(), &done.value);
                self.tell_failure(&format!("{id} answered {status}: {body}"));
                (None, done.attempts.iter().collect())
            }
            Err(error) => {
                self.tell_failure(&in_full(error));
                (None, error.attempts().iter().collect())
            }
        };
        self.total.add(served_by, &attempts);
        self.second.add(served_by, &attempts);
        if let Some(id) = served_by {
            let now = self.clock.seconds();
            self.last_success.insert(id.to_owned(), now);
            self.samples.add(now, id);
        }
    }

    fn tell_failure(&self, what: &str) {
        match self.total.failed {
            failed if failed < SHOWN => self.clock.say(format_args!("FAILED {what}")),
            SHOWN => self.clock.say("FAILED more calls, which are counted and not shown"),
            _ => {}
        }
    }

    /// Prints a line for each second that has passed.
    pub(crate) fn print_each_second(&mut self) {
        if self.clock.seconds() < self.next {
            return;
        }
        self.next += 1.0;
        let Counts { calls, failed, retried, served, .. } = std::mem::take(&mut self.second);
        self.clock.say(format_args!("{calls} calls, {failed} failed, {retried} retried; served by {served}"));
    }

    /// Records that no more calls are started.
    pub(crate) fn load_ended(&mut self) {
        self.load = self.clock.seconds();
    }

    /// Returns the number of failed calls.
    pub(crate) fn failed(&self) -> u64 {
        self.total.failed
    }

    pub(crate) fn samples(&self) -> &Samples {
        &self.samples
    }

    /// Returns the number of calls per second.
    pub(crate) fn rate(&self) -> f64 {
        self.total.calls as f64 / self.load
    }

    /// Returns the violated expectations.
    pub(crate) fn complaints(&self, endpoints: &[String]) -> Vec<String> {
        let mut complaints = Vec::new();
        if self.total.failed > 0 {
            complaints.push(format!("{} calls failed", self.total.failed));
        }
        for endpoint in endpoints {
            match self.last_success.get(endpoint) {
                Some(last) if *last > self.load - 1.0 => {}
                Some(last) => complaints.push(format!("{endpoint} answered no call after {last:.2} s")),
                None => complaints.push(format!("{endpoint} answered no call")),
            }
        }
        complaints
    }

    /// Returns where the library's statistics differ from the caller's count.
    pub(crate) fn differences(&self, stats: &ServiceStats) -> Vec<String> {
        let pairs = [
            ("calls", self.total.calls, stats.total_requests),
            ("failed", self.total.failed, stats.failed_requests),
            ("retried", self.total.retried, stats.retried),
            ("failovers", self.total.failovers, stats.failovers),
            ("in flight", 0, stats.in_flight),
        ];
        let differing = pairs.into_iter().filter(|(_, seen, counted)| seen != counted);
        differing
            .map(|(what, seen, counted)| format!("{what}: {seen} seen, {counted} in the statistics"))
            .collect()
    }

    /// Returns `calls=N failed=N retried=N failovers=N p99_ms=N`.
    pub(crate) fn summary(&mut self) -> String {
        let Counts { calls, failed, retried, failovers, .. } = self.total;
        let p99 = p99_ms(&mut self.took);
        format!("calls={calls} failed={failed} retried={retried} failovers={failovers} p99_ms={p99}")
    }
}

/// Formats the library's statistics, a line per endpoint.
pub(crate) fn table(stats: &ServiceStats) -> String {
    let mut text = format!(
        "{:<10} {:>9} {:>10} {:>9} {:>9} {:>10} {:>8} {:>7}  {}\n",
        "endpoint",
        "attempts",
        "successes",
        "failures",
        "timeouts",
        "cancelled",
        "opened",
        "breaker",
        "availability"
    );
    for endpoint in &stats.endpoints {
        let _ = writeln!(
            text,
            "{:<10} {:>9} {:>10} {:>9} {:>9} {:>10} {:>8} {:>7}  {}",
            endpoint.id.as_str(),
            endpoint.attempts,
            endpoint.successes,
            endpoint.failures,
            endpoint.timeouts,
            endpoint.cancelled,
            endpoint.opened,
            endpoint.breaker.as_str(),
            endpoint.availability,
        );
    }
    text
}

/// Formats an error with its sources.
fn in_full(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let _ = write!(text, " <- {error}");
        cause = error.source();
    }
    text
}
