//! One watch of a thing, however many listen.

use std::collections::HashMap;
use std::future::Future;
use std::hash::Hash;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::task::{Context, Poll};

use failover_core::Error;
use futures_core::Stream;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::backoff::now;

/// The newest good answer, and the error that came after it.
#[derive(Clone, Debug)]
struct State<T> {
    version: u64,
    good: Option<(u64, T, Instant)>,
    error: Option<(u64, Error)>,
}

/// What a watching task tells.
#[derive(Debug)]
pub(crate) struct Publisher<T>(watch::Sender<State<T>>);

impl<T> Publisher<T> {
    /// Replaces what was told before.
    pub(crate) fn good(&self, item: T) {
        self.0.send_modify(|state| {
            state.version += 1;
            state.good = Some((state.version, item, now()));
            state.error = None;
        });
    }

    /// What was told before stays.
    pub(crate) fn error(&self, error: Error) {
        self.0.send_modify(|state| {
            state.version += 1;
            state.error = Some((state.version, error));
        });
    }
}

/// A task that watches, until nobody listens any more.
#[derive(Debug)]
struct Hub<T> {
    told: watch::Receiver<State<T>>,
    task: JoinHandle<()>,
}

impl<T> Drop for Hub<T> {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// All tasks of one kind.
#[derive(Debug)]
pub(crate) struct Hubs<K, T>(Mutex<HashMap<K, Weak<Hub<T>>>>);

impl<K, T> Default for Hubs<K, T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<K: Clone + Eq + Hash, T: Clone> Hubs<K, T> {
    /// The one for this key; it is started if there is none.
    fn join(&self, key: &K, start: impl FnOnce(Publisher<T>) -> JoinHandle<()>) -> Arc<Hub<T>> {
        let mut hubs = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        hubs.retain(|_, hub| hub.strong_count() > 0);
        if let Some(hub) = hubs.get(key).and_then(Weak::upgrade) {
            // One that has ended, by a panic or with its runtime, is replaced.
            if !hub.task.is_finished() {
                return hub;
            }
        }
        let (sender, told) = watch::channel(State { version: 0, good: None, error: None });
        let hub = Arc::new(Hub { told, task: start(Publisher(sender)) });
        hubs.insert(key.clone(), Arc::downgrade(&hub));
        hub
    }

    /// Ends all tasks, and with them the streams of who listens.
    pub(crate) fn close(&self) {
        let hubs = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        for hub in hubs.into_values().filter_map(|hub| hub.upgrade()) {
            hub.task.abort();
        }
    }
}

/// What a task tells, from the newest answer on. The task is started when this is polled first.
///
/// `aged` is given each answer and when it came.
pub(crate) fn listen<'a, K, T>(
    hubs: &'a Hubs<K, T>,
    key: K,
    start: impl Fn(Publisher<T>) -> JoinHandle<()> + Send + 'a,
    aged: fn(T, Instant) -> T,
) -> impl Stream<Item = Result<T, Error>> + Send + 'a
where
    K: Clone + Eq + Hash + Send + Sync + 'a,
    T: Clone + Send + Sync + 'static,
{
    let listener = Listener { hub: None, told: None, seen: 0 };
    unfold((listener, start), move |(mut listener, start)| {
        let key = key.clone();
        async move {
            if listener.hub.is_none() {
                let hub = hubs.join(&key, &start);
                listener.told = Some(hub.told.clone());
                listener.hub = Some(hub);
            }
            let item = listener.next(aged).await?;
            Some((item, (listener, start)))
        }
    })
}

struct Listener<T> {
    /// Held so that the task goes on.
    hub: Option<Arc<Hub<T>>>,
    told: Option<watch::Receiver<State<T>>>,
    seen: u64,
}

impl<T: Clone> Listener<T> {
    async fn next(&mut self, aged: fn(T, Instant) -> T) -> Option<Result<T, Error>> {
        let told = self.told.as_mut()?;
        loop {
            {
                let state = told.borrow_and_update();
                if let Some((version, item, at)) =
                    state.good.as_ref().filter(|(version, ..)| *version > self.seen)
                {
                    self.seen = *version;
                    return Some(Ok(aged(item.clone(), *at)));
                }
                if let Some((version, error)) =
                    state.error.as_ref().filter(|(version, _)| *version > self.seen)
                {
                    self.seen = *version;
                    return Some(Err(error.clone()));
                }
            }
            // An end without a word: the provider was closed.
            told.changed().await.ok()?;
        }
    }
}

/// A stream from a state and a function that gives an item and the next state, or the end.
pub(crate) fn unfold<S, T, F, Fut>(state: S, step: F) -> Unfold<S, F, Fut>
where
    F: FnMut(S) -> Fut,
    Fut: Future<Output = Option<(T, S)>>,
{
    Unfold { state: Some(state), step, running: None }
}

pub(crate) struct Unfold<S, F, Fut> {
    state: Option<S>,
    step: F,
    running: Option<Pin<Box<Fut>>>,
}

// Nothing in it is pinned in place: the future is in a box.
impl<S, F, Fut> Unpin for Unfold<S, F, Fut> {}

impl<S, T, F, Fut> Stream for Unfold<S, F, Fut>
where
    F: FnMut(S) -> Fut,
    Fut: Future<Output = Option<(T, S)>>,
{
    type Item = T;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<T>> {
        let this = &mut *self;
        if this.running.is_none() {
            // Ended: it may be asked again.
            let Some(state) = this.state.take() else { return Poll::Ready(None) };
            this.running = Some(Box::pin((this.step)(state)));
        }
        let Some(running) = &mut this.running else { return Poll::Ready(None) };
        match running.as_mut().poll(context) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(done) => {
                this.running = None;
                Poll::Ready(done.map(|(item, state)| {
                    this.state = Some(state);
                    item
                }))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use failover_core::ErrorKind;

    use super::*;

    async fn next<S: Stream + Unpin>(stream: &mut S) -> Option<S::Item> {
        poll_fn(|context| Pin::new(&mut *stream).poll_next(context)).await
    }

    fn lost() -> Error {
        Error::new(ErrorKind::Connection, "lost")
    }

    #[tokio::test]
    async fn listeners_share_a_task_that_ends_with_the_last_of_them() {
        let hubs: Hubs<&str, u32> = Hubs::default();
        let started = std::sync::atomic::AtomicU32::new(0);
        let (alive, mut gone) = watch::channel(());
        let start = |publisher: Publisher<u32>| {
            started.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            let alive = alive.subscribe();
            tokio::spawn(async move {
                publisher.good(1);
                publisher.error(lost());
                std::future::pending::<()>().await;
                drop(alive);
            })
        };
        let mut first = Box::pin(listen(&hubs, "a", start, |item, _| item));
        let mut second = Box::pin(listen(&hubs, "a", start, |item, _| item));
        for stream in [&mut first, &mut second] {
            // An error does not hide the answer before it.
            assert_eq!(next(stream).await.expect("goes on").expect("good"), 1);
            assert!(next(stream).await.expect("goes on").is_err());
        }
        assert_eq!(started.load(std::sync::atomic::Ordering::Relaxed), 1);
        drop(first);
        assert_eq!(alive.receiver_count(), 2, "the second one holds it");
        drop(second);
        gone.mark_unchanged();
        while alive.receiver_count() > 1 {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn closing_ends_the_streams_and_they_stay_ended() {
        let hubs: Hubs<&str, u32> = Hubs::default();
        let start = |publisher: Publisher<u32>| {
            tokio::spawn(async move {
                publisher.good(7);
                std::future::pending::<()>().await;
            })
        };
        let mut stream = Box::pin(listen(&hubs, "a", start, |item, _| item));
        assert_eq!(next(&mut stream).await.expect("goes on").expect("good"), 7);
        hubs.close();
        assert!(next(&mut stream).await.is_none());
        assert!(next(&mut stream).await.is_none());
    }
}
