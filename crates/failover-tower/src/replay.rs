//! Request bodies that several attempts can send.

use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use bytes::{Buf, Bytes};
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};

use crate::BoxError;

/// The body of one attempt: what earlier attempts have read of the request's body, and then the rest.
///
/// What is read is kept up to the layer's limit. A body that exceeds it is sent once.
pub struct ReplayBody<B>(Source<B>);

enum Source<B> {
    /// The request has no body.
    Empty,
    Shared {
        shared: Arc<Shared<B>>,
        attempt: u32,
        position: usize,
        trailers_sent: bool,
    },
}

/// The body of a request, which its attempts read in turn.
pub(crate) struct Shared<B>(Mutex<State<B>>);

struct State<B> {
    body: Pin<Box<B>>,
    /// The attempt that reads. An earlier one may still be polled by a connection that is closing.
    attempt: u32,
    limit: usize,
    kept: Vec<u8>,
    trailers: Option<HeaderMap>,
    /// More was read than is kept.
    lost: bool,
    ended: bool,
    /// The body itself has failed, which no endpoint can help.
    failed: bool,
}

/// A later attempt reads the body.
#[derive(Debug)]
struct Superseded;

impl fmt::Display for Superseded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a later attempt sends the request's body")
    }
}

impl std::error::Error for Superseded {}

impl<B: Body> Shared<B> {
    /// Shares a body among attempts; `None` for one without content.
    pub(crate) fn new(body: B, limit: usize) -> Option<Arc<Self>> {
        if body.is_end_stream() {
            return None;
        }
        // A body that is known to exceed the limit is not kept at all.
        let limit = if body.size_hint().lower() > limit as u64 { 0 } else { limit };
        Some(Arc::new(Self(Mutex::new(State {
            body: Box::pin(body),
            attempt: 0,
            limit,
            kept: Vec::new(),
            trailers: None,
            lost: false,
            ended: false,
            failed: false,
        }))))
    }
}

impl<B> Shared<B> {
    fn state(&self) -> MutexGuard<'_, State<B>> {
        // A body that panics while it is polled has failed, and is not polled again.
        self.0.lock().unwrap_or_else(|poisoned| {
            let mut state = PoisonError::into_inner(poisoned);
            state.failed = true;
            state
        })
    }

    /// Whether another attempt can send the whole body.
    pub(crate) fn can_replay(&self) -> bool {
        let state = self.state();
        !state.lost && !state.failed
    }

    /// Whether the body itself has failed.
    pub(crate) fn has_failed(&self) -> bool {
        self.state().failed
    }
}

impl<B> ReplayBody<B> {
    /// Returns the body of the next attempt. Bodies of earlier attempts end with an error.
    pub(crate) fn next(shared: Option<&Arc<Shared<B>>>) -> Self {
        let Some(shared) = shared else { return Self(Source::Empty) };
        let attempt = {
            let mut state = shared.state();
            state.attempt += 1;
            state.attempt
        };
        let shared = Arc::clone(shared);
        Self(Source::Shared { shared, attempt, position: 0, trailers_sent: false })
    }
}

impl<B: Body> ReplayBody<B> {
    /// Creates the body of a request that is sent without the layer, and once.
    pub fn from_body(body: B) -> Self {
        Self::next(Shared::new(body, 0).as_ref())
    }
}

impl<B> fmt::Debug for ReplayBody<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReplayBody").finish_non_exhaustive()
    }
}

// Nothing is pinned in place: the request's body is in a box.
impl<B> Unpin for ReplayBody<B> {}

impl<B> Body for ReplayBody<B>
where
    B: Body,
    B::Error: Into<BoxError>,
{
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let Source::Shared { shared, attempt, position, trailers_sent } = &mut self.0 else {
            return Poll::Ready(None);
        };
        let mut state = shared.state();
        if state.attempt != *attempt {
            return Poll::Ready(Some(Err(Superseded.into())));
        }
        if state.failed {
            return Poll::Ready(Some(Err("the request's body has failed before".into())));
        }
        if *position < state.kept.len() {
            let again = Bytes::copy_from_slice(&state.kept[*position..]);
            *position = state.kept.len();
            return Poll::Ready(Some(Ok(Frame::data(again))));
        }
        if state.ended {
            let trailers = state.trailers.clone().filter(|_| !*trailers_sent);
            *trailers_sent = true;
            return Poll::Ready(trailers.map(|trailers| Ok(Frame::trailers(trailers))));
        }
        let polled = std::task::ready!(state.body.as_mut().poll_frame(context));
        Poll::Ready(match polled {
            None => {
                state.ended = true;
                None
            }
            Some(Err(error)) => {
                state.failed = true;
                Some(Err(error.into()))
            }
            Some(Ok(frame)) => match frame.into_data() {
                Ok(mut data) => {
                    let data = data.copy_to_bytes(data.remaining());
                    state.keep(&data);
                    *position = state.kept.len();
                    Some(Ok(Frame::data(data)))
                }
                Err(frame) => {
                    let Ok(trailers) = frame.into_trailers() else {
                        return Poll::Ready(Some(Ok(Frame::data(Bytes::new()))));
                    };
                    state.ended = true;
                    state.trailers = Some(trailers.clone());
                    *trailers_sent = true;
                    Some(Ok(Frame::trailers(trailers)))
                }
            },
        })
    }

    fn is_end_stream(&self) -> bool {
        let Source::Shared { shared, attempt, position, trailers_sent } = &self.0 else { return true };
        let state = shared.state();
        let rest = !state.ended && !state.body.is_end_stream();
        let trailers = state.trailers.is_some() && !trailers_sent;
        state.attempt == *attempt && *position >= state.kept.len() && !rest && !trailers && !state.failed
    }

    fn size_hint(&self) -> SizeHint {
        let Source::Shared { shared, position, .. } = &self.0 else { return SizeHint::with_exact(0) };
        let state = shared.state();
        let again = (state.kept.len() - (*position).min(state.kept.len())) as u64;
        let rest = if state.ended { SizeHint::with_exact(0) } else { state.body.size_hint() };
        let mut hint = SizeHint::new();
        if let Some(upper) = rest.upper() {
            hint.set_upper(upper.saturating_add(again));
        }
        hint.set_lower(rest.lower().saturating_add(again));
        hint
    }
}

impl<B> State<B> {
    fn keep(&mut self, data: &[u8]) {
        if self.lost || data.is_empty() {
            return;
        }
        if self.kept.len() + data.len() > self.limit {
            self.lost = true;
            self.kept = Vec::new();
        } else {
            self.kept.extend_from_slice(data);
        }
    }
}

#[cfg(test)]
mod tests;
