//! Faults instead of answers: the watch keeps its last endpoints, reports the error, and recovers
//! afterwards.

use std::io::Write as _;
use std::time::{Duration, Instant};

use failover_core::ErrorKind;
use failover_core::provider::{Provider, Query};
use failover_testkit::{FaultServer, Reply, Request};

use crate::fake::{Fake, good, instance};
use crate::support::{SECOND, builder, has, ids, name, next, quiet, see};

/// Applies a fault after the first good answer: no set lacks the endpoint, an error describes the
/// fault, and the newest endpoints arrive soon after it ends.
async fn survives(
    what: &str,
    fault: impl Fn(&Request) -> Option<Reply> + Send + Sync + 'static,
    message: &str,
) -> Vec<failover_core::Error> {
    let fake = Fake::start(&["a"]).await;
    let provider = builder(&fake.address()).deadline(SECOND).build().expect("valid");
    let users = name("users");
    let mut stream = provider.watch(&Query::service(&users)).expect("it watches");
    assert_eq!(ids(&next(&mut stream, SECOND).await.expect("good")), ["a"], "{what}");
    fake.fail(fault);
    let seen = see(&mut stream, SECOND * 5, what, Result::is_err).await;
    // A list fails meanwhile, too.
    let listed = provider.list(&Query::service(&users)).await.expect_err(what);
    fake.set(&["a", "b"], 101);
    fake.heal();
    let after = see(&mut stream, SECOND * 5, what, has(&["a", "b"])).await;
    let mut errors = vec![listed];
    for item in seen.into_iter().chain(after) {
        match item {
            Ok(set) => assert!(ids(&set).contains(&"a".to_owned()), "{what}: {set:?}"),
            Err(error) => errors.push(error),
        }
    }
    assert!(
        errors.iter().any(|error| error.to_string().contains(message)),
        "{what}: {message} in {errors:?}"
    );
    errors
}

/// Row 1, without the real agent: broken connections.
#[tokio::test]
async fn row_01_broken_connections_keep_the_endpoints() {
    survives("reset", |_| Some(Reply::reset()), "").await;
    survives("closed", |_| Some(Reply::close()), "").await;
}

/// Also R7: a server that answers immediately with the same content is asked at most ten times in
/// ten seconds.
#[tokio::test]
async fn row_06_an_index_that_is_none_is_never_waited_for() {
    let all = ["0", "", "garbage", "-1", "99999999999999999999999"].map(|index| tokio::spawn(spins(index)));
    for one in all {
        one.await.expect("each of them");
    }
}

async fn spins(index: &'static str) {
    let server = FaultServer::start(move |request: Request| async move {
        match request.path() {
            "/v1/health/service/users" => {
                Reply::json(200, format!("[{}]", instance("a", 1))).header("X-Consul-Index", index)
            }
            _ => Reply::new(500, "").header("X-Consul-Index", "1"),
        }
    })
    .await;
    let provider = builder(&server.address().to_string()).build().expect("valid");
    let users = name("users");
    let mut stream = provider.watch(&Query::service(&users)).expect("it watches");
    assert_eq!(ids(&next(&mut stream, SECOND).await.expect("good")), ["a"]);
    quiet(&mut stream, SECOND * 10).await;
    let indexes: Vec<_> =
        server.requests().iter().map(|r| r.query("index").unwrap_or("none").to_owned()).collect();
    assert!((3..=10).contains(&indexes.len()), "{index}: {indexes:?}");
    assert!(indexes.iter().all(|index| index == "none" || index == "1"), "{index}: {indexes:?}");
}

#[tokio::test]
async fn row_06_the_index_of_an_error_is_not_taken_over() {
    let errors = survives(
        "500 with index 1",
        |_| Some(Reply::new(500, "rpc error making call: EOF").header("X-Consul-Index", "1")),
        "rpc error making call: EOF",
    )
    .await;
    assert!(errors.iter().all(|error| error.kind() == ErrorKind::Connection));
}

/// Row 5 and R7: an answer whose index went back is not published; the leader's is.
#[tokio::test]
async fn row_05_an_index_that_goes_back_is_asked_for_again_of_the_leader() {
    let fake = Fake::start(&["a", "b"]).await;
    let provider = builder(&fake.address()).build().expect("valid");
    let users = name("users");
    let mut stream = provider.watch(&Query::service(&users)).expect("it watches");
    assert_eq!(ids(&next(&mut stream, SECOND).await.expect("good")), ["a", "b"]);
    // A lagging server has fewer instances than the leader.
    fake.fail(|request| {
        let lags = request.path() == "/v1/health/service/users" && request.query("stale").is_some();
        lags.then(|| good(50, format!("[{}]", instance("a", 1))))
    });
    quiet(&mut stream, SECOND).await;
    let leader =
        fake.server.requests().iter().any(|r| r.query("stale").is_none() && r.query("index").is_none());
    assert!(leader, "{:?}", fake.server.requests());
    fake.set(&["a", "b", "c"], 60);
    fake.heal();
    see(&mut stream, SECOND * 5, "the change at the lower index", has(&["a", "b", "c"])).await;
}

/// Row 7: no head, no body, a body byte by byte, an endless body.
#[tokio::test]
async fn row_07_silence_has_a_deadline() {
    // The pending watch is reset first; another test covers its own deadline.
    let first = |request: &Request, then: Reply| {
        Some(if request.query("index").is_some() { Reply::reset() } else { then })
    };
    survives("hang", move |r| first(r, Reply::hang()), "not done within 1s").await;
    survives("black hole", move |r| first(r, Reply::black_hole(200)), "not done within 1s").await;
    let slow = || Reply::trickle(200, vec![b' '; 1000], Duration::from_millis(300));
    survives("trickle", move |r| first(r, slow()), "not done within 1s").await;
}

/// Row 7 and R8: a watch whose connection died silently ends soon after the requested wait.
#[tokio::test]
async fn row_07_a_watch_in_silence_ends_after_its_wait_and_the_slack() {
    let fake = Fake::start(&["a"]).await;
    let provider = builder(&fake.address()).wait(SECOND).build().expect("valid");
    let users = name("users");
    let mut stream = provider.watch(&Query::service(&users)).expect("it watches");
    next(&mut stream, SECOND).await.expect("good");
    let begun = Instant::now();
    fake.fail(|request| request.query("index").map(|_| Reply::hang()));
    let error = next(&mut stream, SECOND * 20).await.expect_err("no answer");
    assert_eq!(error.kind(), ErrorKind::Timeout);
    assert!(begun.elapsed() < SECOND * 18, "{:?}", begun.elapsed());
    let again = next(&mut stream, SECOND * 5).await.expect("what asks at once is answered");
    assert_eq!(ids(&again), ["a"]);
}

/// S5: an endless response, and one that decompresses to more than the available memory.
#[tokio::test]
async fn row_07_a_body_without_end_is_cut_off() {
    let fake = Fake::start(&["a"]).await;
    let provider =
        builder(&fake.address()).answer_bytes(1 << 20).deadline(SECOND * 20).build().expect("valid");
    fake.fail(|_| Some(Reply::endless(200, "[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[")));
    let error = provider.list(&Query::service(&name("users"))).await.expect_err("too large");
    assert_eq!((error.kind(), error.code()), (ErrorKind::Validation, "TOO_LARGE"));
    let bomb = bomb(64 << 20);
    assert!(bomb.len() < 1 << 20, "{} bytes", bomb.len());
    fake.fail(move |_| Some(Reply::json(200, bomb.clone()).header("content-encoding", "gzip")));
    let error = provider.list(&Query::service(&name("users"))).await.expect_err("too large");
    assert_eq!(error.code(), "TOO_LARGE");
}

fn bomb(size: usize) -> Vec<u8> {
    let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    for _ in 0..size >> 14 {
        packer.write_all(&[b' '; 1 << 14]).expect("packs");
    }
    packer.finish().expect("packs")
}

/// Row 8 and R6: status 200 with invalid content, which is never shown.
#[tokio::test]
async fn row_08_content_that_is_no_list_keeps_the_endpoints() {
    for (what, body) in [
        ("HTML", "<html><body>secret-page</body></html>"),
        ("nothing", ""),
        ("half", "[{\"Node\":{\"Node\":\"secret-page"),
        ("an object", "{\"secret-page\":1}"),
        ("a number", "7"),
        ("a text", "\"secret-page\""),
        ("bytes", "\u{fffd}\u{0}secret-page"),
        ("deep", &"[".repeat(100_000)),
    ] {
        let body = body.to_owned();
        let errors = survives(what, move |_| Some(good(200, body.clone())), "cannot be read").await;
        for error in errors {
            assert!(!format!("{error} {error:?}").contains("secret-page"), "{what}: {error:?}");
        }
    }
    let whole = format!("[{}]", instance("a", 1));
    survives("truncated", move |_| Some(Reply::truncated(200, whole.clone(), 20)), "").await;
    survives("no content", |_| Some(Reply::new(204, "")), "204").await;
    survives("not HTTP", |_| Some(Reply::raw("SSH-2.0-OpenSSH\r\n")), "").await;
    survives("broken gzip", |_| Some(Reply::json(200, "not gzip").header("content-encoding", "gzip")), "")
        .await;
}

#[tokio::test]
async fn row_09_errors_of_servers_are_backed_off_from() {
    for status in [500, 502, 503] {
        survives("errors", move |_| Some(Reply::new(status, "")), &status.to_string()).await;
    }
    let fake = Fake::start(&["a"]).await;
    let provider = builder(&fake.address()).build().expect("valid");
    let users = name("users");
    let mut stream = provider.watch(&Query::service(&users)).expect("it watches");
    next(&mut stream, SECOND).await.expect("good");
    fake.fail(|_| Some(Reply::new(503, "")));
    let before = fake.reads();
    let _ = see(&mut stream, SECOND * 5, "an error", Result::is_err).await;
    tokio::time::sleep(SECOND * 5).await;
    assert!(fake.reads() - before <= 8, "{} requests in 5 s", fake.reads() - before);
}

#[tokio::test]
async fn row_09_retry_after_is_kept() {
    let fake = Fake::start(&["a"]).await;
    let provider = builder(&fake.address()).build().expect("valid");
    let users = name("users");
    let mut stream = provider.watch(&Query::service(&users)).expect("it watches");
    next(&mut stream, SECOND).await.expect("good");
    fake.fail(|_| Some(Reply::new(429, "").header("Retry-After", "3")));
    let error = next(&mut stream, SECOND).await.expect_err("too many requests");
    assert_eq!(error.code(), "RATE_LIMITED");
    let (begun, before) = (Instant::now(), fake.reads());
    let _ = next(&mut stream, SECOND * 5).await;
    assert!(begun.elapsed() >= Duration::from_millis(2900), "{:?}", begun.elapsed());
    assert_eq!(fake.reads() - before, 1);
}

/// Row 10, R14 and S3: redirects are not followed, and the token is not sent elsewhere.
#[tokio::test]
async fn row_10_redirects_are_errors_and_take_no_token_along() {
    let elsewhere = FaultServer::start(|_| async { good(1, "[]") }).await;
    let to = elsewhere.url();
    for status in [301, 302, 307, 308] {
        let to = to.clone();
        let fault = move |_: &Request| Some(Reply::new(status, "").header("Location", &to));
        let errors = survives("redirect", fault, "redirects are not followed").await;
        assert!(errors.iter().all(|error| error.code() == "REDIRECTED" || error.code() == "CONNECTION_LOST"));
    }
    let fake = Fake::start(&["a"]).await;
    fake.fail(move |_| Some(Reply::new(302, "").header("Location", &to)));
    let provider = builder(&fake.address()).token("canary").build().expect("valid");
    assert!(provider.list(&Query::service(&name("users"))).await.is_err());
    assert_eq!(elsewhere.request_count(), 0);
    assert_eq!(fake.server.requests()[0].header("x-consul-token"), Some("canary"), "it goes in a header");
    assert!(!fake.server.requests()[0].target.contains("canary"));
}

/// Row 17 and R9: answers with the same content, in any order, cause no event.
#[tokio::test]
async fn row_17_the_same_content_is_no_event() {
    let fake = Fake::start(&["a", "b"]).await;
    let provider = builder(&fake.address()).build().expect("valid");
    let users = name("users");
    let mut stream = provider.watch(&Query::service(&users)).expect("it watches");
    assert_eq!(ids(&next(&mut stream, SECOND).await.expect("good")), ["a", "b"]);
    for index in 101..106 {
        fake.set(&["a", "b"], index);
        quiet(&mut stream, SECOND / 4).await;
    }
    fake.set(&["a", "b", "c"], 107);
    see(&mut stream, SECOND * 6, "a change after that", has(&["a", "b", "c"])).await;
}

/// Row 23: an unusable instance is reported once, and the others stay.
#[tokio::test]
async fn row_23_an_unusable_instance_is_named_once() {
    let fake = Fake::start(&["a"]).await;
    fake.fail(|request| {
        let bad = r#"{"Service":{"ID":"bad","Service":"users","Address":"10.0.0.9","Port":0}}"#;
        let index = request.query("index").and_then(|index| index.parse().ok()).unwrap_or(100) + 1;
        (request.path() == "/v1/health/service/users")
            .then(|| good(index, format!("[{},{bad}]", instance("a", 1))))
    });
    let provider = builder(&fake.address()).build().expect("valid");
    let users = name("users");
    let mut stream = provider.watch(&Query::service(&users)).expect("it watches");
    let set = next(&mut stream, SECOND).await.expect("good");
    assert_eq!((ids(&set), set.rejected_count()), (vec!["a".to_owned()], 1));
    assert!(set.rejected()[0].what().contains("bad"), "{:?}", set.rejected());
    quiet(&mut stream, SECOND * 2).await;
}

/// S14: proxy variables of the environment are ignored.
#[tokio::test]
async fn proxies_of_the_environment_are_not_used() {
    let proxy = "http://127.0.0.1:9";
    let fake = Fake::start(&["a"]).await;
    list_in_a_process(&fake, &[("HTTP_PROXY", proxy), ("http_proxy", proxy), ("ALL_PROXY", proxy)]).await;
    assert_eq!(fake.reads(), 1);
}

/// The client of consulrs reads the environment for every setting that is not given.
#[tokio::test]
async fn a_builder_reads_no_setting_from_the_environment() {
    let fake = Fake::start(&["a"]).await;
    let settings = [
        ("CONSUL_HTTP_ADDR", "http://127.0.0.1:9"),
        ("CONSUL_HTTP_TOKEN", "of-the-environment"),
        ("CONSUL_HTTP_SSL_VERIFY", "false"),
        ("CONSUL_CACERT", "/nowhere"),
        ("CONSUL_CAPATH", "/nowhere"),
        ("CONSUL_CLIENT_CERT", "/nowhere"),
        ("CONSUL_CLIENT_KEY", "/nowhere"),
        ("CONSUL_DATACENTER", "dc9"),
        ("CONSUL_NAMESPACE", "team"),
    ];
    list_in_a_process(&fake, &settings).await;
    let requests = fake.server.requests();
    assert_eq!(requests.len(), 1, "{requests:?}");
    assert_eq!(
        (requests[0].target.as_str(), requests[0].header("x-consul-token")),
        ("/v1/health/service/users", None)
    );
}

async fn list_in_a_process(fake: &Fake, environment: &[(&str, &str)]) {
    let me = std::env::current_exe().expect("this program");
    let run = tokio::process::Command::new(me)
        .args(["--exact", "faults::lists_once_for_another_test", "--ignored", "--nocapture"])
        .env("FAKE", fake.address())
        .envs(environment.iter().copied())
        .output();
    let out = run.await.expect("it runs");
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stdout));
}

#[tokio::test]
#[ignore = "the other half of tests that set an environment"]
async fn lists_once_for_another_test() {
    let Ok(address) = std::env::var("FAKE") else { return };
    let provider = builder(&address).build().expect("valid");
    let set = provider.list(&Query::service(&name("users"))).await.expect("without a proxy");
    assert_eq!(ids(&set), ["a"]);
}

/// S2: names are refused or encoded, and never change the path.
#[tokio::test]
async fn odd_names_never_make_another_path() {
    let fake = Fake::start(&["a"]).await;
    let provider = builder(&fake.address()).build().expect("valid");
    let registry = provider.registry().expect("it registers");
    for id in ["a/../../kv/x", "..", ".", "a%2f..", "a?token=x", "a#b", "\u{fc}\u{202f}x", "a\\b", "a;b&c=d"]
    {
        let Ok(id) = failover_core::EndpointId::new(id) else { continue };
        let _ = registry.get(&name("users"), &id).await;
    }
    for request in fake.server.requests() {
        let path = request.path();
        assert!(
            path.starts_with("/v1/agent/health/service/id/") || path == "/v1/health/service/users",
            "{path}"
        );
        assert!(path.matches('/').count() <= 6, "{path}");
        assert!(!path.contains('%') && request.query("token").is_none(), "{}", request.target);
    }
}
