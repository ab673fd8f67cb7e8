//! A service in the caller's hands.

pub(crate) mod builder;

use std::fmt;
use std::future::Future;
use std::sync::Arc;

use crate::client::call::{Attempt, Call, CallError, Completed};
use crate::client::pick::{OwnedPick, Pick};
use crate::config::FailoverConfig;
use crate::contract::classify::{Classify, OkIsSuccess, Outcome};
use crate::engine::algorithm::Tried;
use crate::engine::{Engine, NoEndpoints, SourceStatus};
use crate::error::{Error, ErrorKind};
use crate::events::{Event, EventReceiver};
use crate::inspect::explain::Explanation;
use crate::inspect::stats::ServiceStats;
use crate::model::endpoint::{Endpoint, EndpointEntry, ServiceName};
use crate::model::load_report::LoadReport;

pub use builder::{IntoEndpoint, ServiceBuilder};

/// A service that calls are made to: cheap to clone, shared by all threads.
///
/// ```
/// use failover_core::ServiceHandle;
///
/// # async fn get(url: String) -> Result<String, std::io::Error> { Ok(url) }
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let users = ServiceHandle::fixed("user-service", ["http://10.0.0.1:8080", "http://10.0.0.2:8080"])?;
/// let done = users.execute(async |endpoint| get(endpoint.url("/users/7")).await).await?;
/// println!("{} from {} in {} attempts", done.value, done.endpoint.id(), done.attempts.len());
/// # Ok(()) }
/// ```
///
/// The closure may run more than once: that is what failover is. It borrows what it captures, so write
/// `async |endpoint| …`, not `async move`.
///
/// `C` is what the replies mean: see [`with_classifier`](Self::with_classifier).
pub struct ServiceHandle<C = OkIsSuccess> {
    engine: Arc<Engine>,
    classifier: C,
    /// What ends when the last handle is dropped, if anything does.
    lease: Option<Arc<dyn Send + Sync>>,
}

impl<C: Clone> Clone for ServiceHandle<C> {
    fn clone(&self) -> Self {
        Self {
            engine: Arc::clone(&self.engine),
            classifier: self.classifier.clone(),
            lease: self.lease.clone(),
        }
    }
}

impl<C> fmt::Debug for ServiceHandle<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let endpoints = self.engine.snapshot().slots.len();
        f.debug_struct("ServiceHandle")
            .field("service", self.engine.name())
            .field("endpoints", &endpoints)
            .finish_non_exhaustive()
    }
}

impl ServiceHandle {
    /// A service with a fixed list of endpoints: `http://10.0.0.1:8080`, `10.0.0.1:8080`, or an
    /// [`Endpoint`](crate::Endpoint). It needs no runtime to select, and no task.
    ///
    /// # Errors
    ///
    /// `Validation` when the name or one of the endpoints is not valid, naming it.
    pub fn fixed<I>(service: &str, endpoints: I) -> Result<Self, Error>
    where
        I: IntoIterator,
        I::Item: IntoEndpoint,
    {
        Self::builder(service).endpoints(endpoints).build()
    }

    /// A service with a fixed list of endpoints and a configuration, clock or seed of its own.
    pub fn builder(service: &str) -> ServiceBuilder {
        ServiceBuilder::new(service)
    }

    pub(crate) fn new(engine: Arc<Engine>, lease: Option<Arc<dyn Send + Sync>>) -> Self {
        Self { engine, classifier: OkIsSuccess, lease }
    }
}

impl<C> ServiceHandle<C> {
    pub(crate) fn lease(&self) -> Option<Arc<dyn Send + Sync>> {
        self.lease.clone()
    }

    pub(crate) fn engine(&self) -> &Arc<Engine> {
        &self.engine
    }

    /// The same service with another meaning of replies, for all calls of the handle that is returned.
    ///
    /// A classifier is a type of your own that implements [`Classify`], or a closure with its argument's types
    /// written out:
    ///
    /// ```
    /// # use failover_core::{Outcome, ServiceHandle};
    /// # let users = ServiceHandle::fixed("users", ["10.0.0.1:80"])?;
    /// let users = users.with_classifier(|reply: Result<&u16, &std::io::Error>| match reply {
    ///     Ok(status) => Outcome::from_http_status(*status, None),
    ///     Err(_) => Outcome::Failure,
    /// });
    /// # Ok::<(), failover_core::Error>(())
    /// ```
    pub fn with_classifier<D>(self, classifier: D) -> ServiceHandle<D> {
        ServiceHandle { engine: self.engine, classifier, lease: self.lease }
    }

    /// The name of the service.
    pub fn name(&self) -> &ServiceName {
        self.engine.name()
    }

    /// Picks an endpoint, for a caller that owns its transport.
    ///
    /// It never waits, locks or allocates. The endpoint's breaker may let the call through as a probe call.
    ///
    /// ```
    /// # use failover_core::{Outcome, ServiceHandle};
    /// # let users = ServiceHandle::fixed("users", ["10.0.0.1:80"])?;
    /// # fn send(_: &failover_core::Endpoint) -> Result<(), ()> { Ok(()) }
    /// let pick = users.select()?;
    /// let reply = send(pick.endpoint());
    /// pick.finish(Outcome::of(&reply));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`NoEndpoints`] with the reason.
    #[inline]
    pub fn select(&self) -> Result<Pick<'_>, NoEndpoints> {
        match self.engine.pick(Tried::NONE, true) {
            Some(pick) => Ok(Pick::new(&self.engine, pick)),
            None => Err(self.engine.refuse()),
        }
    }

    /// As [`select`](Self::select), for a pick that has to outlive the handle.
    ///
    /// # Errors
    ///
    /// As [`select`](Self::select).
    pub fn select_owned(&self) -> Result<OwnedPick, NoEndpoints> {
        match self.engine.pick(Tried::NONE, true) {
            Some(pick) => Ok(OwnedPick::new(Arc::clone(&self.engine), pick)),
            None => Err(self.engine.refuse()),
        }
    }

    /// A call with wishes of its own.
    pub fn call(&self) -> Call<'_, C>
    where
        C: Clone,
    {
        Call::new(&self.engine, self.classifier.clone())
    }

    /// Does the operation on one endpoint after the other until an attempt succeeds.
    ///
    /// The operation may run more than once: that is what failover is. It borrows what it captures
    /// (`async |endpoint| …`, not `async move`). The future can be spawned, borrowed captures and all:
    ///
    /// ```
    /// use failover_core::ServiceHandle;
    ///
    /// struct Client;
    /// impl Client {
    ///     async fn get(&self, url: String) -> Result<String, std::io::Error> {
    ///         tokio::task::yield_now().await;
    ///         Ok(url)
    ///     }
    /// }
    ///
    /// #[tokio::main(flavor = "multi_thread")]
    /// async fn main() -> Result<(), Box<dyn std::error::Error>> {
    ///     let users = ServiceHandle::fixed("user-service", ["http://10.0.0.1:8080"])?;
    ///     let (client, path) = (Client, String::from("/users/7"));
    ///     let task = tokio::spawn(async move {
    ///         users.execute(async |endpoint| client.get(endpoint.url(&path)).await).await
    ///     });
    ///     assert_eq!(task.await??.value, "http://10.0.0.1:8080/users/7");
    ///     Ok(())
    /// }
    /// ```
    ///
    /// # Errors
    ///
    /// [`CallError`]: the operation's own last error if there was one, every attempt, and why there was no further
    /// one.
    ///
    /// # Panics
    ///
    /// As [`Call::execute`].
    ///
    /// # Cancel safety
    ///
    /// As [`Call::execute`]: nothing stays behind.
    pub async fn execute<F, Fut, T, E>(&self, operation: F) -> Result<Completed<T>, CallError<E>>
    where
        F: FnMut(Attempt) -> Fut,
        Fut: Future<Output = Result<T, E>>,
        C: Classify<T, E> + Clone,
    {
        self.call().execute(operation).await
    }

    /// Does the operation once, on one endpoint.
    ///
    /// # Errors
    ///
    /// As [`execute`](Self::execute).
    ///
    /// # Panics
    ///
    /// As [`Call::execute`].
    ///
    /// # Cancel safety
    ///
    /// As [`Call::execute`]: nothing stays behind.
    pub async fn execute_once<F, Fut, T, E>(&self, operation: F) -> Result<Completed<T>, CallError<E>>
    where
        F: FnOnce(Attempt) -> Fut,
        Fut: Future<Output = Result<T, E>>,
        C: Classify<T, E> + Clone,
    {
        self.call().execute_once(operation).await
    }

    /// Waits until it is known which endpoints there are: a source has given a good answer (endpoints, or that there
    /// are none), and every other one has answered or failed. It has no limit of its own; give it one with
    /// `tokio::time::timeout`.
    ///
    /// # Errors
    ///
    /// `Shutdown` when the manager is closed before that.
    ///
    /// # Cancel safety
    ///
    /// Safe: a dropped future leaves nothing behind.
    pub async fn ready(&self) -> Result<(), Error> {
        let mut changes = self.engine.changes();
        loop {
            changes.borrow_and_update();
            let sources = self.engine.sources();
            if are_ready(&sources) {
                return Ok(());
            }
            let errors = sources.into_iter().filter_map(|source| source.error);
            if let Some(ended) = errors.into_iter().find(|e| e.kind() == ErrorKind::Shutdown) {
                return Err(ended);
            }
            // The engine holds the sender and this handle the engine, so the wait ends with a change.
            let _ = changes.changed().await;
        }
    }

    /// Whether it is known which endpoints there are: see [`ready`](Self::ready).
    pub fn is_ready(&self) -> bool {
        are_ready(&self.engine.sources())
    }

    /// Whether a source cannot be reached, so that its last good answer is served.
    pub fn is_stale(&self) -> bool {
        self.engine.sources().iter().any(|source| source.error.is_some())
    }

    /// The endpoints as their sources name them, by tier and id.
    pub fn endpoints(&self) -> Vec<EndpointEntry> {
        let snapshot = self.engine.snapshot();
        let entry = |slot: &crate::engine::snapshot::Slot| {
            EndpointEntry::new(Arc::clone(&slot.endpoint))
                .with_health(slot.claim.health)
                .with_lifecycle(slot.claim.lifecycle)
        };
        snapshot.slots.iter().map(entry).collect()
    }

    /// One endpoint by its id.
    pub fn endpoint(&self, id: &str) -> Option<Arc<Endpoint>> {
        let snapshot = self.engine.snapshot();
        snapshot.find(id).map(|index| Arc::clone(&snapshot.slot(index).endpoint))
    }

    /// Takes over what an endpoint says of its load, for the algorithm `reported_load`: with each answer, or from time to
    /// time.
    ///
    /// A report counts for three minutes, and the first ten seconds of an endpoint's reports do not, as in gRPC's proposal
    /// A58. About once a second the weights follow, which costs the caller that brings it up a microsecond for every ten
    /// endpoints or so. A report without requests or without utilization says nothing, and changes nothing.
    ///
    /// ```
    /// use failover_core::{LoadReport, ServiceHandle};
    ///
    /// let users = ServiceHandle::fixed("users", ["10.0.0.1:80", "10.0.0.2:80"])?;
    /// // As the answer's header says: 120 requests a second make it half busy.
    /// users.report_load("10.0.0.1:80", LoadReport::new(120.0, 0.5))?;
    /// # Ok::<(), failover_core::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// `NotFound` for an endpoint that the service does not have, `Validation` for what is negative, infinite or no number.
    pub fn report_load(&self, id: &str, report: LoadReport) -> Result<(), Error> {
        self.engine.report_load(id, &report)
    }

    /// The configuration in use.
    pub fn config(&self) -> Arc<FailoverConfig> {
        self.engine.config()
    }

    /// Takes another configuration into use, here and now. Endpoints keep their state; calls under way keep the
    /// configuration that they began with.
    ///
    /// # Errors
    ///
    /// `Validation` when its strategy lacks what it needs; the old one stays in use.
    pub fn configure(&self, config: FailoverConfig) -> Result<(), Error> {
        self.engine.configure(Arc::new(config))
    }

    /// What has been counted so far.
    pub fn stats(&self) -> ServiceStats {
        self.engine.stats()
    }

    /// Why calls go where they go: for each endpoint whether it is given calls, since when, why, what changes that next,
    /// and its share of late.
    ///
    /// ```
    /// # use failover_core::ServiceHandle;
    /// let users = ServiceHandle::fixed("user-service", ["10.0.0.1:8080", "10.0.0.2:8080"])?;
    /// println!("{}", users.explain());
    /// # Ok::<(), failover_core::Error>(())
    /// ```
    pub fn explain(&self) -> Explanation {
        self.engine.explain()
    }

    /// The newest events of this service, oldest first: at most `limit`.
    pub fn events(&self, limit: usize) -> Vec<Arc<Event>> {
        self.engine.events().newest(limit)
    }

    /// Hears the events of this service from now on.
    pub fn subscribe(&self) -> EventReceiver {
        self.engine.events().subscribe()
    }
}

fn are_ready(sources: &[SourceStatus]) -> bool {
    sources.iter().any(|source| source.answered)
        && sources.iter().all(|source| source.answered || source.error.is_some())
}

/// A pick's outcome by the handle's own classifier.
impl<C> ServiceHandle<C> {
    /// What the handle's classifier says of a reply, for [`Pick::finish`].
    pub fn outcome<T, E>(&self, reply: &Result<T, E>) -> Outcome
    where
        C: Classify<T, E>,
    {
        self.classifier.classify(reply.as_ref())
    }
}
