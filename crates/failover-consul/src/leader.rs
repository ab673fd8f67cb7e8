//! Whether the servers have a leader, asked once for all watches.

use std::time::Duration;

use failover_core::{Error, ErrorKind, Time};
use tokio::sync::Mutex;

use crate::client::Client;
use crate::error::NO_LEADER;
use crate::wire;

#[derive(Debug, Default)]
pub(crate) struct Leader(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    last: Option<(Time, Result<(), Error>)>,
    /// When the absence of a leader was first observed.
    absent: Option<Time>,
}

/// Interval between requests while there is no leader.
const AGAIN: Duration = Duration::from_secs(2);

impl Leader {
    /// Returns whether there is a leader, asking at most twice per watch wait. An election takes
    /// seconds and does not disturb a watch, so only a longer absence is an error.
    pub(crate) async fn is_known(&self, client: &Client) -> Result<(), Error> {
        let wait = client.settings.wait;
        let mut age = wait / 2;
        loop {
            let (found, absent) = self.known_since(client, age).await;
            let Some(left) =
                absent.and_then(|since| election(wait).checked_sub(client.timing.now().since(since)))
            else {
                return found;
            };
            tokio::time::sleep(client.timing.jittered(AGAIN / 2, 0.1).min(left)).await;
            age = AGAIN / 4;
        }
    }

    /// Resolves once there has been no leader for longer than an election takes.
    pub(crate) async fn lost(&self, client: &Client) -> Error {
        loop {
            tokio::time::sleep(client.timing.jittered(AGAIN, 0.1)).await;
            match self.is_known(client).await {
                Err(error) if error.code() == NO_LEADER => return error,
                _ => {}
            }
        }
    }

    /// Resolves soon after there is a leader again, at slightly different times for different
    /// callers.
    pub(crate) async fn returned(&self, client: &Client) {
        loop {
            tokio::time::sleep(client.timing.jittered(AGAIN, 0.1)).await;
            if self.known_since(client, AGAIN / 2).await.0.is_ok() {
                return tokio::time::sleep(Duration::from_millis(500).mul_f64(client.timing.unit())).await;
            }
        }
    }

    /// Returns the last result if it is younger than `age`, or a new one, and the time since when
    /// there is no leader.
    async fn known_since(&self, client: &Client, age: Duration) -> (Result<(), Error>, Option<Time>) {
        let mut known = self.0.lock().await;
        // An absence can end at any moment, so it is cached only briefly.
        let age = |found: &Result<(), Error>| if found.is_ok() { age } else { age.min(AGAIN / 2) };
        let fresh = known.last.as_ref().filter(|(at, found)| client.timing.now().since(*at) < age(found));
        if let Some((_, found)) = fresh {
            return (found.clone(), known.absent);
        }
        let found = ask(client).await;
        known.last = Some((client.timing.now(), found.clone()));
        known.absent = match &found {
            Err(error) if error.code() == NO_LEADER => known.absent.or_else(|| Some(client.timing.now())),
            _ => None,
        };
        (found, known.absent)
    }
}

/// Returns how long an election may take before the absence is reported: half of the watch wait.
fn election(wait: Duration) -> Duration {
    (wait / 2).clamp(Duration::from_secs(1), Duration::from_secs(10))
}

/// # Errors
///
/// Returns an error if there is no leader or no agent answers.
pub(crate) async fn ask(client: &Client) -> Result<(), Error> {
    let answer = client.done(wire::leader(client.settings.datacenter.as_deref())?).await?;
    let is_known = serde_json::from_slice::<String>(&answer.body).is_ok_and(|leader| !leader.is_empty());
    if is_known {
        return Ok(());
    }
    Err(Error::new(ErrorKind::Connection, "the servers have no leader").with_code(NO_LEADER))
}
