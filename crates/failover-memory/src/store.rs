//! The configuration documents of a cluster.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use failover_core::provider::{ConfigKey, ConfigSet, Revision, StoredConfig};
use failover_core::{Error, ErrorKind};
use futures_core::Stream;

/// The maximum size of a document, as in the remote registries.
const MAX_BYTES: usize = 512 * 1024;

/// The documents of a cluster, and the watchers of their changes.
#[derive(Clone, Default)]
pub(crate) struct Documents(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    documents: HashMap<ConfigKey, (String, u64)>,
    /// The number of changes. The revision of a document is the number of its last change.
    changes: u64,
    watchers: HashMap<u64, Watcher>,
    numbers: u64,
}

struct Watcher {
    provider: u64,
    waker: Option<Waker>,
}

impl Documents {
    pub(crate) fn load(&self, key: &ConfigKey) -> Option<StoredConfig> {
        self.state().stored(key)
    }

    pub(crate) fn store(
        &self,
        key: &ConfigKey,
        document: &str,
        expected: Option<&Revision>,
    ) -> Result<Revision, Error> {
        if document.len() > MAX_BYTES {
            return Err(Error::document_too_large(document.len(), MAX_BYTES));
        }
        let (revision, wakers) = {
            let mut state = self.state();
            let stored = state.stored(key);
            if stored.as_ref().map(StoredConfig::revision) != expected {
                let message = "the configuration has changed in the meantime; load it again";
                return Err(Error::new(ErrorKind::Conflict, message));
            }
            state.changes += 1;
            let revision = state.changes;
            state.documents.insert(key.clone(), (document.to_owned(), revision));
            (revision, state.wakers(|_| true))
        };
        wakers.into_iter().for_each(Waker::wake);
        Ok(mark(revision))
    }

    /// Ends the watches of a provider.
    pub(crate) fn close(&self, provider: u64) {
        let ended = {
            let mut state = self.state();
            let wakers = state.wakers(|watcher| watcher.provider == provider);
            state.watchers.retain(|_, watcher| watcher.provider != provider);
            wakers
        };
        ended.into_iter().for_each(Waker::wake);
    }

    /// Returns a watch, already ended if the provider is closed.
    pub(crate) fn watch(&self, provider: u64, is_open: impl FnOnce() -> bool) -> ConfigWatch {
        let mut state = self.state();
        let number = is_open().then(|| {
            state.numbers += 1;
            let number = state.numbers;
            state.watchers.insert(number, Watcher { provider, waker: None });
            number
        });
        ConfigWatch { documents: self.clone(), number, seen: None }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // No foreign code runs under the lock, and no operation leaves the state half changed.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn stored(&self, key: &ConfigKey) -> Option<StoredConfig> {
        let (document, revision) = self.documents.get(key)?;
        Some(StoredConfig::new(document.clone(), mark(*revision)))
    }

    fn all(&self) -> ConfigSet {
        let stored = |key: &ConfigKey| Some((key.clone(), self.stored(key)?));
        ConfigSet::new(self.documents.keys().filter_map(stored))
    }

    fn wakers(&mut self, which: impl Fn(&Watcher) -> bool) -> Vec<Waker> {
        let watchers = self.watchers.values_mut().filter(|watcher| which(watcher));
        watchers.filter_map(|watcher| watcher.waker.take()).collect()
    }
}

fn mark(revision: u64) -> Revision {
    Revision::new(revision.to_string())
}

/// A stream of all documents: their current state, then each change. It keeps no queue; each poll
/// yields the newest state.
pub(crate) struct ConfigWatch {
    documents: Documents,
    /// `None` if the provider was already closed; the stream has then ended.
    number: Option<u64>,
    /// The number of changes at the last yield.
    seen: Option<u64>,
}

impl Stream for ConfigWatch {
    type Item = Result<ConfigSet, Error>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let watch = self.get_mut();
        let Some(number) = watch.number else { return Poll::Ready(None) };
        // A waker is foreign code, so it is cloned and dropped outside the lock.
        let waker = context.waker().clone();
        let _replaced = {
            let mut state = watch.documents.state();
            let changes = state.changes;
            let news = (watch.seen != Some(changes)).then(|| state.all());
            let Some(watcher) = state.watchers.get_mut(&number) else { return Poll::Ready(None) };
            if let Some(all) = news {
                watch.seen = Some(changes);
                return Poll::Ready(Some(Ok(all)));
            }
            watcher.waker.replace(waker)
        };
        Poll::Pending
    }
}

impl Drop for ConfigWatch {
    fn drop(&mut self) {
        if let Some(number) = self.number {
            let _gone = self.documents.state().watchers.remove(&number);
        }
    }
}
