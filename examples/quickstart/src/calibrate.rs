//! Measures the machine with plain requests, without the library, and chooses the load from it.

use std::error::Error;
use std::fmt;
use std::time::{Duration, Instant};

use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::servers::Server;

/// Duration of the calibration.
const MEASURED: Duration = Duration::from_secs(1);
/// Requests in flight meanwhile: enough to keep the processors busy.
const WORKERS: usize = 32;
/// The load is this part of the machine's capacity, so that a busier machine still carries it.
const PART: f64 = 0.2;
/// Maximum calls per second; more would not show anything else.
const MOST: f64 = 2_400.0;
const LEAST: f64 = 100.0;
/// An attempt may take this many times the slowest plain request, within the limits below.
const PATIENCE: u32 = 20;
/// A machine that becomes busy during the run pauses for up to a second.
const SHORTEST: Duration = Duration::from_secs(1);
/// The frozen server is frozen for 2.5 s and must time out within that time.
const LONGEST: Duration = Duration::from_millis(1_500);
/// Pause between the plain requests beside the load.
const PAUSE: Duration = Duration::from_millis(50);

/// What this machine can currently carry.
#[derive(Clone, Copy)]
pub(crate) struct Plan {
    /// Plain requests answered per second.
    capacity: f64,
    slowest: Duration,
}

impl Plan {
    /// Sends plain requests to all servers and counts the answers.
    pub(crate) async fn measure(servers: &[Server]) -> Result<Self, Box<dyn Error>> {
        let http = reqwest::Client::builder().no_proxy().build()?;
        let began = Instant::now();
        let mut workers = JoinSet::new();
        for server in servers.iter().cycle().take(WORKERS) {
            let (http, url) = (http.clone(), url(server));
            workers.spawn(async move {
                let (mut answers, mut slowest) = (0_u32, Duration::ZERO);
                while began.elapsed() < MEASURED {
                    slowest = slowest.max(plain(&http, &url).await?);
                    answers += 1;
                }
                Ok::<_, reqwest::Error>((answers, slowest))
            });
        }
        let (mut answers, mut slowest) = (0, Duration::ZERO);
        while let Some(worker) = workers.join_next().await {
            let (of_one, slowest_of_one) = worker??;
            answers += of_one;
            slowest = slowest.max(slowest_of_one);
        }
        Ok(Self { capacity: f64::from(answers) / began.elapsed().as_secs_f64(), slowest })
    }

    /// Returns the number of calls to start per second.
    pub(crate) fn rate(&self) -> f64 {
        ((self.capacity * PART / 100.0).floor() * 100.0).clamp(LEAST, MOST)
    }

    /// Returns the timeout of an attempt.
    pub(crate) fn attempt_timeout(&self) -> Duration {
        (self.slowest * PATIENCE).clamp(SHORTEST, LONGEST)
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "this machine answers {:.0} plain requests per second, the slowest in {} ms: the load is {} calls \
             per second, and an attempt times out after {} ms",
            self.capacity,
            self.slowest.as_millis(),
            self.rate(),
            self.attempt_timeout().as_millis()
        )
    }
}

/// Sends plain requests to one server while `goes_on` returns true, and returns the duration of the
/// slowest.
///
/// Run beside the load, it distinguishes a pause of the machine from a failure of the library.
pub(crate) async fn slowest(url: String, goes_on: impl Fn() -> bool) -> reqwest::Result<Duration> {
    let http = reqwest::Client::builder().no_proxy().build()?;
    let mut slowest = Duration::ZERO;
    while goes_on() {
        slowest = slowest.max(plain(&http, &url).await?);
        sleep(PAUSE).await;
    }
    Ok(slowest)
}

pub(crate) fn url(server: &Server) -> String {
    format!("http://127.0.0.1:{}/users/7", server.port())
}

async fn plain(http: &reqwest::Client, url: &str) -> reqwest::Result<Duration> {
    let began = Instant::now();
    http.get(url).send().await?.error_for_status()?.bytes().await?;
    Ok(began.elapsed())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(capacity: f64, slowest_ms: u64) -> (f64, u128) {
        let plan = Plan { capacity, slowest: Duration::from_millis(slowest_ms) };
        (plan.rate(), plan.attempt_timeout().as_millis())
    }

    #[test]
    fn load_and_attempt_timeout_follow_the_machine_within_limits() {
        assert_eq!(chosen(20_000.0, 12), (2_400.0, 1_000), "idle");
        assert_eq!(chosen(6_400.0, 60), (1_200.0, 1_200), "busy");
        assert_eq!(chosen(90.0, 2_000), (100.0, 1_500), "overloaded");
    }
}
