//! Response bodies: in flight until their end, whose status counts for the endpoint.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use failover_core::{Classified, Clock, InFlightGuard, Outcome, Time};
use http::HeaderMap;
use http_body::{Body as _, Frame, SizeHint};
use tokio::time::Sleep;
use tonic::metadata::MetadataMap;
use tonic::{Status, body::Body};

use crate::request_body::Outgoing;
use crate::rules::{GrpcRules, code};

const NO_STATUS: &str = "the reply ended without a status";

/// The body of a response. Its call is in flight to the endpoint until the body ends or is dropped.
///
/// A failure in its trailers, or a stream that breaks off, counts against the endpoint; no other attempt
/// follows. At the caller's deadline (`grpc-timeout`) it ends with `DEADLINE_EXCEEDED`, and without a
/// status from the server with `UNKNOWN`.
#[derive(Debug, Default)]
pub struct ResponseBody {
    body: Body,
    open: Option<Open>,
    deadline: Option<Deadline>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Ended {
    AsItIs,
    WithoutStatus,
}

/// What is needed until the end of the body.
pub(crate) struct Open {
    pub(crate) in_flight: Option<InFlightGuard>,
    pub(crate) rules: GrpcRules,
    pub(crate) request: Arc<Outgoing>,
    /// The head was a success, and the body says how the call ended.
    pub(crate) ends_with_status: bool,
}

/// The time at which the caller gives up. The timer begins when the body is first pending.
#[derive(Debug)]
pub(crate) struct Deadline {
    pub(crate) at: Time,
    pub(crate) clock: Clock,
    pub(crate) timer: Option<Pin<Box<Sleep>>>,
}

impl std::fmt::Debug for Open {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Open").field("in_flight", &self.in_flight).finish_non_exhaustive()
    }
}

impl ResponseBody {
    pub(crate) fn new(body: Body, open: impl FnOnce() -> Open, deadline: Option<Deadline>) -> Self {
        let open = if body.is_end_stream() { None } else { Some(open()) };
        Self { body, open, deadline }
    }

    /// Ends the call in flight, with the outcome that its end shows.
    fn end(&mut self, outcome: impl FnOnce(&GrpcRules) -> Option<Classified>) -> Ended {
        let Some(open) = self.open.take().filter(|open| open.ends_with_status) else { return Ended::AsItIs };
        let outcome = outcome(&open.rules);
        let ended = if outcome.is_some() { Ended::AsItIs } else { Ended::WithoutStatus };
        // A request that its sender broke off says nothing about the endpoint.
        if let (Some(in_flight), false) = (open.in_flight, open.request.has_failed()) {
            in_flight.finish(outcome.unwrap_or_else(|| Classified::new(Outcome::Failure, NO_STATUS)));
        }
        ended
    }

    fn is_late(&mut self, context: &mut Context<'_>) -> bool {
        let Some(Deadline { at, clock, timer }) = &mut self.deadline else { return false };
        let timer = timer.get_or_insert_with(|| Box::pin(tokio::time::sleep(at.since(clock.now()))));
        timer.as_mut().poll(context).is_ready()
    }
}

impl http_body::Body for ResponseBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = &mut *self;
        let Poll::Ready(mut frame) = Pin::new(&mut this.body).poll_frame(context) else {
            if !this.is_late(context) {
                return Poll::Pending;
            }
            // The caller's time says nothing about the endpoint.
            (this.open, this.body) = (None, Body::empty());
            let message = "the time of grpc-timeout has passed before the end of the reply";
            return Poll::Ready(Some(Err(Status::deadline_exceeded(message))));
        };
        let ended = match &mut frame {
            Some(Ok(part)) => {
                let Some(trailers) = part.trailers_mut() else { return Poll::Ready(frame) };
                drop_bad_details(trailers);
                this.end(|rules| Some(rules.classify_code(code(trailers)?, trailers)))
            }
            Some(Err(error)) => this.end(|_| Some(Classified::from_error(Outcome::Failure, error))),
            None => this.end(|_| None),
        };
        // tonic would take it for a success.
        Poll::Ready(if ended == Ended::WithoutStatus { Some(Err(Status::unknown(NO_STATUS))) } else { frame })
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Removes details of a status that are no base64, at which tonic would panic.
pub(crate) fn drop_bad_details(headers: &mut HeaderMap) {
    // Trailers of a success have one field.
    if headers.len() < 2 {
        return;
    }
    let Some(details) = headers.get(Status::GRPC_STATUS_DETAILS) else { return };
    let alone = HeaderMap::from_iter([(Status::GRPC_STATUS_DETAILS, details.clone())]);
    let alone = MetadataMap::from_headers(alone);
    let details = alone.get_bin(Status::GRPC_STATUS_DETAILS.as_str());
    if details.is_none_or(|details| details.to_bytes().is_err()) {
        headers.remove(Status::GRPC_STATUS_DETAILS);
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn details_that_tonic_cannot_read_are_left_out_and_others_stay() {
        for (details, stays) in
            [("aGk", true), ("aGk=", true), ("", true), ("a", false), ("%%%", false), ("aGl", false)]
        {
            let mut headers = HeaderMap::new();
            headers.insert(Status::GRPC_STATUS, HeaderValue::from_static("13"));
            headers.insert(Status::GRPC_STATUS_DETAILS, HeaderValue::from_static(details));
            drop_bad_details(&mut headers);
            assert_eq!(headers.contains_key(Status::GRPC_STATUS_DETAILS), stays, "{details}");
            assert!(Status::from_header_map(&headers).is_some());
        }
    }
}
