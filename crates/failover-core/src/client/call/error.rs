//! The error of a failed call: its attempts, and why no further one was made.

use std::error::Error as StdError;
use std::fmt;
use std::sync::{Mutex, PoisonError};

use serde::Serialize;

use crate::client::call::attempt::AttemptRecord;
use crate::engine::NoEndpoints;
use crate::error::{Error, ErrorKind};
use crate::model::endpoint::ServiceName;

/// A failed call, with all attempts and the reason why no further one was made.
///
/// Keeps the last reply and the last error that the operation returned. A timeout erases neither, and
/// neither erases the other: after a reply `503` and then a refused connection, both are here.
///
/// `Display` and `Debug` are one line, so that `unwrap` and a `main` that returns an error print
/// something short. The [`source`](StdError::source) displays the operation's last error with all of
/// its causes if its `{:#}` does, as `anyhow::Error` does. For an error type that is generic here,
/// the standard library's trait reaches no further: the sources of a concrete error are reached
/// through [`last_error`](Self::last_error), or through [`Error`], which `?` converts to and which
/// keeps the whole chain.
///
/// ```
/// # use failover_core::ServiceHandle;
/// # async fn example(users: ServiceHandle) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
/// let done = users.execute(async |endpoint| Err::<(), _>(format!("{} is closed", endpoint.id()))).await?;
/// # Ok(()) }
/// ```
///
/// A gateway passes the last reply on, whatever it was:
///
/// ```
/// use failover_core::{Outcome, ServiceHandle};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), failover_core::Error> {
/// # let users = ServiceHandle::fixed("users", ["10.0.0.1:80"])?;
/// # async fn get(_: String) -> Result<(u16, &'static str), std::io::Error> { Ok((503, "try later")) }
/// let result = users
///     .call()
///     .classify(|reply: Result<&(u16, &str), &std::io::Error>| match reply {
///         Ok((status, _)) => Outcome::from_http_status(*status, None),
///         Err(_) => Outcome::Failure,
///     })
///     .execute(async |endpoint| get(endpoint.url("/users/7")).await)
///     .await;
/// let reply = match result {
///     Ok(done) => done.value,
///     Err(error) => error.into_last_reply().unwrap_or((502, "no endpoint answered")),
/// };
/// assert_eq!(reply, (503, "try later"));
/// # Ok(()) }
/// ```
// Boxed, so that the result of a call that succeeds is small.
pub struct CallError<E, T = ()>(Box<Failure<E, T>>);

struct Failure<E, T> {
    service: ServiceName,
    attempts: Vec<AttemptRecord>,
    reason: StopReason,
    kept: Kept<E, T>,
}

/// What the operation of a failed call has returned.
pub(super) struct Kept<E, T> {
    error: Option<LastError<E>>,
    /// In a mutex, because a body is often not `Sync` and an error must be.
    reply: Option<Mutex<T>>,
}

/// The last error as a source: any error that can be displayed.
struct LastError<E>(E);

/// The reason why no further attempt was made.
#[derive(Clone, Debug, Serialize, thiserror::Error)]
#[serde(tag = "kind", rename_all = "snake_case")]
#[non_exhaustive]
pub enum StopReason {
    /// No endpoint is available to the call.
    #[error("no further endpoint: {0}")]
    NoEndpoints(NoEndpoints),
    /// The call used all retries that the configuration allows.
    #[error("max_retries is {max_retries}")]
    MaxRetries {
        /// The configured maximum number of retries.
        max_retries: u32,
    },
    /// The call's deadline has passed, or would pass before another attempt could start.
    #[error("no time is left before the call's deadline")]
    Deadline,
    /// The retry budget is empty: too many calls of this service fail per successful one.
    #[error("the retry budget is empty, because too many calls of the service fail")]
    Budget,
    /// Too many of the latest attempts timed out or found the endpoint overloaded; a retry would add
    /// to the overload.
    #[error("not retried, because many attempts time out or find an overloaded endpoint")]
    Gate,
    /// The call is not idempotent, and the attempt may have reached the endpoint.
    #[error("not retried, because the call is not idempotent and the request may have arrived")]
    NotIdempotent,
    /// The operation cannot run again: see [`Call::retry_if`](crate::Call::retry_if).
    #[error("not retried, because the request cannot be repeated")]
    NotRepeatable,
    /// The endpoint rejected the request as invalid.
    #[error("not retried, because the endpoint rejected the request")]
    Rejected,
    /// The classifier counts the reply as answered; the operation's error is the answer.
    #[error("not retried, because the endpoint has answered, and the error is its answer")]
    Answered,
    /// The call has to wait, and it does not run in a tokio runtime.
    #[error("the operation has to wait, which needs a tokio runtime with its timer enabled")]
    NoRuntime,
}

impl<E, T> Kept<E, T> {
    #[cold]
    pub(super) fn keep(&mut self, reply: Result<T, E>) {
        match reply {
            Ok(reply) => self.reply = Some(Mutex::new(reply)),
            Err(error) => self.error = Some(LastError(error)),
        }
    }
}

impl<E, T> Default for Kept<E, T> {
    fn default() -> Self {
        Self { error: None, reply: None }
    }
}

impl<E, T> CallError<E, T> {
    #[cold]
    pub(super) fn new(
        service: ServiceName,
        attempts: Vec<AttemptRecord>,
        reason: StopReason,
        kept: Kept<E, T>,
    ) -> Self {
        Self(Box::new(Failure { service, attempts, reason, kept }))
    }

    /// Returns the name of the service.
    pub fn service(&self) -> &ServiceName {
        &self.0.service
    }

    /// Returns all attempts, in order; empty if no endpoint was available.
    pub fn attempts(&self) -> &[AttemptRecord] {
        &self.0.attempts
    }

    /// Returns the reason why no further attempt was made.
    pub fn reason(&self) -> &StopReason {
        &self.0.reason
    }

    /// Returns the last error that the operation returned, if it returned one. Later timeouts and
    /// replies do not erase it.
    pub fn last_error(&self) -> Option<&E> {
        self.0.kept.error.as_ref().map(|last| &last.0)
    }

    /// Converts into the operation's last error: see [`last_error`](Self::last_error).
    pub fn into_last_error(self) -> Option<E> {
        self.0.kept.error.map(|last| last.0)
    }

    /// Returns the last `Ok` reply that the classifier called a failure, if there was one. Later
    /// timeouts and errors do not erase it.
    ///
    /// Needs a mutable reference, because the type of the reply need not be `Sync`.
    pub fn last_reply(&mut self) -> Option<&mut T> {
        let reply = self.0.kept.reply.as_mut()?;
        Some(reply.get_mut().unwrap_or_else(PoisonError::into_inner))
    }

    /// Converts into the last reply: see [`last_reply`](Self::last_reply).
    pub fn into_last_reply(self) -> Option<T> {
        self.0.kept.reply.map(|reply| reply.into_inner().unwrap_or_else(PoisonError::into_inner))
    }

    /// Drops the last reply and its type: for a function that returns `CallError<E>`, and for a
    /// reply that is not `Send` or borrows something, which `?` cannot convert.
    pub fn without_reply(self) -> CallError<E> {
        let Failure { service, attempts, reason, kept } = *self.0;
        CallError::new(service, attempts, reason, Kept { error: kept.error, reply: None })
    }

    /// Returns the kind of the failure.
    pub fn kind(&self) -> ErrorKind {
        match &self.0.reason {
            StopReason::NoEndpoints(none) if self.0.attempts.is_empty() => none.kind(),
            StopReason::Deadline => ErrorKind::Timeout,
            StopReason::Rejected | StopReason::Answered => ErrorKind::Validation,
            StopReason::NoRuntime => ErrorKind::Internal,
            _ => ErrorKind::RetryExhausted,
        }
    }

    /// Returns a stable code in upper case.
    pub fn code(&self) -> &'static str {
        match &self.0.reason {
            StopReason::NoEndpoints(none) if self.0.attempts.is_empty() => none.code(),
            StopReason::Rejected => "REJECTED",
            StopReason::Answered => "ANSWERED",
            StopReason::NoRuntime => "NO_RUNTIME",
            StopReason::Budget => "RETRY_BUDGET_EMPTY",
            StopReason::Gate => "RETRY_GATE_CLOSED",
            _ => match self.kind() {
                ErrorKind::Timeout => "TIMEOUT",
                _ => "RETRY_EXHAUSTED",
            },
        }
    }

    /// Converts to the common error, whose JSON details hold all attempts and the reason.
    pub fn to_error(&self) -> Error {
        let value = |part: Result<serde_json::Value, _>| part.unwrap_or_default();
        Error::new(self.kind(), self.to_string())
            .with_code(self.code())
            .with_detail("service", self.0.service.as_str())
            .with_detail("attempts", value(serde_json::to_value(&self.0.attempts)))
            .with_detail("stopped", value(serde_json::to_value(&self.0.reason)))
    }
}

/// One line: the attempts, then the reason why no further one was made.
impl<E, T> fmt::Display for CallError<E, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let (StopReason::NoEndpoints(none), []) = (&self.0.reason, self.0.attempts.as_slice()) {
            return none.fmt(f);
        }
        write!(f, "{}: ", self.0.service)?;
        match self.0.attempts.len() {
            0 => {}
            1 => f.write_str("the attempt failed (")?,
            count => write!(f, "{count} attempts failed (")?,
        }
        for (place, attempt) in self.0.attempts.iter().enumerate() {
            let comma = if place == 0 { "" } else { "; " };
            write!(f, "{comma}{attempt}")?;
        }
        if !self.0.attempts.is_empty() {
            f.write_str("); ")?;
        }
        self.0.reason.fmt(f)
    }
}

/// The same line as `Display`.
impl<E, T> fmt::Debug for CallError<E, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl<E: fmt::Display + 'static, T> StdError for CallError<E, T> {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        match (&self.0.kept.error, &self.0.reason) {
            (Some(error), _) => Some(error),
            (None, StopReason::NoEndpoints(none)) => Some(none),
            _ => None,
        }
    }
}

/// All causes on one line, if the error's `{:#}` writes them.
impl<E: fmt::Display> fmt::Display for LastError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#}", self.0)
    }
}

impl<E: fmt::Display> fmt::Debug for LastError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl<E: fmt::Display> StdError for LastError<E> {}

/// Keeps the operation's last error, with its whole chain, as the [`source`](StdError::source).
impl<E: Into<Box<dyn StdError + Send + Sync>>, T> From<CallError<E, T>> for Error {
    fn from(call: CallError<E, T>) -> Self {
        let error = call.to_error();
        match call.into_last_error() {
            Some(source) => error.with_source(source),
            None => error,
        }
    }
}
