//! Response bodies that keep their call in flight.

use std::pin::Pin;
use std::task::{Context, Poll};

use failover_core::{InFlightGuard, Outcome};
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;

pin_project! {
    /// The body of a response. Its call is in flight to the endpoint until the body ends or is dropped.
    ///
    /// A body that breaks off counts as a failure of the endpoint. The call is not repeated: a part of its
    /// answer may have been used.
    #[derive(Debug)]
    pub struct ResponseBody<B> {
        #[pin]
        body: B,
        in_flight: Option<InFlightGuard>,
    }
}

impl<B: Body> ResponseBody<B> {
    pub(crate) fn new(body: B, keep: impl FnOnce() -> Option<InFlightGuard>) -> Self {
        let in_flight = if body.is_end_stream() { None } else { keep() };
        Self { body, in_flight }
    }

    /// Returns the inner body. The call is no longer in flight.
    pub fn into_inner(self) -> B {
        self.body
    }
}

impl<B: Body> Body for ResponseBody<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        let mut this = self.project();
        let frame = std::task::ready!(this.body.as_mut().poll_frame(context));
        match &frame {
            Some(Err(_)) => {
                if let Some(in_flight) = this.in_flight.take() {
                    in_flight.finish((Outcome::Failure, "the response broke off".to_owned()));
                }
            }
            // A reader that knows the length may not ask for the end.
            _ if frame.is_none() || this.body.is_end_stream() => *this.in_flight = None,
            _ => {}
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
