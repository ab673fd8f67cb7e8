use std::collections::VecDeque;
use std::convert::Infallible;
use std::future::poll_fn;
use std::task::Waker;

use http::HeaderValue;

use super::*;

/// A body of these frames; an empty `Err` is a failure, and `None` waits for ever.
struct Frames(VecDeque<Option<Result<Frame<Bytes>, &'static str>>>, Option<u64>);

impl Frames {
    fn new<const N: usize>(frames: [Option<Result<Frame<Bytes>, &'static str>>; N]) -> Self {
        Self(frames.into(), None)
    }
}

impl Body for Frames {
    type Data = Bytes;
    type Error = &'static str;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, &'static str>>> {
        match self.0.front() {
            Some(None) => Poll::Pending,
            _ => Poll::Ready(self.0.pop_front().flatten()),
        }
    }

    fn size_hint(&self) -> SizeHint {
        self.1.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

#[allow(clippy::unnecessary_wraps, reason = "an element of the list of frames")]
fn data(length: usize) -> Option<Result<Frame<Bytes>, &'static str>> {
    Some(Ok(Frame::data(Bytes::from(vec![b'x'; length]))))
}

fn trailers() -> HeaderMap {
    [(http::HeaderName::from_static("checksum"), HeaderValue::from_static("7"))].into_iter().collect()
}

type Next = Poll<Option<Result<Frame<Bytes>, BoxError>>>;

fn poll<B>(body: &mut ReplayBody<B>) -> Next
where
    B: Body,
    B::Error: Into<BoxError>,
{
    Pin::new(body).poll_frame(&mut Context::from_waker(Waker::noop()))
}

/// Reads a body to its end: the bytes, and whether there were trailers.
async fn read<B>(mut body: ReplayBody<B>) -> Result<(usize, bool), BoxError>
where
    B: Body,
    B::Error: Into<BoxError>,
{
    let (mut bytes, mut trailed) = (0, false);
    while let Some(frame) = poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await {
        match frame?.into_data() {
            Ok(data) => bytes += data.len(),
            Err(_) => trailed = true,
        }
    }
    Ok((bytes, trailed))
}

#[tokio::test]
async fn every_attempt_sends_the_whole_body_and_its_trailers() {
    let shared = Shared::new(Frames::new([data(3), data(4), Some(Ok(Frame::trailers(trailers())))]), 7);
    for _ in 0..3 {
        assert_eq!(read(ReplayBody::next(shared.as_ref())).await.expect("a body"), (7, true));
        assert!(shared.as_ref().expect("content").can_replay());
    }
}

#[tokio::test]
async fn an_attempt_begins_anew_where_another_stopped_in_the_middle() {
    let shared = Shared::new(Frames::new([data(3), data(4)]), 100);
    let mut first = ReplayBody::next(shared.as_ref());
    assert!(
        matches!(poll(&mut first), Poll::Ready(Some(Ok(frame))) if frame.data_ref().is_some_and(|d| d.len() == 3))
    );
    let second = ReplayBody::next(shared.as_ref());
    assert_eq!(read(second).await.expect("a body"), (7, false));
}

#[tokio::test]
async fn an_earlier_attempt_takes_nothing_from_a_later_one() {
    let shared = Shared::new(Frames::new([data(3), data(4)]), 100);
    let mut first = ReplayBody::next(shared.as_ref());
    let mut second = ReplayBody::next(shared.as_ref());
    assert!(matches!(poll(&mut first), Poll::Ready(Some(Err(error))) if error.is::<Superseded>()));
    assert!(!first.is_end_stream(), "a connection must not take the error for the end");
    assert!(matches!(poll(&mut second), Poll::Ready(Some(Ok(_)))));
    drop(first);
    assert_eq!(read(second).await.expect("the rest"), (4, false));
}

#[tokio::test]
async fn a_body_above_the_limit_is_sent_once_and_not_kept() {
    for (frames, limit, replayed) in [
        ([data(4), data(4)], 8, true),
        ([data(4), data(4)], 7, false),
        ([data(8), data(0)], 8, true),
        ([data(9), data(0)], 8, false),
        ([data(1), data(0)], 0, false),
        ([data(0), data(0)], 0, true),
    ] {
        let shared = Shared::new(Frames::new(frames), limit).expect("content");
        let mut body = ReplayBody::next(Some(&shared));
        assert!(shared.can_replay(), "nothing has been read");
        while let Poll::Ready(Some(frame)) = poll(&mut body) {
            frame.expect("the attempt itself gets all of it");
        }
        assert_eq!(shared.can_replay(), replayed, "limit {limit}");
        let kept = shared.state().kept.capacity();
        assert!(kept <= 2 * limit.max(8), "{kept} bytes are kept");
    }
}

#[tokio::test]
async fn a_body_that_is_known_to_be_too_long_is_kept_not_even_in_part() {
    let shared = Shared::new(Frames([data(4), data(96)].into(), Some(100)), 64).expect("content");
    let mut body = ReplayBody::next(Some(&shared));
    assert!(matches!(poll(&mut body), Poll::Ready(Some(Ok(_)))));
    assert!(!shared.can_replay() && shared.state().kept.capacity() == 0);
}

#[tokio::test]
async fn a_body_that_fails_is_not_repeated() {
    let shared = Shared::new(Frames::new([data(3), Some(Err("the disk is gone"))]), 100).expect("content");
    let error = read(ReplayBody::next(Some(&shared))).await.expect_err("it fails");
    assert_eq!(error.to_string(), "the disk is gone");
    assert!(shared.has_failed() && !shared.can_replay());
    let later = read(ReplayBody::next(Some(&shared))).await.expect_err("it does not look complete");
    assert!(later.to_string().contains("failed before"), "{later}");
}

#[tokio::test]
async fn a_body_that_waits_is_read_by_the_attempt_that_came_last() {
    let shared = Shared::new(Frames::new([data(3), None]), 100);
    let mut first = ReplayBody::next(shared.as_ref());
    assert!(poll(&mut first).is_ready() && poll(&mut first).is_pending());
    let mut second = ReplayBody::next(shared.as_ref());
    assert!(poll(&mut second).is_ready() && poll(&mut second).is_pending());
    assert!(matches!(poll(&mut first), Poll::Ready(Some(Err(_)))));
}

#[tokio::test]
async fn the_size_is_that_of_what_is_still_to_be_sent() {
    let shared = Shared::new(http_body_util::Full::new(Bytes::from_static(b"1234567")), 100);
    let mut first = ReplayBody::next(shared.as_ref());
    assert_eq!((first.size_hint().exact(), first.is_end_stream()), (Some(7), false));
    assert!(poll(&mut first).is_ready());
    assert_eq!((first.size_hint().exact(), first.is_end_stream()), (Some(0), true));
    let mut second = ReplayBody::next(shared.as_ref());
    assert_eq!((second.size_hint().exact(), second.is_end_stream()), (Some(7), false));
    assert!(poll(&mut second).is_ready() && second.is_end_stream());
    let unknown = ReplayBody::next(Shared::new(Frames::new([data(3)]), 100).as_ref());
    assert_eq!((unknown.size_hint().lower(), unknown.size_hint().upper()), (0, None));
}

#[test]
fn a_request_without_content_shares_nothing() {
    let empty = Shared::new(http_body_util::Empty::<Bytes>::new(), 100);
    assert!(empty.is_none());
    let mut body = ReplayBody::next(empty.as_ref());
    assert_eq!((body.size_hint().exact(), body.is_end_stream()), (Some(0), true));
    assert!(matches!(poll(&mut body), Poll::Ready(None)));
}

#[test]
fn a_body_is_send_and_sync_though_the_requests_body_is_only_send() {
    fn is_send_and_sync<T: Send + Sync>() {}
    type NotSync = http_body_util::combinators::UnsyncBoxBody<Bytes, Infallible>;
    is_send_and_sync::<ReplayBody<NotSync>>();
}
