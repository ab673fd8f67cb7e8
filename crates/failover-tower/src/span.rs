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
    )
}

/// Records how an attempt ended: the status, and for a failure what it was.
pub(crate) fn record<R>(
    span: &Span,
    answered: &Result<Response<R>, BoxError>,
    classify: impl FnOnce(Result<&Response<R>, &BoxError>) -> Classified,
) {
    if span.is_disabled() {
        return;
    }
    match answered {
        Ok(response) => {
            let status = response.status();
            span.record("http.response.status_code", status.as_u16());
            if status.is_client_error() || status.is_server_error() {
                span.record("error.type", status.as_str());
            }
        }
        Err(_) => {
            let class = AttemptClass::from(classify(answered.as_ref()).outcome());
            span.record("error.type", class.as_str());
        }
    }
}
