//! A provider made of a source that can only be asked.

use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use failover_core::provider::{
    ConnectionInfo, ConnectionStatus, EndpointSet, Feature, Provider, ProviderInfo, Query, WatchStream,
};
use failover_core::{Error, RetryAdvice, Time, async_trait};
use tokio::sync::watch;

use crate::{Backoff, BackoffSteps, Publisher, SharedWatches, Source, Timing};

/// The least time between two fetches of a watch.
const SPACING: Duration = Duration::from_millis(50);
/// The range of the times to live that are honoured.
const SHORTEST_TTL: Duration = Duration::from_millis(250);
const LONGEST_TTL: Duration = Duration::from_secs(24 * 60 * 60);
/// An answer that says the same as the one before is repeated after this time, as a sign of life: the age
/// of the endpoints counts from it.
const SIGN_OF_LIFE: Duration = Duration::from_secs(30);
/// The number of services that are fetched at a time for a query without one.
const AT_A_TIME: usize = 8;
const BACKOFF: BackoffSteps = BackoffSteps::new(Duration::from_millis(250), 2.0, Duration::from_secs(30));

/// A provider that asks a [`Source`] again and again.
///
/// One task per service asks, however many watches there are, and yields what has changed; one that
/// fails asks again after 250 ms to 30 s, or the time that the error names. Queries are matched here,
/// by tags and metadata. What the source lists counts as its whole answer. A
/// [`list`](Provider::list) always asks the source, whatever the time to live of the answer before.
///
/// | | default |
/// |---|---|
/// | [`interval`](Self::interval): when to ask again, for an answer without a time to live | 30 s |
/// | [`timeout`](Self::timeout): the limit of a fetch | 10 s |
///
/// Both are spread over clients: each wait is 10 % longer or shorter at random.
pub struct Polled<S> {
    shared: Arc<Shared<S>>,
    watches: SharedWatches<Query, EndpointSet>,
}

struct Shared<S> {
    source: S,
    interval: Duration,
    timeout: Duration,
    timing: Timing,
    state: watch::Sender<State>,
}

#[derive(Clone, Copy)]
struct State {
    status: ConnectionStatus,
    closed: bool,
}

impl<S: Source> Polled<S> {
    /// Creates a provider of a source.
    pub fn new(source: S) -> Self {
        Self::with_timing(source, Timing::tokio())
    }

    /// Creates a provider with a clock and a source of randomness of the caller's.
    pub fn with_timing(source: S, timing: Timing) -> Self {
        let state = State { status: ConnectionStatus::Disconnected, closed: false };
        let shared = Shared {
            source,
            interval: Duration::from_secs(30),
            timeout: Duration::from_secs(10),
            timing: timing.clone(),
            state: watch::Sender::new(state),
        };
        let watches = SharedWatches::new(timing).with_age(|set: EndpointSet, since| {
            let age = set.age() + since;
            set.with_age(age)
        });
        Self { shared: Arc::new(shared), watches }
    }

    /// Sets when to ask again, for an answer without a time to live: 250 ms to 24 h. Has no effect once a
    /// watch has begun.
    #[must_use]
    pub fn interval(self, interval: Duration) -> Self {
        self.set(|shared| shared.interval = interval)
    }

    /// Sets the limit of a fetch. Has no effect once a watch has begun.
    #[must_use]
    pub fn timeout(self, timeout: Duration) -> Self {
        self.set(|shared| shared.timeout = timeout)
    }

    fn set(mut self, change: impl FnOnce(&mut Shared<S>)) -> Self {
        // No watch can have begun: it borrows the provider.
        if let Some(shared) = Arc::get_mut(&mut self.shared) {
            change(shared);
        }
        self
    }

    /// Returns the source.
    pub fn source(&self) -> &S {
        &self.shared.source
    }
}

impl<S: Source> fmt::Debug for Polled<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Polled")
            .field("kind", &self.shared.source.info().kind())
            .field("interval", &self.shared.interval)
            .field("timeout", &self.shared.timeout)
            .finish_non_exhaustive()
    }
}

#[async_trait]
impl<S: Source> Provider for Polled<S> {
    fn info(&self) -> ProviderInfo {
        let info = self.shared.source.info();
        let watch = [Feature::Watch].into_iter().filter(|watch| !info.features().contains(watch));
        let features: Vec<_> = info.features().iter().copied().chain(watch).collect();
        let mut connection = ConnectionInfo::new(self.shared.state.borrow().status);
        if let Some(address) = info.connection().address() {
            connection = connection.with_address(address);
        }
        info.with_features(features).with_connection(connection)
    }

    async fn connect(&self) -> Result<(), Error> {
        // Ends the waits of the watches, whatever was there before.
        self.shared.state.send_modify(|state| state.closed = false);
        self.ping().await
    }

    async fn ping(&self) -> Result<(), Error> {
        self.shared.asking(self.shared.source.ping()).await
    }

    async fn close(&self) -> Result<(), Error> {
        self.shared.state.send_modify(|state| {
            state.closed = true;
            state.status = ConnectionStatus::Disconnected;
        });
        self.watches.close();
        Ok(())
    }

    async fn list(&self, query: &Query) -> Result<EndpointSet, Error> {
        Ok(self.shared.answer(query).await?.matching(query))
    }

    fn watch(&self, query: &Query) -> Option<WatchStream<'_>> {
        let (query, shared) = (query.unfiltered(), Arc::clone(&self.shared));
        Some(self.watches.listen(query.clone(), move |publisher| follow(shared, query, publisher)))
    }
}

impl<S: Source> Shared<S> {
    /// Runs a request to the source, within its limit, and notes how it ended.
    async fn asking<T>(&self, request: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
        let kind = || self.source.info().kind().to_owned();
        if self.state.borrow().closed {
            return Err(Error::closed(&kind()));
        }
        let answer = self.timing.timeout_at(self.timing.now() + self.timeout, request).await;
        let answer = answer.unwrap_or_else(|| Err(Error::timed_out(kind(), self.timeout)));
        self.state.send_if_modified(|state| {
            if state.closed {
                return false;
            }
            state.status = if answer.is_ok() { ConnectionStatus::Connected } else { ConnectionStatus::Error };
            // The watches wait for other changes.
            false
        });
        answer
    }

    /// Returns the answer to a query, without regard to its tags and metadata.
    async fn answer(&self, query: &Query) -> Result<EndpointSet, Error> {
        match query.service_name() {
            Some(service) => self.asking(self.source.fetch(service)).await,
            None => self.asking(self.all()).await,
        }
    }

    /// Fetches all services, and returns what they list together.
    async fn all(&self) -> Result<EndpointSet, Error> {
        let mut whole: Option<EndpointSet> = None;
        let services = self.source.services().await?;
        for some in services.chunks(AT_A_TIME) {
            for set in together(some.iter().map(|service| self.source.fetch(service))).await? {
                whole = Some(match whole {
                    Some(before) => before.and(set),
                    None => set,
                });
            }
        }
        Ok(whole.unwrap_or_default())
    }
}

/// Runs futures at the same time, and returns their values in order, or the first error.
async fn together<F, T>(futures: impl Iterator<Item = F>) -> Result<Vec<T>, Error>
where
    F: Future<Output = Result<T, Error>> + Unpin,
{
    let mut running: Vec<_> = futures.map(|future| (future, None)).collect();
    poll_fn(|context| {
        let mut pending = false;
        for (future, value) in running.iter_mut().filter(|(_, value)| value.is_none()) {
            match std::pin::Pin::new(future).poll(context) {
                Poll::Ready(Ok(done)) => *value = Some(done),
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => pending = true,
            }
        }
        if pending { Poll::Pending } else { Poll::Ready(Ok(())) }
    })
    .await?;
    Ok(running.into_iter().filter_map(|(_, value)| value).collect())
}

/// The task of a watch: asks again and again, and publishes what has changed.
async fn follow<S: Source>(shared: Arc<Shared<S>>, query: Query, publisher: Publisher<EndpointSet>) {
    let mut backoff = Backoff::new(BACKOFF);
    let mut published: Option<(EndpointSet, Time)> = None;
    let mut state = shared.state.subscribe();
    while !state.borrow_and_update().closed {
        let began = shared.timing.now();
        let mut changed = pin!(shared.source.changed());
        // What happens during the fetch is noticed, too.
        let mut is_changed = poll_fn(|context| Poll::Ready(changed.as_mut().poll(context).is_ready())).await;
        let pause = match shared.answer(&query).await {
            Ok(set) => {
                backoff.reset();
                let ttl = set.ttl().unwrap_or(shared.interval).clamp(SHORTEST_TTL, LONGEST_TTL);
                let now = shared.timing.now();
                let is_known = |(before, at): &(_, Time)| *before == set && now.since(*at) < SIGN_OF_LIFE;
                if !published.as_ref().is_some_and(is_known) {
                    published = Some((set.clone(), now));
                    publisher.publish(set);
                }
                shared.timing.jittered(ttl, 0.1)
            }
            Err(error) => {
                // A listener that has seen the error has to see the next answer, whatever it says.
                published = None;
                let wanted = match error.retry() {
                    RetryAdvice::After(pause) => pause.min(LONGEST_TTL),
                    _ => Duration::ZERO,
                };
                publisher.error(error);
                backoff.after_failure(shared.timing.now(), shared.timing.unit()).max(wanted)
            }
        };
        let mut connected = pin!(state.changed());
        let woken = poll_fn(|context| {
            is_changed = is_changed || changed.as_mut().poll(context).is_ready();
            if is_changed || connected.as_mut().poll(context).is_ready() {
                return Poll::Ready(());
            }
            Poll::Pending
        });
        shared.timing.timeout_at(shared.timing.now() + pause, woken).await;
        shared.timing.sleep_until(began + SPACING).await;
    }
}

#[cfg(test)]
mod tests;
