//! The caller's deadline: over all attempts, to the servers, and until the end of the reply.

use std::time::{Duration, Instant};

use failover_core::{AttemptClass, FailoverConfig, ServiceHandle};
use failover_tonic::FailoverChannel;
use tonic::{Code, Request, Status};

use crate::greeter::GreeterClient;
use crate::server::{Server, service};

fn within(time: Duration, text: &str) -> Request<String> {
    let mut request = Request::new(text.to_owned());
    request.set_timeout(time);
    request
}

/// The microseconds that a head gives the call.
fn micros(head: &http::HeaderMap) -> u64 {
    let value = head["grpc-timeout"].to_str().expect("text");
    value.strip_suffix('u').expect("microseconds").parse().expect("a number")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_attempt_sends_the_time_that_is_left() {
    let (frozen, alive) = (Server::start(), Server::start());
    frozen.freeze();
    let users = service([frozen.url(), alive.url()]);
    let mut client = GreeterClient::new(FailoverChannel::new(users));
    while frozen.requests() == 0 {
        client.hello(within(Duration::from_secs(5), "ada")).await.expect("no call fails");
    }
    let first = micros(&frozen.heads()[0]);
    let second = micros(alive.heads().last().expect("asked"));
    assert!((4_500_000..=5_000_000).contains(&first), "{first}");
    // The first attempt took its 400 ms.
    assert!((3_000_000..=4_650_000).contains(&second), "{second}");
    client.hello("ada".to_owned()).await.expect("answers");
    let heads = [frozen.heads(), alive.heads()].concat();
    assert_eq!(
        heads.iter().filter(|head| !head.contains_key("grpc-timeout")).count(),
        1,
        "a stream may last"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_callers_time_bounds_all_attempts_together() {
    let servers = [Server::start(), Server::start(), Server::start()];
    servers.iter().for_each(Server::freeze);
    let users = service(servers.iter().map(Server::url));
    let mut client = GreeterClient::new(FailoverChannel::new(users.clone()));
    let begun = Instant::now();
    let error = client.hello(within(Duration::from_millis(600), "ada")).await.expect_err("nobody answers");
    let took = begun.elapsed();
    assert_eq!(error.code(), Code::DeadlineExceeded, "{error}");
    assert!(took >= Duration::from_millis(590) && took < Duration::from_millis(1_200), "{took:?}");
    assert!(servers.iter().map(Server::requests).sum::<usize>() >= 2, "400 ms were the first one's");
    // An earlier status is no answer to a call whose time ran out on another server.
    let busy = Server::start();
    busy.fail(Status::unavailable("busy"));
    // Which of the two comes first is random.
    while busy.requests() == 0 {
        let users = service([busy.url(), servers[1].url()]);
        let mut client = GreeterClient::new(FailoverChannel::new(users));
        let error =
            client.hello(within(Duration::from_millis(300), "ada")).await.expect_err("nobody answers");
        assert_eq!(error.code(), Code::DeadlineExceeded, "{error}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_time_that_nobody_could_meet_does_not_count_against_the_endpoint() {
    let server = Server::start();
    server.freeze();
    let users = service([server.url()]);
    let mut client = GreeterClient::new(FailoverChannel::new(users.clone()));
    for _ in 0..5 {
        let error = client.hello(within(Duration::from_millis(20), "ada")).await.expect_err("no time");
        assert_eq!(error.code(), Code::DeadlineExceeded);
    }
    let error = client.hello(within(Duration::ZERO, "ada")).await.expect_err("no time at all");
    assert_eq!(error.code(), Code::DeadlineExceeded);
    assert_eq!(users.stats().attempts.failures(), 0, "{:?}", users.stats().attempts);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_timeout_that_is_no_time_is_an_error_before_anything_is_sent() {
    let server = Server::start();
    let mut client = GreeterClient::new(FailoverChannel::new(service([server.url()])));
    for value in ["soon", "", "5", "-1m", "100000000m", "1.5S"] {
        let mut request = Request::new("ada".to_owned());
        request.metadata_mut().insert("grpc-timeout", value.parse().expect("a header"));
        let error = client.hello(request).await.expect_err("no time");
        assert_eq!(error.code(), Code::InvalidArgument, "{value}");
        assert!(error.message().contains("grpc-timeout"), "{}", error.message());
    }
    assert_eq!(server.requests(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn timers_of_tonic_are_timeouts() {
    let (frozen, alive) = (Server::start(), Server::start());
    frozen.freeze();
    // The engine's own timer is far away.
    let patient = FailoverConfig::builder().attempt_timeout(Duration::from_secs(20)).build().expect("valid");
    let users = ServiceHandle::builder("users").endpoints([frozen.url(), alive.url()]).config(patient);
    let users = users.build().expect("valid");
    let channel = FailoverChannel::builder(users.clone())
        .with_endpoint(|_, endpoint| Ok(endpoint.timeout(Duration::from_millis(200))))
        .build();
    for _ in 0..2 {
        GreeterClient::new(channel.clone()).hello("ada".to_owned()).await.expect("the other one answers");
    }
    assert_eq!(users.stats().attempts.of(AttemptClass::Timeout), 1);
    // What a tonic server answers when its timer expires.
    frozen.fail(Status::cancelled("Timeout expired"));
    let users = service([frozen.url(), alive.url()]);
    for _ in 0..2 {
        let mut client = GreeterClient::new(FailoverChannel::new(users.clone()));
        client.hello("ada".to_owned()).await.expect("the other one answers");
    }
    assert_eq!(users.stats().attempts.of(AttemptClass::Timeout), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_ends_at_the_callers_deadline() {
    let server = Server::start();
    let users = service([server.url()]);
    let mut client = GreeterClient::new(FailoverChannel::new(users.clone()));
    let reply = client.count(within(Duration::from_millis(300), "2 …")).await.expect("a stream");
    let mut numbers = reply.into_inner();
    assert_eq!(numbers.message().await.expect("a number").as_deref(), Some("1"));
    assert_eq!(numbers.message().await.expect("a number").as_deref(), Some("2"));
    let end = tokio::time::timeout(Duration::from_secs(10), numbers.message()).await.expect("it ends");
    let error = end.expect_err("the time has passed");
    assert_eq!(error.code(), Code::DeadlineExceeded);
    assert_eq!((users.stats().in_flight, users.stats().attempts.failures()), (0, 0));
}
