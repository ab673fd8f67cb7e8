//! The watch of the configuration store: one blocking query for every key below the prefix.

use std::collections::HashMap;

use failover_core::provider::{ConfigKey, ConfigSet, StoredConfig};
use failover_core::{Error, ErrorKind, RetryAdvice, Time};
use failover_provider_kit::{Backoff, Publisher, RequestPacer};
use tokio::sync::SemaphorePermit;

use crate::backoff::backoff;
use crate::client::{Client, Limit};
use crate::config_document::{document, found, key_of, read, stored};
use crate::connections::Waited;
use crate::outage::Outage;
use crate::wire::answer::Answer;
use crate::wire::{Mode, Read};

/// The most missing documents whose absence is verified one by one.
const VERIFIED: usize = 8;

type Documents = HashMap<ConfigKey, StoredConfig>;

/// State kept between answers.
struct WatchState<'a> {
    index: u64,
    highest: u64,
    /// Until then missing documents are held back, because the servers went back to older data.
    gone_from: Option<Time>,
    /// The documents that were published last.
    last: Option<Documents>,
    failing: bool,
    woken_early: bool,
    backoff: Backoff,
    permit: Option<SemaphorePermit<'a>>,
}

/// What an answer was good for.
enum Step {
    /// It was accepted; whether it has changed anything.
    Good(bool),
    Failed(Error),
    /// The agent has no connection for a watch.
    Polled {
        at_once: bool,
    },
}

/// Watches all documents until aborted. While there is none, a change of any key ends the wait, so the
/// rate is limited.
pub(crate) async fn follow(client: &Client, publisher: &Publisher<ConfigSet>) {
    let mut state = WatchState {
        index: 0,
        highest: 0,
        gone_from: None,
        last: None,
        failing: false,
        woken_early: false,
        backoff: backoff(),
        permit: None,
    };
    let mut pacer = RequestPacer::new();
    let settings = &client.settings;
    loop {
        state.permit = state.permit.or_else(|| client.connections.acquire(client.timing.now()));
        if state.permit.is_none() && state.index > 0 {
            tokio::time::sleep(client.timing.jittered(settings.poll, 0.1)).await;
        }
        let waits = state.permit.is_some() && state.index > 0;
        let began = client.timing.now();
        let (step, bytes) = ask(client, waits, publisher, &mut state).await;
        match step {
            Step::Good(_) if waits && client.timing.now().since(began) >= settings.wait => {}
            Step::Good(news) => {
                tokio::time::sleep(pacer.after_answer(client.timing.now(), bytes, news)).await;
            }
            Step::Polled { at_once } => {
                client.connections.refuse(state.permit.take(), client.timing.now());
                if at_once {
                    state.index = 0;
                }
            }
            Step::Failed(error) => failed(client, error, publisher, &mut state).await,
        }
    }
}

async fn ask(
    client: &Client,
    waits: bool,
    publisher: &Publisher<ConfigSet>,
    state: &mut WatchState<'_>,
) -> (Step, usize) {
    let settings = &client.settings;
    let after = waits.then_some((state.index, settings.wait));
    let below = format!("{}/", settings.config_prefix);
    let call = match settings.kv_below(&below, Read { mode: Mode::Leader, after }) {
        Ok(call) => call,
        Err(error) => return (Step::Failed(error), 0),
    };
    let what = call.what.clone();
    let waited = if waits {
        client.ask_and_wait(call, settings.wait).await
    } else {
        Waited::Answered(client.ask(call, Limit::Short).await)
    };
    let answer = match waited {
        Waited::Answered(Ok(answer)) => answer,
        Waited::Answered(Err(error)) => return (Step::Failed(error), 0),
        Waited::Refused => return (Step::Polled { at_once: true }, 0),
        Waited::GivenUp => return (Step::Polled { at_once: false }, 0),
    };
    let step = match documents(client, &what, &answer) {
        Ok(found) => {
            take(client, found, &answer, publisher, state).await.map_or_else(Step::Failed, Step::Good)
        }
        Err(error) => Step::Failed(error),
    };
    (step, answer.body.len())
}

/// Reads the documents of an answer. Other keys below the prefix are not of this crate.
fn documents(client: &Client, what: &str, answer: &Answer) -> Result<Documents, Error> {
    let mut documents = Documents::new();
    for value in found(what, answer)?.unwrap_or_default() {
        if let Some(key) = value.key.as_deref().and_then(|path| key_of(client, path)) {
            documents.insert(key, document(what, value)?);
        }
    }
    Ok(documents)
}

/// Accepts an answer and returns whether it changed anything.
async fn take(
    client: &Client,
    mut found: Documents,
    answer: &Answer,
    publisher: &Publisher<ConfigSet>,
    state: &mut WatchState<'_>,
) -> Result<bool, Error> {
    let index = answer.index.unwrap_or(1).max(1);
    if index < state.highest {
        // As for a service, this answer is not published: what is missing from it may have been
        // lost.
        state.highest = index;
        state.index = 0;
        state.gone_from = Some(client.timing.now() + client.settings.empty_grace);
        return Ok(false);
    }
    let is_held = state.gone_from.is_some_and(|until| client.timing.now() < until);
    let is_missing = |key: &&ConfigKey| !found.contains_key(*key);
    let missing: Vec<_> = state.last.iter().flat_map(HashMap::keys).filter(is_missing).cloned().collect();
    if is_held && !missing.is_empty() {
        state.highest = index;
        if !state.failing {
            state.failing = true;
            let message = "documents are missing since the servers went back to older data; keeping the last ones for now";
            publisher.error(Error::new(ErrorKind::NotFound, message).with_code("EMPTY_AFTER_RESET"));
        }
        // Polled instead of blocking, so that the wait does not outlast the grace.
        state.index = 0;
        return Ok(false);
    }
    // Servers leave out what the token may no longer read. A read of the key itself is refused then.
    for key in missing.into_iter().take(VERIFIED) {
        let (call, what) = read(client, &key, Read::now(Mode::Leader))?;
        if let Some(stored) = stored(&what, &client.ask(call, Limit::Short).await?)? {
            found.insert(key, stored);
        }
    }
    state.highest = index;
    state.index = index;
    state.backoff.reset();
    state.gone_from = None;
    let is_new = state.last.as_ref() != Some(&found);
    if is_new || state.failing {
        state.failing = false;
        publisher.publish(ConfigSet::new(found.clone()));
        state.last = Some(found);
    }
    Ok(is_new)
}

async fn failed(client: &Client, error: Error, publisher: &Publisher<ConfigSet>, state: &mut WatchState<'_>) {
    state.index = 0;
    state.failing = true;
    let was_accepted = state.last.is_some();
    let (outage, pause) = client.pause_after(&error, was_accepted, &mut state.backoff, &mut state.permit);
    let is_requested = matches!(error.retry(), RetryAdvice::After(_));
    let wakes = matches!(outage, Outage::Unreachable | Outage::Other) && !is_requested && !state.woken_early;
    publisher.error(error);
    state.woken_early = client.pause_together(outage, pause, &mut state.backoff, wakes).await;
}
