//! Whether the servers have a leader, asked once for all who want to know.

use std::time::Duration;

use failover_core::{Error, ErrorKind};
use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::client::Client;
use crate::pace::{jittered, now, unit};
use crate::wire;

#[derive(Debug, Default)]
pub(crate) struct Leader(Mutex<Option<(Instant, Result<(), Error>)>>);

/// How often it is asked for while there is none.
const ABSENT: Duration = Duration::from_secs(2);

impl Leader {
    /// As [`ask`], at most once in the time that a watch waits.
    pub(crate) async fn is_known(&self, client: &Client) -> Result<(), Error> {
        // A little less, so that a watch that waits as long asks again each time.
        self.known_since(client, client.settings.wait.mul_f64(0.9)).await
    }

    /// Comes back soon after there is a leader again, for many who wait at slightly different times.
    pub(crate) async fn returned(&self, client: &Client) {
        loop {
            tokio::time::sleep(jittered(ABSENT)).await;
            if self.known_since(client, ABSENT / 2).await.is_ok() {
                return tokio::time::sleep(Duration::from_millis(500).mul_f64(unit())).await;
            }
        }
    }

    async fn known_since(&self, client: &Client, age: Duration) -> Result<(), Error> {
        let mut known = self.0.lock().await;
        if let Some((_, found)) = known.as_ref().filter(|(at, _)| now().duration_since(*at) < age) {
            return found.clone();
        }
        let found = ask(client).await;
        *known = Some((now(), found.clone()));
        found
    }
}

/// # Errors
///
/// When there is no leader, or nobody who could tell.
pub(crate) async fn ask(client: &Client) -> Result<(), Error> {
    let answer = client.done(wire::leader(client.settings.datacenter.as_deref())?).await?;
    let is_known = serde_json::from_slice::<String>(&answer.body).is_ok_and(|leader| !leader.is_empty());
    if is_known {
        return Ok(());
    }
    Err(Error::new(ErrorKind::Connection, "the servers have no leader").with_code("NO_LEADER"))
}
