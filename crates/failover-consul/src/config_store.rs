//! The configuration store, in the key-value store.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use failover_core::provider::{ConfigKey, ConfigStore, ConfigStream, Revision, StoredConfig};
use failover_core::{Error, ErrorKind, RetryAdvice, Time, async_trait, codes};
use failover_provider_kit::{Backoff, MAX_DOCUMENT_BYTES, Publisher, RequestPacer};

use crate::backoff::backoff;
use crate::client::{Client, Limit};
use crate::error;
use crate::provider::ConsulProvider;
use crate::wire::answer::Answer;
use crate::wire::{Call, KeyValue, Mode, Read};

const REFUSED: Duration = Duration::from_secs(30);

/// A document is a key under the prefix: `default` or `service/NAME`. Its revision is the key's
/// modify index. In a value that is not UTF-8, U+FFFD stands for each invalid sequence of bytes.
#[async_trait]
impl ConfigStore for ConsulProvider {
    /// # Cancel safety
    ///
    /// Safe: it only reads.
    async fn load(&self, key: &ConfigKey) -> Result<Option<StoredConfig>, Error> {
        let client = self.opened()?;
        let (call, what) = read(client, key, self.once())?;
        let answer = client.ask(call, Limit::Short).await?;
        Ok(stored(&what, &answer)?.map(|(document, index)| config(document, index)))
    }

    /// Stores a document of at most 512 KiB.
    ///
    /// # Cancel safety
    ///
    /// A dropped future leaves the document stored completely or not at all. Retrying is safe; if
    /// the first attempt succeeded, the retry is a conflict.
    async fn store(
        &self,
        key: &ConfigKey,
        document: &str,
        expected: Option<&Revision>,
    ) -> Result<Revision, Error> {
        self.in_time("store", self.swap(key, document, expected)).await
    }

    /// Watches a key. All watches of a key share one task and one connection.
    fn watch(&self, key: &ConfigKey) -> ConfigStream<'_> {
        let (client, of) = (Arc::clone(&self.client), key.clone());
        self.documents.listen(key.clone(), |publisher| async move {
            if client.is_open() {
                follow(&client, &of, &publisher).await;
            }
        })
    }
}

impl ConsulProvider {
    async fn swap(
        &self,
        key: &ConfigKey,
        document: &str,
        expected: Option<&Revision>,
    ) -> Result<Revision, Error> {
        let client = self.opened()?;
        let path = path(client, key)?;
        if document.len() > MAX_DOCUMENT_BYTES {
            return Err(Error::document_too_large(document.len(), MAX_DOCUMENT_BYTES));
        }
        let conflict = || {
            let message = format!("key {path}: it was changed, created or deleted meanwhile; load it again");
            Error::new(ErrorKind::Conflict, message)
        };
        let before = match expected {
            None => 0,
            // A revision that is not an index never was one of this store's, or names a document
            // that was overwritten.
            Some(revision) => match revision.as_str().parse::<u64>() {
                Ok(index) if index > 0 => index,
                _ => return Err(conflict()),
            },
        };
        let swap = client.done(client.settings.kv_swap(&path, document.as_bytes(), before)?).await;
        let unknown = match swap {
            Ok(answer) => match answer.body.trim_ascii() {
                b"true" => None,
                b"false" => return Err(conflict()),
                _ => {
                    return Err(Error::bad_answer(
                        format!("writing key {path}"),
                        "it is neither true nor false",
                    ));
                }
            },
            Err(error) if error.is_outcome_unknown() => Some(error),
            Err(error) => return Err(error),
        };
        // The response has no index, and another process may have written since.
        let (call, what) = read(client, key, Read::now(Mode::Leader))?;
        let now = match client.ask(call, Limit::Short).await.and_then(|answer| stored(&what, &answer)) {
            Ok(now) => now,
            Err(error) => return Err(unknown.unwrap_or(error)),
        };
        match (now, unknown) {
            (Some((found, index)), None) if found == document => Ok(Revision::new(index.to_string())),
            // The document was written if the index has changed.
            (Some((found, index)), Some(_)) if found == document && index > before => {
                Ok(Revision::new(index.to_string()))
            }
            // It was written and then overwritten: the revision no longer exists.
            (_, None) => Ok(Revision::new(format!("overwritten after {before}"))),
            (Some((_, index)), Some(_)) if index != before => Err(conflict()),
            (_, Some(error)) => Err(error),
        }
    }
}

fn path(client: &Client, key: &ConfigKey) -> Result<String, Error> {
    let prefix = &client.settings.config_prefix;
    match key {
        ConfigKey::Default => Ok(format!("{prefix}/default")),
        ConfigKey::Service(service) if service.as_str().contains("..") => {
            let message =
                format!("service {service}: newer versions of consul take no key with two dots in a row");
            Err(Error::new(ErrorKind::Unsupported, message))
        }
        ConfigKey::Service(service) => Ok(format!("{prefix}/service/{service}")),
        _ => Err(Error::new(ErrorKind::Unsupported, "this version keeps no such configuration")),
    }
}

fn read(client: &Client, key: &ConfigKey, read: Read) -> Result<(Call, String), Error> {
    let call = client.settings.kv_read(&path(client, key)?, read)?;
    let what = call.what.clone();
    Ok((call, what))
}

/// Returns the document and its index, or `None` if the key does not exist.
fn stored(what: &str, answer: &Answer) -> Result<Option<(String, u64)>, Error> {
    match answer.status {
        200 => {}
        // A proxy may answer 404, too, but does not send these headers.
        404 if answer.index.is_some() && answer.known_leader != Some(false) => return Ok(None),
        404 => return Err(Error::bad_answer(what, "a 404 that is not consul's own")),
        _ => return Err(error::of_status(what, answer)),
    }
    let read: Vec<KeyValue> =
        serde_json::from_slice(&answer.body).map_err(|error| error::of_json(what, &error))?;
    let Some(first) = read.into_iter().next() else { return Err(Error::bad_answer(what, "an empty list")) };
    let bytes = STANDARD
        .decode(first.value.unwrap_or_default())
        .map_err(|_| Error::bad_answer(what, "its value is not base64"))?;
    // Bytes that are no text are a document, too: one that is rejected, and can be replaced.
    let document = String::from_utf8(bytes)
        .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned());
    Ok(Some((document, first.modify_index)))
}

fn config(document: String, index: u64) -> StoredConfig {
    StoredConfig::new(document, Revision::new(index.to_string()))
}

/// State kept between answers.
struct WatchState {
    index: u64,
    highest: u64,
    /// Until then a missing document is held back, because the servers went back to older data.
    gone_from: Option<Time>,
    /// Whether a value has been published.
    published: bool,
    /// The last published value.
    last: Option<StoredConfig>,
    failing: bool,
    backoff: Backoff,
}

/// Watches a key until aborted. While the key does not exist, a change of any key ends the wait, so
/// the rate is limited.
async fn follow(client: &Client, key: &ConfigKey, publisher: &Publisher<Option<StoredConfig>>) {
    let mut state = WatchState {
        index: 0,
        highest: 0,
        gone_from: None,
        published: false,
        last: None,
        failing: false,
        backoff: backoff(),
    };
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
        let answer = match read(client, key, Read { mode: Mode::Leader, after }) {
            Ok((call, what)) => match client.ask(call, limit).await {
                Ok(answer) => stored(&what, &answer).map(|stored| (stored, answer)),
                Err(error) => Err(error),
            },
            Err(error) => Err(error),
        };
        match answer {
            Ok((stored, answer)) => {
                let news = take(stored, &answer, client, publisher, &mut state);
                if !waits || client.timing.now().since(began) < settings.wait {
                    let pause = pacer.after_answer(client.timing.now(), answer.body.len(), news);
                    tokio::time::sleep(pause).await;
                }
            }
            Err(error) => {
                state.index = 0;
                state.failing = true;
                let pause = match (error.retry(), error.kind()) {
                    (RetryAdvice::After(pause), _) => pause,
                    // Servers that restart refuse a token for seconds that they accepted before.
                    (_, ErrorKind::Permission | ErrorKind::Unsupported) if !state.published => {
                        client.timing.jittered(REFUSED, 0.1)
                    }
                    _ => state.backoff.after_failure(client.timing.now(), client.timing.unit()),
                };
                let is_requested = matches!(error.retry(), RetryAdvice::After(_));
                let is_absent = error.code() == codes::CONNECTION_ERROR;
                publisher.error(error);
                // A pause that the server requested is kept, even if other requests succeed
                // meanwhile.
                if is_requested {
                    tokio::time::sleep(pause).await;
                } else if is_absent {
                    client.pause_unreachable(pause, &mut state.backoff).await;
                } else {
                    client.pause(pause).await;
                }
            }
        }
    }
}

/// Accepts an answer and returns whether it changed anything.
fn take(
    stored: Option<(String, u64)>,
    answer: &Answer,
    client: &Client,
    publisher: &Publisher<Option<StoredConfig>>,
    state: &mut WatchState,
) -> bool {
    let index = answer.index.unwrap_or(1).max(1);
    if index < state.highest {
        // As for a service, this answer is not published: what is missing from it may have been
        // lost.
        state.highest = index;
        state.index = 0;
        state.gone_from = Some(client.timing.now() + client.settings.empty_grace);
        return false;
    }
    state.highest = index;
    state.index = index;
    state.backoff.reset();
    let stored = stored.map(|(document, index)| config(document, index));
    let is_held = state.gone_from.is_some_and(|until| client.timing.now() < until);
    if stored.is_none() && is_held && state.last.is_some() {
        if !state.failing {
            state.failing = true;
            let message = "the document is missing since the servers went back to older data; keeping the last one for now";
            publisher.error(Error::new(ErrorKind::NotFound, message).with_code("EMPTY_AFTER_RESET"));
        }
        // Polled instead of blocking, so that the wait does not outlast the grace.
        state.index = 0;
        return false;
    }
    state.gone_from = None;
    let is_new = !state.published || state.last != stored;
    if is_new || state.failing {
        state.failing = false;
        state.published = true;
        state.last.clone_from(&stored);
        publisher.publish(stored);
    }
    is_new
}
