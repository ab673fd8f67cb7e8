//! Classification of replies.

use std::time::Duration;

use crate::model::attempt_class::AttemptClass;

/// The outcome of an attempt.
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
/// A half-open breaker counts `Success` and `Rejected` towards closing; `Overload` and every
/// outcome that counts against the endpoint open it again; it ignores `Local`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Outcome {
    /// The endpoint processed the request.
    Success,
    /// The endpoint failed, or did not reply.
    Failure,
    /// No reply in time: a timer of the transport expired. The engine's own timer needs no
    /// classifier.
    Timeout,
    /// The endpoint is overloaded (HTTP 429 and 503), and may say when to retry.
    Overload(Option<Duration>),
    /// The endpoint rejected the request as invalid (most of HTTP's 4xx).
    Rejected,
    /// The request provably never reached the endpoint, for example a refused connection.
    NotSent,
    /// This machine failed, not the endpoint: no file descriptors, ports or name service.
    Local,
}

impl Outcome {
    /// Maps `Ok` to a success and `Err` to a failure.
    pub fn of<T, E>(reply: &Result<T, E>) -> Self {
        if reply.is_ok() { Self::Success } else { Self::Failure }
    }

    /// Maps an HTTP status to its usual outcome.
    ///
    /// 1xx to 3xx are a success; 429 and 503 overload; 408 and other 5xx a failure; other 4xx
    /// rejected, and so are 501 and 505, which say that the server does not support the request. 421
    /// and 425 ask for the request again, on another connection: not sent. `retry_after` is the value
    /// of that header, if present.
    pub fn from_http_status(status: u16, retry_after: Option<Duration>) -> Self {
        match status {
            100..=399 => Self::Success,
            429 | 503 => Self::Overload(retry_after),
            421 | 425 => Self::NotSent,
            400..=407 | 409..=499 | 501 | 505 => Self::Rejected,
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

/// Classifies replies, for all calls of a handle or for one call.
///
/// Every `Fn(Result<&T, &E>) -> Outcome` is a classifier. Implement the trait for a type to name it
/// in a struct: `ServiceHandle<HttpRules>`.
pub trait Classify<T, E> {
    /// Returns the outcome that a reply shows.
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

/// The default classifier: `Ok` is a success, `Err` a failure.
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
            (421, Outcome::NotSent),
            (425, Outcome::NotSent),
            (429, Outcome::Overload(None)),
            (500, Outcome::Failure),
            (501, Outcome::Rejected),
            (502, Outcome::Failure),
            (503, Outcome::Overload(None)),
            (504, Outcome::Failure),
            (505, Outcome::Rejected),
            (599, Outcome::Failure),
            (0, Outcome::Failure),
        ] {
            assert_eq!(Outcome::from_http_status(status, None), expected, "{status}");
        }
        let wait = Some(Duration::from_secs(3));
        assert_eq!(Outcome::from_http_status(503, wait), Outcome::Overload(wait));
    }
}
