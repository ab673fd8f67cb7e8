use futures_util::stream;
use http_body_util::{BodyExt, StreamBody};

use super::*;

type Item = Result<Frame<Bytes>, Status>;

#[allow(clippy::unnecessary_wraps, reason = "an item of a body")]
fn data(text: &'static [u8]) -> Item {
    Ok(Frame::data(Bytes::from_static(text)))
}

fn body(items: impl IntoIterator<Item = Item, IntoIter: Send + 'static>) -> Body {
    Body::new(StreamBody::new(stream::iter(items)))
}

/// A body that is pending after these items.
fn pending(items: impl IntoIterator<Item = Item, IntoIter: Send + 'static>) -> Body {
    use futures_util::StreamExt;
    Body::new(StreamBody::new(stream::iter(items).chain(stream::pending())))
}

async fn read(body: Body, limit: usize) -> Result<Arc<Outgoing>, Status> {
    let mut body = Some(body);
    let read =
        |context: &mut Context<'_>| Poll::Ready(Outgoing::read(body.take().expect("once"), limit, context));
    std::future::poll_fn(read).await
}

async fn sent(body: Body) -> Result<Bytes, Status> {
    body.collect().await.map(http_body_util::Collected::to_bytes)
}

#[tokio::test]
async fn a_body_that_ends_within_the_limit_is_the_same_for_every_attempt() {
    let outgoing = read(body([data(b"abc"), data(b"de")]), 5).await.expect("reads");
    assert!(outgoing.is_whole());
    for attempt in 1..4 {
        assert_eq!(sent(outgoing.of_attempt(attempt)).await.expect("sends"), "abcde");
        assert!(outgoing.may_repeat());
    }
    outgoing.forbid();
    assert!(!outgoing.may_repeat());
    let empty = read(Body::empty(), 0).await.expect("reads");
    assert!(empty.is_whole() && empty.of_attempt(1).is_end_stream());
}

#[tokio::test]
async fn a_longer_body_is_sent_once_and_whole_by_the_attempt_that_polls_it() {
    let outgoing = read(body([data(b"abc"), data(b"def"), data(b"g")]), 5).await.expect("reads");
    assert!(!outgoing.is_whole() && outgoing.may_repeat(), "nobody has touched it");
    // An attempt that got no connection does not poll.
    drop(outgoing.of_attempt(1));
    assert!(outgoing.may_repeat());
    assert_eq!(sent(outgoing.of_attempt(2)).await.expect("sends"), "abcdefg");
    assert!(!outgoing.may_repeat());
    let late = sent(outgoing.of_attempt(1)).await.expect_err("another attempt sends it");
    assert_eq!(late.code(), tonic::Code::Aborted);
}

#[tokio::test]
async fn a_body_that_was_pending_is_sent_once() {
    let outgoing = read(pending([data(b"abc")]), 5).await.expect("reads");
    assert!(!outgoing.is_whole());
    let mut first = outgoing.of_attempt(1);
    let frame = first.frame().await.expect("a frame").expect("data");
    assert_eq!(frame.data_ref().expect("data"), "abc");
    assert!(!outgoing.may_repeat());
}

#[tokio::test]
async fn a_body_that_fails_says_so_before_or_during_the_first_attempt() {
    let error = || Err(Status::out_of_range("too long"));
    let early = read(body([data(b"abc"), error()]), 5).await;
    assert_eq!(early.map(|_| ()).expect_err("its own error").message(), "too long");
    let outgoing = read(body([data(b"abcdef"), error()]), 5).await.expect("reads");
    assert_eq!(sent(outgoing.of_attempt(1)).await.expect_err("fails").message(), "too long");
    assert!(outgoing.has_failed() && !outgoing.may_repeat());
}

#[tokio::test]
async fn trailers_of_a_request_are_sent_once() {
    let mut trailers = http::HeaderMap::new();
    trailers.insert("x-sum", http::HeaderValue::from_static("5"));
    let outgoing = read(body([data(b"abc"), Ok(Frame::trailers(trailers))]), 5).await.expect("reads");
    assert!(!outgoing.is_whole());
    let collected = outgoing.of_attempt(1).collect().await.expect("sends");
    assert_eq!(collected.trailers().expect("trailers")["x-sum"], "5");
}
