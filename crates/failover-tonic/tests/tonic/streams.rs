//! Calls of all four kinds: what is repeated, what counts, and how long they are in flight.

use std::time::Duration;

use failover_core::{AttemptClass, StopReason};
use failover_testkit::until;
use failover_tonic::{FailoverChannel, FailoverError};
use futures_util::{StreamExt, stream};
use tonic::{Code, Status};

use crate::greeter::GreeterClient;
use crate::server::{Server, service};

const SOON: Duration = Duration::from_secs(10);

/// A stream of these parts that is pending before each of them.
fn slowly(
    parts: impl IntoIterator<Item = String, IntoIter: Send + 'static>,
) -> impl tokio_stream::Stream<Item = String> + Send {
    stream::iter(parts).then(|part| async move {
        tokio::task::yield_now().await;
        part
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_of_all_kinds_are_answered_and_in_flight_until_their_end() {
    let servers = [Server::start(), Server::start()];
    let users = service(servers.iter().map(Server::url));
    let mut client = GreeterClient::new(FailoverChannel::new(users.clone()));
    assert_eq!(client.hello("ada".to_owned()).await.expect("answers").into_inner(), "hello ada");
    let parts = slowly((0..100).map(|_| "x".repeat(10_000)));
    assert_eq!(client.upload(parts).await.expect("answers").into_inner(), "1000000");
    assert_eq!(users.stats().in_flight, 0);

    let mut numbers = client.count("3".to_owned()).await.expect("a stream").into_inner();
    assert_eq!(users.stats().in_flight, 1);
    let mut read = Vec::new();
    while let Some(number) = numbers.message().await.expect("no break") {
        read.push(number);
    }
    assert_eq!((read.concat().as_str(), users.stats().in_flight), ("123", 0), "ended by its reader");
    let dropped = client.count("3 …".to_owned()).await.expect("a stream");
    assert_eq!(users.stats().in_flight, 1);
    drop(dropped);
    assert_eq!(users.stats().in_flight, 0, "dropped");

    let (say, said) = tokio::sync::mpsc::channel(1);
    let said = tokio_stream::wrappers::ReceiverStream::new(said);
    let mut echoes = client.echo(said).await.expect("a stream").into_inner();
    for word in ["one", "two"] {
        say.send(word.to_owned()).await.expect("it listens");
        assert_eq!(echoes.message().await.expect("no break").as_deref(), Some(word));
    }
    drop(say);
    assert_eq!(echoes.message().await.expect("no break"), None);
    assert_eq!((users.stats().in_flight, users.stats().attempts.failures()), (0, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_short_request_is_repeated_and_a_long_or_slow_one_is_sent_once() {
    let busy = [Server::start(), Server::start()];
    for server in &busy {
        server.fail(Status::unavailable("busy"));
    }
    // Of its own for each call, so that none finds the breakers and the retry gate of another one.
    let client = || GreeterClient::new(FailoverChannel::new(service(busy.iter().map(Server::url))));
    let requests = || busy.iter().map(Server::requests).sum::<usize>();
    // Each message has a head of 5 bytes.
    for (bytes, expected) in [(64 * 1024 - 5, 3), (64 * 1024 - 4, 1)] {
        let before = requests();
        let error = client().hello("x".repeat(bytes)).await.expect_err("busy");
        assert_eq!((error.code(), requests() - before), (Code::Unavailable, expected), "{bytes} bytes");
    }
    let before = requests();
    client().upload(stream::iter(["a".to_owned(), "b".to_owned()])).await.expect_err("busy");
    assert_eq!(requests() - before, 3, "a stream that is all there is repeated");
    let before = requests();
    let error = client().upload(slowly(["a".to_owned(), "b".to_owned()])).await.expect_err("busy");
    assert_eq!((error.code(), error.message(), requests() - before), (Code::Unavailable, "busy", 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_that_cannot_be_repeated_ends_with_the_reason() {
    let servers = [Server::start(), Server::start()];
    servers.iter().for_each(Server::freeze);
    let users = service(servers.iter().map(Server::url));
    let channel = FailoverChannel::builder(users)
        .with_call(|call, _| call.attempt_timeout(Duration::from_millis(200)))
        .build();
    let error =
        GreeterClient::new(channel).upload(slowly(["a".to_owned()])).await.expect_err("nobody answers");
    let source = std::error::Error::source(&error).and_then(|source| source.downcast_ref::<FailoverError>());
    let reason = source.and_then(FailoverError::call).expect("a call").reason();
    assert!(matches!(reason, StopReason::NotRepeatable), "{error}");
    assert_eq!(error.code(), Code::DeadlineExceeded);
    assert_eq!(servers.iter().map(Server::requests).sum::<usize>(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_has_the_time_of_the_call_and_not_that_of_an_attempt() {
    let servers = [Server::start(), Server::start()];
    let users = service(servers.iter().map(Server::url));
    let parts = stream::iter(["a", "b", "c"]).then(|part| async move {
        // Longer than the 400 ms of an attempt, taken together.
        tokio::time::sleep(Duration::from_millis(200)).await;
        part.to_owned()
    });
    let mut client = GreeterClient::new(FailoverChannel::new(users.clone()));
    assert_eq!(client.upload(parts).await.expect("has the time").into_inner(), "3");
    assert_eq!(users.stats().attempts.failures(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_that_nobody_has_touched_goes_to_the_next_endpoint() {
    let (mut killed, alive) = (Server::start(), Server::start());
    killed.kill();
    let users = service([killed.url(), alive.url()]);
    let mut client = GreeterClient::new(FailoverChannel::new(users.clone()));
    for _ in 0..4 {
        let parts = slowly((0..20).map(|_| "x".repeat(10_000)));
        assert_eq!(client.upload(parts).await.expect("no call fails").into_inner(), "200000");
    }
    assert!(users.stats().attempts.of(AttemptClass::NotSent) > 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_status_in_trailers_is_not_repeated_and_counts_for_its_endpoint() {
    let (bad, good) = (Server::start(), Server::start());
    bad.answer(|| {
        // A head without a status, a message, and the status in trailers, as of a stream that fails.
        let mut trailers = http::HeaderMap::new();
        trailers.insert("grpc-status", http::HeaderValue::from_static("13"));
        trailers.insert("grpc-message", http::HeaderValue::from_static("half"));
        let frames = [
            Ok::<_, Status>(http_body::Frame::data(bytes::Bytes::from_static(b"\0\0\0\0\x01x"))),
            Ok(http_body::Frame::trailers(trailers)),
        ];
        let body = tonic::body::Body::new(http_body_util::StreamBody::new(stream::iter(frames)));
        let response = http::Response::builder().header("content-type", "application/grpc").body(body);
        response.expect("valid")
    });
    let users = service([bad.url(), good.url()]);
    let mut client = GreeterClient::new(FailoverChannel::new(users.clone()));
    let mut failed = 0;
    for _ in 0..40 {
        if let Err(error) = client.hello("ada".to_owned()).await {
            assert_eq!((error.code(), error.message()), (Code::Internal, "half"));
            failed += 1;
        }
    }
    assert_eq!((users.stats().retried, bad.requests()), (0, failed), "none is repeated");
    assert_eq!(failed, 7, "after which the endpoint is out");
    let shown = users.explain().to_string();
    assert!(shown.contains("INTERNAL"), "{shown}");
    assert_eq!(users.stats().in_flight, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_that_breaks_off_is_an_error_to_its_reader_and_counts_for_its_endpoint() {
    let mut server = Server::start();
    let users = service([server.url()]);
    let mut client = GreeterClient::new(FailoverChannel::new(users.clone()));
    let mut numbers = client.count("1 …".to_owned()).await.expect("a stream").into_inner();
    assert_eq!(numbers.message().await.expect("a number").as_deref(), Some("1"));
    server.kill();
    let error = numbers.message().await.expect_err("the server is gone");
    assert_ne!(error.code(), Code::Ok, "{error}");
    let shown = users.explain().to_string();
    assert!(shown.contains("4 more failures in a row"), "{shown}");
    until(SOON, "nothing is in flight", || async { users.stats().in_flight == 0 }).await;
}
