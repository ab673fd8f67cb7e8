//! Classification of gRPC's statuses, and of the errors of tonic's transport.

use std::error::Error as StdError;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use failover_core::{Classified, Outcome};
use failover_http::{HttpRules, causes};
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};
use tonic::{Code, Status};

use crate::error::NotSent;

const PUSHBACK: HeaderName = HeaderName::from_static("grpc-retry-pushback-ms");

/// Classifies the replies of gRPC servers: a status by its code, an error by what lies below it.
///
/// | code | outcome | another attempt |
/// |---|---|---|
/// | `OK` | success | |
/// | `INVALID_ARGUMENT`, `NOT_FOUND`, `ALREADY_EXISTS`, `PERMISSION_DENIED`, `UNAUTHENTICATED`, `FAILED_PRECONDITION`, `ABORTED`, `OUT_OF_RANGE`, `UNIMPLEMENTED` | rejected: the caller's own | no |
/// | `RESOURCE_EXHAUSTED`, `UNAVAILABLE` | overload | elsewhere |
/// | `DEADLINE_EXCEEDED`, and `CANCELLED` by the timer of a tonic server | timeout | elsewhere |
/// | `UNKNOWN`, `INTERNAL`, `DATA_LOSS`, any other `CANCELLED`, a code that does not exist | failure | elsewhere |
///
/// [`with_code`](Self::with_code) changes a line. A reply without a status whose HTTP status is not 200,
/// as of a proxy, counts as in [`HttpRules`].
///
/// `grpc-retry-pushback-ms` counts beside a status that another attempt may follow: a number is an
/// overload that lasts that many milliseconds. Anything else than a number, and a negative one, ends the
/// call with that status.
///
/// Errors: without a connection, and with a stream that the server refused (`REFUSED_STREAM`, or `GOAWAY`
/// of a server that shuts down), nothing was sent. An expired timer of tonic is a timeout. Any other
/// error is a failure, after which the request may have arrived.
///
/// ```
/// use failover_core::Outcome;
/// use failover_tonic::GrpcRules;
/// use tonic::Code;
///
/// // Here, ABORTED is a conflict of one replica.
/// let rules = GrpcRules::new().with_code(Code::Aborted, Outcome::Failure);
/// assert_eq!(rules.outcome(Code::Aborted), Outcome::Failure);
/// assert_eq!(rules.outcome(Code::NotFound), Outcome::Rejected);
/// ```
///
/// Clones are cheap and share the table.
#[derive(Clone, Debug, Default)]
pub struct GrpcRules(Option<Arc<Vec<(Code, Outcome)>>>);

impl GrpcRules {
    /// Creates the usual rules.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets what a code counts as.
    ///
    /// `Overload(None)` takes the time to wait from the reply's `grpc-retry-pushback-ms`.
    pub fn with_code(self, code: Code, outcome: Outcome) -> Self {
        let mut codes = self.0.unwrap_or_default();
        let table = Arc::make_mut(&mut codes);
        table.retain(|(known, _)| *known != code);
        table.push((code, outcome));
        Self(Some(codes))
    }

    /// Returns what a code counts as.
    pub fn outcome(&self, code: Code) -> Outcome {
        let own = self.0.as_deref().and_then(|codes| codes.iter().find(|(known, _)| *known == code));
        match own {
            Some((_, outcome)) => *outcome,
            None => usual(code),
        }
    }

    /// Classifies a response by its head: a status there is all of the reply (Trailers-Only).
    pub(crate) fn classify_head<B>(&self, code: Option<Code>, response: &Response<B>) -> Classified {
        match code {
            Some(code) => self.classify_code(code, response.headers()),
            None if response.status() == StatusCode::OK => Outcome::Success.into(),
            None => HttpRules::new().classify_response(response),
        }
    }

    /// Classifies a status, with what else the headers or trailers say about it.
    pub(crate) fn classify_code(&self, code: Code, headers: &HeaderMap) -> Classified {
        let outcome = match self.outcome(code) {
            Outcome::Success => return Outcome::Success.into(),
            _ if code == Code::Cancelled && is_timer(code, headers) => Outcome::Timeout,
            outcome => outcome,
        };
        let outcome = match (outcome, pushback(headers)) {
            (Outcome::Failure | Outcome::Timeout | Outcome::Overload(None), Some(Pushback::After(pause))) => {
                Outcome::Overload(Some(pause))
            }
            (outcome, _) => outcome,
        };
        Classified::new(outcome, name(code))
    }

    /// Classifies an error of an attempt. The reason is its text with the texts of all its sources.
    pub(crate) fn classify_error(error: &(dyn StdError + 'static)) -> Classified {
        let by_io = HttpRules::new().classify_error(error);
        // Its own limits are this machine's, also while it connects.
        if by_io.outcome() == Outcome::Local {
            return by_io;
        }
        let outcome = causes(error).find_map(by_cause).unwrap_or_else(|| {
            // All that comes from a connection is hyper's: this is the timer of connecting.
            let connecting = has::<io::Error>(error) && !has::<hyper::Error>(error);
            if connecting { Outcome::NotSent } else { by_io.outcome() }
        });
        Classified::from_error(outcome, error)
    }
}

/// Whether this is the error of tonic's own timer.
pub(crate) fn is_expired_timer(error: &(dyn StdError + 'static)) -> bool {
    has::<tonic::TimeoutExpired>(error)
}

fn has<E: StdError + 'static>(error: &(dyn StdError + 'static)) -> bool {
    causes(error).any(<dyn StdError>::is::<E>)
}

fn by_cause(cause: &(dyn StdError + 'static)) -> Option<Outcome> {
    if cause.is::<NotSent>() || cause.is::<tonic::ConnectError>() {
        return Some(Outcome::NotSent);
    }
    if cause.is::<tonic::TimeoutExpired>() {
        return Some(Outcome::Timeout);
    }
    // Requests that were queued for a connection that has ended come back with this error.
    if cause.downcast_ref::<hyper::Error>().is_some_and(hyper::Error::is_canceled) {
        return Some(Outcome::NotSent);
    }
    // Of this side's own, the reasons mean something else: h2 refuses a reply that is too long.
    let http2 = cause.downcast_ref::<h2::Error>().filter(|error| error.is_remote())?;
    let refused = http2.reason() == Some(h2::Reason::REFUSED_STREAM);
    // A server that shuts down says which streams it has not begun; only those end with this error.
    let leaving = http2.is_go_away() && http2.reason() == Some(h2::Reason::NO_ERROR);
    (refused || leaving).then_some(Outcome::NotSent)
}

fn usual(code: Code) -> Outcome {
    match code {
        Code::Ok => Outcome::Success,
        Code::InvalidArgument
        | Code::NotFound
        | Code::AlreadyExists
        | Code::PermissionDenied
        | Code::Unauthenticated
        | Code::FailedPrecondition
        | Code::Aborted
        | Code::OutOfRange
        | Code::Unimplemented => Outcome::Rejected,
        Code::ResourceExhausted | Code::Unavailable => Outcome::Overload(None),
        Code::DeadlineExceeded => Outcome::Timeout,
        Code::Cancelled | Code::Unknown | Code::Internal | Code::DataLoss => Outcome::Failure,
    }
}

/// Returns the code in headers or trailers. One that does not exist is `Unknown`.
pub(crate) fn code(headers: &HeaderMap) -> Option<Code> {
    headers.get(Status::GRPC_STATUS).map(|value| Code::from_bytes(value.as_bytes()))
}

/// Returns the code's name as the protocol writes it.
pub(crate) fn name(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "CANCELLED",
        Code::Unknown => "UNKNOWN",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::NotFound => "NOT_FOUND",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::Aborted => "ABORTED",
        Code::OutOfRange => "OUT_OF_RANGE",
        Code::Unimplemented => "UNIMPLEMENTED",
        Code::Internal => "INTERNAL",
        Code::Unavailable => "UNAVAILABLE",
        Code::DataLoss => "DATA_LOSS",
        Code::Unauthenticated => "UNAUTHENTICATED",
    }
}

/// What a server says about another attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pushback {
    After(Duration),
    Never,
}

/// Reads `grpc-retry-pushback-ms`, of which everything but a number means never (gRFC A6).
pub(crate) fn pushback(headers: &HeaderMap) -> Option<Pushback> {
    let millis = headers.get(PUSHBACK)?.to_str().ok().and_then(|text| text.parse().ok());
    Some(millis.map_or(Pushback::Never, |millis| Pushback::After(Duration::from_millis(millis))))
}

/// Whether a status is that of a server whose timer for `grpc-timeout` has expired. tonic's has the code
/// CANCELLED and this message.
pub(crate) fn is_timer(code: Code, headers: &HeaderMap) -> bool {
    let message = || headers.get(Status::GRPC_MESSAGE).map(HeaderValue::as_bytes);
    match code {
        Code::DeadlineExceeded => true,
        Code::Cancelled => message() == Some(b"Timeout%20expired"),
        _ => false,
    }
}

#[cfg(test)]
mod tests;
