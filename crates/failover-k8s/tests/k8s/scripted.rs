//! What a real API server does not do on command.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use failover_core::provider::{EndpointSet, Provider, Query, Registry, WatchStream};
use failover_core::{Error, ErrorKind, FailoverManager, RetryAdvice};
use failover_k8s::{KubernetesProvider, KubernetesProviderBuilder};
use failover_testkit::{FaultServer, Reply, Request, TempDir, free_port, until};
use futures_util::StreamExt;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::harness::{endpoint, service};

/// Returns a slice with pods, as a server returns it.
pub(crate) fn slice(name: &str, version: u64, pods: &[u8]) -> Value {
    let endpoints: Vec<_> = pods.iter().map(|pod| json!({"addresses": [format!("10.0.0.{pod}")]})).collect();
    json!({
        "metadata": {"name": name, "uid": format!("uid-{name}"), "resourceVersion": version.to_string(),
                     "labels": {"kubernetes.io/service-name": "users"}},
        "addressType": "IPv4", "endpoints": endpoints, "ports": [{"port": 80}],
    })
}

pub(crate) fn list(version: u64, items: &[Value]) -> Reply {
    paged(version, items, "")
}

fn paged(version: u64, items: &[Value], next: &str) -> Reply {
    let metadata = json!({"resourceVersion": version.to_string(), "continue": next});
    let body = json!({"kind": "EndpointSliceList", "apiVersion": "discovery.k8s.io/v1", "metadata": metadata, "items": items});
    Reply::json(200, body.to_string())
}

pub(crate) fn event(kind: &str, object: &Value) -> Vec<u8> {
    format!("{}\n", json!({"type": kind, "object": object})).into_bytes()
}

pub(crate) fn status(code: u16, reason: &str) -> Value {
    json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "reason": reason, "message": reason})
}

pub(crate) fn is_watch(request: &Request) -> bool {
    request.query("watch") == Some("true")
}

pub(crate) fn is_slices(request: &Request) -> bool {
    request.path().contains("endpointslices")
}

/// Returns the reply of an idle watch: it stays open.
pub(crate) fn quiet() -> Reply {
    Reply::black_hole(200)
}

pub(crate) fn builder(url: &str) -> (TempDir, KubernetesProviderBuilder) {
    let directory = TempDir::new().expect("a directory");
    let token = directory.path().join("token");
    std::fs::write(&token, "canary-token").expect("writes");
    let builder = KubernetesProvider::builder().api_server(url, Vec::new(), &token).namespace("shop");
    (directory, builder)
}

pub(crate) async fn provider(url: &str) -> KubernetesProvider {
    builder(url).1.deadline(Duration::from_secs(1)).build().await.expect("builds")
}

pub(crate) async fn item(stream: &mut WatchStream<'_>, limit: Duration) -> Result<EndpointSet, Error> {
    let item = tokio::time::timeout(limit, stream.next()).await;
    item.unwrap_or_else(|_| panic!("nothing within {limit:?}")).expect("the watch goes on")
}

pub(crate) const SOON: Duration = Duration::from_secs(5);

pub(crate) fn addresses(set: &EndpointSet) -> Vec<&str> {
    let mut all: Vec<_> = set.entries().iter().map(|entry| entry.endpoint().address()).collect();
    all.sort_unstable();
    all
}

pub(crate) fn watches(server: &FaultServer) -> Vec<Request> {
    server.requests().into_iter().filter(is_watch).collect()
}

fn lists(server: &FaultServer) -> Vec<Request> {
    server.requests().into_iter().filter(|request| is_slices(request) && !is_watch(request)).collect()
}

/// F1 and R1: the server is down at the start; this is reported in time, and the server is found
/// once it is up.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_down_at_the_start_is_reported_and_found_later() {
    let port = free_port();
    let url = format!("http://127.0.0.1:{port}");
    let provider = provider(&url).await;
    let begun = Instant::now();
    let error = provider.connect().await.expect_err("there is no server");
    assert_eq!(error.kind(), ErrorKind::Connection, "{error}");
    assert!(begun.elapsed() < Duration::from_secs(2));
    for error in
        [error, provider.list(&Query::service(&service("users"))).await.expect_err("there is no server")]
    {
        let text = error.to_string();
        assert!(text.contains(&format!("at {url} (from KubernetesProviderBuilder::api_server)")), "{text}");
        assert!(text.contains("Connection refused"), "{text}");
    }
    let manager =
        FailoverManager::builder().provider(provider).build().await.expect("it starts all the same");
    let looking = tokio::spawn(async move {
        let users = manager.service("users").await.expect("a handle");
        let begun = Instant::now();
        let refused = users.select().map(drop).expect_err("no endpoint is known");
        assert!(begun.elapsed() < Duration::from_millis(50));
        assert!(refused.to_string().contains("users"), "{refused}");
        let waiting = async || users.select().is_ok();
        until(Duration::from_secs(10), "an endpoint", waiting).await;
    });
    tokio::time::sleep(Duration::from_millis(5500)).await;
    let answer =
        async |request: Request| if is_watch(&request) { quiet() } else { list(5, &[slice("a", 1, &[1])]) };
    let _server = FaultServer::start_at(port, answer).await;
    looking.await.expect("it is found");
}

/// F2: however long it was unreachable, it is found within 5 s of its return, with few requests
/// meanwhile.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_was_away_for_long_is_found_again_within_five_seconds() {
    let port = free_port();
    let answer =
        async |request: Request| if is_watch(&request) { quiet() } else { list(5, &[slice("a", 1, &[1])]) };
    let server = FaultServer::start_at(port, answer).await;
    let provider = provider(&server.url()).await;
    let mut watch = provider.watch(&Query::service(&service("users"))).expect("it watches");
    item(&mut watch, SOON).await.expect("a set");
    drop(server);
    tokio::time::sleep(Duration::from_secs(20)).await;
    let _server = FaultServer::start_at(port, answer).await;
    let begun = Instant::now();
    while item(&mut watch, SOON).await.is_err() {}
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
}

/// F2: its return is detected once, however many services wait for it.
#[tokio::test(flavor = "multi_thread")]
async fn the_return_of_a_server_is_looked_for_once_and_not_for_each_service() {
    use tokio::io::AsyncReadExt;
    let (requests, probes) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("it is bound"));
    let (asked, probed) = (Arc::clone(&requests), Arc::clone(&probes));
    let accepting = tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            // A connection without a request is a probe; the others get no answer.
            let said = stream.read(&mut [0; 1024]).await.is_ok_and(|said| said > 0);
            if said { &asked } else { &probed }.fetch_add(1, Ordering::Relaxed);
        }
    });
    let provider = Arc::new(provider(&url).await);
    let mut watches = tokio::task::JoinSet::new();
    for number in 0..20 {
        let provider = Arc::clone(&provider);
        watches.spawn(async move {
            let name = service(&format!("s{number}"));
            let mut watch = provider.watch(&Query::service(&name)).expect("it watches");
            loop {
                watch.next().await.expect("it goes on").expect_err("no answer");
            }
        });
    }
    tokio::time::sleep(Duration::from_secs(8)).await;
    let (requests, probes) = (requests.load(Ordering::Relaxed), probes.load(Ordering::Relaxed));
    assert!(requests >= 20, "{requests} requests");
    assert!((1..=6).contains(&probes), "{probes} connections in 8 s");
    accepting.abort();
}

/// F3 and R3: connections are accepted, but not answered.
#[tokio::test]
async fn a_server_that_never_answers_blocks_no_caller_beyond_the_deadline() {
    let server = FaultServer::start(async |_| Reply::hang()).await;
    let provider =
        builder(&server.url()).1.deadline(Duration::from_millis(300)).build().await.expect("builds");
    let one = endpoint("a", "10.0.0.1");
    let begun = Instant::now();
    for error in [
        provider.connect().await.expect_err("no answer"),
        provider.ping().await.expect_err("no answer"),
        provider.list(&Query::all()).await.map(drop).expect_err("no answer"),
        provider.register(&one).await.expect_err("no answer"),
        provider.update(&one).await.expect_err("no answer"),
        provider.deregister(one.service(), one.id()).await.map(drop).expect_err("no answer"),
        provider.get(one.service(), one.id()).await.map(drop).expect_err("no answer"),
    ] {
        assert_eq!((error.kind(), error.retry()), (ErrorKind::Timeout, RetryAdvice::Backoff), "{error}");
    }
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    let mut watch = provider.watch(&Query::service(&service("users"))).expect("it watches");
    assert_eq!(item(&mut watch, SOON).await.expect_err("no answer").kind(), ErrorKind::Timeout);
}

/// F3: concurrent operations fail within one or two deadlines, not one after the other.
#[tokio::test(flavor = "multi_thread")]
async fn many_that_wait_for_a_server_do_not_wait_for_each_other() {
    let server = FaultServer::start(async |request: Request| {
        if request.path().contains("/services/") {
            return Reply::json(404, status(404, "NotFound").to_string());
        }
        Reply::hang()
    })
    .await;
    let (_directory, builder) = builder(&server.url());
    let provider = Arc::new(builder.deadline(Duration::from_millis(500)).build().await.expect("builds"));
    let begun = Instant::now();
    let mut all = tokio::task::JoinSet::new();
    for number in 0..10 {
        let provider = Arc::clone(&provider);
        all.spawn(async move {
            // Ten endpoints, which need one lease, and ten changes of one endpoint.
            let one = endpoint(&format!("e{number}"), "10.0.0.1");
            let same = endpoint("same", "10.0.0.1");
            let (registered, removed) =
                tokio::join!(provider.register(&one), provider.deregister(same.service(), same.id()));
            for error in [registered.expect_err("no answer"), removed.expect_err("no answer")] {
                assert_eq!(error.kind(), ErrorKind::Timeout, "{error}");
            }
        });
    }
    while let Some(done) = all.join_next().await {
        done.expect("no panic");
    }
    assert!(begun.elapsed() < Duration::from_millis(2500), "{:?}", begun.elapsed());
}

/// A watch whose head never arrives, after a list that did.
#[tokio::test]
async fn a_watch_whose_head_never_comes_is_given_up_and_listed_again() {
    let hangs = Arc::new(AtomicBool::new(true));
    let hanging = Arc::clone(&hangs);
    let server = FaultServer::start(move |request| {
        let hangs = hanging.load(Ordering::Relaxed);
        async move {
            match is_watch(&request) {
                true if hangs => Reply::hang(),
                true => quiet(),
                false => list(5, &[slice("a", 1, &[1])]),
            }
        }
    })
    .await;
    let provider =
        builder(&server.url()).1.deadline(Duration::from_millis(200)).build().await.expect("builds");
    let mut watch = provider.watch(&Query::service(&service("users"))).expect("it watches");
    assert_eq!(addresses(&item(&mut watch, SOON).await.expect("a set")), ["10.0.0.1"]);
    assert_eq!(item(&mut watch, SOON).await.expect_err("no head").kind(), ErrorKind::Timeout);
    hangs.store(false, Ordering::Relaxed);
    loop {
        if let Ok(set) = item(&mut watch, SOON).await {
            assert_eq!(addresses(&set), ["10.0.0.1"], "the set is published again");
            break;
        }
    }
}

/// F4 and R8: the watch is open but silent. This is detected, and it continues where it was.
#[tokio::test]
async fn a_silent_watch_is_noticed_and_goes_on_without_a_loss() {
    let count = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&count);
    let server = FaultServer::start(move |request| {
        let number = if is_watch(&request) { counted.fetch_add(1, Ordering::Relaxed) } else { usize::MAX };
        async move {
            match number {
                usize::MAX => list(5, &[slice("a", 1, &[1])]),
                0 => {
                    let (sender, reply) = Reply::stream(200);
                    let bookmark = json!({"kind": "EndpointSlice", "metadata": {"resourceVersion": "8"}});
                    sender.send(event("BOOKMARK", &bookmark)).await.expect("room");
                    // Leaked, so that the stream does not end.
                    std::mem::forget(sender);
                    reply
                }
                _ => {
                    let (sender, reply) = Reply::stream(200);
                    sender.send(event("MODIFIED", &slice("a", 9, &[1, 2]))).await.expect("room");
                    std::mem::forget(sender);
                    reply
                }
            }
        }
    })
    .await;
    let provider =
        builder(&server.url()).1.watch_timeout(Duration::from_secs(5)).build().await.expect("builds");
    let mut watch = provider.watch(&Query::service(&service("users"))).expect("it watches");
    item(&mut watch, SOON).await.expect("a set");
    let begun = Instant::now();
    // The bookmark confirms the set.
    item(&mut watch, SOON).await.expect("the same set");
    let error = item(&mut watch, Duration::from_secs(12)).await.expect_err("it is dead");
    assert_eq!((error.kind(), error.code()), (ErrorKind::Timeout, "WATCH_SILENT"), "{error}");
    let noticed = begun.elapsed();
    assert!((9_000..11_500).contains(&noticed.as_millis()), "{noticed:?}: the watch time and 5 s");
    let set = loop {
        let set = item(&mut watch, SOON).await.expect("it goes on");
        if set.entries().len() == 2 {
            break set;
        }
    };
    assert_eq!(addresses(&set), ["10.0.0.1", "10.0.0.2"]);
    assert_eq!(lists(&server).len(), 1, "no new list was needed");
    assert_eq!(watches(&server)[1].query("resourceVersion"), Some("8"), "it goes on from the bookmark");
}

/// F5 and R9: the version expires during a watch.
#[tokio::test]
async fn an_expired_version_in_the_stream_is_one_new_list_without_a_dip() {
    let count = Arc::new(AtomicUsize::new(0));
    let server = FaultServer::start(move |request| {
        let number = count.load(Ordering::Relaxed);
        if is_watch(&request) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        async move {
            match (is_watch(&request), number) {
                (true, 0) => Reply::new(200, event("ERROR", &status(410, "Expired"))),
                (true, _) => quiet(),
                (false, 0) => list(5, &[slice("a", 1, &[1, 2]), slice("b", 2, &[3])]),
                (false, _) => list(50, &[slice("a", 40, &[1]), slice("c", 41, &[3, 4])]),
            }
        }
    })
    .await;
    let provider = provider(&server.url()).await;
    let mut watch = provider.watch(&Query::service(&service("users"))).expect("it watches");
    assert_eq!(
        addresses(&item(&mut watch, SOON).await.expect("a set")),
        ["10.0.0.1", "10.0.0.2", "10.0.0.3"]
    );
    let set = item(&mut watch, SOON).await.expect("no error: the list tells");
    assert_eq!(
        addresses(&set),
        ["10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.4"],
        "what is new is there at once"
    );
    let set = item(&mut watch, SOON).await.expect("a set");
    assert_eq!(addresses(&set), ["10.0.0.1", "10.0.0.3", "10.0.0.4"], "what has gone is gone");
    assert_eq!(lists(&server).len(), 2);
}

/// F6: the version is refused whenever a watch starts. Lists follow at a bounded rate.
#[tokio::test]
async fn a_version_that_is_always_refused_is_listed_again_at_a_bounded_rate() {
    let too_large = json!({"kind": "Status", "code": 504, "reason": "Timeout", "message": "Too large resource version",
        "details": {"causes": [{"reason": "ResourceVersionTooLarge"}]}});
    for refusal in [status(410, "Expired"), too_large] {
        let code = refusal["code"].as_u64().expect("a code") as u16;
        let refusal = refusal.to_string();
        let server = FaultServer::start(move |request| {
            let refusal = refusal.clone();
            async move {
                if is_watch(&request) { Reply::json(code, refusal) } else { list(5, &[slice("a", 1, &[1])]) }
            }
        })
        .await;
        let provider = provider(&server.url()).await;
        let mut watch = provider.watch(&Query::service(&service("users"))).expect("it watches");
        assert_eq!(addresses(&item(&mut watch, SOON).await.expect("a set")), ["10.0.0.1"]);
        let quiet = tokio::time::timeout(Duration::from_secs(4), watch.next()).await;
        assert!(quiet.is_err(), "the lists are good and say nothing new: {quiet:?}");
        let (lists, watches) = (lists(&server).len(), watches(&server).len());
        assert!(
            (3..=8).contains(&lists) && lists.abs_diff(watches) <= 1,
            "{lists} lists, {watches} watches in 4 s"
        );
    }
}

/// R7: a server that ends every watch immediately gets requests at a bounded rate.
#[tokio::test]
async fn a_server_that_ends_every_watch_at_once_is_not_asked_hotly() {
    for line in [Vec::new(), event("BOOKMARK", &json!({"metadata": {"resourceVersion": "6"}}))] {
        let server =
            FaultServer::start(move |request| {
                let line = line.clone();
                async move {
                    if is_watch(&request) { Reply::new(200, line) } else { list(5, &[slice("a", 1, &[1])]) }
                }
            })
            .await;
        let provider = provider(&server.url()).await;
        let mut watch = provider.watch(&Query::service(&service("users"))).expect("it watches");
        item(&mut watch, SOON).await.expect("a set");
        let _ = tokio::time::timeout(Duration::from_secs(10), watch.next()).await;
        let requests = server.request_count();
        assert!(requests <= 10, "{requests} requests in 10 s");
    }
}

/// F7: requested delays are kept, for lists and for watches, and do not block callers.
#[tokio::test]
async fn a_busy_server_is_left_alone_for_as_long_as_it_asks() {
    for (code, body) in
        [(503, status(503, "ServiceUnavailable").to_string()), (429, "Too many requests".into())]
    {
        let count = Arc::new(AtomicUsize::new(0));
        let server = FaultServer::start(move |request| {
            let number = count.fetch_add(1, Ordering::Relaxed);
            let body = body.clone();
            async move {
                match number {
                    0 | 2 => Reply::json(code, body).header("retry-after", "2"),
                    _ if is_watch(&request) => quiet(),
                    _ => list(5, &[slice("a", 1, &[1])]),
                }
            }
        })
        .await;
        let provider = provider(&server.url()).await;
        let begun = Instant::now();
        let error = provider.list(&Query::all()).await.expect_err("busy");
        assert!(begun.elapsed() < Duration::from_secs(1), "a caller gets the error immediately");
        assert_eq!(error.retry(), RetryAdvice::After(Duration::from_secs(2)), "{error}");
        let mut watch = provider.watch(&Query::service(&service("users"))).expect("it watches");
        item(&mut watch, SOON).await.expect("the list works");
        let begun = Instant::now();
        item(&mut watch, SOON).await.expect_err("the watch is refused");
        item(&mut watch, SOON).await.expect("the set is published again");
        assert!(begun.elapsed() >= Duration::from_millis(1900), "{:?}", begun.elapsed());
        assert_eq!(server.request_count(), 4);
    }
}

/// F9 and R10: a token is reread from its file.
#[tokio::test]
async fn a_token_that_was_replaced_on_disk_is_used_from_the_next_request_on() {
    let server = FaultServer::start(async |request: Request| {
        match (request.header("authorization"), is_watch(&request)) {
            (Some("Bearer second"), true) => quiet(),
            (Some("Bearer second"), false) => list(5, &[slice("a", 1, &[1])]),
            _ => Reply::json(401, status(401, "Unauthorized").to_string()),
        }
    })
    .await;
    let directory = TempDir::new().expect("a directory");
    let token = directory.path().join("token");
    std::fs::write(&token, "first\n").expect("writes");
    let build = || {
        KubernetesProvider::builder().api_server(server.url(), Vec::new(), &token).namespace("shop").build()
    };
    let provider = build().await.expect("builds");
    let refused = build().await.expect("builds");
    let error = refused.list(&Query::all()).await.expect_err("the token is not taken");
    assert_eq!((error.kind(), error.code()), (ErrorKind::Permission, "UNAUTHENTICATED"));
    assert!(!format!("{error:?}").contains("first"));
    assert_eq!(server.request_count(), 2, "asked again once, with credentials that were read again");
    std::fs::write(&token, "second\n").expect("writes");
    provider.list(&Query::all()).await.expect("the new token is taken");
    assert_eq!(server.request_count(), 3);
    std::fs::remove_file(&token).expect("removes");
    provider.list(&Query::all()).await.expect("the token that was read last goes on");
}

/// F10: a list whose version expires between pages is restarted, and no part of it is published
/// before.
#[tokio::test]
async fn a_list_of_pages_is_published_whole_or_not_at_all() {
    let count = Arc::new(AtomicUsize::new(0));
    let server = FaultServer::start(move |request| {
        let number = count.fetch_add(1, Ordering::Relaxed);
        async move {
            match (request.query("continue"), number) {
                _ if is_watch(&request) => quiet(),
                (None, _) => paged(5, &[slice("a", 1, &[1])], "to%ken/1"),
                (Some("to%25ken%2F1"), 1) => Reply::json(410, status(410, "Expired").to_string()),
                (Some("to%25ken%2F1"), _) => paged(5, &[slice("b", 2, &[2])], "2"),
                (Some(_), _) => list(5, &[slice("c", 3, &[3])]),
            }
        }
    })
    .await;
    let provider = provider(&server.url()).await;
    let mut watch = provider.watch(&Query::service(&service("users"))).expect("it watches");
    let set = item(&mut watch, SOON).await.expect("a set");
    assert_eq!(addresses(&set), ["10.0.0.1", "10.0.0.2", "10.0.0.3"], "never a part of it");
    assert_eq!(lists(&server).len(), 5);
    assert!(lists(&server).iter().all(|request| request.query("limit").is_some()));
}

/// F26: the store was restored to an older state. The API server does not report it; the periodic
/// list detects it.
#[tokio::test]
async fn a_store_that_was_set_back_is_found_out_by_the_next_list() {
    let count = Arc::new(AtomicUsize::new(0));
    let server = FaultServer::start(move |request| {
        let number = if is_watch(&request) { usize::MAX } else { count.fetch_add(1, Ordering::Relaxed) };
        async move {
            match number {
                usize::MAX => quiet(),
                0 => list(1000, &[slice("a", 990, &[1])]),
                _ => list(7, &[slice("a", 3, &[2])]),
            }
        }
    })
    .await;
    let provider =
        builder(&server.url()).1.relist_interval(Duration::from_secs(10)).build().await.expect("builds");
    let mut watch = provider.watch(&Query::service(&service("users"))).expect("it watches");
    assert_eq!(addresses(&item(&mut watch, SOON).await.expect("a set")), ["10.0.0.1"]);
    let set = item(&mut watch, Duration::from_secs(13)).await.expect("no error");
    assert_eq!(addresses(&set), ["10.0.0.1", "10.0.0.2"]);
    assert_eq!(addresses(&item(&mut watch, SOON).await.expect("a set")), ["10.0.0.2"]);
}

/// F29: whatever a provider is doing, dropping it leaves no connection.
#[tokio::test]
async fn a_provider_that_is_dropped_leaves_no_connection_and_no_task() {
    let server = FaultServer::start(async |request: Request| {
        match (is_watch(&request), request.query("labelSelector")) {
            (true, _) => quiet(),
            (false, Some(selector)) if selector.contains("hangs") => Reply::hang(),
            _ => list(5, &[slice("a", 1, &[1])]),
        }
    })
    .await;
    for closed in [false, true] {
        let provider = provider(&server.url()).await;
        {
            let (users, hangs) = (service("users"), service("hangs"));
            let mut watch = provider.watch(&Query::service(&users)).expect("it watches");
            item(&mut watch, SOON).await.expect("a set");
            let mut hanging = provider.watch(&Query::service(&hangs)).expect("it watches");
            let nothing = tokio::time::timeout(Duration::from_millis(200), hanging.next()).await;
            assert!(nothing.is_err() && server.open_connections() >= 2);
            if closed {
                provider.close().await.expect("closes");
                assert!(watch.next().await.is_none(), "a watch ends with its provider");
            }
        }
        let begun = Instant::now();
        drop(provider);
        until(Duration::from_secs(1), "all connections are closed", async || server.open_connections() == 0)
            .await;
        assert!(begun.elapsed() < Duration::from_millis(300), "{:?}", begun.elapsed());
    }
}

/// A server or a proxy that answers every page with the same next one.
#[tokio::test]
async fn a_list_whose_pages_have_no_end_is_an_error() {
    let server = FaultServer::start(async |_| paged(5, &[], "again")).await;
    let provider = provider(&server.url()).await;
    let listed = tokio::time::timeout(SOON, provider.list(&Query::service(&service("users")))).await;
    let error = listed.expect("it ends").expect_err("no list");
    assert_eq!(error.code(), "BAD_ANSWER", "{error}");
    assert!(server.requests().len() < 10);
}
