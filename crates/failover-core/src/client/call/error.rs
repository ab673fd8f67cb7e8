//! A call that failed: what was tried, and why nothing else was.

use std::error::Error as StdError;
use std::fmt;

use serde::Serialize;

use crate::client::call::attempt::AttemptRecord;
use crate::engine::NoEndpoints;
use crate::error::{Error, ErrorKind};
use crate::model::endpoint::ServiceName;

/// A call that did not succeed, with every attempt and the reason why there was no further one.
///
/// `Display` is one line and does not repeat the caller's own error, which is the [`source`](StdError::source).
#[derive(Debug)]
pub struct CallError<E> {
    pub(super) service: ServiceName,
    pub(super) attempts: Vec<AttemptRecord>,
    pub(super) reason: StopReason,
    pub(super) error: Option<E>,
}

/// Why there was no further attempt.
#[derive(Clone, Debug, Serialize, thiserror::Error)]
#[serde(tag = "kind", rename_all = "snake_case")]
#[non_exhaustive]
pub enum StopReason {
    /// There is no endpoint that the call may use.
    #[error("no further endpoint: {0}")]
    NoEndpoints(NoEndpoints),
    /// All attempts that the configuration allows have been made.
    #[error("max_retries is {max_retries}")]
    MaxRetries {
        /// How many retries it allows.
        max_retries: u32,
    },
    /// The call's deadline has come, or would come before another attempt could begin.
    #[error("no time is left before the call's deadline")]
    Deadline,
    /// The retry budget is empty: too many calls of this service fail for each one that succeeds.
    #[error("the retry budget is empty, because too many calls of the service fail")]
    Budget,
    /// The call must not be repeated, and the attempt may have reached the endpoint.
    #[error("not retried, because the call is not idempotent and the request may have arrived")]
    NotIdempotent,
    /// The endpoint refused the request as the caller's own mistake.
    #[error("not retried, because the endpoint rejected the request")]
    Rejected,
    /// The endpoint did its work by the classifier's judgement, and the operation's error is its answer.
    #[error("not retried, because the endpoint has answered, and the error is its answer")]
    Answered,
    /// The call would have to wait, and it does not run in a tokio runtime.
    #[error("the operation has to wait, which needs a tokio runtime with its timer enabled")]
    NoRuntime,
}

impl<E> CallError<E> {
    /// The service that was called.
    pub fn service(&self) -> &ServiceName {
        &self.service
    }

    /// Every attempt, the first one first; empty when there was no endpoint.
    pub fn attempts(&self) -> &[AttemptRecord] {
        &self.attempts
    }

    /// Why there was no further attempt.
    pub fn reason(&self) -> &StopReason {
        &self.reason
    }

    /// The operation's own last error. A timeout has none, nor has a reply that a classifier called a failure.
    pub fn last_error(&self) -> Option<&E> {
        self.error.as_ref()
    }

    /// The operation's own last error, taken out.
    pub fn into_last_error(self) -> Option<E> {
        self.error
    }

    /// What kind of failure it is.
    pub fn kind(&self) -> ErrorKind {
        match &self.reason {
            StopReason::NoEndpoints(none) if self.attempts.is_empty() => none.kind(),
            StopReason::Deadline => ErrorKind::Timeout,
            StopReason::Rejected | StopReason::Answered => ErrorKind::Validation,
            StopReason::NoRuntime => ErrorKind::Internal,
            _ => ErrorKind::RetryExhausted,
        }
    }

    /// A stable code in upper case.
    pub fn code(&self) -> &'static str {
        match &self.reason {
            StopReason::NoEndpoints(none) if self.attempts.is_empty() => none.code(),
            StopReason::Rejected => "REJECTED",
            StopReason::Answered => "ANSWERED",
            StopReason::NoRuntime => "NO_RUNTIME",
            _ => match self.kind() {
                ErrorKind::Timeout => "TIMEOUT",
                _ => "RETRY_EXHAUSTED",
            },
        }
    }

    /// As the common error, which has a JSON shape: every attempt and the reason are in its details.
    pub fn to_error(&self) -> Error {
        let value = |part: Result<serde_json::Value, _>| part.unwrap_or_default();
        Error::new(self.kind(), self.to_string())
            .with_code(self.code())
            .with_detail("service", self.service.as_str())
            .with_detail("attempts", value(serde_json::to_value(&self.attempts)))
            .with_detail("stopped", value(serde_json::to_value(&self.reason)))
    }
}

/// One line: what was tried, then why there was nothing further.
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
