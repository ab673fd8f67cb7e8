//! A call with its own wishes.

use std::fmt;
use std::future::Future;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use tracing::Instrument;

use crate::client::call::attempt::{Attempt, Completed};
use crate::client::call::error::CallError;
use crate::client::call::options::CallOptions;
use crate::client::call::run::Run;
use crate::client::pick::{OwnedPick, Pick};
use crate::config::{Algorithm, FailoverConfig};
use crate::contract::classify::{Classify, Outcome};
use crate::engine::algorithm::{PickOptions, Tried};
use crate::engine::policy::CallPolicy;
use crate::engine::{Engine, NoEndpoints};

/// One call, with wishes that differ from the configuration.
///
/// ```
/// # use std::time::Duration;
/// # use failover_core::{Outcome, ServiceHandle};
/// # async fn example(users: ServiceHandle) {
/// let done = users
///     .call()
///     .deadline(Duration::from_millis(800))
///     .idempotent(false)
///     .classify(|reply: Result<&u16, &std::io::Error>| match reply {
///         Ok(status) => Outcome::from_http_status(*status, None),
///         Err(_) => Outcome::Failure,
///     })
///     .execute(async |endpoint| {
///         let _ = endpoint.url("/users/7");
///         Ok(200)
///     })
///     .await;
/// # }
/// ```
#[must_use = "a call does nothing until it is executed"]
pub struct Call<'a, C> {
    engine: &'a Arc<Engine>,
    classifier: C,
    options: CallOptions,
}

impl<C> fmt::Debug for Call<'_, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Call")
            .field("service", self.engine.name())
            .field("wishes", &self.options)
            .finish_non_exhaustive()
    }
}

impl<'a, C> Call<'a, C> {
    pub(crate) fn new(engine: &'a Arc<Engine>, classifier: C) -> Self {
        Self { engine, classifier, options: CallOptions::default() }
    }

    /// Another configuration for this call: its strategy's algorithm, retries, times, back-off and budget. What the
    /// service's endpoints share stays the service's own: breakers, weights, tiers and sessions.
    ///
    /// The wishes of this call, set before or after, count more.
    ///
    /// ```
    /// # use failover_core::{FailoverConfig, ServiceHandle};
    /// # async fn example(users: ServiceHandle) -> Result<(), Box<dyn std::error::Error>> {
    /// let patient = FailoverConfig::builder().max_retries(5).timeout(std::time::Duration::from_secs(60)).build()?;
    /// let done = users.call().config(&patient).execute(async |endpoint| Ok::<_, std::io::Error>(endpoint.port())).await?;
    /// let pick = users.call().config(&patient).select()?;
    /// # Ok(()) }
    /// ```
    pub fn config(mut self, config: &FailoverConfig) -> Self {
        self.options.policy = Some(Box::new(CallPolicy::from(config)));
        if self.options.pick.algorithm.is_none() {
            let algorithm = config.algorithm();
            if algorithm != self.engine.algorithm() {
                self = self.algorithm(algorithm);
            }
        }
        self
    }

    /// The time for the whole call, from when it is executed. Default: the configuration's `timeout`.
    ///
    /// A timeout of an attempt that the deadline left less than half of its time does not count against the endpoint.
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.options.deadline = Some(deadline);
        self
    }

    /// The time for each attempt, within the deadline. Default: the configuration's `attempt_timeout`, or the
    /// deadline divided by the number of attempts if that is less.
    pub fn attempt_timeout(mut self, timeout: Duration) -> Self {
        self.options.attempt_timeout = Some(timeout);
        self
    }

    /// How many attempts may follow the first, at most 20. Default: the configuration's `max_retries`.
    pub fn max_retries(mut self, max_retries: u32) -> Self {
        self.options.max_retries = Some(max_retries);
        self
    }

    /// Whether doing the operation twice is as good as once. `false`: it is repeated only when it provably was not
    /// sent ([`Outcome::NotSent`]). Default: `true`.
    pub fn idempotent(mut self, idempotent: bool) -> Self {
        self.options.not_idempotent = !idempotent;
        self
    }

    /// Whether to wait for an endpoint, up to the deadline, when there is none. Default: `false`, the call fails at
    /// once with the reason.
    pub fn wait_ready(mut self, wait: bool) -> Self {
        self.options.wait_ready = wait;
        self
    }

    /// Who is picked among equals, for this call. Default: the configuration's algorithm. `weighted` and `ip_hash` read
    /// tables; where the configuration does not ask for them, the first such call after a change of endpoints builds
    /// them, which can take milliseconds.
    pub fn algorithm(mut self, algorithm: Algorithm) -> Self {
        self.engine.prepare(algorithm);
        self.options.pick.algorithm = Some(algorithm);
        self
    }

    /// What decides where the call goes, under the algorithm `ip_hash` and with sticky sessions: calls with the same key
    /// go to the same endpoint while it is available. An empty key is none. Default: none.
    pub fn key(mut self, key: impl AsRef<[u8]>) -> Self {
        self.options.pick.key = PickOptions::keyed(key.as_ref()).key;
        self
    }

    /// As [`key`](Self::key), by the address of the client that the call is made for. An IPv4 address counts the same
    /// where it is written as an IPv6 one.
    pub fn client_ip(self, address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(address) => self.key(address.octets()),
            IpAddr::V6(address) => self.key(address.octets()),
        }
    }

    /// Picks an endpoint for this call, for a caller that owns its transport: as
    /// [`ServiceHandle::select`](crate::ServiceHandle::select), with this call's key, algorithm and configuration.
    ///
    /// # Errors
    ///
    /// [`NoEndpoints`] with the reason.
    pub fn select(self) -> Result<Pick<'a>, NoEndpoints> {
        match self.engine.pick_with(Tried::NONE, true, self.options.pick) {
            Some(pick) => Ok(Pick::new(self.engine, pick)),
            None => Err(self.engine.refuse()),
        }
    }

    /// Picks an endpoint, as [`select`](Self::select), with a pick that can outlive the handle.
    ///
    /// # Errors
    ///
    /// [`NoEndpoints`] with the reason.
    pub fn select_owned(self) -> Result<OwnedPick, NoEndpoints> {
        match self.engine.pick_with(Tried::NONE, true, self.options.pick) {
            Some(pick) => Ok(OwnedPick::new(Arc::clone(self.engine), pick)),
            None => Err(self.engine.refuse()),
        }
    }

    /// What the operation's replies mean, for this call: by a type that implements [`Classify`].
    pub fn with_classifier<D>(self, classifier: D) -> Call<'a, D> {
        Call { engine: self.engine, classifier, options: self.options }
    }

    /// What the operation's replies mean, for this call: by a closure.
    pub fn classify<T, E, F>(self, classifier: F) -> Call<'a, F>
    where
        F: Fn(Result<&T, &E>) -> Outcome,
    {
        self.with_classifier(classifier)
    }

    /// Does the operation on one endpoint after the other until an attempt succeeds.
    ///
    /// The operation may run more than once: that is what failover is. It is handed the [`Attempt`], which stands for
    /// the endpoint, and borrows what it captures (`async |endpoint| …`, not `async move`).
    ///
    /// A reply that the classifier calls [`Rejected`](Outcome::Rejected) is a reply: `Ok` comes back as `Ok`. One
    /// that it calls a failure is an error in the end, even if it was `Ok`: turn into an error of your own, inside
    /// the operation, what you want to see of it.
    ///
    /// # Errors
    ///
    /// [`CallError`]: the operation's own last error if there was one, every attempt, and why there was no further
    /// one.
    ///
    /// # Panics
    ///
    /// When the operation does: its panic passes through, and what the call held is given back. Also when the
    /// operation has to wait in a tokio runtime whose timer is not enabled.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future cancels the attempt under way. It counts neither as success nor as failure, and nothing
    /// stays behind: not in flight, no half-open permit, no token of the retry budget.
    pub async fn execute<F, Fut, T, E>(self, operation: F) -> Result<Completed<T>, CallError<E>>
    where
        F: FnMut(Attempt) -> Fut,
        Fut: Future<Output = Result<T, E>>,
        C: Classify<T, E>,
    {
        let span = tracing::debug_span!(target: "failover", "call", service = %self.engine.name());
        let Self { engine, classifier, options } = self;
        Run::new(engine, options).calls(operation, &classifier).instrument(span).await
    }

    /// Does the operation once, on one endpoint.
    ///
    /// # Errors
    ///
    /// As [`execute`](Self::execute).
    ///
    /// # Panics
    ///
    /// As [`execute`](Self::execute).
    ///
    /// # Cancel safety
    ///
    /// As [`execute`](Self::execute).
    pub async fn execute_once<F, Fut, T, E>(mut self, operation: F) -> Result<Completed<T>, CallError<E>>
    where
        F: FnOnce(Attempt) -> Fut,
        Fut: Future<Output = Result<T, E>>,
        C: Classify<T, E>,
    {
        self.options.max_retries = Some(0);
        let mut operation = Some(operation);
        // With no retries the operation is asked for once.
        self.execute(|attempt| (operation.take().expect("one attempt only"))(attempt)).await
    }
}
