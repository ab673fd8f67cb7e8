//! A body as far as it is read: decompressed, and never more than a limit.

use std::fmt;
use std::io::{self, Write};
use std::pin::pin;

use bytes::Bytes;
use failover_core::Error;
use flate2::write::GzDecoder;
use http::HeaderMap;
use http::header::CONTENT_ENCODING;
use http_body_util::BodyExt;
use hyper::body::Body;

/// Reads the whole body of another client's answer, such as kube's, decompressed: at most `limit`
/// bytes. `headers` are those of the answer.
///
/// It has no deadline; see [`Deadline::enforce`](crate::Deadline::enforce).
///
/// # Errors
///
/// Returns an error if the body is larger, not encoded as its headers say, or broken off.
///
/// # Cancel safety
///
/// What was read is lost, and with it the body.
pub async fn read_body<B>(
    headers: &HeaderMap,
    body: B,
    limit: usize,
) -> Result<Vec<u8>, ReadBodyError<B::Error>>
where
    B: Body<Data = Bytes>,
{
    let mut body = pin!(body);
    Pieces::new(headers, body.as_mut()).read(limit).await
}

/// Why a body cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ReadBodyError<E> {
    /// It is larger than this, after decompression.
    TooLarge(usize),
    /// It is not encoded as its headers say.
    BadEncoding(&'static str),
    /// The client's own error.
    Broken(E),
}

impl<E> ReadBodyError<E> {
    /// Turns it into the error of the operation `what`. `broken` turns the client's own.
    pub fn into_error(self, what: impl fmt::Display, broken: impl FnOnce(E) -> Error) -> Error {
        match self {
            Self::TooLarge(limit) => Error::answer_too_large(what, limit, None),
            Self::BadEncoding(why) => Error::bad_answer(what, why),
            Self::Broken(error) => broken(error),
        }
    }
}

/// The pieces of a body.
pub(super) struct Pieces<B> {
    body: B,
    decoder: Decoder,
    pub(super) trailers: Option<HeaderMap>,
}

impl<B: Body<Data = Bytes> + Unpin> Pieces<B> {
    pub(super) fn new(headers: &HeaderMap, body: B) -> Self {
        Self { body, decoder: Decoder::new(headers), trailers: None }
    }

    /// Returns what is left of the body.
    pub(super) async fn read(&mut self, limit: usize) -> Result<Vec<u8>, ReadBodyError<B::Error>> {
        let mut bytes = Vec::new();
        loop {
            match self.next(limit - bytes.len()).await {
                Ok(Some(piece)) => bytes.extend_from_slice(&piece),
                Ok(None) => return Ok(bytes),
                Err(ReadBodyError::TooLarge(_)) => return Err(ReadBodyError::TooLarge(limit)),
                Err(error) => return Err(error),
            }
        }
    }

    /// Returns the next piece, which is never empty, if it has at most `limit` bytes. Cancel safe.
    pub(super) async fn next(&mut self, limit: usize) -> Result<Option<Bytes>, ReadBodyError<B::Error>> {
        loop {
            let piece = match self.body.frame().await {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => self.decoder.push(data, limit),
                    Err(frame) => {
                        self.trailers = frame.into_trailers().ok();
                        continue;
                    }
                },
                Some(Err(error)) => return Err(ReadBodyError::Broken(error)),
                None => match self.decoder.finish(limit) {
                    Ok(rest) if rest.is_empty() => return Ok(None),
                    rest => rest,
                },
            };
            match piece {
                Ok(piece) if piece.is_empty() => {}
                Ok(piece) => return Ok(Some(piece)),
                Err(error) => {
                    return Err(match error.kind() {
                        io::ErrorKind::FileTooLarge => ReadBodyError::TooLarge(limit),
                        io::ErrorKind::Unsupported => {
                            ReadBodyError::BadEncoding("its content-encoding is neither gzip nor identity")
                        }
                        _ => ReadBodyError::BadEncoding("it is not packed as its header says"),
                    });
                }
            }
        }
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
            Self::Unknown => Err(io::ErrorKind::Unsupported.into()),
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
