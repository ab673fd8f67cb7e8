//! Configuration documents.

use std::future::poll_fn;
use std::sync::Arc;

use failover_core::provider::{
    ConfigKey, ConfigSet, ConfigStore, ConfigStream, Provider, Revision, StoredConfig,
};
use failover_core::{ErrorKind, codes};
use tokio::time::{Instant, timeout_at};

use super::kind;
use super::outage::{LAZY, begins, poll_once};
use crate::bench::{Bench, Done, before, ensure, fail, inconclusive, not_offered, works};

fn store(provider: &Arc<dyn Provider>) -> Done<&dyn ConfigStore> {
    provider.config_store().map_or_else(|| not_offered("the provider keeps no configuration"), Ok)
}

/// Fails the case unless a document was stored; skips it if this store is read-only.
fn stored(what: &str, result: Result<Revision, failover_core::Error>) -> Done<Revision> {
    match kind(&result) {
        Some(ErrorKind::Unsupported) => not_offered("the provider's configuration is read-only"),
        _ => works(what, result),
    }
}

fn key(bench: &Bench<'_>) -> ConfigKey {
    ConfigKey::Service(bench.service())
}

pub(super) async fn round_trip(bench: &Bench<'_>) -> Done {
    let provider = bench.provider().await?;
    let store = store(&provider)?;
    let key = key(bench);
    let nothing = works("loading a document that was never stored", store.load(&key).await)?;
    ensure(nothing.is_none(), "nothing", &nothing)?;
    let document = r#"{"v":1,"max_retries":3,"metadata":{"note":"ümlaut \"quoted\""}}"#;
    let revision = stored("storing", store.store(&key, document, None).await)?;
    let other = bench.provider().await?;
    let read = works("loading", self::store(&other)?.load(&key).await)?;
    let right =
        read.as_ref().is_some_and(|stored| stored.document() == document && *stored.revision() == revision);
    ensure(right, "the document and the revision that storing answered", &read)
}

pub(super) async fn swap(bench: &Bench<'_>) -> Done {
    let provider = bench.provider().await?;
    let store = store(&provider)?;
    let key = key(bench);
    let first = stored("storing", store.store(&key, "{\"v\":1}", None).await)?;
    let again = store.store(&key, "{\"v\":2}", None).await;
    ensure(kind(&again) == Some(ErrorKind::Conflict), "Conflict, because something is there", &again)?;
    let second = stored("storing over the newest", store.store(&key, "{\"v\":3}", Some(&first)).await)?;
    let late = store.store(&key, "{\"v\":4}", Some(&first)).await;
    ensure(kind(&late) == Some(ErrorKind::Conflict), "Conflict, because it was changed meanwhile", &late)?;
    ensure(first != second, "another revision after a change", (&first, &second))?;
    let read = works("loading", store.load(&key).await)?;
    let document = read.as_ref().map(StoredConfig::document);
    ensure(document == Some("{\"v\":3}"), "the document of the last store that worked", document)
}

pub(super) async fn watch(bench: &Bench<'_>) -> Done {
    let provider = bench.provider().await?;
    let store = store(&provider)?;
    let key = key(bench);
    let watcher = bench.provider().await?;
    let mut stream = self::store(&watcher)?.watch();
    sees(bench, &mut stream, &key, "that nothing is stored", |stored| stored.is_none()).await?;
    let mut expected: Option<Revision> = None;
    for document in ["{\"v\":1}", "{\"v\":2}"] {
        // A different clause covers stores that ignore `expected`.
        expected = Some(stored("storing", store.store(&key, document, expected.as_ref()).await)?);
        let right =
            |stored: Option<&StoredConfig>| stored.is_some_and(|stored| stored.document() == document);
        sees(bench, &mut stream, &key, document, right).await?;
    }
    Ok(())
}

/// Stores 2 MiB, more than the remote registries of this workspace accept.
pub(super) async fn large(bench: &Bench<'_>) -> Done {
    let provider = bench.provider().await?;
    let (store, key) = (store(&provider)?, key(bench));
    let document = format!("{{\"v\":1,\"note\":\"{}\"}}", "x".repeat(2 << 20));
    match store.store(&key, &document, None).await {
        Ok(_) => {
            let read = works("loading", store.load(&key).await)?;
            let whole = read.is_some_and(|stored| stored.document() == document);
            ensure(whole, "the whole document", "another one")
        }
        Err(error) if error.kind() == ErrorKind::Unsupported => stored("storing", Err(error)).map(drop),
        Err(error) => {
            let right = error.kind() == ErrorKind::Validation && error.code() == codes::TOO_LARGE;
            ensure(right, "a Validation error with the code TOO_LARGE", error)
        }
    }
}

/// Checks that a document published before an outage is not lost to the error, as for a set of
/// endpoints.
pub(super) async fn late_document(bench: &Bench<'_>) -> Done {
    let provider = bench.provider().await?;
    let (store, key) = (store(&provider)?, key(bench));
    let documents = ["{\"v\":1}", "{\"v\":2}", "{\"v\":3}"];
    let holds = |stored: Option<&StoredConfig>, document: &str| {
        stored.is_some_and(|stored| stored.document() == document)
    };
    let (mut polled, mut late) = (store.watch(), store.watch());
    let other = bench.provider().await?;
    let mut expected: Option<Revision> = None;
    for (number, document) in documents.into_iter().enumerate() {
        let result = self::store(&other)?.store(&key, document, expected.as_ref()).await;
        expected = Some(stored("storing", result)?);
        if sees(bench, &mut polled, &key, document, |stored| holds(stored, document)).await.is_err() {
            return inconclusive("a watch does not see every change");
        }
        // Streams with separate connections receive it slightly later.
        tokio::time::sleep(bench.subject.calm() / 2).await;
        match number {
            0 => sees(bench, &mut late, &key, document, |stored| holds(stored, document)).await?,
            1 => match poll_once(next(&mut late)) {
                Some(Some(Ok(set))) if holds(set.get(&key), document) => {}
                _ => return not_offered(LAZY),
            },
            _ => {}
        }
    }
    begins(bench).await?;
    let until = Instant::now() + bench.subject.calm();
    while let Some(Some(item)) = before(until, next(&mut polled)).await {
        if item.is_err() {
            break;
        }
        tokio::task::yield_now().await;
    }
    let first = before(Instant::now() + bench.subject.calm(), next(&mut late)).await;
    bench.subject.outage(false).await;
    let right = matches!(&first, Some(Some(Ok(set))) if holds(set.get(&key), documents[2]));
    ensure(right, "the newest document first, and then the error", first)
}

async fn next(stream: &mut ConfigStream<'_>) -> Option<Result<ConfigSet, failover_core::Error>> {
    poll_fn(|context| stream.as_mut().poll_next(context)).await
}

async fn sees(
    bench: &Bench<'_>,
    stream: &mut ConfigStream<'_>,
    key: &ConfigKey,
    expected: &str,
    right: impl Fn(Option<&StoredConfig>) -> bool,
) -> Done {
    let until = Instant::now() + bench.subject.patience();
    let mut last = "nothing".to_owned();
    loop {
        match timeout_at(until, next(stream)).await {
            Err(_) => {
                return fail(expected, format!("not within {:?}; last {last}", bench.subject.patience()));
            }
            Ok(None) => return fail(expected, format!("the stream ended after {last}")),
            Ok(Some(Ok(set))) if right(set.get(key)) => return Ok(()),
            Ok(Some(item)) => last = format!("{item:?}"),
        }
    }
}
