//! The status of a call to which no server has answered, and errors before anything was sent.

use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;

use failover_core::{AttemptClass, CallError, Endpoint, EndpointId, NoEndpointsReason, StopReason};
use failover_tower::{BoxError, FailoverError};
use tonic::{Code, Status};

/// Returns the status of a call without a reply: what was tried is its message, and a
/// [`FailoverError`] its source.
pub(crate) fn status(error: CallError<BoxError>) -> Status {
    let mut status = Status::new(code(&error), error.to_string());
    status.set_source(Arc::new(FailoverError::Call(error)));
    status
}

fn code(error: &CallError<BoxError>) -> Code {
    let last = error.attempts().last().map(|attempt| attempt.class);
    match (error.reason(), last) {
        (StopReason::NoRuntime, _) => Code::Internal,
        (StopReason::Budget | StopReason::Gate, _) => Code::Unavailable,
        (StopReason::Deadline, _) | (_, Some(AttemptClass::Timeout)) => Code::DeadlineExceeded,
        (StopReason::NoEndpoints(none), None) if none.reason() == NoEndpointsReason::Overloaded => {
            Code::ResourceExhausted
        }
        (_, Some(AttemptClass::Local)) => Code::ResourceExhausted,
        _ => Code::Unavailable,
    }
}

/// Whether the call's time ran out while an attempt waited for its reply: an earlier reply is not the
/// answer then.
pub(crate) fn is_late<T>(error: &CallError<BoxError, T>) -> bool {
    let last = error.attempts().last().map(|attempt| attempt.class);
    matches!(error.reason(), StopReason::Deadline) && last == Some(AttemptClass::Timeout)
}

/// The attempt failed before anything was sent.
#[derive(Debug)]
pub(crate) struct NotSent(pub(crate) BoxError);

impl fmt::Display for NotSent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("nothing was sent")
    }
}

impl StdError for NotSent {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        Some(&*self.0)
    }
}

/// The endpoint is one of TLS, and the channel has no settings for TLS: see
/// [`FailoverChannelBuilder::with_tls`](crate::FailoverChannelBuilder::with_tls).
#[derive(Clone, Debug)]
pub struct NoTlsError {
    endpoint: EndpointId,
    protocol: String,
}

impl NoTlsError {
    pub(crate) fn new(endpoint: &Endpoint) -> Self {
        Self { endpoint: endpoint.id().clone(), protocol: endpoint.protocol().to_owned() }
    }

    /// Returns the endpoint's id.
    pub fn endpoint(&self) -> &EndpointId {
        &self.endpoint
    }
}

impl fmt::Display for NoTlsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "endpoint {} has the protocol {}, and the channel has no TLS; set FailoverChannelBuilder::with_tls",
            self.endpoint, self.protocol
        )
    }
}

impl StdError for NoTlsError {}
