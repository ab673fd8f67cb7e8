//! The error of a failed call: its attempts, and why no further one was made.

use std::error::Error as StdError;
use std::fmt;

use serde::Serialize;

use crate::client::call::attempt::AttemptRecord;
use crate::engine::NoEndpoints;
use crate::error::{Error, ErrorKind};
use crate::model::endpoint::ServiceName;

/// A failed call, with all attempts and the reason why no further one was made.
///
/// `Display` is one line and does not repeat the caller's own error, which is the
/// [`source`](StdError::source).
#[derive(Debug)]
pub struct CallError<E> {
    pub(super) service: ServiceName,
    pub(super) attempts: Vec<AttemptRecord>,
    pub(super) reason: StopReason,
    pub(super) error: Option<E>,
}

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

impl<E> CallError<E> {
    /// Returns the name of the service.
    pub fn service(&self) -> &ServiceName {
        &self.service
    }

    /// Returns all attempts, in order; empty if no endpoint was available.
    pub fn attempts(&self) -> &[AttemptRecord] {
        &self.attempts
    }

    /// Returns the reason why no further attempt was made.
    pub fn reason(&self) -> &StopReason {
        &self.reason
    }

    /// Returns the operation's last error.
    ///
    /// `None` after a timeout, and after an `Ok` reply that the classifier called a failure.
    pub fn last_error(&self) -> Option<&E> {
        self.error.as_ref()
    }

    /// Converts into the operation's last error.
    pub fn into_last_error(self) -> Option<E> {
        self.error
    }

    /// Returns the kind of the failure.
    pub fn kind(&self) -> ErrorKind {
        match &self.reason {
            StopReason::NoEndpoints(none) if self.attempts.is_empty() => none.kind(),
            StopReason::Deadline => ErrorKind::Timeout,
            StopReason::Rejected | StopReason::Answered => ErrorKind::Validation,
            StopReason::NoRuntime => ErrorKind::Internal,
            _ => ErrorKind::RetryExhausted,
        }
    }

    /// Returns a stable code in upper case.
    pub fn code(&self) -> &'static str {
        match &self.reason {
            StopReason::NoEndpoints(none) if self.attempts.is_empty() => none.code(),
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
            .with_detail("service", self.service.as_str())
            .with_detail("attempts", value(serde_json::to_value(&self.attempts)))
            .with_detail("stopped", value(serde_json::to_value(&self.reason)))
    }
}

/// One line: the attempts, then the reason why no further one was made.
impl<E> fmt::Display for CallError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let (StopReason::NoEndpoints(none), []) = (&self.reason, self.attempts.as_slice()) {
            return none.fmt(f);
        }
        write!(f, "{}: ", self.service)?;
        match self.attempts.len() {
            0 => {}
            1 => f.write_str("the attempt failed (")?,
            count => write!(f, "{count} attempts failed (")?,
        }
        for (place, attempt) in self.attempts.iter().enumerate() {
            let comma = if place == 0 { "" } else { "; " };
            write!(f, "{comma}{attempt}")?;
        }
        if !self.attempts.is_empty() {
            f.write_str("); ")?;
        }
        self.reason.fmt(f)
    }
}

impl<E: StdError + 'static> StdError for CallError<E> {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        match (&self.error, &self.reason) {
            (Some(error), _) => Some(error),
            (None, StopReason::NoEndpoints(none)) => Some(none),
            _ => None,
        }
    }
}

impl<E: StdError + Send + Sync + 'static> From<CallError<E>> for Error {
    fn from(call: CallError<E>) -> Self {
        let error = call.to_error();
        match call.error {
            Some(source) => error.with_source(source),
            None => error,
        }
    }
}
