//! A call with per-call options.

use std::fmt;
use std::future::Future;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use tracing::{Instrument, Span};

use crate::client::call::attempt::{Attempt, Completed};
use crate::client::call::error::CallError;
use crate::client::call::options::{CallOptions, Condition};
use crate::client::call::run::Run;
use crate::client::call::spans;
use crate::client::pick::{OwnedPick, Pick};
use crate::config::{Algorithm, FailoverConfig};
use crate::contract::classify::{Classified, Classify};
use crate::engine::algorithm::{PickOptions, Tried};
use crate::engine::policy::CallPolicy;
use crate::engine::{Engine, NoEndpoints};

/// A call with options that override the service's configuration.
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
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}

impl<'a, C> Call<'a, C> {
    pub(crate) fn new(engine: &'a Arc<Engine>, classifier: C) -> Self {
        Self { engine, classifier, options: CallOptions::default() }
    }

    /// Sets the configuration of this call: algorithm, retries, timeouts, back-off and budget.
    ///
    /// The state that the service's endpoints share remains the service's own: breakers, weights,
    /// tiers and sessions. The other options of this call take precedence, whether set before or
    /// after.
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

    /// Sets the timeout of the whole call, from its execution. Default: the configuration's
    /// `timeout`.
    ///
    /// If the deadline leaves an attempt less time than the service's usual latency (its 99th
    /// percentile, or the configured attempt timeout if that is less), a timeout of that attempt does
    /// not count against the endpoint.
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.options.deadline = Some(deadline);
        self
    }

    /// Sets the timeout of each attempt, capped by the deadline.
    ///
    /// Default: the configuration's `attempt_timeout`. Without one, the larger of the call's time
    /// divided by the number of attempts and three times the service's own 99th percentile, which is
    /// known after 100 answers.
    pub fn attempt_timeout(mut self, timeout: Duration) -> Self {
        self.options.attempt_timeout = Some(timeout);
        self
    }

    /// Sets the maximum number of retries, 0 to 20. Default: the configuration's `max_retries`.
    pub fn max_retries(mut self, max_retries: u32) -> Self {
        self.options.max_retries = Some(max_retries);
        self
    }

    /// Sets whether the operation is idempotent. Default: `true`.
    ///
    /// With `false`, a call is retried only if the request was provably not sent
    /// ([`Outcome::NotSent`](crate::Outcome::NotSent)).
    pub fn idempotent(mut self, idempotent: bool) -> Self {
        self.options.not_idempotent = !idempotent;
        self
    }

    /// Sets a condition for every retry, evaluated after an attempt has failed. Default: none.
    ///
    /// For an operation that uses up what it sends, such as a body that is streamed: once that has
    /// begun, the operation cannot run again. `false` ends the call with
    /// [`StopReason::NotRepeatable`](crate::StopReason::NotRepeatable), even if the request was
    /// not sent.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use std::sync::atomic::{AtomicBool, Ordering};
    ///
    /// # use failover_core::ServiceHandle;
    /// # async fn example(users: ServiceHandle) {
    /// let begun = Arc::new(AtomicBool::new(false));
    /// let seen = Arc::clone(&begun);
    /// let result = users
    ///     .call()
    ///     .retry_if(move || !seen.load(Ordering::Relaxed))
    ///     .execute(async |_| {
    ///         begun.store(true, Ordering::Relaxed);
    ///         Err::<(), _>("the upload broke")
    ///     })
    ///     .await;
    /// assert_eq!(result.expect_err("it cannot be repeated").attempts().len(), 1);
    /// # }
    /// ```
    pub fn retry_if(mut self, condition: impl Fn() -> bool + Send + Sync + 'static) -> Self {
        self.options.retry_if = Some(Condition::new(condition));
        self
    }

    /// Sets whether to wait for an endpoint, up to the deadline. Default: `false`.
    ///
    /// With `false`, a call without an endpoint fails at once with the reason.
    pub fn wait_ready(mut self, wait: bool) -> Self {
        self.options.wait_ready = wait;
        self
    }

    /// Sets the load balancing algorithm. Default: the configuration's algorithm.
    ///
    /// `weighted` and `ip_hash` read tables. If the configuration does not use them, the first such
    /// call after a change of endpoints builds them, which can take milliseconds.
    pub fn algorithm(mut self, algorithm: Algorithm) -> Self {
        self.engine.prepare(algorithm);
        self.options.pick.algorithm = Some(algorithm);
        self
    }

    /// Sets the key that `ip_hash` and sticky sessions route by. Default: none.
    ///
    /// Calls with the same key go to the same endpoint while it is available. An empty key counts
    /// as no key.
    pub fn key(mut self, key: impl AsRef<[u8]>) -> Self {
        self.options.pick.key = PickOptions::keyed(key.as_ref()).key;
        self
    }

    /// Sets the [`key`](Self::key) to the address of the client that the call is made for.
    ///
    /// An IPv4-mapped IPv6 address is the same key as the IPv4 address.
    pub fn client_ip(self, address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(address) => self.key(address.octets()),
            IpAddr::V6(address) => self.key(address.octets()),
        }
    }

    /// Picks an endpoint, for a caller that owns its transport.
    ///
    /// Behaves like [`ServiceHandle::select`](crate::ServiceHandle::select), with this call's key,
    /// algorithm and configuration.
    ///
    /// # Errors
    ///
    /// Returns [`NoEndpoints`] with the reason.
    pub fn select(self) -> Result<Pick<'a>, NoEndpoints> {
        match self.engine.pick_with(Tried::NONE, true, self.options.pick) {
            Some(pick) => Ok(Pick::new(self.engine, pick)),
            None => Err(self.engine.refuse()),
        }
    }

    /// Picks an endpoint like [`select`](Self::select); the pick can outlive the handle.
    ///
    /// # Errors
    ///
    /// Returns [`NoEndpoints`] with the reason.
    pub fn select_owned(self) -> Result<OwnedPick, NoEndpoints> {
        match self.engine.pick_with(Tried::NONE, true, self.options.pick) {
            Some(pick) => Ok(OwnedPick::new(Arc::clone(self.engine), pick)),
            None => Err(self.engine.refuse()),
        }
    }

    /// Sets the classifier of this call's replies to a type that implements [`Classify`].
    pub fn with_classifier<D>(self, classifier: D) -> Call<'a, D> {
        Call { engine: self.engine, classifier, options: self.options }
    }

    /// Sets the classifier of this call's replies to a closure, which returns an
    /// [`Outcome`](crate::Outcome), a pair of an outcome and a reason, or a [`Classified`].
    pub fn classify<T, E, R, F>(self, classifier: F) -> Call<'a, F>
    where
        F: Fn(Result<&T, &E>) -> R,
        R: Into<Classified>,
    {
        self.with_classifier(classifier)
    }

    /// Runs the operation on one endpoint after another until an attempt succeeds.
    ///
    /// The operation can run more than once, because each retry runs it again. It receives the
    /// [`Attempt`], which dereferences to the endpoint, and borrows what it captures (`async
    /// |endpoint| …`, not `async move`).
    ///
    /// A reply that the classifier calls [`Rejected`](crate::Outcome::Rejected) is returned as a reply:
    /// `Ok` stays `Ok`. A reply that the classifier calls a failure results in an error even if it
    /// was `Ok`; [`CallError::into_last_reply`] returns it. Until the call ends or another such reply
    /// replaces it, the call holds it, and with it the connection of a body that is not read.
    ///
    /// # Errors
    ///
    /// Returns [`CallError`] with the operation's last error and last reply, all attempts, and the
    /// reason why no further attempt was made.
    ///
    /// # Panics
    ///
    /// Panics if the operation panics, after releasing what the call held. With `panic = "abort"`, a
    /// wait in a tokio runtime whose timer is not enabled aborts the process; otherwise it is the error
    /// [`StopReason::NoRuntime`](crate::StopReason::NoRuntime).
    ///
    /// # Cancel safety
    ///
    /// Dropping the future cancels the current attempt. The attempt counts neither as success nor
    /// as failure, and the call releases its in-flight count, its half-open permit and its tokens
    /// of the retry budget.
    #[allow(clippy::manual_async_fn, reason = "the future of an `async fn` has two places for each argument")]
    pub fn execute<F, Fut, T, E>(
        mut self,
        mut operation: F,
    ) -> impl Future<Output = Result<Completed<T>, CallError<E, T>>>
    where
        F: FnMut(Attempt) -> Fut,
        Fut: Future<Output = Result<T, E>>,
        C: Classify<T, E>,
    {
        async move {
            // Only borrows what it captures, for the same reason.
            let Self { engine, classifier, options } = &mut self;
            let span = spans::of_call(engine.name());
            // Here, so that the future of the loop is small where it is moved.
            let mut run = Run::new(engine, options);
            let Some(span) = span else { return run.calls(&mut operation, classifier).await };
            let calls = run.calls(&mut operation, classifier).instrument(Span::clone(&span));
            let result = Box::pin(calls).await;
            spans::call_ended(&span, &result);
            result
        }
    }

    /// Runs the operation once, on one endpoint.
    ///
    /// # Errors
    ///
    /// See [`execute`](Self::execute).
    ///
    /// # Panics
    ///
    /// See [`execute`](Self::execute).
    ///
    /// # Cancel safety
    ///
    /// See [`execute`](Self::execute).
    pub async fn execute_once<F, Fut, T, E>(mut self, operation: F) -> Result<Completed<T>, CallError<E, T>>
    where
        F: FnOnce(Attempt) -> Fut,
        Fut: Future<Output = Result<T, E>>,
        C: Classify<T, E>,
    {
        self.options.max_retries = Some(0);
        let mut operation = Some(operation);
        // Without retries, the operation runs at most once.
        self.execute(|attempt| (operation.take().expect("one attempt only"))(attempt)).await
    }
}
