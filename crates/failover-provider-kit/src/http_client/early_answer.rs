//! A connection on which an answer may come before the request.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, Waker, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// How much of an early answer is kept; the rest waits in the connection.
const MAX_EARLY: usize = 16 << 10;

/// Keeps what arrives before the first write until then, and leaves it to reading to report that the
/// other side has gone away.
///
/// A server may answer without reading the request, and close: Consul's agent does with too many
/// connections. hyper treats an answer before the request as an error, and gives up when the request
/// cannot be written although the answer is there. The end of a connection without an answer is
/// reported at once, so that a pool does not keep it.
pub(super) struct EarlyAnswer<S> {
    inner: S,
    has_written: bool,
    early: Vec<u8>,
    /// Of a read that waits for the first write.
    waits: Option<Waker>,
    /// Why the request could not be written; reported if there is no answer.
    broken: Option<io::Error>,
}

impl<S> EarlyAnswer<S> {
    pub(super) fn new(inner: S) -> Self {
        Self { inner, has_written: false, early: Vec::new(), waits: None, broken: None }
    }
}

impl<S: AsyncRead + Unpin> EarlyAnswer<S> {
    /// Keeps what arrives; ready only with the end of a connection on which nothing arrived.
    fn poll_early(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.waits = Some(cx.waker().clone());
        while self.early.len() < MAX_EARLY {
            let mut piece = [0; 1024];
            let mut piece = ReadBuf::new(&mut piece);
            let read = ready!(Pin::new(&mut self.inner).poll_read(cx, &mut piece));
            match (read, piece.filled(), self.early.is_empty()) {
                (Ok(()), [], true) => return Poll::Ready(Ok(())),
                (Err(error), _, true) => return Poll::Ready(Err(error)),
                // After the first write, reading reports it again.
                (Ok(()), [], false) | (Err(_), _, false) => break,
                (Ok(()), bytes, _) => self.early.extend_from_slice(bytes),
            }
        }
        Poll::Pending
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for EarlyAnswer<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.has_written {
            return self.poll_early(cx);
        }
        if !self.early.is_empty() {
            let length = buffer.remaining().min(self.early.len());
            buffer.put_slice(&self.early[..length]);
            self.early.drain(..length);
            return Poll::Ready(Ok(()));
        }
        let before = buffer.filled().len();
        let read = ready!(Pin::new(&mut self.inner).poll_read(cx, buffer));
        match self.broken.take() {
            Some(broken) if read.is_ok() && buffer.filled().len() == before => Poll::Ready(Err(broken)),
            broken => {
                self.broken = broken;
                Poll::Ready(read)
            }
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for EarlyAnswer<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if self.broken.is_some() {
            return Poll::Ready(Ok(bytes.len()));
        }
        let result = ready!(Pin::new(&mut self.inner).poll_write(cx, bytes));
        self.has_written = true;
        if let Some(waits) = self.waits.take() {
            waits.wake();
        }
        Poll::Ready(result.or_else(|error| {
            self.broken = Some(error);
            Ok(bytes.len())
        }))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.broken.is_none() {
            self.broken = ready!(Pin::new(&mut self.inner).poll_flush(cx)).err();
        }
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};
    use tokio::time::timeout;

    use super::*;

    #[tokio::test]
    async fn what_arrives_before_the_first_write_is_kept_and_read_after_it() {
        let (near, mut far) = duplex(1 << 20);
        let mut near = EarlyAnswer::new(near);
        let answer: Vec<u8> = (0..100_000_u32).map(|n| n as u8).collect();
        far.write_all(&answer).await.expect("there is room");
        drop(far);
        let mut byte = [0];
        let early = timeout(Duration::from_millis(50), near.read(&mut byte)).await;
        assert!(early.is_err(), "nothing was asked yet");
        near.write_all(b"request").await.expect("reading reports it");
        let mut read = Vec::new();
        let end = near.read_to_end(&mut read).await;
        assert_eq!(read, answer);
        assert_eq!(end.expect_err("the request was not written").kind(), io::ErrorKind::BrokenPipe);
    }

    #[tokio::test]
    async fn a_read_that_waits_is_woken_by_the_first_write() {
        let (near, mut far) = duplex(1024);
        let (mut reading, mut writing) = tokio::io::split(EarlyAnswer::new(near));
        far.write_all(b"x").await.expect("there is room");
        let read = tokio::spawn(async move { reading.read_u8().await });
        // It waits now.
        tokio::task::yield_now().await;
        writing.write_all(b"request").await.expect("there is room");
        let read = timeout(Duration::from_secs(5), read).await.expect("it is woken").expect("no panic");
        assert_eq!(read.expect("one"), b'x');
    }

    /// A pool must not keep it.
    #[tokio::test]
    async fn the_end_of_a_connection_on_which_nothing_arrived_is_reported_at_once() {
        let (near, far) = duplex(1024);
        let mut near = EarlyAnswer::new(near);
        drop(far);
        let end = timeout(Duration::from_secs(5), near.read(&mut [0])).await;
        assert_eq!(end.expect("at once").expect("no error"), 0);
    }
}
