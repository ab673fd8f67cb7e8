//! An answer: its head at once, its body as far as it is read, never more than the limit.

use std::fmt;
use std::io::{self, Write};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use flate2::write::GzDecoder;
use http::header::CONTENT_ENCODING;
use http::response::Parts;
use http::{HeaderMap, StatusCode};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tokio::time::timeout;

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
    body: Incoming,
    decoder: Decoder,
    trailers: Option<HeaderMap>,
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
        let decoder = Decoder::new(&head.headers);
        Self { head, body, decoder, trailers: None, address, is_https, limits, _connection: connection }
    }

    /// Returns the status.
    pub fn status(&self) -> StatusCode {
        self.head.status
    }

    /// Returns the headers.
    pub fn headers(&self) -> &HeaderMap {
        &self.head.headers
    }

    /// Returns the headers that followed the body, once that was read to its end.
    pub fn trailers(&self) -> Option<&HeaderMap> {
        self.trailers.as_ref()
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
        let (deadline, most) = (self.limits.deadline, self.limits.max_body_bytes);
        let reading = async {
            let mut bytes = Vec::new();
            while let Some(piece) = self.next(most - bytes.len()).await? {
                bytes.extend_from_slice(&piece);
            }
            Ok(bytes)
        };
        let read = timeout(deadline, reading).await;
        read.unwrap_or_else(|_| Err(HttpError::timed_out(deadline).at(&self.address)))
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
        self.next(self.limits.max_body_bytes).await
    }

    /// Returns the next piece if it has at most `left` bytes.
    async fn next(&mut self, left: usize) -> Result<Option<Bytes>, HttpError> {
        loop {
            let piece = match self.body.frame().await {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => self.decoder.push(data, left),
                    Err(frame) => {
                        self.trailers = frame.into_trailers().ok();
                        continue;
                    }
                },
                Some(Err(error)) => {
                    let kind = HttpErrorKind::ConnectionLost;
                    return Err(self.limits.describe(&error, self.is_https, kind).at(&self.address));
                }
                None => match self.decoder.finish(left) {
                    Ok(rest) if rest.is_empty() => return Ok(None),
                    rest => rest,
                },
            };
            match piece {
                Ok(piece) if piece.is_empty() => {}
                Ok(piece) => return Ok(Some(piece)),
                Err(error) => return Err(self.bad_body(&error)),
            }
        }
    }

    fn bad_body(&self, error: &io::Error) -> HttpError {
        let error = match error.kind() {
            io::ErrorKind::FileTooLarge => {
                let Limits { max_body_bytes: most, names, .. } = &*self.limits;
                let why = format!("the answer is larger than {most} bytes");
                let hint = format!("{} raises the limit", names.name(HttpOption::MaxBodyBytes));
                HttpError::new(HttpErrorKind::TooLarge, why).hinting(hint)
            }
            io::ErrorKind::Unsupported => {
                HttpError::new(HttpErrorKind::BadBody, format!("the answer cannot be read: {error}"))
            }
            _ => HttpError::new(
                HttpErrorKind::BadBody,
                "the answer cannot be read: it is not packed as its header says",
            ),
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

/// Undoes the encoding of a body.
enum Decoder {
    Plain,
    Gzip(Box<GzDecoder<Capped>>),
    Unknown,
    Finished,
}

impl Decoder {
    fn new(headers: &HeaderMap) -> Self {
        match headers.get(CONTENT_ENCODING).map(http::HeaderValue::as_bytes) {
            None => Self::Plain,
            Some(name) if name.eq_ignore_ascii_case(b"identity") || name.is_empty() => Self::Plain,
            Some(name) if name.eq_ignore_ascii_case(b"gzip") || name.eq_ignore_ascii_case(b"x-gzip") => {
                Self::Gzip(Box::new(GzDecoder::new(Capped { bytes: Vec::new(), left: 0 })))
            }
            Some(_) => Self::Unknown,
        }
    }

    fn push(&mut self, data: Bytes, left: usize) -> io::Result<Bytes> {
        match self {
            Self::Plain if data.len() > left => Err(io::ErrorKind::FileTooLarge.into()),
            Self::Plain | Self::Finished => Ok(data),
            Self::Gzip(decoder) => {
                decoder.get_mut().left = left;
                decoder.write_all(&data)?;
                decoder.flush()?;
                Ok(std::mem::take(&mut decoder.get_mut().bytes).into())
            }
            Self::Unknown => Err(io::Error::new(
                io::ErrorKind::Unsupported,
                "its content-encoding is neither gzip nor identity",
            )),
        }
    }

    /// Returns what is left at the end of the body.
    fn finish(&mut self, left: usize) -> io::Result<Bytes> {
        match std::mem::replace(self, Self::Finished) {
            Self::Gzip(mut decoder) => {
                decoder.get_mut().left = left;
                Ok(decoder.finish()?.bytes.into())
            }
            Self::Plain | Self::Unknown | Self::Finished => Ok(Bytes::new()),
        }
    }
}

/// Accepts at most `left` bytes more.
struct Capped {
    bytes: Vec<u8>,
    left: usize,
}

impl Write for Capped {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.left = self.left.checked_sub(bytes.len()).ok_or(io::ErrorKind::FileTooLarge)?;
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
