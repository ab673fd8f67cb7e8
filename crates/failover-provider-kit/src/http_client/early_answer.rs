//! A connection on which an answer may come before the request.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Reads nothing until something was written, and leaves it to reading to report that the other side
/// has gone away.
///
/// A server may answer without reading the request, and close. hyper treats an answer before the
/// request as an error, and gives up when the request cannot be written although the answer is there.
pub(super) struct EarlyAnswer<S> {
    inner: S,
    has_written: bool,
    /// Of a read before the first write.
    waits: Option<Waker>,
    /// Why the request could not be written; reported if there is no answer.
    broken: Option<io::Error>,
}

impl<S> EarlyAnswer<S> {
    pub(super) fn new(inner: S) -> Self {
        Self { inner, has_written: false, waits: None, broken: None }
    }

    fn written(&mut self, result: io::Result<usize>, all: usize) -> io::Result<usize> {
        if let (false, Some(waits)) = (std::mem::replace(&mut self.has_written, true), self.waits.take()) {
            waits.wake();
        }
        match result {
            Err(error) if error.kind() != io::ErrorKind::Interrupted => {
                self.broken.get_or_insert(error);
                Ok(all)
            }
            result => result,
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for EarlyAnswer<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.has_written {
            self.waits = Some(cx.waker().clone());
            return Poll::Pending;
        }
        let before = buffer.filled().len();
        let read = std::task::ready!(Pin::new(&mut self.inner).poll_read(cx, buffer));
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
        let result = std::task::ready!(Pin::new(&mut self.inner).poll_write(cx, bytes));
        Poll::Ready(self.written(result, bytes.len()))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.broken.is_some() {
            return Poll::Ready(Ok(()));
        }
        let result = std::task::ready!(Pin::new(&mut self.inner).poll_flush(cx));
        if let Err(error) = result {
            self.broken.get_or_insert(error);
        }
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}
