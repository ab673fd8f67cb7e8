//! Request bodies: one that is all there is replayed, any other is sent once.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body as _, Frame};
use tonic::Status;
use tonic::body::Body;

/// The body of a request, which its attempts share.
pub(crate) struct Outgoing {
    kind: Kind,
    /// A server has forbidden another attempt.
    forbidden: AtomicBool,
}

enum Kind {
    /// It ended without ever being pending, and every attempt sends it.
    Whole(Vec<Bytes>),
    Stream(Mutex<Stream>),
}

/// A body that the first attempt that polls it takes.
struct Stream {
    /// What was read before the first attempt.
    begun: VecDeque<Frame<Bytes>>,
    rest: Body,
    taken_by: Option<u32>,
    failed: bool,
}

impl Outgoing {
    /// Reads a body until it ends, is pending, or exceeds this many bytes.
    ///
    /// # Errors
    ///
    /// Returns the body's own error, which no server can help.
    pub(crate) fn read(mut body: Body, limit: usize, context: &mut Context<'_>) -> Result<Arc<Self>, Status> {
        let (mut frames, mut bytes) = (Vec::new(), 0_usize);
        let trailers = loop {
            if body.is_end_stream() {
                return Ok(Self::new(Kind::Whole(frames)));
            }
            match Pin::new(&mut body).poll_frame(context) {
                Poll::Pending => break None,
                Poll::Ready(None) => return Ok(Self::new(Kind::Whole(frames))),
                Poll::Ready(Some(frame)) => match frame?.into_data() {
                    Ok(data) => {
                        bytes = bytes.saturating_add(data.len());
                        frames.push(data);
                        if bytes > limit {
                            break None;
                        }
                    }
                    Err(trailers) => break Some(trailers),
                },
            }
        };
        let begun = frames.into_iter().map(Frame::data).chain(trailers).collect();
        let stream = Stream { begun, rest: body, taken_by: None, failed: false };
        Ok(Self::new(Kind::Stream(Mutex::new(stream))))
    }

    fn new(kind: Kind) -> Arc<Self> {
        Arc::new(Self { kind, forbidden: AtomicBool::new(false) })
    }

    /// Whether every attempt can send it.
    pub(crate) fn is_whole(&self) -> bool {
        matches!(self.kind, Kind::Whole(_))
    }

    /// Whether another attempt can send it, and no server has forbidden that.
    pub(crate) fn may_repeat(&self) -> bool {
        let untouched = match &self.kind {
            Kind::Whole(_) => true,
            Kind::Stream(stream) => lock(stream).taken_by.is_none(),
        };
        untouched && !self.forbidden.load(Ordering::Relaxed)
    }

    /// Forbids another attempt.
    pub(crate) fn forbid(&self) {
        self.forbidden.store(true, Ordering::Relaxed);
    }

    /// Whether the body itself has failed.
    pub(crate) fn has_failed(&self) -> bool {
        match &self.kind {
            Kind::Whole(_) => false,
            Kind::Stream(stream) => lock(stream).failed,
        }
    }

    /// Returns the body for an attempt.
    pub(crate) fn of_attempt(self: &Arc<Self>, attempt: u32) -> Body {
        Body::new(RequestBody { shared: Arc::clone(self), attempt, next: 0 })
    }
}

fn lock(stream: &Mutex<Stream>) -> MutexGuard<'_, Stream> {
    // A body that panics while it is polled has failed, and is not polled again.
    stream.lock().unwrap_or_else(|poisoned| {
        let mut stream = PoisonError::into_inner(poisoned);
        stream.failed = true;
        stream
    })
}

/// The body of one attempt.
struct RequestBody {
    shared: Arc<Outgoing>,
    attempt: u32,
    /// The next frame of a whole body.
    next: usize,
}

impl http_body::Body for RequestBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = &mut *self;
        let stream = match &this.shared.kind {
            Kind::Whole(frames) => {
                let frame = frames.get(this.next).cloned();
                this.next += usize::from(frame.is_some());
                return Poll::Ready(frame.map(|data| Ok(Frame::data(data))));
            }
            Kind::Stream(stream) => stream,
        };
        let mut stream = lock(stream);
        if *stream.taken_by.get_or_insert(this.attempt) != this.attempt {
            return Poll::Ready(Some(Err(Status::aborted("another attempt sends the request's body"))));
        }
        if stream.failed {
            return Poll::Ready(Some(Err(Status::internal("the request's body has failed before"))));
        }
        if let Some(frame) = stream.begun.pop_front() {
            return Poll::Ready(Some(Ok(frame)));
        }
        let polled = std::task::ready!(Pin::new(&mut stream.rest).poll_frame(context));
        stream.failed = matches!(polled, Some(Err(_)));
        Poll::Ready(polled)
    }

    fn is_end_stream(&self) -> bool {
        match &self.shared.kind {
            Kind::Whole(frames) => self.next >= frames.len(),
            Kind::Stream(_) => false,
        }
    }
    // No hint of the size, with which hyper would send `content-length`, as no gRPC client does.
}

#[cfg(test)]
mod tests;
