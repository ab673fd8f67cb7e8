//! Classification of replies.

pub(crate) mod reason;

use std::error::Error as StdError;
use std::fmt;
use std::time::Duration;

use crate::model::attempt_class::AttemptClass;
use reason::Reason;

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

/// An outcome, with a short reason if the classifier gives one: `503`, `connection refused`.
///
/// Attempt records, events and `explain()` show the reason. It is cut to 256 bytes, and control
/// characters in it are escaped. It must not contain secrets. An outcome, and a pair of an outcome
/// and a `String`, convert to this type; neither allocates for an outcome without a reason.
///
/// ```
/// # use failover_core::{Classified, Outcome};
/// let classified = Classified::from((Outcome::Failure, "pool is empty".to_owned()));
/// assert_eq!((classified.outcome(), classified.reason()), (Outcome::Failure, Some("pool is empty")));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Classified {
    outcome: Outcome,
    reason: Option<Reason>,
}

impl Classified {
    /// Creates it with a reason. An empty text is no reason.
    #[cold]
    pub fn new(outcome: Outcome, reason: impl fmt::Display) -> Self {
        Self { outcome, reason: Reason::new(&reason) }
    }

    /// Creates it with the error and all its sources as the reason: `error sending request:
    /// connection refused`.
    #[cold]
    pub fn from_error(outcome: Outcome, error: &dyn StdError) -> Self {
        Self::new(outcome, Chain(error))
    }

    /// Maps an HTTP status to its usual outcome: see [`Outcome::from_http_status`]. Unless that is a
    /// success, the reason is the status.
    pub fn from_http_status(status: u16, retry_after: Option<Duration>) -> Self {
        match Outcome::from_http_status(status, retry_after) {
            Outcome::Success => Outcome::Success.into(),
            outcome => Self::new(outcome, status),
        }
    }

    /// Returns the outcome.
    pub fn outcome(&self) -> Outcome {
        self.outcome
    }

    /// Returns the reason.
    pub fn reason(&self) -> Option<&str> {
        self.reason.as_deref()
    }

    #[inline]
    pub(crate) fn into_parts(self) -> (Outcome, Option<Reason>) {
        (self.outcome, self.reason)
    }
}

impl From<Outcome> for Classified {
    #[inline]
    fn from(outcome: Outcome) -> Self {
        Self { outcome, reason: None }
    }
}

impl From<(Outcome, String)> for Classified {
    fn from((outcome, reason): (Outcome, String)) -> Self {
        Self::new(outcome, reason)
    }
}

/// Compares the outcome alone.
impl PartialEq<Outcome> for Classified {
    fn eq(&self, outcome: &Outcome) -> bool {
        self.outcome == *outcome
    }
}

/// An error and its sources, separated by colons.
struct Chain<'a>(&'a dyn StdError);

impl fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)?;
        let mut source = self.0.source();
        while let Some(error) = source {
            write!(f, ": {error}")?;
            source = error.source();
        }
        Ok(())
    }
}

/// Classifies replies, for all calls of a handle or for one call.
///
/// Every `Fn(Result<&T, &E>) -> impl Into<Classified>` is a classifier: it returns an [`Outcome`], a
/// pair of an outcome and a `String`, or a [`Classified`]. Implement the trait for a type to name it
/// in a struct: `ServiceHandle<HttpRules>`.
#[diagnostic::on_unimplemented(
    message = "`{Self}` does not classify the reply `Result<{T}, {E}>`",
    label = "this call needs a classifier for `Result<{T}, {E}>`",
    note = "without a classifier, the error of the operation must implement `Display`",
    note = "a closure names the types of its argument: `|reply: Result<&{T}, &{E}>| …`"
)]
pub trait Classify<T, E> {
    /// Returns the outcome that a reply shows, and the reason if there is one to show.
    fn classify(&self, reply: Result<&T, &E>) -> Classified;
}

impl<T, E, R, F> Classify<T, E> for F
where
    F: Fn(Result<&T, &E>) -> R,
    R: Into<Classified>,
{
    #[inline]
    fn classify(&self, reply: Result<&T, &E>) -> Classified {
        self(reply).into()
    }
}

/// The default classifier: `Ok` is a success, `Err` a failure whose reason is the error's text.
///
/// The error must implement `Display`. Its alternate form (`{:#}`) is used, in which `anyhow::Error`
/// shows all of its causes. For another error, give a classifier.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OkIsSuccess;

impl<T, E: fmt::Display> Classify<T, E> for OkIsSuccess {
    #[inline]
    fn classify(&self, reply: Result<&T, &E>) -> Classified {
        match reply {
            Ok(_) => Outcome::Success.into(),
            Err(error) => Classified::new(Outcome::Failure, error),
        }
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

    #[test]
    fn a_status_is_its_own_reason_and_a_success_has_none() {
        assert_eq!(Classified::from_http_status(503, None).reason(), Some("503"));
        assert_eq!(Classified::from_http_status(404, None), Classified::new(Outcome::Rejected, "404"));
        assert_eq!(Classified::from_http_status(200, None), Classified::from(Outcome::Success));
    }

    #[test]
    fn the_reason_of_an_error_names_its_sources() {
        #[derive(Debug, thiserror::Error)]
        #[error("error sending request")]
        struct Sending(#[source] std::io::Error);
        let error = Sending(std::io::Error::other("connection refused"));
        let classified = Classified::from_error(Outcome::NotSent, &error);
        assert_eq!(classified.reason(), Some("error sending request: connection refused"));
        assert_eq!(classified, Outcome::NotSent);
    }

    #[test]
    fn a_closure_returns_an_outcome_a_pair_or_both_in_one() {
        fn classified(classifier: &impl Classify<u16, String>) -> Classified {
            classifier.classify(Err(&"refused".to_owned()))
        }
        let expected = Classified::new(Outcome::NotSent, "refused");
        assert_eq!(classified(&|_: Result<&u16, &String>| Outcome::NotSent).reason(), None);
        let pair = |reply: Result<&u16, &String>| (Outcome::NotSent, reply.expect_err("an error").clone());
        assert_eq!(classified(&pair), expected);
        let own = |reply: Result<&u16, &String>| Classified::new(Outcome::NotSent, reply.expect_err("one"));
        assert_eq!(classified(&own), expected);
        assert_eq!(classified(&OkIsSuccess), Classified::new(Outcome::Failure, "refused"));
    }
}
