//! An answer: its head at once, its body as far as it is read, never more than the limit.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use failover_core::{Error, parse_retry_after};
use http::header::RETRY_AFTER;
use http::response::Parts;
use http::{HeaderMap, StatusCode};
use hyper::body::Incoming;
use tokio::time::timeout;

use super::body::{Pieces, ReadBodyError};
use super::error::{self, HttpError, HttpErrorKind, HttpOption, OptionNames};
use super::protocol::HttpProtocol;
use crate::AbortOnDrop;

/// The limits of an answer.
#[derive(Debug)]
pub(super) struct Limits {
    pub(super) deadline: Duration,
    pub(super) max_body_bytes: usize,
    pub(super) protocol: HttpProtocol,
    pub(super) names: OptionNames,
}

impl Limits {
    pub(super) fn describe(
        &self,
        error: &(dyn std::error::Error + 'static),
        is_https: bool,
        kind: HttpErrorKind,
    ) -> HttpError {
        error::of_transport(error, is_https, self.protocol, &self.names, kind)
    }
}

/// An answer whose head has arrived, whatever its status.
///
/// Redirects are not followed. Dropping it ends the answer: what is left of the body is not read.
pub struct HttpResponse {
    head: Parts,
    body: Pieces<Incoming>,
    /// Scheme, host and port, for errors.
    address: String,
    is_https: bool,
    limits: Arc<Limits>,
    /// The task of a connection for this request alone.
    _connection: Option<AbortOnDrop>,
}

impl HttpResponse {
    pub(super) fn new(
        response: http::Response<Incoming>,
        address: String,
        is_https: bool,
        limits: Arc<Limits>,
        connection: Option<AbortOnDrop>,
    ) -> Self {
        let (head, body) = response.into_parts();
        let body = Pieces::new(&head.headers, body);
        Self { head, body, address, is_https, limits, _connection: connection }
    }

    /// Returns the status.
    pub fn status(&self) -> StatusCode {
        self.head.status
    }

    /// Returns the headers.
    pub fn headers(&self) -> &HeaderMap {
        &self.head.headers
    }

    /// Turns a status that is no success into the error of the operation `what`, with the kind, code and
    /// `Retry-After` of the provider contract.
    ///
    /// ```no_run
    /// # use failover_provider_kit::HttpClient;
    /// # async fn fetch(client: HttpClient, request: http::Request<bytes::Bytes>) -> Result<(), failover_core::Error> {
    /// let answer = client.send(request).await.map_err(|error| error.into_error("list users"))?;
    /// if !answer.status().is_success() {
    ///     return Err(answer.status_error("list users"));
    /// }
    /// # Ok(()) }
    /// ```
    pub fn status_error(&self, what: impl fmt::Display) -> Error {
        let after = self.head.headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok());
        // A date is one of the server's clock, which no clock of a test is.
        #[allow(clippy::disallowed_methods, reason = "the wall clock, for a header with a date")]
        let after = after.and_then(|value| parse_retry_after(value, SystemTime::now()));
        let message = format!("{what}: {} answered {}", self.address, self.head.status);
        Error::from_status(self.head.status.as_u16(), after, message)
    }

    /// Returns the headers that followed the body, once that was read to its end.
    pub fn trailers(&self) -> Option<&HeaderMap> {
        self.body.trailers.as_ref()
    }

    /// Reads the rest of the body, decompressed.
    ///
    /// # Errors
    ///
    /// Returns an error if the body is larger than the client's limit, not complete within its
    /// deadline, broken off, or not encoded as its headers say.
    ///
    /// # Cancel safety
    ///
    /// Not safe: what was read is lost. Drop the response then.
    pub async fn read(&mut self) -> Result<Vec<u8>, HttpError> {
        let Limits { deadline, max_body_bytes, .. } = *self.limits;
        match timeout(deadline, self.body.read(max_body_bytes)).await {
            Ok(read) => read.map_err(|error| self.describe(error)),
            Err(_) => Err(HttpError::timed_out(deadline).at(&self.address)),
        }
    }

    /// Returns the next piece of the body, decompressed, as soon as it arrives, or `None` at the
    /// end: for an answer that goes on, such as a watch. It has no deadline of its own.
    ///
    /// # Errors
    ///
    /// Returns an error if one piece is larger than the client's limit, or the body is broken off or
    /// not encoded as its headers say.
    ///
    /// # Cancel safety
    ///
    /// Safe: no piece is lost.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, HttpError> {
        self.body.next(self.limits.max_body_bytes).await.map_err(|error| self.describe(error))
    }

    fn describe(&self, error: ReadBodyError<hyper::Error>) -> HttpError {
        let error = match error {
            ReadBodyError::TooLarge(_) => {
                let Limits { max_body_bytes: most, names, .. } = &*self.limits;
                let hint = format!("{} raises the limit", names.name(HttpOption::MaxBodyBytes));
                let why = format!("the answer is larger than {most} bytes");
                HttpError::new(HttpErrorKind::TooLarge, why).hinting(hint)
            }
            ReadBodyError::BadEncoding(why) => {
                HttpError::new(HttpErrorKind::BadBody, format!("the answer cannot be read: {why}"))
            }
            ReadBodyError::Broken(error) => {
                self.limits.describe(&error, self.is_https, HttpErrorKind::ConnectionLost)
            }
        };
        error.at(&self.address)
    }
}

/// Omits headers and body.
impl fmt::Debug for HttpResponse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpResponse")
            .field("status", &self.head.status)
            .field("address", &self.address)
            .finish_non_exhaustive()
    }
}
