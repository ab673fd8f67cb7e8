//! The span of an attempt, with OpenTelemetry's names (`failover_http::fields`).

use failover_core::{Attempt, AttemptClass, Classified};
use failover_http::server_name;
use http::Response;
use http::request::Parts;
use tracing::Span;
use tracing::field::Empty;

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

/// A span that waits for the answer. Dropped without one, it says whether the attempt ran out of time or
/// the caller has dropped the call.
///
/// Boxed, so that without a subscriber the future of the attempt is small.
pub(crate) struct Waiting(Option<Box<(Span, Attempt)>>);

impl Waiting {
    pub(crate) fn new(span: &Span, attempt: &Attempt) -> Self {
        Self((!span.is_disabled()).then(|| Box::new((span.clone(), attempt.clone()))))
    }

    /// Records how the attempt ended: the status, and for a failure what it was.
    pub(crate) fn end<R>(
        mut self,
        answered: &Result<Response<R>, BoxError>,
        classify: impl FnOnce(Result<&Response<R>, &BoxError>) -> Classified,
    ) {
        let Some(waiting) = self.0.take() else { return };
        let span = &waiting.0;
        match answered {
            Ok(response) => {
                let status = response.status();
                span.record("http.response.status_code", status.as_u16());
                if status.is_client_error() || status.is_server_error() {
                    failed(span, status.as_str());
                }
            }
            Err(_) => failed(span, AttemptClass::from(classify(answered.as_ref()).outcome()).as_str()),
        }
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        match self.0.as_deref() {
            Some((span, attempt)) if attempt.time_left().is_zero() => {
                failed(span, AttemptClass::Timeout.as_str());
            }
            Some((span, _)) => {
                span.record("error.type", "cancelled");
            }
            None => {}
        }
    }
}

fn failed(span: &Span, what: &str) {
    span.record("error.type", what);
    span.record("otel.status_code", "ERROR");
}
