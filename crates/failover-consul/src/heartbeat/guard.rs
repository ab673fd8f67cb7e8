//! Notices at once that the agent has lost or changed a registration.

use std::time::Duration;

use failover_core::codes;
use failover_provider_kit::{Backoff, BackoffSteps, RequestPacer};
use tokio::sync::Notify;

use crate::client::{Client, Limit};
use crate::connections::Waited;
use crate::wire::content_hash;

/// The pause after the agent had no connection to spare.
const WITHOUT_CONNECTION: Duration = Duration::from_secs(60);

/// The pause before the owner registers again what an administrator has deregistered, who first sees
/// that it is gone.
const DEREGISTERED: Duration = Duration::from_millis(600);

/// What a look at the agent found.
enum Found {
    /// It has the registration, whose content has this hash.
    Hash(String),
    Gone,
    /// The agent does not answer.
    Away,
    /// The agent needs the connection for something else.
    NoConnection,
    /// The agent answers something else, as it does to a token without rights.
    Nothing,
}

/// Watches a registration with long polls of the agent, which end when it changes or is gone, and when
/// the agent ends. Notifies `changed`; never returns.
///
/// The agent answers from its own memory, without the servers. Only a few registrations have a guard
/// at a time, because each costs a connection.
pub(super) async fn guard(client: &Client, id: &str, changed: &Notify) {
    let steps = BackoffSteps::new(Duration::from_millis(500), 2.0, Duration::from_secs(300));
    let (mut backoff, mut pacer) = (Backoff::new(steps), RequestPacer::new());
    let mut hash: Option<String> = None;
    let mut permit = None;
    let mut was_away = false;
    loop {
        if permit.is_none() {
            permit = client.guard_permits.acquire().await.ok();
        }
        let began = client.timing.now();
        let found = look(client, id, hash.as_deref()).await;
        if let Found::Hash(found) = found {
            backoff.reset();
            was_away = false;
            let has_waited = hash.is_some() && client.timing.now().since(began) >= client.settings.wait;
            let before = hash.replace(found);
            let is_new = before.is_some_and(|before| Some(before) != hash);
            if is_new {
                changed.notify_one();
            }
            if !has_waited {
                tokio::time::sleep(pacer.after_answer(client.timing.now(), 0, is_new)).await;
            }
            continue;
        }
        permit = None;
        // What never was there is not lost: the agent may not serve this request at all.
        if matches!(found, Found::Gone) && hash.take().is_some() {
            if !was_away {
                tokio::time::sleep(client.timing.jittered(DEREGISTERED, 0.2)).await;
            }
            changed.notify_one();
        }
        if matches!(found, Found::NoConnection) {
            tokio::time::sleep(client.timing.jittered(WITHOUT_CONNECTION, 0.1)).await;
            continue;
        }
        tokio::time::sleep(backoff.after_failure(client.timing.now(), client.timing.unit())).await;
        was_away = matches!(found, Found::Away);
        if was_away {
            client.arrival.wait(true).await;
        }
    }
}

async fn look(client: &Client, id: &str, hash: Option<&str>) -> Found {
    let wait = client.settings.wait;
    let Ok(call) = client.settings.registered(id, hash.map(|hash| (hash, wait))) else {
        return Found::Nothing;
    };
    let waited = match hash {
        Some(_) => client.ask_and_wait(call, wait).await,
        None => Waited::Answered(client.ask(call, Limit::Short).await),
    };
    match waited {
        Waited::Answered(Ok(answer)) => match answer.status {
            200 => content_hash(&answer.body).map_or(Found::Nothing, Found::Hash),
            404 => Found::Gone,
            429 => Found::NoConnection,
            _ => Found::Nothing,
        },
        Waited::Answered(Err(error)) => match error.code() {
            codes::CONNECTION_ERROR | codes::CONNECTION_LOST => Found::Away,
            _ => Found::Nothing,
        },
        Waited::Refused | Waited::GivenUp => Found::NoConnection,
    }
}
