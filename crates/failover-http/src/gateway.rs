//! What a gateway answers for a call that failed.

use std::time::Duration;

use failover_core::inspect::{UnavailableCause, UnavailableEndpoint};
use failover_core::{AttemptClass, CallError, StopReason};
use http::header::RETRY_AFTER;
use http::{HeaderValue, Response, StatusCode};

/// The time to wait where nothing is known about it.
const USUAL_PAUSE: Duration = Duration::from_secs(1);

/// Returns the status that a gateway answers with for a failed call.
///
/// | the call | status |
/// |---|---|
/// | found no endpoint | 503 |
/// | was not retried, to spare the endpoints (budget, gate) | 503 |
/// | ended with an endpoint that is overloaded, or on a machine that is at its limit | 503 |
/// | ran out of time, or its last attempt did | 504 |
/// | failed otherwise | 502 |
/// | needs a runtime that it does not have | 500 |
///
/// An endpoint's own last reply says more: [`CallError::into_last_reply`] returns it.
pub fn status<E, T>(error: &CallError<E, T>) -> StatusCode {
    let last = error.attempts().last().map(|attempt| attempt.class);
    match (error.reason(), last) {
        (StopReason::NoRuntime, _) => StatusCode::INTERNAL_SERVER_ERROR,
        (StopReason::Deadline, _) => StatusCode::GATEWAY_TIMEOUT,
        (StopReason::Budget | StopReason::Gate, _)
        | (StopReason::NoEndpoints(_), None)
        | (_, Some(AttemptClass::Overload | AttemptClass::Local)) => StatusCode::SERVICE_UNAVAILABLE,
        (_, Some(AttemptClass::Timeout)) => StatusCode::GATEWAY_TIMEOUT,
        _ => StatusCode::BAD_GATEWAY,
    }
}

/// Returns the time after which the caller should try again, if [`status`] is 503.
///
/// It is the shortest time until one of the endpoints that are out may return, where that is known,
/// otherwise a second; whole seconds, at least one.
pub fn retry_after<E, T>(error: &CallError<E, T>) -> Option<Duration> {
    if status(error) != StatusCode::SERVICE_UNAVAILABLE {
        return None;
    }
    let out = match error.reason() {
        StopReason::NoEndpoints(none) => none.out(),
        _ => &[],
    };
    let shortest = out.iter().filter_map(returns_in).min().unwrap_or(USUAL_PAUSE);
    let rounded = shortest.as_secs() + u64::from(shortest.subsec_nanos() > 0);
    Some(Duration::from_secs(rounded.max(1)))
}

fn returns_in(endpoint: &UnavailableEndpoint) -> Option<Duration> {
    match endpoint.cause {
        UnavailableCause::BreakerOpen { retry_in }
        | UnavailableCause::Paused { retry_in }
        | UnavailableCause::ForcedOut { retry_in } => Some(retry_in),
        _ => None,
    }
}

/// Returns a response with [`status`], and with `Retry-After` where there is one. The body is empty:
/// what failed within is not for the caller of a gateway.
///
/// ```
/// # use failover_core::ServiceHandle;
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), failover_core::Error> {
/// let users = ServiceHandle::fixed("users", [] as [&str; 0])?;
/// let error = users.execute(async |_| Ok::<_, std::io::Error>(())).await.expect_err("there is no endpoint");
/// let response = failover_http::response::<_, _, String>(&error);
/// assert_eq!(response.status(), 503);
/// assert_eq!(response.headers()["retry-after"], "1");
/// # Ok(()) }
/// ```
pub fn response<E, T, B: Default>(error: &CallError<E, T>) -> Response<B> {
    let mut response = Response::new(B::default());
    *response.status_mut() = status(error);
    if let Some(pause) = retry_after(error) {
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(pause.as_secs()));
    }
    response
}

#[cfg(test)]
mod tests;
