//! Replies of the scripted server, valid or not.

use std::fmt::Write;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;

/// A reply, or a fault instead of one.
#[derive(Debug)]
pub struct Reply {
    status: u16,
    headers: Vec<(String, String)>,
    body: Body,
}

#[derive(Debug)]
enum Body {
    Whole(Vec<u8>),
    /// Exactly these bytes, then the end of the connection.
    Raw(Vec<u8>),
    Reset,
    Close,
    /// No byte at all.
    Hang,
    /// A head without a body.
    BlackHole,
    /// Announces the whole body, sends this many bytes and closes.
    Truncated(Vec<u8>, usize),
    /// One byte at a time, with this pause in between.
    Trickle(Vec<u8>, Duration),
    /// Repeats the piece as long as the client reads.
    Endless(Vec<u8>),
    /// Chunks from the test; the body ends when the sender is dropped.
    Stream(mpsc::Receiver<Vec<u8>>),
}

impl Reply {
    fn of(status: u16, body: Body) -> Self {
        Self { status, headers: Vec::new(), body }
    }

    /// Returns a complete reply.
    pub fn new(status: u16, body: impl Into<Vec<u8>>) -> Self {
        Self::of(status, Body::Whole(body.into()))
    }

    /// Returns a complete reply with the content type JSON.
    pub fn json(status: u16, body: impl Into<Vec<u8>>) -> Self {
        Self::new(status, body).header("content-type", "application/json")
    }

    /// Adds a header. The kind of body sets the length and the transfer encoding.
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_string()));
        self
    }

    /// Returns a reply of these bytes, after which the connection ends.
    pub fn raw(bytes: impl Into<Vec<u8>>) -> Self {
        Self::of(0, Body::Raw(bytes.into()))
    }

    /// Resets the connection (RST).
    pub fn reset() -> Self {
        Self::of(0, Body::Reset)
    }

    /// Closes the connection without a reply.
    pub fn close() -> Self {
        Self::of(0, Body::Close)
    }

    /// Sends nothing and keeps the connection open.
    pub fn hang() -> Self {
        Self::of(0, Body::Hang)
    }

    /// Sends the head of a chunked reply and nothing more.
    pub fn black_hole(status: u16) -> Self {
        Self::of(status, Body::BlackHole)
    }

    /// Sends a head that announces all of `body`, then `sent` bytes, then closes the connection.
    pub fn truncated(status: u16, body: impl Into<Vec<u8>>, sent: usize) -> Self {
        Self::of(status, Body::Truncated(body.into(), sent))
    }

    /// Sends the body byte by byte.
    pub fn trickle(status: u16, body: impl Into<Vec<u8>>, pause: Duration) -> Self {
        Self::of(status, Body::Trickle(body.into(), pause))
    }

    /// Repeats `piece` endlessly.
    pub fn endless(status: u16, piece: impl Into<Vec<u8>>) -> Self {
        Self::of(status, Body::Endless(piece.into()))
    }

    /// Returns a chunked reply whose chunks the test sends; dropping the sender ends the body.
    pub fn stream(status: u16) -> (mpsc::Sender<Vec<u8>>, Self) {
        let (sender, receiver) = mpsc::channel(64);
        (sender, Self::of(status, Body::Stream(receiver)))
    }

    /// Sends the reply and returns whether the connection can take another request.
    pub(super) async fn send(mut self, stream: &mut TcpStream) -> bool {
        let head = |length| head(self.status, &self.headers, length);
        match self.body {
            Body::Whole(ref body) => {
                let mut bytes = head(Some(body.len()));
                bytes.extend_from_slice(body);
                return stream.write_all(&bytes).await.is_ok();
            }
            Body::Raw(bytes) => drop(stream.write_all(&bytes).await),
            Body::Reset => drop(stream.set_zero_linger()),
            Body::Close => {}
            Body::Hang => until_closed(stream).await,
            Body::BlackHole => {
                if stream.write_all(&head(None)).await.is_ok() {
                    until_closed(stream).await;
                }
            }
            Body::Truncated(ref body, sent) => {
                let mut bytes = head(Some(body.len()));
                bytes.extend_from_slice(&body[..sent.min(body.len())]);
                let _ = stream.write_all(&bytes).await;
                let _ = stream.flush().await;
            }
            Body::Trickle(ref body, pause) => {
                let mut sent = stream.write_all(&head(Some(body.len()))).await;
                for byte in body {
                    if sent.is_err() {
                        return false;
                    }
                    tokio::time::sleep(pause).await;
                    sent = stream.write_all(&[*byte]).await;
                }
                return sent.is_ok();
            }
            Body::Endless(ref piece) => {
                let piece = chunk(piece);
                let mut sent = stream.write_all(&head(None)).await;
                while sent.is_ok() {
                    sent = stream.write_all(&piece).await;
                }
            }
            Body::Stream(ref mut chunks) => {
                if stream.write_all(&head(None)).await.is_err() {
                    return false;
                }
                return relay(stream, chunks).await;
            }
        }
        false
    }
}

/// Returns the status line and the headers; without a length the body is chunked.
fn head(status: u16, headers: &[(String, String)], length: Option<usize>) -> Vec<u8> {
    let mut head = format!("HTTP/1.1 {status} Scripted\r\n");
    for (name, value) in headers {
        let _ = write!(head, "{name}: {value}\r\n");
    }
    let _ = match length {
        Some(length) => write!(head, "content-length: {length}\r\n\r\n"),
        None => write!(head, "transfer-encoding: chunked\r\n\r\n"),
    };
    head.into_bytes()
}

/// Relays chunks and returns whether the body ended normally.
async fn relay(stream: &mut TcpStream, chunks: &mut mpsc::Receiver<Vec<u8>>) -> bool {
    let (mut reading, mut writing) = stream.split();
    let mut byte = [0];
    loop {
        let next = tokio::select! {
            next = chunks.recv() => next,
            // A client that disconnects ends the read; clients send nothing more at this point.
            _ = reading.read(&mut byte) => return false,
        };
        let Some(next) = next else {
            return writing.write_all(b"0\r\n\r\n").await.is_ok();
        };
        if writing.write_all(&chunk(&next)).await.is_err() {
            return false;
        }
    }
}

fn chunk(bytes: &[u8]) -> Vec<u8> {
    let mut chunk = format!("{:x}\r\n", bytes.len()).into_bytes();
    chunk.extend_from_slice(bytes);
    chunk.extend_from_slice(b"\r\n");
    chunk
}

/// Reads and discards input until the client disconnects.
async fn until_closed(stream: &mut TcpStream) {
    let mut buffer = [0; 1024];
    while matches!(stream.read(&mut buffer).await, Ok(read) if read > 0) {}
}
