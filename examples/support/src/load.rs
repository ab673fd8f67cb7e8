//! A load with a fixed number of calls per second, whether or not earlier calls have been answered.

use std::collections::BTreeMap;
use std::fmt;
use std::time::{Duration, Instant};

use tokio::task::{JoinError, JoinSet};
use tokio::time::{Interval, MissedTickBehavior, interval};

/// After a pause longer than this, in seconds, the missed calls are skipped: a burst of them would
/// measure the pause.
const CATCH_UP: f64 = 0.1;

/// Calls that start at a fixed rate and return a `T`.
#[derive(Debug)]
pub struct Load<T> {
    /// Calls started per second.
    rate: f64,
    start: Instant,
    begun: f64,
    calls: JoinSet<T>,
    ticks: Interval,
}

impl<T: Send + 'static> Load<T> {
    /// Creates a load of `rate` calls per second that starts now.
    pub fn new(rate: f64) -> Self {
        let mut ticks = interval(Duration::from_millis(1));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        Self { rate, start: Instant::now(), begun: 0.0, calls: JoinSet::new(), ticks }
    }

    /// Waits for the next millisecond, starts the calls that are due, and returns those that have
    /// ended.
    ///
    /// # Errors
    ///
    /// Returns an error if a call panicked.
    pub async fn tick<F>(&mut self, call: impl Fn() -> F) -> Result<Vec<T>, JoinError>
    where
        F: Future<Output = T> + Send + 'static,
    {
        self.ticks.tick().await;
        let due = self.start.elapsed().as_secs_f64() * self.rate;
        self.begun = f64::max(self.begun, due - CATCH_UP * self.rate);
        while self.begun < due {
            self.begun += 1.0;
            self.calls.spawn(call());
        }
        std::iter::from_fn(|| self.calls.try_join_next()).collect()
    }

    /// Waits for the calls in flight.
    ///
    /// # Errors
    ///
    /// Returns an error if a call panicked.
    pub async fn rest(mut self) -> Result<Vec<T>, JoinError> {
        let mut rest = Vec::new();
        while let Some(ended) = self.calls.join_next().await {
            rest.push(ended?);
        }
        Ok(rest)
    }
}

/// The number of calls that each server answered, printed as percentages of all calls.
#[derive(Clone, Debug, Default)]
pub struct Shares(BTreeMap<String, u64>);

impl Shares {
    /// Counts a call answered by this server.
    pub fn add(&mut self, server: &str) {
        *self.0.entry(server.to_owned()).or_default() += 1;
    }

    /// Returns the number of servers that answered.
    pub fn servers(&self) -> usize {
        self.0.len()
    }
}

impl fmt::Display for Shares {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all: u64 = self.0.values().sum();
        for (index, (server, count)) in self.0.iter().enumerate() {
            let comma = if index > 0 { ", " } else { "" };
            write!(f, "{comma}{server} {:.0} %", *count as f64 * 100.0 / all as f64)?;
        }
        Ok(())
    }
}

/// Returns the 99th percentile of the durations in ms, rounded up: a limit that is met must not
/// appear shorter than it was.
pub fn p99_ms(times: &mut [Duration]) -> u128 {
    times.sort_unstable();
    let p99 = times.get(times.len() * 99 / 100).copied().unwrap_or_default();
    p99.as_micros().div_ceil(1_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_load_begins_its_rate_and_returns_every_call() {
        let mut load = Load::new(1_000.0);
        let (mut ended, start) = (0, Instant::now());
        while ended < 50 {
            ended += load.tick(async || ()).await.expect("no panic").len();
        }
        assert!(start.elapsed() >= Duration::from_millis(49), "50 calls at 1 000 per second");
        load.rest().await.expect("no panic");
    }

    #[test]
    fn shares_are_percentages_of_the_answered_calls() {
        let mut shares = Shares::default();
        for server in ["b", "a", "b", "b"] {
            shares.add(server);
        }
        assert_eq!((shares.to_string().as_str(), shares.servers()), ("a 25 %, b 75 %", 2));
    }

    #[test]
    fn the_99th_percentile_is_rounded_up() {
        let mut times: Vec<_> = (1..=100).rev().map(|n| Duration::from_micros(n * 1_000 + 1)).collect();
        assert_eq!(p99_ms(&mut times), 101);
        assert_eq!(p99_ms(&mut []), 0);
    }
}
