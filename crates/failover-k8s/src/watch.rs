//! Watches that are shared: one request to the API server for a service, however many listen.

use std::collections::HashMap;
use std::hash::Hash;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use failover_core::Error;
use futures_core::Stream;
use futures_util::stream;
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// What a listener sees: the newest answer, and the error that has come after it. Whoever is slow misses what was in
/// between.
#[derive(Clone, Debug)]
pub(crate) struct Shown<T> {
    answer: Option<T>,
    error: Option<Error>,
    /// Counts the answers.
    number: u64,
}

impl<T> Default for Shown<T> {
    fn default() -> Self {
        Self { answer: None, error: None, number: 0 }
    }
}

impl<T> Shown<T> {
    /// The newest answer, if no error has come after it.
    pub(crate) fn answer(&self) -> Option<&T> {
        self.answer.as_ref().filter(|_| self.error.is_none())
    }
}

/// Where a follower tells.
pub(crate) type Teller<T> = watch::Sender<Shown<T>>;

pub(crate) fn tell<T>(teller: &Teller<T>, answer: T) {
    teller.send_modify(|shown| {
        (shown.answer, shown.error) = (Some(answer), None);
        shown.number += 1;
    });
}

pub(crate) fn tell_error<T>(teller: &Teller<T>, error: Error) {
    teller.send_modify(|shown| {
        shown.error = Some(error);
        shown.number += 1;
    });
}

/// The watches of one provider.
#[derive(Debug)]
pub(crate) struct Hub<K, T>(Mutex<HashMap<K, Weak<Shared<T>>>>);

impl<K, T> Default for Hub<K, T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

/// One watch. Its task ends with the last that listens.
#[derive(Debug)]
struct Shared<T> {
    shown: watch::Receiver<Shown<T>>,
    task: JoinHandle<()>,
}

impl<T> Drop for Shared<T> {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl<K: Eq + Hash + Clone + Send + 'static, T: Clone + Send + Sync + 'static> Hub<K, T> {
    /// Listens to a watch, which `begin` starts where there is none.
    fn enter(&self, key: &K, begin: impl FnOnce(Teller<T>) -> JoinHandle<()>) -> Arc<Shared<T>> {
        let mut watches = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(shared) = watches.get(key).and_then(Weak::upgrade) {
            // One that has ended, with its runtime or by a panic, is begun anew.
            if !shared.task.is_finished() {
                return shared;
            }
        }
        watches.retain(|_, shared| shared.strong_count() > 0);
        let (teller, shown) = watch::channel(Shown::default());
        let shared = Arc::new(Shared { shown, task: begin(teller) });
        watches.insert(key.clone(), Arc::downgrade(&shared));
        shared
    }

    /// Ends all of them.
    pub(crate) fn close(&self) {
        let watches = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        for shared in watches.into_values().filter_map(|shared| shared.upgrade()) {
            shared.task.abort();
        }
    }

    /// What is told from now on, beginning with what was told last. It starts when it is first polled, inside a
    /// runtime, and ends when the watch is closed.
    pub(crate) fn stream<'a>(
        &'a self,
        key: K,
        begin: impl FnOnce(Teller<T>) -> Option<JoinHandle<()>> + Send + 'a,
    ) -> Pin<Box<dyn Stream<Item = Result<T, Error>> + Send + 'a>> {
        let state = Listening::Begins(begin);
        Box::pin(stream::unfold(state, move |state| {
            let key = key.clone();
            async move {
                let mut listener = match state {
                    Listening::Listens(listener) => listener,
                    Listening::Begins(begin) => {
                        let mut refused = false;
                        let shared = self.enter(&key, |teller| {
                            begin(teller).unwrap_or_else(|| {
                                refused = true;
                                tokio::spawn(async {})
                            })
                        });
                        if refused {
                            return None;
                        }
                        Listener { shown: shared.shown.clone(), _shared: shared, seen: 0, answered: None }
                    }
                };
                let item = listener.next().await?;
                Some((item, Listening::Listens(listener)))
            }
        }))
    }
}

enum Listening<T, F> {
    Begins(F),
    Listens(Listener<T>),
}

struct Listener<T> {
    shown: watch::Receiver<Shown<T>>,
    _shared: Arc<Shared<T>>,
    /// The number of what was yielded last.
    seen: u64,
    /// The error that comes after the answer which was yielded last.
    answered: Option<Error>,
}

impl<T: Clone> Listener<T> {
    async fn next(&mut self) -> Option<Result<T, Error>> {
        if let Some(error) = self.answered.take() {
            return Some(Err(error));
        }
        loop {
            {
                let shown = self.shown.borrow_and_update();
                if shown.number != self.seen {
                    let first = self.seen == 0;
                    self.seen = shown.number;
                    match (&shown.error, &shown.answer) {
                        // Whoever begins to listen while something is wrong hears first what is known.
                        (Some(error), Some(answer)) if first => {
                            self.answered = Some(error.clone());
                            return Some(Ok(answer.clone()));
                        }
                        (Some(error), _) => return Some(Err(error.clone())),
                        (None, Some(answer)) => return Some(Ok(answer.clone())),
                        (None, None) => {}
                    }
                }
            }
            self.shown.changed().await.ok()?;
        }
    }
}
