//! The watch of the configuration store: one blocking query for every key below the prefix.

use std::collections::HashMap;
use std::time::Duration;

use failover_core::provider::{ConfigKey, ConfigSet, StoredConfig};
use failover_core::{Error, ErrorKind, RetryAdvice, Time, codes};
use failover_provider_kit::{Backoff, Publisher, RequestPacer};

use crate::backoff::backoff;
use crate::client::{Client, Limit};
use crate::config_document::{document, found, key_of, read, stored};
use crate::wire::answer::Answer;
use crate::wire::{Mode, Read};

/// The pause after a refusal of a token that was never accepted.
const REFUSED: Duration = Duration::from_secs(30);

type Documents = HashMap<ConfigKey, StoredConfig>;

/// State kept between answers.
struct State {
    index: u64,
    highest: u64,
    /// Until then missing documents are kept, because the servers went back to older data.
    gone_from: Option<Time>,
    /// The last published documents.
    last: Option<Documents>,
    failing: bool,
    backoff: Backoff,
}

/// Watches the keys until aborted. While there are none, a change of any key ends the wait, so the
/// rate is limited.
pub(crate) async fn follow(client: &Client, publisher: &Publisher<ConfigSet>) {
    let mut state =
        State { index: 0, highest: 0, gone_from: None, last: None, failing: false, backoff: backoff() };
    let mut pacer = RequestPacer::new();
    let mut permit = None;
    loop {
        permit = permit.or_else(|| client.watch_permit());
        if permit.is_none() && state.index > 0 {
            tokio::time::sleep(client.timing.jittered(client.settings.poll, 0.1)).await;
        }
        let settings = &client.settings;
        let waits = permit.is_some() && state.index > 0;
        let after = waits.then_some((state.index, settings.wait));
        let limit = if waits { Limit::Wait(settings.wait) } else { Limit::Short };
        let began = client.timing.now();
        let taken = match ask(client, after, limit).await {
            Ok((answer, documents)) => {
                let bytes = answer.body.len();
                take(documents, &answer, client, publisher, &mut state).await.map(|news| (news, bytes))
            }
            Err(error) => Err(error),
        };
        match taken {
            Ok((news, bytes)) => {
                if !waits || client.timing.now().since(began) < settings.wait {
                    let pause = pacer.after_answer(client.timing.now(), bytes, news);
                    tokio::time::sleep(pause).await;
                }
            }
            Err(error) => {
                state.index = 0;
                state.failing = true;
                pause_after(error, client, publisher, &mut state).await;
            }
        }
    }
}

/// Publishes an error, and waits before the next request.
async fn pause_after(error: Error, client: &Client, publisher: &Publisher<ConfigSet>, state: &mut State) {
    let pause = match (error.retry(), error.kind()) {
        (RetryAdvice::After(pause), _) => pause,
        // Servers that restart refuse a token for seconds that they accepted before.
        (_, ErrorKind::Permission | ErrorKind::Unsupported) if state.last.is_none() => {
            client.timing.jittered(REFUSED, 0.1)
        }
        _ => state.backoff.after_failure(client.timing.now(), client.timing.unit()),
    };
    let is_requested = matches!(error.retry(), RetryAdvice::After(_));
    let is_absent = error.code() == codes::CONNECTION_ERROR;
    publisher.error(error);
    // A pause that the server requested is kept, even if other requests succeed meanwhile.
    if is_requested {
        tokio::time::sleep(pause).await;
    } else if is_absent {
        client.pause_unreachable(pause, &mut state.backoff).await;
    } else {
        client.pause(pause).await;
    }
}

/// Reads every document. Other keys below the prefix are not of this crate.
async fn ask(
    client: &Client,
    after: Option<(u64, Duration)>,
    limit: Limit,
) -> Result<(Answer, Documents), Error> {
    let below = format!("{}/", client.settings.config_prefix);
    let call = client.settings.kv_below(&below, Read { mode: Mode::Leader, after })?;
    let what = call.what.clone();
    let answer = client.ask(call, limit).await?;
    let mut documents = Documents::new();
    for value in found(&what, &answer)?.unwrap_or_default() {
        let Some(key) = value.key.as_deref().and_then(|path| key_of(client, path)) else { continue };
        documents.insert(key, document(&what, value)?);
    }
    Ok((answer, documents))
}

/// Accepts an answer and returns whether it changed anything.
///
/// # Errors
///
/// Returns an error if documents are missing because the token may no longer read them.
async fn take(
    mut documents: Documents,
    answer: &Answer,
    client: &Client,
    publisher: &Publisher<ConfigSet>,
    state: &mut State,
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
    let is_missing = |key: &&ConfigKey| !documents.contains_key(*key);
    let missing: Vec<_> = state.last.iter().flat_map(HashMap::keys).filter(is_missing).cloned().collect();
    let is_held = state.gone_from.is_some_and(|until| client.timing.now() < until);
    if !missing.is_empty() && is_held {
        if !state.failing {
            state.failing = true;
            let message = "documents are missing since the servers went back to older data; keeping the last ones for now";
            publisher.error(Error::new(ErrorKind::NotFound, message).with_code("EMPTY_AFTER_RESET"));
        }
        // Polled instead of blocking, so that the wait does not outlast the grace.
        state.highest = index;
        state.index = 0;
        return Ok(false);
    }
    // The servers leave out what a token may not read, which is no deletion.
    for key in missing {
        let (call, what) = read(client, &key, Read::now(Mode::Leader))?;
        if let Some(stored) = stored(&what, &client.ask(call, Limit::Short).await?)? {
            documents.insert(key, stored);
        }
    }
    state.highest = index;
    state.index = index;
    state.backoff.reset();
    state.gone_from = None;
    let is_new = state.last.as_ref() != Some(&documents);
    if is_new || state.failing {
        state.failing = false;
        publisher.publish(ConfigSet::new(documents.clone()));
        state.last = Some(documents);
    }
    Ok(is_new)
}
