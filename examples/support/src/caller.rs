//! A caller that finds its servers through a registry, calls them for some seconds, and counts the
//! results.

use std::error::Error;
use std::time::{Duration, Instant};

use failover::inspect::ServiceStats;
use failover::{CallError, Completed, ServiceHandle};
use tokio::task::JoinError;
use tokio::time::{sleep, timeout};

use crate::load::{Load, Shares, p99_ms};
use crate::say::say;

/// Calls begun per second.
const RATE: f64 = 1_000.0;
/// Time limit for the registry to list all servers.
const PATIENCE: Duration = Duration::from_secs(20);

/// A finished call: the server that answered, or the error.
#[derive(Debug)]
pub struct Finished {
    served_by: Result<String, String>,
    took: Duration,
}

impl Finished {
    /// Creates it from the result of [`execute`](ServiceHandle::execute), called at `began`.
    pub fn new<T, E>(began: Instant, answer: Result<Completed<T>, CallError<E, T>>) -> Self {
        let served_by = match answer {
            Ok(done) => Ok(done.endpoint.id().to_string()),
            Err(error) => Err(error.to_string()),
        };
        Self { served_by, took: began.elapsed() }
    }
}

/// The caller's own count, independent of the library's statistics.
#[derive(Debug, Default)]
pub struct Caller {
    calls: u64,
    failed: u64,
    times: Vec<Duration>,
    second: Second,
    /// The last whole second.
    last: Shares,
}

#[derive(Debug, Default)]
struct Second {
    calls: u64,
    failed: u64,
    served: Shares,
}

impl Caller {
    /// Makes calls for this many seconds. Prints a line per second, and when the registry goes away, which
    /// `is_stale` tells, or comes back.
    ///
    /// # Errors
    ///
    /// Returns an error if a call panicked.
    pub async fn run<F>(
        seconds: f64,
        call: impl Fn() -> F,
        is_stale: impl Fn() -> bool,
    ) -> Result<Self, JoinError>
    where
        F: Future<Output = Finished> + Send + 'static,
    {
        let mut caller = Self::default();
        let mut load = Load::new(RATE);
        let (start, mut next, mut stale) = (Instant::now(), 1.0, false);
        loop {
            let ended = load.tick(&call).await?;
            let now = start.elapsed().as_secs_f64();
            caller.count(now, ended);
            if stale != is_stale() {
                stale = !stale;
                let what = if stale {
                    "the registry is away: its last answer is used"
                } else {
                    "the registry answers"
                };
                say(now, "34", what);
            }
            if now >= next {
                next += 1.0;
                let Second { calls, failed, served } = std::mem::take(&mut caller.second);
                say(now, "0", &format!("{calls} calls, {failed} failed; {served}"));
                caller.last = served;
            }
            if now >= seconds {
                break;
            }
        }
        let rest = load.rest().await?;
        caller.count(start.elapsed().as_secs_f64(), rest);
        Ok(caller)
    }

    fn count(&mut self, now: f64, ended: Vec<Finished>) {
        for Finished { served_by, took } in ended {
            self.calls += 1;
            self.second.calls += 1;
            self.times.push(took);
            match served_by {
                Ok(server) => self.second.served.add(&server),
                Err(why) => {
                    say(now, "31", &format!("FAILED {why}"));
                    self.failed += 1;
                    self.second.failed += 1;
                }
            }
        }
    }

    /// Prints the line `calls=N failed=N retried=N failovers=N p99_ms=N` and evaluates the run.
    ///
    /// # Errors
    ///
    /// Returns an error if a call failed or not all of the `servers` answered in the last second.
    pub fn judge(mut self, stats: &ServiceStats, servers: usize) -> Result<(), Box<dyn Error>> {
        println!(
            "calls={} failed={} retried={} failovers={} p99_ms={}",
            self.calls,
            self.failed,
            stats.retried,
            stats.failovers,
            p99_ms(&mut self.times)
        );
        if self.failed > 0 {
            return Err(format!("{} calls failed", self.failed).into());
        }
        if self.last.servers() < servers {
            return Err(format!("in the end only {} answered", self.last).into());
        }
        Ok(())
    }
}

/// Waits until the service has this many endpoints, at most 20 s.
///
/// # Errors
///
/// Returns an error if it has fewer by then.
pub async fn all_are_known(service: &ServiceHandle, servers: usize) -> Result<(), String> {
    let known = async {
        while service.endpoints().len() < servers {
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(PATIENCE, known).await.map_err(|_| format!("not all {servers} servers are found"))
}
