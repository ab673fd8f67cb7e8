//! The handle of a service.

pub(crate) mod builder;
pub(crate) mod fixed;

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use crate::client::call::{Attempt, Call, CallError, Completed};
use crate::client::changes::{EndpointChanges, entries};
use crate::client::pick::{OwnedPick, Pick};
use crate::config::FailoverConfig;
use crate::contract::classify::{Classified, Classify, OkIsSuccess};
use crate::engine::algorithm::Tried;
use crate::engine::{Engine, NoEndpoints, SourceStatus};
use crate::error::{Error, ErrorKind};
use crate::events::{Event, EventReceiver};
use crate::inspect::explain::Explanation;
use crate::inspect::stats::ServiceStats;
use crate::model::endpoint::{Endpoint, EndpointEntry, ServiceName};
use crate::model::forced::Forced;
use crate::model::load_report::LoadReport;

pub use builder::{IntoEndpoint, ServiceBuilder};
pub(crate) use fixed::Origin;

/// A service to call: cheap to clone, shared by all threads.
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
/// The closure can run more than once, because each retry runs it again. It borrows what it
/// captures, so write `async |endpoint| …`, not `async move`.
///
/// `C` is the classifier of replies: see [`with_classifier`](Self::with_classifier).
pub struct ServiceHandle<C = OkIsSuccess> {
    engine: Arc<Engine>,
    classifier: C,
    /// What the service needs while it has a handle.
    origin: Origin,
}

impl<C: Clone> Clone for ServiceHandle<C> {
    fn clone(&self) -> Self {
        Self {
            engine: Arc::clone(&self.engine),
            classifier: self.classifier.clone(),
            origin: self.origin.clone(),
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
    /// Creates a service with a list of endpoints that the program itself has.
    ///
    /// An endpoint is `http://10.0.0.1:8080`, `10.0.0.1:8080`, or an [`Endpoint`](crate::Endpoint).
    /// The service spawns no task and needs no runtime to select. The list stays until
    /// [`replace_endpoints`](ServiceHandle::replace_endpoints).
    ///
    /// # Errors
    ///
    /// Returns `Validation` if the name or an endpoint is invalid, and names it.
    pub fn fixed<I>(service: &str, endpoints: I) -> Result<Self, Error>
    where
        I: IntoIterator,
        I::Item: IntoEndpoint,
    {
        Self::builder(service).endpoints(endpoints).build()
    }

    /// Returns a builder for a service with a list of endpoints, and with probes.
    pub fn builder(service: &str) -> ServiceBuilder {
        ServiceBuilder::new(service)
    }

    pub(crate) fn new(engine: Arc<Engine>, origin: Origin) -> Self {
        Self { engine, classifier: OkIsSuccess, origin }
    }
}

impl<C> ServiceHandle<C> {
    pub(crate) fn origin(&self) -> Origin {
        self.origin.clone()
    }

    pub(crate) fn engine(&self) -> &Arc<Engine> {
        &self.engine
    }

    /// Returns a handle of the same service that classifies replies differently.
    ///
    /// A classifier is a type that implements [`Classify`], or a closure with explicit argument
    /// types:
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
        ServiceHandle { engine: self.engine, classifier, origin: self.origin }
    }

    /// Returns the name of the service.
    pub fn name(&self) -> &ServiceName {
        self.engine.name()
    }

    /// Picks an endpoint, for a caller that owns its transport.
    ///
    /// Never waits, locks or allocates. The endpoint's breaker may admit the call as a probe call.
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
    /// Returns [`NoEndpoints`] with the reason.
    #[inline]
    pub fn select(&self) -> Result<Pick<'_>, NoEndpoints> {
        match self.engine.pick(Tried::NONE, true) {
            Some(pick) => Ok(Pick::new(&self.engine, pick)),
            None => Err(self.engine.refuse()),
        }
    }

    /// Picks an endpoint like [`select`](Self::select); the pick can outlive the handle.
    ///
    /// # Errors
    ///
    /// See [`select`](Self::select).
    pub fn select_owned(&self) -> Result<OwnedPick, NoEndpoints> {
        match self.engine.pick(Tried::NONE, true) {
            Some(pick) => Ok(OwnedPick::new(Arc::clone(&self.engine), pick)),
            None => Err(self.engine.refuse()),
        }
    }

    /// Starts a call with per-call options.
    pub fn call(&self) -> Call<'_, C>
    where
        C: Clone,
    {
        Call::new(&self.engine, self.classifier.clone())
    }

    /// Runs the operation on one endpoint after another until an attempt succeeds.
    ///
    /// The operation can run more than once, because each retry runs it again. It borrows what it
    /// captures (`async |endpoint| …`, not `async move`). The future can be spawned, including its
    /// borrowed captures:
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
    /// Returns [`CallError`] with the operation's last error and last reply, all attempts, and the
    /// reason why no further attempt was made.
    ///
    /// # Panics
    ///
    /// See [`Call::execute`].
    ///
    /// # Cancel safety
    ///
    /// See [`Call::execute`].
    pub async fn execute<F, Fut, T, E>(&self, operation: F) -> Result<Completed<T>, CallError<E, T>>
    where
        F: FnMut(Attempt) -> Fut,
        Fut: Future<Output = Result<T, E>>,
        C: Classify<T, E> + Clone,
    {
        self.call().execute(operation).await
    }

    /// Runs the operation once, on one endpoint.
    ///
    /// # Errors
    ///
    /// See [`execute`](Self::execute).
    ///
    /// # Panics
    ///
    /// See [`Call::execute`].
    ///
    /// # Cancel safety
    ///
    /// See [`Call::execute`].
    pub async fn execute_once<F, Fut, T, E>(&self, operation: F) -> Result<Completed<T>, CallError<E, T>>
    where
        F: FnOnce(Attempt) -> Fut,
        Fut: Future<Output = Result<T, E>>,
        C: Classify<T, E> + Clone,
    {
        self.call().execute_once(operation).await
    }

    /// Waits until the service's endpoints are known.
    ///
    /// They are known when one source has given a good answer (endpoints, or that there are none)
    /// and every other source has answered or failed. The wait has no limit of its own; limit it
    /// with `tokio::time::timeout`.
    ///
    /// # Errors
    ///
    /// Returns `Shutdown` if the manager is closed first.
    ///
    /// # Cancel safety
    ///
    /// Safe: a dropped future has no effect.
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
            // The engine holds the sender and this handle holds the engine, so the wait ends with a
            // change.
            let _ = changes.changed().await;
        }
    }

    /// Returns whether the service's endpoints are known: see [`ready`](Self::ready).
    pub fn is_ready(&self) -> bool {
        are_ready(&self.engine.sources())
    }

    /// Returns whether a source is unreachable, so that its last good answer is used.
    pub fn is_stale(&self) -> bool {
        self.engine.sources().iter().any(|source| source.error.is_some())
    }

    /// Returns the endpoints by tier and id, each with the claims of its sources.
    ///
    /// Several entries for one address and port are one endpoint: see
    /// [`EndpointExplanation::others`](crate::inspect::EndpointExplanation::others).
    pub fn endpoints(&self) -> Vec<EndpointEntry> {
        entries(&self.engine.snapshot())
    }

    /// Replaces the endpoints of a service that was built from a list.
    ///
    /// The change is atomic: calls see the old list or the new one, and endpoints that stay keep
    /// their state. An empty list is valid, and leaves no endpoint to call.
    ///
    /// ```
    /// use failover_core::ServiceHandle;
    ///
    /// let users = ServiceHandle::fixed("users", ["10.0.0.1:80", "10.0.0.2:80"])?;
    /// users.replace_endpoints(["10.0.0.2:80", "10.0.0.3:80"])?;
    /// assert_eq!(users.endpoints().len(), 2);
    /// # Ok::<(), failover_core::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Returns `Validation` for an invalid endpoint or for two of one id or one address and port; the
    /// list then stays as it was. Returns `Unsupported` for a service of a manager, whose endpoints
    /// come from its providers.
    pub fn replace_endpoints<I>(&self, endpoints: I) -> Result<(), Error>
    where
        I: IntoIterator,
        I::Item: IntoEndpoint,
    {
        let Origin::Fixed(list) = &self.origin else {
            let message = format!(
                "the endpoints of {} come from a provider of its manager; register and deregister them there",
                self.name()
            );
            return Err(Error::new(ErrorKind::Unsupported, message));
        };
        let read = |endpoint: I::Item| endpoint.into_endpoint(self.name()).map(Arc::new);
        list.replace(&self.engine, endpoints.into_iter().map(read))
    }

    /// Watches the list of endpoints from now on.
    ///
    /// Unlike [`subscribe`](Self::subscribe), a watch never misses the last state.
    pub fn changes(&self) -> EndpointChanges {
        EndpointChanges::new(Arc::clone(&self.engine), self.origin())
    }

    /// Returns the endpoint with this id, or the one that `id@source` names.
    ///
    /// Returns `None` if there is none, and also if endpoints of several sources have the id.
    pub fn endpoint(&self, id: &str) -> Option<Arc<Endpoint>> {
        let snapshot = self.engine.snapshot();
        snapshot.find(id).map(|index| Arc::clone(&snapshot.slot(index).endpoint))
    }

    /// Records an endpoint's load report, for the algorithm `reported_load`.
    ///
    /// Call it with each response, or periodically. A report is valid for three minutes, and the
    /// reports of an endpoint's first ten seconds are ignored, as in gRPC's proposal A58. The
    /// weights are updated about once a second, by a caller of this function, at a cost of about
    /// one microsecond per ten endpoints. A report without requests or without utilization changes
    /// nothing.
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
    /// Returns `NotFound` for an endpoint that the service does not have, and `Validation` for a
    /// value that is negative, infinite or not a number, or for an id that endpoints of several
    /// sources have: name one as `id@source`.
    pub fn report_load(&self, id: &str, report: LoadReport) -> Result<(), Error> {
        self.engine.report_load(id, &report)
    }

    /// Forces an endpoint out of or into use, or keeps evidence from taking it out, for up to 24 h.
    ///
    /// For operators and tests. A time of zero ends an earlier decision. The event `endpoint_ejected`
    /// or `endpoint_readmitted` reports it, and [`explain`](Self::explain) shows an endpoint that is
    /// forced out.
    ///
    /// ```
    /// use std::time::Duration;
    /// use failover_core::ServiceHandle;
    /// use failover_core::inspect::Forced;
    ///
    /// let users = ServiceHandle::fixed("users", ["10.0.0.1:80", "10.0.0.2:80"])?;
    /// users.force("10.0.0.1:80", Forced::Out, Duration::from_secs(600))?;
    /// assert_eq!(users.select()?.endpoint().address(), "10.0.0.2");
    /// # Ok::<(), failover_core::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Returns `NotFound` for an endpoint that the service does not have, and `Validation` for a time
    /// above 24 h, or for an id that endpoints of several sources have: name one as `id@source`.
    pub fn force(&self, id: &str, forced: Forced, time: Duration) -> Result<(), Error> {
        self.engine.force(id, forced, time)
    }

    /// Returns the current configuration.
    pub fn config(&self) -> Arc<FailoverConfig> {
        self.engine.config()
    }

    /// Replaces the configuration of the service in this process.
    ///
    /// Endpoints keep their state; calls in progress keep the configuration that they started with.
    ///
    /// # Errors
    ///
    /// Returns `Validation` if its strategy lacks a required part; the previous one stays in use.
    pub fn configure(&self, config: FailoverConfig) -> Result<(), Error> {
        let config = match &self.origin {
            Origin::Fixed(list) => list.configured(config),
            Origin::Manager { .. } => config,
        };
        self.engine.configure(Arc::new(config))
    }

    /// Returns the service's statistics.
    pub fn stats(&self) -> ServiceStats {
        self.engine.stats()
    }

    /// Explains the routing of calls, per endpoint.
    ///
    /// For each endpoint: whether it receives calls, since when and why, what changes that next,
    /// and its recent share of the calls.
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

    /// Returns the newest events of this service, oldest first: at most `limit`.
    pub fn events(&self, limit: usize) -> Vec<Arc<Event>> {
        self.engine.events().newest(limit)
    }

    /// Subscribes to the events of this service from now on.
    ///
    /// A subscription can miss events, and counts them ([`EventReceiver::missed`]); to follow the
    /// endpoints themselves, use [`changes`](Self::changes).
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
    /// Classifies a reply with the handle's classifier, for [`Pick::finish`].
    pub fn outcome<T, E>(&self, reply: &Result<T, E>) -> Classified
    where
        C: Classify<T, E>,
    {
        self.classifier.classify(reply.as_ref())
    }
}
