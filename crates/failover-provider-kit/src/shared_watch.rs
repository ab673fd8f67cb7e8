//! One watch task per key, however many streams listen.

use std::collections::HashMap;
use std::fmt;
use std::hash::Hash;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use failover_core::{Error, Time};
use futures_core::Stream;
use tokio::sync::watch;

use crate::{AbortOnDrop, Timing};

/// The items of a watch, in the form of core's `WatchStream` and `ConfigStream`.
pub type WatchItems<'a, T> = Pin<Box<dyn Stream<Item = Result<T, Error>> + Send + 'a>>;

/// The newest answer, and the error that followed it, each with its version.
#[derive(Debug)]
struct State<T> {
    version: u64,
    answer: Option<(u64, T, Time)>,
    error: Option<(u64, Error)>,
}

/// The channel on which a watch task publishes its results.
///
/// Listeners see the newest state, not every step: an answer replaces everything before it, and an
/// error replaces the error before it but leaves the answer. A listener that polls late sees the
/// newest answer first and then the error that followed it, so that a change just before an outage
/// is not lost.
pub struct Publisher<T> {
    state: watch::Sender<State<T>>,
    timing: Timing,
}

impl<T> Publisher<T> {
    /// Publishes an answer and clears earlier errors.
    pub fn publish(&self, answer: T) {
        let now = self.timing.now();
        self.state.send_modify(|state| {
            state.version += 1;
            state.answer = Some((state.version, answer, now));
            state.error = None;
        });
    }

    /// Publishes an error; the answer before it stays.
    pub fn error(&self, error: Error) {
        self.state.send_modify(|state| {
            state.version += 1;
            state.error = Some((state.version, error));
        });
    }
}

impl<T> Clone for Publisher<T> {
    fn clone(&self) -> Self {
        Self { state: self.state.clone(), timing: self.timing.clone() }
    }
}

impl<T> fmt::Debug for Publisher<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Publisher").field("version", &self.state.borrow().version).finish_non_exhaustive()
    }
}

/// A task that runs while it has listeners.
struct Shared<T> {
    state: watch::Receiver<State<T>>,
    task: AbortOnDrop,
}

/// The watches of one kind, such as all services of a provider.
///
/// Streams of the same key share one task. It starts when a stream is first polled, and ends with
/// the last stream, with [`close`](Self::close), or by itself; its streams end with it. The next
/// stream starts a new task.
///
/// ```
/// use std::future::poll_fn;
///
/// use failover_core::{Error, ErrorKind};
/// use failover_provider_kit::{SharedWatches, Timing};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let watches = SharedWatches::<&str, u32>::new(Timing::tokio());
/// let mut stream = watches.listen("users", |publisher| async move {
///     publisher.publish(1);
///     publisher.publish(2);
///     publisher.error(Error::new(ErrorKind::Connection, "the registry is unreachable"));
///     std::future::pending::<()>().await; // a real task goes on watching
/// });
/// let mut items = Vec::new();
/// for _ in 0..2 {
///     items.push(poll_fn(|context| stream.as_mut().poll_next(context)).await.expect("it goes on"));
/// }
/// assert_eq!(items[0].as_ref().ok(), Some(&2), "the newest answer");
/// assert!(items[1].is_err(), "and then the error that followed it");
/// # }
/// ```
pub struct SharedWatches<K, T> {
    timing: Timing,
    age: Option<fn(T, Duration) -> T>,
    watches: Mutex<HashMap<K, Weak<Shared<T>>>>,
}

impl<K, T> SharedWatches<K, T> {
    /// Creates an empty set of watches.
    pub fn new(timing: Timing) -> Self {
        Self { timing, age: None, watches: Mutex::default() }
    }

    /// Sets a function that adapts an answer to the time since it was published, for each listener.
    ///
    /// For answers with an age, such as
    /// [`EndpointSet::with_age`](failover_core::provider::EndpointSet::with_age).
    #[must_use]
    pub fn with_age(mut self, age: fn(T, Duration) -> T) -> Self {
        self.age = Some(age);
        self
    }

    /// Aborts all tasks, which ends their streams. A stream first polled later starts a new task,
    /// so a closed provider must let that task end immediately.
    pub fn close(&self) {
        let watches = std::mem::take(&mut *self.watches.lock().unwrap_or_else(PoisonError::into_inner));
        for shared in watches.into_values().filter_map(|shared| shared.upgrade()) {
            shared.task.abort();
        }
    }
}

impl<K, T> SharedWatches<K, T>
where
    K: Clone + Eq + Hash + Send + Unpin,
    T: Clone + Send + Sync + 'static,
{
    /// Returns a stream of what the task of this key publishes, starting with its newest answer.
    ///
    /// `start` creates the task if the key has none when the stream is first polled, which must
    /// happen inside a tokio runtime. An error does not end the stream.
    pub fn listen<'a, F, Fut>(&'a self, key: K, start: F) -> WatchItems<'a, T>
    where
        K: 'a,
        F: FnOnce(Publisher<T>) -> Fut + Send + Unpin + 'a,
        Fut: Future<Output = ()> + Send + 'static,
    {
        let start = |publisher| AbortOnDrop::spawn(start(publisher));
        Box::pin(Listener { watches: self, start: Some((key, start)), shared: None, seen: 0, waiting: None })
    }

    fn join(&self, key: &K, start: impl FnOnce(Publisher<T>) -> AbortOnDrop) -> Arc<Shared<T>> {
        let mut watches = self.watches.lock().unwrap_or_else(PoisonError::into_inner);
        watches.retain(|_, shared| shared.strong_count() > 0);
        if let Some(shared) = watches.get(key).and_then(Weak::upgrade) {
            if shared.task.is_running() {
                return shared;
            }
        }
        let (sender, state) = watch::channel(State { version: 0, answer: None, error: None });
        let publisher = Publisher { state: sender, timing: self.timing.clone() };
        let shared = Arc::new(Shared { state, task: start(publisher) });
        watches.insert(key.clone(), Arc::downgrade(&shared));
        shared
    }
}

impl<K: fmt::Debug, T> fmt::Debug for SharedWatches<K, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let watches = self.watches.lock().unwrap_or_else(PoisonError::into_inner);
        f.debug_tuple("SharedWatches").field(&watches.keys().collect::<Vec<_>>()).finish()
    }
}

/// The shared part of a watch, and the receiver of its newest item.
type Running<T> = (Arc<Shared<T>>, watch::Receiver<State<T>>);

type Waiting = Pin<Box<dyn Future<Output = bool> + Send>>;

struct Listener<'a, K, T, S> {
    watches: &'a SharedWatches<K, T>,
    /// `Some` until the first poll.
    start: Option<(K, S)>,
    /// Keeps the task alive, together with the other listeners; `None` before the first poll and
    /// after the end.
    shared: Option<Running<T>>,
    /// The version of the newest item that was yielded.
    seen: u64,
    /// Resolves to whether something new was published.
    waiting: Option<Waiting>,
}

impl<K, T, S> Stream for Listener<'_, K, T, S>
where
    K: Clone + Eq + Hash + Send + Unpin,
    T: Clone + Send + Sync + 'static,
    S: FnOnce(Publisher<T>) -> AbortOnDrop + Unpin,
{
    type Item = Result<T, Error>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        if let Some((key, start)) = this.start.take() {
            let shared = this.watches.join(&key, start);
            let state = shared.state.clone();
            this.shared = Some((shared, state));
        }
        let Some((_, state)) = &mut this.shared else { return Poll::Ready(None) };
        loop {
            if let Some(item) = unseen(&state.borrow_and_update(), &mut this.seen, this.watches) {
                this.waiting = None;
                return Poll::Ready(Some(item));
            }
            let waiting = this.waiting.get_or_insert_with(|| {
                // The copy inherits the seen version, as in `state`.
                let mut state = state.clone();
                Box::pin(async move { state.changed().await.is_ok() })
            });
            let goes_on = ready!(waiting.as_mut().poll(context));
            this.waiting = None;
            if !goes_on {
                // The task has ended. Its last item is yielded first.
                let last = unseen(&state.borrow_and_update(), &mut this.seen, this.watches);
                if last.is_none() {
                    this.shared = None;
                }
                return Poll::Ready(last);
            }
        }
    }
}

/// Returns the answer, or else the error, that is newer than what the listener has seen.
fn unseen<K, T: Clone>(
    state: &State<T>,
    seen: &mut u64,
    watches: &SharedWatches<K, T>,
) -> Option<Result<T, Error>> {
    if let Some((version, answer, at)) = state.answer.as_ref().filter(|(version, ..)| version > seen) {
        *seen = *version;
        let answer = answer.clone();
        return Some(Ok(match watches.age {
            Some(age) => age(answer, watches.timing.now().since(*at)),
            None => answer,
        }));
    }
    let (version, error) = state.error.as_ref().filter(|(version, _)| version > seen)?;
    *seen = *version;
    Some(Err(error.clone()))
}

#[cfg(test)]
mod tests;
