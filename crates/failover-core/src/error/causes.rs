//! Constructors for the errors that all providers report alike. The table is in [`codes`].

use std::fmt;
use std::time::Duration;

use super::codes;
use super::{Error, ErrorKind, RetryAdvice};

impl Error {
    /// Creates the error for an HTTP status that is not a success, with the detail `status`.
    ///
    /// `retry_after` is what the server sent, if anything; it is honoured for 429, 503 and 504, up
    /// to [`codes::MAX_RETRY_AFTER`].
    ///
    /// ```
    /// use std::time::Duration;
    /// use failover_core::{Error, ErrorKind, RetryAdvice, codes};
    ///
    /// let error = Error::from_status(429, Some(Duration::from_secs(2)), "list users: status 429");
    /// assert_eq!((error.kind(), error.code()), (ErrorKind::Connection, codes::RATE_LIMITED));
    /// assert_eq!(error.retry(), RetryAdvice::After(Duration::from_secs(2)));
    /// ```
    pub fn from_status(status: u16, retry_after: Option<Duration>, message: impl Into<String>) -> Self {
        let (kind, code) = match status {
            300..=399 => (ErrorKind::Connection, codes::REDIRECTED),
            401 => (ErrorKind::Permission, codes::UNAUTHENTICATED),
            403 => (ErrorKind::Permission, codes::PERMISSION_DENIED),
            404 => (ErrorKind::NotFound, codes::NOT_FOUND),
            408 | 504 => (ErrorKind::Timeout, codes::TIMEOUT),
            409 => (ErrorKind::Conflict, codes::CONFLICT),
            413 => (ErrorKind::Validation, codes::TOO_LARGE),
            429 => (ErrorKind::Connection, codes::RATE_LIMITED),
            400..=499 => (ErrorKind::Validation, codes::REFUSED),
            _ => (ErrorKind::Connection, codes::SERVER_ERROR),
        };
        let error = Self::new(kind, message).with_code(code).with_detail("status", status);
        match (status, retry_after) {
            (429 | 503 | 504, Some(after)) => {
                error.with_retry(RetryAdvice::After(after.min(codes::MAX_RETRY_AFTER)))
            }
            _ => error,
        }
    }

    /// Creates the error for a failed connection: nothing was sent.
    pub fn unreachable(what: impl fmt::Display, why: impl fmt::Display) -> Self {
        Self::new(ErrorKind::Connection, format!("{what}: {why}")).with_code(codes::CONNECTION_ERROR)
    }

    /// Creates the error for a connection that broke before the answer was complete.
    ///
    /// The request may have been carried out.
    pub fn connection_lost(what: impl fmt::Display, why: impl fmt::Display) -> Self {
        Self::new(ErrorKind::Connection, format!("{what}: {why}")).with_code(codes::CONNECTION_LOST)
    }

    /// Creates the error for a failed TLS handshake or an untrusted certificate.
    pub fn tls(what: impl fmt::Display, why: impl fmt::Display) -> Self {
        Self::new(ErrorKind::Connection, format!("{what}: {why}")).with_code(codes::TLS_ERROR)
    }

    /// Creates the error for a timeout: the request may have been carried out.
    pub fn timed_out(what: impl fmt::Display, limit: Duration) -> Self {
        Self::new(ErrorKind::Timeout, format!("{what}: not done within {limit:?}")).with_code(codes::TIMEOUT)
    }

    /// Creates the error for an unreadable answer. `why` must not quote it, as the messages of some parsers
    /// do: where it is unreadable, such as line and column, is enough.
    pub fn bad_answer(what: impl fmt::Display, why: impl fmt::Display) -> Self {
        Self::new(ErrorKind::Connection, format!("{what}: the answer cannot be read: {why}"))
            .with_code(codes::BAD_ANSWER)
    }

    /// Creates the error for an answer that is larger than the provider accepts.
    ///
    /// `setting` names the setting that raises the limit, if there is one.
    pub fn answer_too_large(what: impl fmt::Display, limit: usize, setting: Option<&str>) -> Self {
        let hint = setting.map_or_else(String::new, |setting| format!("; {setting} raises the limit"));
        let message = format!("{what}: the answer is larger than {limit} bytes{hint}");
        Self::new(ErrorKind::Validation, message).with_code(codes::TOO_LARGE)
    }

    /// Creates the error for a document of `size` bytes that is larger than `limit`.
    pub fn document_too_large(size: usize, limit: usize) -> Self {
        Self::invalid("document", format_args!("{size} bytes"), &format!("at most {limit} bytes"))
            .with_code(codes::TOO_LARGE)
    }

    /// Creates the error for credentials that cannot be loaded. `why` must not show them.
    pub fn no_credentials(what: impl fmt::Display, why: impl fmt::Display) -> Self {
        Self::new(ErrorKind::Permission, format!("{what}: {why}")).with_code(codes::UNAUTHENTICATED)
    }

    /// Creates the error of a closed provider of this kind.
    pub fn closed(kind: &str) -> Self {
        Self::new(ErrorKind::Shutdown, format!("the {kind} provider is closed; connect opens it again"))
            .with_code(codes::SERVICE_UNAVAILABLE)
    }

    /// Returns whether a request may have been carried out although it failed.
    pub fn is_outcome_unknown(&self) -> bool {
        self.kind() == ErrorKind::Timeout || self.code() == codes::CONNECTION_LOST
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_has_one_kind_one_code_and_one_advice() {
        use ErrorKind::{Conflict, Connection, NotFound, Permission, Timeout, Validation};
        use RetryAdvice::{Backoff, Never};

        for (status, kind, code, retry) in [
            (301, Connection, "REDIRECTED", Backoff),
            (400, Validation, "REFUSED", Never),
            (401, Permission, "UNAUTHENTICATED", Never),
            (403, Permission, "PERMISSION_DENIED", Never),
            (404, NotFound, "NOT_FOUND", Never),
            (408, Timeout, "TIMEOUT", Backoff),
            (409, Conflict, "CONFLICT", Never),
            (413, Validation, "TOO_LARGE", Never),
            (422, Validation, "REFUSED", Never),
            (429, Connection, "RATE_LIMITED", Backoff),
            (500, Connection, "SERVER_ERROR", Backoff),
            (502, Connection, "SERVER_ERROR", Backoff),
            (503, Connection, "SERVER_ERROR", Backoff),
            (504, Timeout, "TIMEOUT", Backoff),
        ] {
            let error = Error::from_status(status, None, "list");
            assert_eq!((error.kind(), error.code(), error.retry()), (kind, code, retry), "{status}");
            assert_eq!(error.details()["status"], status);
        }
    }

    #[test]
    fn retry_after_is_honoured_where_it_means_something_and_has_a_bound() {
        let after =
            |status, seconds| Error::from_status(status, Some(Duration::from_secs(seconds)), "list").retry();
        for status in [429, 503, 504] {
            assert_eq!(after(status, 2), RetryAdvice::After(Duration::from_secs(2)));
            assert_eq!(after(status, 86_400), RetryAdvice::After(codes::MAX_RETRY_AFTER));
        }
        assert_eq!(after(500, 2), RetryAdvice::Backoff);
    }

    #[test]
    fn what_may_have_been_carried_out_is_distinguished() {
        assert!(Error::timed_out("store", Duration::from_secs(1)).is_outcome_unknown());
        assert!(Error::connection_lost("store", "reset").is_outcome_unknown());
        assert!(!Error::unreachable("store", "refused").is_outcome_unknown());
        assert!(!Error::from_status(500, None, "store").is_outcome_unknown());
    }
}
