//! The span of an attempt, with OpenTelemetry's names (`failover_http::fields`).

use std::fmt;

use failover_core::{Attempt, AttemptClass, Classified};
use failover_http::server_name;
use http::Response;
use http::request::Parts;
use tracing::field::Empty;
use tracing::{Metadata, Span};

use crate::BoxError;

pub(crate) fn of_attempt(attempt: &Attempt, parts: &Parts) -> Span {
    tracing::debug_span!(
        target: "failover::http",
        "request",
        otel.kind = "client",
        server.address = server_name(attempt),
        server.port = attempt.port(),
        http.request.method = %parts.method,
        http.request.resend_count = (attempt.number() > 1).then(|| attempt.number() - 1),
        http.response.status_code = Empty,
        error.type = Empty,
        otel.status_code = Empty,
    )
}

/// The span of an attempt that waits for its answer, for services that fail over without the layer.
///
/// Dropped without an answer, it records as `error.type` whether the attempt ran out of time (`timeout`) or
/// the call was dropped (`cancelled`): the engine's timer ends an attempt by dropping it.
// Boxed, so that without a subscriber the future of the attempt is small.
pub struct AttemptSpan(Option<Box<(Span, Attempt)>>);

impl fmt::Debug for AttemptSpan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("AttemptSpan")
            .field(&self.0.as_ref().map(|of| of.0.metadata().map(Metadata::name)))
            .finish()
    }
}

impl AttemptSpan {
    /// Creates it for an attempt. The span needs the fields `error.type` and `otel.status_code`.
    pub fn new(span: &Span, attempt: &Attempt) -> Self {
        Self((!span.is_disabled()).then(|| Box::new((span.clone(), attempt.clone()))))
    }

    /// Ends it with an answer, and lets `record` record it, unless there is no subscriber.
    pub fn end(mut self, record: impl FnOnce(&Span)) {
        if let Some(waiting) = self.0.take() {
            record(&waiting.0);
        }
    }

    /// Records a failure: what it was, such as a status, and that it is one.
    pub fn failed(span: &Span, error_type: &str) {
        span.record("error.type", error_type);
        span.record("otel.status_code", "ERROR");
    }
}

impl Drop for AttemptSpan {
    fn drop(&mut self) {
        match self.0.as_deref() {
            Some((span, attempt)) if attempt.time_left().is_zero() => {
                Self::failed(span, AttemptClass::Timeout.as_str());
            }
            Some((span, _)) => {
                span.record("error.type", "cancelled");
            }
            None => {}
        }
    }
}

/// Records how an attempt ended: the status, and for a failure what it was.
pub(crate) fn record<R>(
    span: &Span,
    answered: &Result<Response<R>, BoxError>,
    classify: impl FnOnce(Result<&Response<R>, &BoxError>) -> Classified,
) {
    match answered {
        Ok(response) => {
            let status = response.status();
            span.record("http.response.status_code", status.as_u16());
            if status.is_client_error() || status.is_server_error() {
                AttemptSpan::failed(span, status.as_str());
            }
        }
        Err(_) => {
            AttemptSpan::failed(span, AttemptClass::from(classify(answered.as_ref()).outcome()).as_str());
        }
    }
}
