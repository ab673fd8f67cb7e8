//! The spans of a call and of its attempts. `docs/guide.md` has the table of their fields.

use tracing::Span;
use tracing::field::Empty;

use crate::client::call::attempt::Completed;
use crate::client::call::error::{CallError, StopReason};
use crate::contract::classify::reason::Reason;
use crate::model::attempt_class::AttemptClass;
use crate::model::endpoint::{Endpoint, ServiceName};

/// Returns the span of a call, unless nobody sees it. Boxed, so that the future of a call is small without one.
pub(super) fn of_call(service: &ServiceName) -> Option<Box<Span>> {
    let span = tracing::debug_span!(
        target: "failover",
        "call",
        %service,
        outcome = Empty,
        attempts = Empty,
        stopped_by = Empty,
        otel.status_code = Empty,
    );
    (!span.is_disabled()).then(|| Box::new(span))
}

/// Like [`of_call`], for an attempt.
pub(super) fn of_attempt(endpoint: &Endpoint, number: u32) -> Option<Box<Span>> {
    let span = tracing::debug_span!(
        target: "failover",
        "attempt",
        endpoint = %endpoint.id(),
        number,
        outcome = Empty,
        reason = Empty,
        otel.status_code = Empty,
    );
    (!span.is_disabled()).then(|| Box::new(span))
}

#[inline]
pub(super) fn attempt_ended(span: Option<&Span>, class: AttemptClass, reason: Option<&Reason>) {
    if let Some(span) = span {
        record_attempt(span, class, reason);
    }
}

#[cold]
fn record_attempt(span: &Span, class: AttemptClass, reason: Option<&Reason>) {
    span.record("outcome", class.as_str());
    if let Some(reason) = reason {
        span.record("reason", &**reason);
    }
    if !matches!(class, AttemptClass::Success | AttemptClass::Rejected) {
        span.record("otel.status_code", "ERROR");
    }
}

pub(super) fn call_ended<T, E>(span: &Span, result: &Result<Completed<T>, CallError<E, T>>) {
    match result {
        Ok(done) if done.attempts.last().class == AttemptClass::Rejected => {
            record_call(span, "rejected", done.attempts.len(), None);
        }
        Ok(done) => record_call(span, "success", done.attempts.len(), None),
        Err(error) => {
            record_call(span, outcome(error.reason()), error.attempts().len(), Some(error.reason()));
        }
    }
}

#[cold]
fn record_call(span: &Span, outcome: &str, attempts: usize, reason: Option<&StopReason>) {
    span.record("outcome", outcome);
    span.record("attempts", attempts);
    if let Some(reason) = reason {
        span.record("stopped_by", name(reason));
    }
    if matches!(outcome, "failure" | "refused") {
        span.record("otel.status_code", "ERROR");
    }
}

/// The outcome of a call that returned an error, as the counters of calls name it.
fn outcome(reason: &StopReason) -> &'static str {
    match reason {
        StopReason::Answered => "success",
        StopReason::Rejected => "rejected",
        StopReason::NoEndpoints(_) => "refused",
        _ => "failure",
    }
}

fn name(reason: &StopReason) -> &'static str {
    match reason {
        StopReason::NoEndpoints(_) => "no_endpoints",
        StopReason::MaxRetries { .. } => "max_retries",
        StopReason::Deadline => "deadline",
        StopReason::Budget => "budget",
        StopReason::Gate => "gate",
        StopReason::NotIdempotent => "not_idempotent",
        StopReason::NotRepeatable => "not_repeatable",
        StopReason::Rejected => "rejected",
        StopReason::Answered => "answered",
        StopReason::NoRuntime => "no_runtime",
    }
}
