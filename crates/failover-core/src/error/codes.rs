//! The stable codes of errors that all providers report alike.
//!
//! The same cause has the same kind, code and retry advice whatever the registry. Providers make
//! these errors with the functions in the last column, and may add codes for causes that only their
//! registry knows.
//!
//! | cause | kind | code | retry | function |
//! |---|---|---|---|---|
//! | HTTP 3xx: redirects are not followed | `Connection` | [`REDIRECTED`] | back-off | [`Error::from_status`] |
//! | HTTP 401 | `Permission` | [`UNAUTHENTICATED`] | never | [`Error::from_status`] |
//! | HTTP 403 | `Permission` | [`PERMISSION_DENIED`] | never | [`Error::from_status`] |
//! | HTTP 404 | `NotFound` | [`NOT_FOUND`] | never | [`Error::from_status`] |
//! | HTTP 409, and a lost compare-and-swap | `Conflict` | [`CONFLICT`] | never | [`Error::from_status`] |
//! | HTTP 413 | `Validation` | [`TOO_LARGE`] | never | [`Error::from_status`] |
//! | HTTP 429 | `Connection` | [`RATE_LIMITED`] | `Retry-After`, else back-off | [`Error::from_status`] |
//! | any other HTTP 4xx but 408 | `Validation` | [`REFUSED`] | never | [`Error::from_status`] |
//! | HTTP 408 and 504 | `Timeout` | [`TIMEOUT`] | `Retry-After` (504), else back-off | [`Error::from_status`] |
//! | any other HTTP 5xx | `Connection` | [`SERVER_ERROR`] | `Retry-After` (503), else back-off | [`Error::from_status`] |
//! | no connection could be made: nothing was sent | `Connection` | [`CONNECTION_ERROR`] | back-off | [`Error::unreachable`] |
//! | the connection broke: the outcome is unknown | `Connection` | [`CONNECTION_LOST`] | back-off | [`Error::connection_lost`] |
//! | TLS could not be agreed on, or a certificate is not trusted | `Connection` | [`TLS_ERROR`] | back-off | [`Error::tls`] |
//! | no answer in time: the outcome is unknown | `Timeout` | [`TIMEOUT`] | back-off | [`Error::timed_out`] |
//! | an answer that cannot be read | `Connection` | [`BAD_ANSWER`] | back-off | [`Error::bad_answer`] |
//! | an answer larger than the provider accepts | `Validation` | [`TOO_LARGE`] | never | [`Error::answer_too_large`] |
//! | a configuration document larger than the limit | `Validation` | [`TOO_LARGE`] | never | [`Error::document_too_large`] |
//! | an endpoint larger than the registry can store | `Unsupported` | [`TOO_LARGE`] | never | |
//! | credentials that cannot be loaded | `Permission` | [`UNAUTHENTICATED`] | never | [`Error::no_credentials`] |
//! | the provider is closed | `Shutdown` | [`SERVICE_UNAVAILABLE`] | never | [`Error::closed`] |
//!
//! `Retry-After` is honoured for 429, 503 and 504, up to [`MAX_RETRY_AFTER`].
//!
//! [`Error::from_status`]: crate::Error::from_status
//! [`Error::unreachable`]: crate::Error::unreachable
//! [`Error::connection_lost`]: crate::Error::connection_lost
//! [`Error::tls`]: crate::Error::tls
//! [`Error::timed_out`]: crate::Error::timed_out
//! [`Error::bad_answer`]: crate::Error::bad_answer
//! [`Error::answer_too_large`]: crate::Error::answer_too_large
//! [`Error::document_too_large`]: crate::Error::document_too_large
//! [`Error::no_credentials`]: crate::Error::no_credentials
//! [`Error::closed`]: crate::Error::closed

use std::time::Duration;

/// The longest time that a server's `Retry-After` is honoured for: 5 min.
pub const MAX_RETRY_AFTER: Duration = Duration::from_secs(300);

/// The server redirects.
pub const REDIRECTED: &str = "REDIRECTED";
/// The credentials are missing, invalid, expired, or cannot be loaded.
pub const UNAUTHENTICATED: &str = "UNAUTHENTICATED";
/// The credentials are valid and do not allow the operation.
pub const PERMISSION_DENIED: &str = "PERMISSION_DENIED";
/// The named object does not exist.
pub const NOT_FOUND: &str = "NOT_FOUND";
/// The object was changed, or belongs to another owner.
pub const CONFLICT: &str = "CONFLICT";
/// A request, an answer or a document is larger than a limit.
pub const TOO_LARGE: &str = "TOO_LARGE";
/// The server limits the rate of requests.
pub const RATE_LIMITED: &str = "RATE_LIMITED";
/// The server refuses the request as invalid.
pub const REFUSED: &str = "REFUSED";
/// No answer came in time.
pub const TIMEOUT: &str = "TIMEOUT";
/// The server failed.
pub const SERVER_ERROR: &str = "SERVER_ERROR";
/// No connection could be made.
pub const CONNECTION_ERROR: &str = "CONNECTION_ERROR";
/// The connection broke before the answer was complete.
pub const CONNECTION_LOST: &str = "CONNECTION_LOST";
/// TLS could not be agreed on.
pub const TLS_ERROR: &str = "TLS_ERROR";
/// The answer cannot be read.
pub const BAD_ANSWER: &str = "BAD_ANSWER";
/// The provider is closed.
pub const SERVICE_UNAVAILABLE: &str = "SERVICE_UNAVAILABLE";
