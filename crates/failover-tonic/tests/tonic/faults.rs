//! What a call does when servers fail, and the status it ends with.

use std::error::Error;
use std::time::{Duration, Instant};

use failover_core::config::LoadBalancerConfig;
use failover_core::{AttemptClass, FailoverConfig, Outcome, ServiceHandle, StopReason};
use failover_http::TargetError;
use failover_tonic::{AnsweredBy, FailoverChannel, FailoverError, GrpcRules, NoTlsError};
use tonic::metadata::{MetadataMap, MetadataValue};
use tonic::{Code, Status};

use crate::greeter::GreeterClient;
use crate::server::{Server, service};

fn client(users: &ServiceHandle) -> GreeterClient<FailoverChannel> {
    GreeterClient::new(FailoverChannel::new(users.clone()))
}

fn name() -> String {
    "ada".to_owned()
}

/// The call's own error, below the status.
fn call(status: &Status) -> &FailoverError {
    status.source().and_then(|source| source.downcast_ref()).expect("the call's error")
}

fn causes(status: &Status) -> impl Iterator<Item = &(dyn Error + 'static)> {
    status.source().into_iter().flat_map(failover_http::causes)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_last_servers_status_is_passed_on_with_message_details_and_metadata() {
    let servers = [Server::start(), Server::start()];
    let mut metadata = MetadataMap::new();
    metadata.insert("x-shard", "7".parse().expect("valid"));
    metadata.insert_bin("x-trace-bin", MetadataValue::from_bytes(b"\x00\xff"));
    let details = bytes::Bytes::from_static(b"\x08\x0e details");
    for (code, most) in [(Code::Unavailable, 3), (Code::Internal, 3), (Code::NotFound, 1)] {
        let status =
            Status::with_details_and_metadata(code, "not now, caf\u{e9}", details.clone(), metadata.clone());
        for server in &servers {
            server.fail(status.clone());
        }
        let before: usize = servers.iter().map(Server::requests).sum();
        let users = service(servers.iter().map(Server::url));
        let error = client(&users).hello(name()).await.expect_err("all of them fail");
        assert_eq!(
            (error.code(), error.message(), error.details()),
            (code, "not now, caf\u{e9}", &details[..])
        );
        assert_eq!(error.metadata().get("x-shard").expect("passed on"), "7");
        let trace = error.metadata().get_bin("x-trace-bin").expect("passed on");
        assert_eq!(trace.to_bytes().expect("decodes"), &b"\x00\xff"[..]);
        let sent = servers.iter().map(Server::requests).sum::<usize>() - before;
        assert_eq!(sent, most, "attempts after {code:?}");
        assert_eq!(users.stats().in_flight, 0);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_that_one_server_cannot_answer_is_answered_by_another() {
    let (busy, alive) = (Server::start(), Server::start());
    busy.fail(Status::resource_exhausted("full"));
    let users = service([busy.url(), alive.url()]);
    for _ in 0..4 {
        let reply = client(&users).hello(name()).await.expect("the other one answers");
        let by = reply.extensions().get::<AnsweredBy>().expect("known");
        assert_eq!(by.endpoint().port(), alive.address().port());
    }
    let again = alive.heads().iter().filter(|head| head.contains_key("grpc-previous-rpc-attempts")).count();
    assert_eq!((again, users.stats().retried), (busy.requests(), busy.requests() as u64));
    assert!(busy.requests() > 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_without_a_reply_names_what_was_tried_and_keeps_the_causes() {
    let mut servers = [Server::start(), Server::start()];
    let users = service(servers.iter().map(Server::url));
    servers.iter_mut().for_each(Server::kill);
    let error = client(&users).hello(name()).await.expect_err("nobody is there");
    assert_eq!(error.code(), Code::Unavailable);
    for server in &servers {
        assert!(error.message().contains(&server.address().to_string()), "{}", error.message());
    }
    assert!(error.message().contains("not_sent"), "{}", error.message());
    let attempts = call(&error).call().expect("a call").attempts().len();
    assert_eq!(attempts, 3);
    let refused = causes(&error).filter_map(|cause| cause.downcast_ref::<std::io::Error>());
    assert!(refused.map(std::io::Error::kind).any(|kind| kind == std::io::ErrorKind::ConnectionRefused));

    let servers = [Server::start(), Server::start()];
    servers.iter().for_each(Server::freeze);
    let users = service(servers.iter().map(Server::url));
    let error = client(&users).hello(name()).await.expect_err("nobody answers");
    assert_eq!(error.code(), Code::DeadlineExceeded, "{error}");
    assert!(error.message().contains("timeout after 40"), "{}", error.message());
    assert_eq!(users.stats().in_flight, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_an_endpoint_or_beyond_a_limit_the_code_says_so() {
    let nobody = ServiceHandle::fixed("users", [] as [&str; 0]).expect("valid");
    let error = client(&nobody).hello(name()).await.expect_err("no endpoint");
    assert_eq!(error.code(), Code::Unavailable);
    assert!(error.message().contains("users"), "{}", error.message());

    let server = Server::start();
    let balancer = LoadBalancerConfig::builder().max_in_flight(1).build().expect("valid");
    let config = FailoverConfig::builder().load_balancer(balancer).build().expect("valid");
    let users = ServiceHandle::builder("users").endpoints([server.url()]).config(config);
    let users = users.build().expect("valid");
    let mut client = client(&users);
    let held = client.count("1 …".to_owned()).await.expect("a stream");
    let error = client.hello(name()).await.expect_err("the only place is taken");
    assert_eq!(error.code(), Code::ResourceExhausted, "{error}");
    drop(held);
    client.hello(name()).await.expect("there is room again");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pushback_keeps_calls_away_or_forbids_another_attempt() {
    let (busy, alive) = (Server::start(), Server::start());
    let push = |value: &'static str| {
        move || {
            let mut response = Status::unavailable("later").into_http();
            response.headers_mut().insert("grpc-retry-pushback-ms", value.parse().expect("valid"));
            response
        }
    };
    busy.answer(push("1500"));
    let users = service([busy.url(), alive.url()]);
    let mut client = client(&users);
    while busy.requests() == 0 {
        client.hello(name()).await.expect("the other one answers");
    }
    let asked = Instant::now();
    for _ in 0..20 {
        client.hello(name()).await.expect("the other one answers");
    }
    assert!(asked.elapsed() < Duration::from_millis(1_400), "a machine too slow for this test");
    assert_eq!(busy.requests(), 1, "it asked not to be called");

    for value in ["-1", "soon", ""] {
        let busy = [Server::start(), Server::start()];
        for server in &busy {
            server.answer(push(value));
        }
        let users = service(busy.iter().map(Server::url));
        let error = self::client(&users).hello(name()).await.expect_err("no other attempt");
        assert_eq!((error.code(), error.message()), (Code::Unavailable, "later"));
        assert_eq!(busy.iter().map(Server::requests).sum::<usize>(), 1, "{value}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_code_counts_as_is_the_users_choice() {
    let servers = [Server::start(), Server::start()];
    for server in &servers {
        server.fail(Status::aborted("a conflict"));
    }
    let requests = || servers.iter().map(Server::requests).sum::<usize>();
    let users = service(servers.iter().map(Server::url));
    client(&users).hello(name()).await.expect_err("a conflict");
    assert_eq!((requests(), users.stats().rejected_requests), (1, 1));
    let rules = GrpcRules::new().with_code(Code::Aborted, Outcome::Failure);
    let channel = FailoverChannel::builder(users).with_rules(rules).build();
    GreeterClient::new(channel).hello(name()).await.expect_err("a conflict");
    assert_eq!(requests(), 4);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_method_that_is_not_idempotent_is_repeated_only_if_it_was_not_sent() {
    let channel = |users: &ServiceHandle| {
        let builder = FailoverChannel::builder(users.clone());
        builder
            .with_call(|call, request| call.idempotent(request.uri.path() != "/test.Greeter/Hello"))
            .build()
    };
    let (mut killed, frozen, alive) = (Server::start(), Server::start(), Server::start());
    killed.kill();
    frozen.freeze();
    let users = service([killed.url(), alive.url()]);
    for _ in 0..4 {
        GreeterClient::new(channel(&users)).hello(name()).await.expect("refused is not sent");
    }
    assert!(users.stats().attempts.of(AttemptClass::NotSent) > 0);
    let users = service([frozen.url(), alive.url()]);
    let mut failed = 0;
    for _ in 0..2 {
        if let Err(error) = GreeterClient::new(channel(&users)).hello(name()).await {
            let reason = call(&error).call().expect("a call").reason();
            assert!(matches!(reason, StopReason::NotIdempotent), "{error}");
            assert_eq!(error.code(), Code::DeadlineExceeded);
            failed += 1;
        }
    }
    assert_eq!((failed, frozen.requests()), (1, 1));
    // A method that the closure leaves alone is repeated.
    for _ in 0..2 {
        GreeterClient::new(channel(&users)).count("1".to_owned()).await.expect("repeated");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_endpoint_that_does_not_speak_grpc_is_passed_over_with_a_typed_error() {
    let server = Server::start();
    let mixed = service(["postgres://127.0.0.1:5432".to_owned(), server.url()]);
    for _ in 0..4 {
        client(&mixed).hello(name()).await.expect("the other endpoint answers");
    }
    let alone = service(["postgres://127.0.0.1:5432".to_owned()]);
    let error = client(&alone).hello(name()).await.expect_err("no gRPC there");
    let typed = causes(&error).find_map(|cause| cause.downcast_ref::<TargetError>());
    assert!(matches!(typed, Some(TargetError::Protocol { .. })), "{error}");
    assert!(error.message().contains("postgres"), "{}", error.message());

    let secure = service([format!("https://{}", server.address())]);
    let error = client(&secure).hello(name()).await.expect_err("TLS was not set up");
    let typed = causes(&error).find_map(|cause| cause.downcast_ref::<NoTlsError>()).expect("a typed error");
    assert_eq!(typed.endpoint().as_str(), server.address().to_string());
    // The origin of a client asks for TLS, and the endpoint is in the clear.
    let plain = FailoverChannel::new(service([server.url()]));
    let error =
        GreeterClient::with_origin(plain, "https://users").hello(name()).await.expect_err("in the clear");
    let typed = causes(&error).find_map(|cause| cause.downcast_ref::<TargetError>());
    assert!(matches!(typed, Some(TargetError::Downgrade { .. })), "{error}");
    assert_eq!(server.requests(), 4, "nothing was sent");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dropped_call_leaves_nothing_behind() {
    let server = Server::start();
    server.freeze();
    let users = service([server.url()]);
    let mut client = client(&users);
    let call = tokio::time::timeout(Duration::from_millis(100), client.hello(name())).await;
    assert!(call.is_err());
    let stats = users.stats();
    assert_eq!((stats.in_flight, stats.cancelled, stats.failed_requests), (0, 1, 0));
}

#[test]
fn a_channel_outlives_the_runtime_that_it_was_first_used_in() {
    let server = Server::start();
    let client = client(&service([server.url()]));
    for _ in 0..3 {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let mut client = client.clone();
        runtime.block_on(async move { client.hello(name()).await }).expect("connects again");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn interceptors_work_above_the_channel() {
    let server = Server::start();
    let channel = FailoverChannel::new(service([server.url()]));
    let intercepted = tonic::codegen::InterceptedService::new(channel, |mut request: tonic::Request<()>| {
        request.metadata_mut().insert("x-user", MetadataValue::from_static("ada"));
        Ok(request)
    });
    GreeterClient::new(intercepted).hello(name()).await.expect("answers");
    assert_eq!(server.heads()[0]["x-user"], "ada");
}
