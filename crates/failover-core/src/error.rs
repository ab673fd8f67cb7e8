//! Errors: their kind, their details, and whether a retry can help.

mod causes;
pub mod codes;

use std::collections::BTreeMap;
use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde::ser::SerializeStruct;
use serde::{Deserialize, Serialize, Serializer};
use serde_json::Value;

/// The kind of an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ErrorKind {
    /// The peer is unreachable, or the connection broke.
    Connection,
    /// A value is invalid; the message names it and says what is valid.
    Validation,
    /// The named item does not exist.
    NotFound,
    /// The operation timed out.
    Timeout,
    /// A circuit breaker refused the call.
    CircuitBreaker,
    /// An internal error of this library or of a provider.
    Internal,
    /// The provider, or this version, does not support the operation; the message says why.
    Unsupported,
    /// The credentials do not permit the operation.
    Permission,
    /// Another client changed or owns the item.
    Conflict,
    /// No endpoint is available to the call.
    NoEndpoints,
    /// All permitted attempts failed.
    RetryExhausted,
    /// The manager or provider is closed.
    Shutdown,
}

impl ErrorKind {
    /// Returns the name of this kind, as in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Connection => "connection",
            Self::Validation => "validation",
            Self::NotFound => "not_found",
            Self::Timeout => "timeout",
            Self::CircuitBreaker => "circuit_breaker",
            Self::Internal => "internal",
            Self::Unsupported => "unsupported",
            Self::Permission => "permission",
            Self::Conflict => "conflict",
            Self::NoEndpoints => "no_endpoints",
            Self::RetryExhausted => "retry_exhausted",
            Self::Shutdown => "shutdown",
        }
    }

    fn default_code(self) -> &'static str {
        match self {
            Self::Connection => "CONNECTION_ERROR",
            Self::Validation => "INVALID_CONFIG",
            Self::NotFound => "NOT_FOUND",
            Self::Timeout => "TIMEOUT",
            Self::CircuitBreaker => "CIRCUIT_OPEN",
            Self::Internal => "INTERNAL",
            Self::Unsupported => "UNSUPPORTED",
            Self::Permission => "PERMISSION_DENIED",
            Self::Conflict => "CONFLICT",
            Self::NoEndpoints => "NO_ENDPOINTS",
            Self::RetryExhausted => "RETRY_EXHAUSTED",
            Self::Shutdown => "SERVICE_UNAVAILABLE",
        }
    }

    fn default_retry(self) -> RetryAdvice {
        match self {
            Self::Connection | Self::Timeout | Self::CircuitBreaker | Self::NoEndpoints => {
                RetryAdvice::Backoff
            }
            _ => RetryAdvice::Never,
        }
    }
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Whether retrying the same operation can succeed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RetryAdvice {
    /// The same request will fail again.
    Never,
    /// It may succeed later; back off first.
    Backoff,
    /// The peer requested this wait.
    After(Duration),
}

/// The characters of a message that are kept: parsers quote what they could not read.
const LONGEST_MESSAGE: usize = 4_000;

/// The error of every operation except a call, which has [`CallError`](crate::CallError).
///
/// `Display` is one line. Cloning shares the content, so one failure can be reported in several
/// places.
#[derive(Clone)]
pub struct Error(Arc<Inner>);

#[derive(Clone)]
struct Inner {
    kind: ErrorKind,
    code: &'static str,
    message: String,
    details: BTreeMap<String, Value>,
    retry: RetryAdvice,
    source: Option<Source>,
}

type Source = Arc<dyn StdError + Send + Sync + 'static>;

impl Error {
    /// Creates an error of `kind` with the kind's usual code and retry advice.
    ///
    /// The message is one line in lower case that says what a reader can do. Line breaks and other
    /// control characters in it are replaced, so that text from a registry cannot forge log lines. 4 000
    /// characters of it are kept.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self(Arc::new(Inner {
            kind,
            code: kind.default_code(),
            message: one_line(cut(message.into(), LONGEST_MESSAGE)),
            details: BTreeMap::new(),
            retry: kind.default_retry(),
            source: None,
        }))
    }

    /// Creates an error for an invalid value: names the field, the value and what is valid.
    ///
    /// ```
    /// # use failover_core::Error;
    /// let error = Error::invalid("port", 0, "a number from 1 to 65535");
    /// assert_eq!(error.to_string(), "port: 0 is not allowed; give a number from 1 to 65535");
    /// ```
    pub fn invalid(field: &str, value: impl fmt::Display, wanted: &str) -> Self {
        let value = shortened(&value.to_string());
        let shown = if value.is_empty() { "an empty value" } else { &value };
        Self::new(ErrorKind::Validation, format!("{field}: {shown} is not allowed; give {wanted}"))
            .with_detail("field", field)
            .with_detail("value", value)
            .with_detail("wanted", wanted)
    }

    /// Replaces the stable code, which is upper case with underscores.
    #[must_use]
    pub fn with_code(mut self, code: &'static str) -> Self {
        Arc::make_mut(&mut self.0).code = code;
        self
    }

    /// Adds a machine-readable detail.
    #[must_use]
    pub fn with_detail(mut self, key: impl Into<String>, value: impl Into<Value>) -> Self {
        let inner = Arc::make_mut(&mut self.0);
        inner.details.insert(key.into(), value.into());
        self
    }

    /// Replaces the retry advice.
    #[must_use]
    pub fn with_retry(mut self, retry: RetryAdvice) -> Self {
        Arc::make_mut(&mut self.0).retry = retry;
        self
    }

    /// Attaches the cause of this error. Its text is not part of `Display`, but it must not contain
    /// secrets either.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        Arc::make_mut(&mut self.0).source = Some(Arc::from(source.into()));
        self
    }

    /// Prepends `place` to the message, as in `endpoint "a": port: 0 is not allowed; …`.
    #[must_use]
    pub fn context(mut self, place: impl fmt::Display) -> Self {
        let inner = Arc::make_mut(&mut self.0);
        inner.message = one_line(format!("{place}: {}", inner.message));
        self
    }

    /// Returns the kind of error.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// Returns a stable code in upper case, which is the Go package's if it has one.
    pub fn code(&self) -> &'static str {
        self.0.code
    }

    /// Returns the machine-readable details, such as the invalid field.
    pub fn details(&self) -> &BTreeMap<String, Value> {
        &self.0.details
    }

    /// Returns whether retrying the same operation can succeed.
    pub fn retry(&self) -> RetryAdvice {
        self.0.retry
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.source.as_deref().map(|source| source as &(dyn StdError + 'static))
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_struct("Error");
        out.field("kind", &self.0.kind).field("code", &self.0.code).field("message", &self.0.message);
        if !self.0.details.is_empty() {
            out.field("details", &self.0.details);
        }
        if let Some(source) = &self.0.source {
            out.field("source", source);
        }
        out.finish_non_exhaustive()
    }
}

/// The JSON shape of the Go package: `type`, `message`, `code`, `details`.
impl Serialize for Error {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut out = serializer.serialize_struct("Error", 4)?;
        out.serialize_field("type", &self.0.kind)?;
        out.serialize_field("message", &self.0.message)?;
        out.serialize_field("code", &self.0.code)?;
        out.serialize_field("details", &self.0.details)?;
        out.end()
    }
}

/// Escapes control and bidirectional characters, so that one line cannot forge another.
pub(crate) fn one_line(text: String) -> String {
    if !text.chars().any(is_unprintable) {
        return text;
    }
    let mut out = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        if is_unprintable(c) {
            out.extend(c.escape_unicode());
        } else {
            out.push(c);
        }
    }
    out
}

/// Returns whether a character would break, recolour or reorder a line that shows it.
pub(crate) fn is_unprintable(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

/// Returns at most 80 characters of a value, so that a hostile one does not fill the log.
pub(crate) fn shortened(value: &str) -> String {
    cut(value.to_owned(), 80)
}

/// Cuts a text after this many characters, and says how long it was.
pub(crate) fn cut(text: String, shown: usize) -> String {
    match text.char_indices().nth(shown) {
        None => text,
        Some((end, _)) => format!("{}… ({} bytes)", &text[..end], text.len()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_has_the_shape_of_the_go_package() {
        let error = Error::invalid("port", 0, "a number from 1 to 65535");
        let json = serde_json::to_value(&error).unwrap();
        assert_eq!(json["type"], "validation");
        assert_eq!(json["code"], "INVALID_CONFIG");
        assert_eq!(json["details"]["field"], "port");
        assert_eq!(json["message"], error.to_string());
    }

    #[test]
    fn a_message_is_one_line_whatever_it_quotes() {
        let error = Error::invalid("id", "a\nERROR \u{1b}[2Jforged\u{202e}", "letters");
        let text = error.to_string();
        assert!(!text.chars().any(is_unprintable), "{text}");
        assert!(text.contains("\\u{a}"), "{text}");
    }

    #[test]
    fn a_long_message_is_cut_and_its_size_is_shown() {
        let error = Error::new(ErrorKind::Connection, "x".repeat(1 << 20)).context("list users");
        assert!(error.to_string().len() < 4_100, "{}", error.to_string().len());
        assert!(
            error.to_string().starts_with("list users: x") && error.to_string().ends_with("(1048576 bytes)")
        );
        let whole = "x".repeat(LONGEST_MESSAGE);
        assert_eq!(Error::new(ErrorKind::Connection, whole.clone()).to_string(), whole);
    }

    #[test]
    fn a_long_value_is_cut_and_its_size_is_shown() {
        let error = Error::invalid("id", "x".repeat(10_000), "at most 255 characters");
        assert!(error.to_string().len() < 250, "{error}");
        assert!(error.to_string().contains("10000 bytes"), "{error}");
    }

    #[test]
    fn the_cause_is_the_source_of_the_chain() {
        let error = Error::new(ErrorKind::Connection, "the registry is down")
            .with_source(std::io::Error::other("connection refused"));
        assert_eq!(error.source().expect("a cause").to_string(), "connection refused");
        assert!(!error.to_string().contains("refused"), "the chain says it, not the message");
    }

    #[test]
    fn kinds_that_pass_advise_to_try_again() {
        assert_eq!(Error::new(ErrorKind::Timeout, "late").retry(), RetryAdvice::Backoff);
        assert_eq!(Error::new(ErrorKind::Validation, "bad").retry(), RetryAdvice::Never);
    }

    #[test]
    fn the_kind_in_json_is_the_word_it_displays() {
        for kind in [ErrorKind::Connection, ErrorKind::NotFound, ErrorKind::CircuitBreaker] {
            assert_eq!(serde_json::to_value(kind).unwrap(), kind.as_str());
        }
    }
}
