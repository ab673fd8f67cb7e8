//! Whether the servers have a leader, asked once for all who want to know.

use failover_core::{Error, ErrorKind};
use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::client::Client;
use crate::pace::now;
use crate::wire;

#[derive(Debug, Default)]
pub(crate) struct Leader(Mutex<Option<(Instant, Result<(), Error>)>>);

impl Leader {
    /// As [`ask`], at most once in the time that a watch waits.
    pub(crate) async fn is_known(&self, client: &Client) -> Result<(), Error> {
        let mut known = self.0.lock().await;
        if let Some((at, found)) = known.as_ref() {
            // A little less, so that a watch that waits as long asks again each time.
            if now().duration_since(*at) < client.settings.wait.mul_f64(0.9) {
                return found.clone();
            }
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
