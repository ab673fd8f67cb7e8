//! What a reply says about the endpoint that gave it.

use std::time::Duration;

use crate::model::attempt_class::AttemptClass;

/// What one attempt has shown.
///
/// | | counts against the endpoint | another attempt |
/// |---|---|---|
/// | `Success` | no | no |
/// | `Failure` | yes | elsewhere, if the call may be repeated |
/// | `Timeout` | yes | elsewhere, if the call may be repeated |
/// | `Overload` | not as a consecutive failure | elsewhere, if the call may be repeated |
/// | `Rejected` | no | no: the caller's own mistake will not get better |
/// | `NotSent` | yes | elsewhere, always: the request never left |
/// | `Local` | no | if the call may be repeated |
///
/// To a half-open breaker, `Success` and `Rejected` are answers, and bring it nearer to closing; `Overload` opens it
/// again, as what counts against the endpoint does; `Local` says nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Outcome {
    /// The endpoint did its work.
    Success,
    /// The endpoint failed, or could not be heard.
    Failure,
    /// No answer in time: a timer of the transport expired. The engine's own timer needs no classifier.
    Timeout,
    /// The endpoint says that it is overloaded, and perhaps when to come back (HTTP 429 and 503).
    Overload(Option<Duration>),
    /// The endpoint refused the request as the caller's own mistake (most of HTTP's 4xx).
    Rejected,
    /// The request provably never reached the endpoint, as when a connection is refused.
    NotSent,
    /// This machine failed, not the endpoint: no file descriptors, no ports, no name service.
    Local,
}

impl Outcome {
    /// `Ok` is a success, `Err` a failure.
    pub fn of<T, E>(reply: &Result<T, E>) -> Self {
        if reply.is_ok() { Self::Success } else { Self::Failure }
    }

    /// The usual meaning of an HTTP status: 1xx to 3xx success; 429 and 503 overload; 408 and 5xx failure;
    /// other 4xx rejected. `retry_after` is what the header of that name said, if it was there.
    pub fn from_http_status(status: u16, retry_after: Option<Duration>) -> Self {
        match status {
            100..=399 => Self::Success,
            429 | 503 => Self::Overload(retry_after),
            400..=407 | 409..=499 => Self::Rejected,
            _ => Self::Failure,
        }
    }
}

impl From<Outcome> for AttemptClass {
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Success => Self::Success,
            Outcome::Failure => Self::Failure,
            Outcome::Timeout => Self::Timeout,
            Outcome::Overload(_) => Self::Overload,
            Outcome::Rejected => Self::Rejected,
            Outcome::NotSent => Self::NotSent,
            Outcome::Local => Self::Local,
        }
    }
}

/// What the caller's replies mean to the engine, once for all calls of a handle or for one call.
///
/// Any `Fn(Result<&T, &E>) -> Outcome` is a classifier. Implement the trait for a type of your own to name it in
/// a struct: `ServiceHandle<HttpRules>`.
pub trait Classify<T, E> {
    /// What this reply shows.
    fn classify(&self, reply: Result<&T, &E>) -> Outcome;
}

impl<T, E, F> Classify<T, E> for F
where
    F: Fn(Result<&T, &E>) -> Outcome,
{
    fn classify(&self, reply: Result<&T, &E>) -> Outcome {
        self(reply)
    }
}

/// The classifier that is used when none is given: `Ok` is a success, `Err` a failure.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OkIsSuccess;

impl<T, E> Classify<T, E> for OkIsSuccess {
    fn classify(&self, reply: Result<&T, &E>) -> Outcome {
        Outcome::of(&reply)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn http_statuses_mean_what_they_usually_mean() {
        for (status, expected) in [
            (200, Outcome::Success),
            (204, Outcome::Success),
            (304, Outcome::Success),
            (400, Outcome::Rejected),
            (404, Outcome::Rejected),
            (408, Outcome::Failure),
            (429, Outcome::Overload(None)),
            (500, Outcome::Failure),
            (503, Outcome::Overload(None)),
            (599, Outcome::Failure),
            (0, Outcome::Failure),
        ] {
            assert_eq!(Outcome::from_http_status(status, None), expected, "{status}");
        }
        let wait = Some(Duration::from_secs(3));
        assert_eq!(Outcome::from_http_status(503, wait), Outcome::Overload(wait));
    }
}
