//! Secrets that must not leak, and sources that must not be trusted.

use std::fmt::Write as _;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use failover_core::provider::{AddressTrust, ConfigKey, ConfigStore, Provider, Query, Registry};
use failover_core::{Endpoint, ErrorKind, FailoverManager};
use failover_k8s::KubernetesProvider;
use failover_testkit::certificates::Authority;
use failover_testkit::{FaultServer, Process, Reply, Request, TempDir};
use serde_json::json;

use crate::harness::{calm, endpoint, service};
use crate::scripted::{builder, is_watch, list, provider, slice};

/// S1: the engine decides which addresses a remote registry may name; loopback is allowed only for
/// an API server on loopback.
#[tokio::test(flavor = "multi_thread")]
async fn addresses_of_this_machine_and_of_metadata_services_are_not_believed() {
    let named = ["10.0.0.1", "127.0.0.1", "169.254.169.254", "100.100.100.200"];
    let server = FaultServer::start(move |request: Request| async move {
        if is_watch(&request) {
            return Reply::black_hole(200);
        }
        // An annotation can contain anything: Kubernetes does not validate it.
        let items: Vec<_> = named
            .iter()
            .map(|address| {
                let mut object = slice(&format!("s-{address}"), 1, &[]);
                let document =
                    json!({"v": 1, "id": address, "name": "users", "address": address, "port": 80});
                object["metadata"]["annotations"] = json!({"failover.rs/endpoint": document.to_string()});
                object
            })
            .collect();
        list(5, &items)
    })
    .await;
    let provider = provider(&server.url()).await;
    assert_eq!(provider.info().trust(), AddressTrust::Loopback);
    assert_eq!(provider.info().connection().address(), Some(server.url().as_str()));
    let manager = FailoverManager::builder().provider(provider).build().await.expect("builds");
    let users = manager.service("users").await.expect("a handle");
    let mut seen: Vec<_> =
        users.endpoints().iter().map(|entry| entry.endpoint().address().to_owned()).collect();
    seen.sort();
    assert_eq!(seen, ["10.0.0.1", "127.0.0.1"]);
    // A provider with a remote server reports that.
    let (_directory, elsewhere) = builder("https://192.0.2.1:6443");
    assert_eq!(elsewhere.build().await.expect("builds").info().trust(), AddressTrust::Remote);
}

/// S2: whatever a name contains, there is one request, with the name as a value.
#[tokio::test]
async fn a_name_cannot_become_a_part_of_a_request() {
    let server = FaultServer::start(async |request: Request| match request.method.as_str() {
        "POST" => Reply::json(
            201,
            json!({"metadata": {"uid": "l", "resourceVersion": "1"}, "spec": {}}).to_string(),
        ),
        "PATCH" => Reply::json(200, "{}"),
        _ if request.path().contains("services") => Reply::json(404, ""),
        _ => list(5, &[]),
    })
    .await;
    let provider = provider(&server.url()).await;
    for name in ["a/../../secrets", "a?x=1", "a#b", "a%2f..", "ü&limit=1"] {
        let endpoint = Endpoint::builder(name, "users", "10.0.0.1", 80)
            .metadata("x-evil", "a\r\nHost: b")
            .build()
            .expect("valid");
        provider.register(&endpoint).await.expect("registers");
    }
    for request in server.requests() {
        let path = request.path();
        assert!(!path.contains("..") && !path.contains("secrets"), "{path}");
        assert!(request.headers.iter().all(|(name, _)| name != "x-evil"));
        if request.method == "PATCH" {
            let name = path.rsplit('/').next().expect("a name");
            assert!(name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-'), "{name}");
        }
    }
}

/// Captures everything logged in this process, by all tests, at every level.
struct Log;

static REQUESTS: AtomicUsize = AtomicUsize::new(0);
static LEAKED: Mutex<Option<String>> = Mutex::new(None);

impl Log {
    fn read(record: impl FnOnce(&mut Fields<'_>)) {
        let mut text = String::new();
        record(&mut Fields(&mut text));
        REQUESTS.fetch_add(usize::from(text.contains("requesting")), Ordering::Relaxed);
        if text.contains("canary") {
            *LEAKED.lock().expect("whole") = Some(text);
        }
    }
}

impl tracing::Subscriber for Log {
    fn enabled(&self, _: &tracing::Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, span: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        Self::read(|fields| span.record(fields));
        tracing::span::Id::from_u64(1)
    }

    fn record(&self, _: &tracing::span::Id, values: &tracing::span::Record<'_>) {
        Self::read(|fields| values.record(fields));
    }

    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}

    fn event(&self, event: &tracing::Event<'_>) {
        Self::read(|fields| event.record(fields));
    }

    fn enter(&self, _: &tracing::span::Id) {}

    fn exit(&self, _: &tracing::span::Id) {}
}

struct Fields<'a>(&'a mut String);

impl tracing::field::Visit for Fields<'_> {
    fn record_debug(&mut self, field: &tracing::field::Field, value: &dyn std::fmt::Debug) {
        let _ = writeln!(self.0, "{field}={value:?}");
    }
}

/// S3: the token and a health check's secrets appear in no log at any level, no error and no
/// `Debug`.
#[tokio::test]
async fn no_secret_appears_in_a_log_an_error_or_a_debug() {
    tracing::subscriber::set_global_default(Log).expect("the only subscriber");
    let server = FaultServer::start(async |request: Request| match request.number % 5 {
        0 => Reply::json(401, "{}"),
        1 => Reply::json(403, "{}"),
        2 => Reply::reset(),
        3 => Reply::new(302, "").header("location", "http://localhost:1/x"),
        _ => Reply::new(500, "oops"),
    })
    .await;
    let (_directory, builder) = builder(&server.url());
    let mut shown = format!("{builder:?}");
    let provider = builder.build().await.expect("builds");
    let check = failover_core::HealthCheck::builder()
        .header("Authorization", "canary-header")
        .body("canary-body")
        .build();
    let one =
        endpoint("a", "10.0.0.1").to_builder().health_check(check.expect("valid")).build().expect("valid");
    for _ in 0..6 {
        for error in [
            provider.connect().await.err(),
            provider.list(&Query::all()).await.err(),
            provider.register(&one).await.err(),
            provider.set_health(one.service(), one.id(), failover_core::Health::Healthy).await.err(),
            provider.load(&ConfigKey::Default).await.err(),
        ]
        .into_iter()
        .flatten()
        {
            let _ = write!(
                shown,
                "{error} {error:?} {:?} {}",
                error.details(),
                serde_json::to_string(&error).expect("JSON")
            );
        }
    }
    let _ = write!(shown, "{provider:?} {:?}", provider.info());
    assert!(!shown.contains("canary"), "{shown}");
    assert!(REQUESTS.load(Ordering::Relaxed) > 20, "requests are logged");
    assert_eq!(*LEAKED.lock().expect("whole"), None);
    let tokens = server
        .requests()
        .iter()
        .filter(|request| request.header("authorization") == Some("Bearer canary-token"))
        .count();
    assert_eq!(tokens, server.request_count(), "it is sent in its header");
    assert!(server.requests().iter().all(|request| !request.target.contains("canary")), "and nowhere else");
}

/// R14: a redirect is not followed, and the token is not sent to its target.
#[tokio::test]
async fn a_redirect_is_not_followed() {
    let elsewhere = FaultServer::start(async |_| list(5, &[])).await;
    let location = format!("{}/elsewhere", elsewhere.url());
    let server = FaultServer::start(move |_| {
        let location = location.clone();
        async move { Reply::new(307, "").header("location", &location) }
    })
    .await;
    let error = provider(&server.url()).await.list(&Query::all()).await.expect_err("it is no answer");
    assert_eq!(error.kind(), ErrorKind::Connection, "{error}");
    assert_eq!(elsewhere.connections(), 0);
}

/// S4 and R14: a server with an unexpected certificate gets no request, and so no token.
#[tokio::test]
async fn a_server_that_cannot_prove_who_it_is_gets_no_token() {
    let Some(space) = calm().await else { return };
    let (directory, _) = builder("https://127.0.0.1:1");
    let token = directory.path().join("token");
    let stranger = Authority::new("another authority");
    let url = space.plane.url();
    let by_name = url.replace("127.0.0.1", "127.0.0.2");
    for (url, authority) in [(&url, stranger.pem()), (&url, ""), (&by_name, space.plane.authority())] {
        let builder = KubernetesProvider::builder().api_server(url, authority, &token).namespace("shop");
        let error = builder.build().await.expect("builds").connect().await.expect_err("it is another server");
        assert_eq!(error.kind(), ErrorKind::Connection, "{error}");
    }
    let old = TempDir::new().expect("a directory");
    let kubeconfig = |server: &str, more: &str| {
        let file = old.path().join("config");
        let text = format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: t\nclusters: [{{name: t, cluster: {{server: \"{server}\"{more}}}}}]\n\
             users: [{{name: t, user: {{token: canary}}}}]\ncontexts: [{{name: t, context: {{cluster: t, user: t}}}}]\n"
        );
        std::fs::write(&file, text).expect("writes");
        file
    };
    for (server, more, word) in [
        ("http://192.0.2.1:80", "", "https"),
        ("https://192.0.2.1:6443", ", insecure-skip-tls-verify: true", "insecure-skip-tls-verify"),
        ("ftp://192.0.2.1", "", "https"),
        ("https://192.0.2.1:6443", ", proxy-url: \"http://192.0.2.2:3128\"", "proxy"),
    ] {
        let file = kubeconfig(server, more);
        let error = KubernetesProvider::builder().kubeconfig(&file, None).build().await.expect_err(more);
        assert!(error.to_string().contains(word) && !format!("{error:?}").contains("canary"), "{error:?}");
    }
    let file = kubeconfig("http://192.0.2.1:80", "");
    let accepted = KubernetesProvider::builder().kubeconfig(&file, None).dangerous_accept_any_server(true);
    accepted.build().await.expect("explicitly accepted");
}

/// S5: an endless response is cut off at its limit, with an error.
#[tokio::test]
async fn an_answer_without_an_end_is_given_up_at_its_bound() {
    let zeros = "x".repeat(64 * 1024);
    for (name, watching) in [("list", false), ("watch", true), ("error", false)] {
        let zeros = zeros.clone();
        let server = FaultServer::start(move |request: Request| {
            let zeros = zeros.clone();
            async move {
                match (watching, is_watch(&request)) {
                    (true, false) => list(5, &[slice("a", 1, &[1])]),
                    (false, _) if name == "error" => Reply::endless(500, zeros),
                    _ => Reply::endless(200, zeros),
                }
            }
        })
        .await;
        let (_directory, builder) = builder(&server.url());
        let provider = builder.deadline(Duration::from_secs(20)).build().await.expect("builds");
        let before = memory();
        if watching {
            use futures_util::StreamExt;
            let users = service("users");
            let mut watch = Provider::watch(&provider, &Query::service(&users)).expect("it watches");
            watch.next().await.expect("goes on").expect("a set");
            let listed = async || server.requests().iter().filter(|request| !is_watch(request)).count() >= 2;
            failover_testkit::until(Duration::from_secs(20), "it is listed again", listed).await;
        } else {
            let error = provider.list(&Query::all()).await.expect_err("it has no end");
            // An error status is a server error, whatever its body.
            let large = (ErrorKind::Validation, "TOO_LARGE");
            let expected = if name == "error" { (ErrorKind::Connection, "SERVER_ERROR") } else { large };
            assert_eq!((error.kind(), error.code()), expected, "{error}");
        }
        let grown = memory().saturating_sub(before);
        assert!(grown < 300 * 1024, "{name}: {grown} KiB");
    }
}

/// Returns this process's peak memory, in KiB.
pub(crate) fn memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap_or_default();
    line.trim().trim_end_matches(" kB").trim().parse().unwrap_or_default()
}

/// S13: a token file must be the named file, with the size of a token.
#[tokio::test]
async fn a_token_file_that_is_none_is_refused_at_the_start() {
    let directory = TempDir::new().expect("a directory");
    let file = directory.path().join("token");
    let build = async || {
        let builder = KubernetesProvider::builder()
            .api_server("https://192.0.2.1", Vec::new(), &file)
            .namespace("shop");
        builder.build().await.expect_err("it is no token")
    };
    assert_eq!(build().await.kind(), ErrorKind::Permission, "it is not there");
    for content in [b"".to_vec(), b" \n".to_vec(), vec![b'x'; 65_537], b"a\x00b".to_vec(), vec![0xff, 0xfe]] {
        std::fs::write(&file, &content).expect("writes");
        let error = build().await;
        assert_eq!((error.kind(), error.code()), (ErrorKind::Permission, "UNAUTHENTICATED"), "{error}");
    }
    std::fs::remove_file(&file).expect("removes");
    std::fs::create_dir(&file).expect("makes");
    assert_eq!(build().await.kind(), ErrorKind::Permission, "it is a directory");
}

/// Invalid values are rejected by name at the start.
#[tokio::test]
async fn settings_that_make_no_sense_are_refused_by_name() {
    let (_directory, good) = builder("https://192.0.2.1");
    let day = Duration::from_secs(86_401);
    for (field, builder) in [
        ("deadline", good.clone().deadline(Duration::ZERO)),
        ("deadline", good.clone().deadline(Duration::MAX)),
        ("watch_timeout", good.clone().watch_timeout(Duration::from_secs(1))),
        ("relist_interval", good.clone().relist_interval(day)),
        ("settle_time", good.clone().settle_time(day)),
        ("drain_time", good.clone().drain_time(day)),
        ("lease_duration", good.clone().lease_duration(Duration::from_millis(1))),
        ("port_number", good.clone().port_number(0)),
        ("registrant", good.clone().registrant("A/b")),
        ("default_protocol", good.clone().default_protocol("a b")),
        ("namespace", good.clone().namespace("a/../b")),
        ("namespace", good.clone().namespace("")),
        ("server", good.clone().api_server("not a url", Vec::new(), "/nowhere")),
        ("server", good.clone().api_server("https://user:canary@host", Vec::new(), "/nowhere")),
        ("authority", good.clone().api_server("https://host", "no PEM", "/nowhere")),
    ] {
        let error = builder.build().await.expect_err(field);
        assert_eq!(error.kind(), ErrorKind::Validation, "{field}: {error}");
        assert!(
            error.to_string().contains(field) && !error.to_string().contains("canary"),
            "{field}: {error}"
        );
    }
    good.build().await.expect("the rest is good");
}

/// Not a test: the program of a process with a proxy in its environment.
#[tokio::test]
#[ignore = "the program of another process, which a test starts"]
async fn a_process_behind_a_proxy() {
    let Ok(kubeconfig) = std::env::var("KUBECONFIG") else { return };
    assert!(std::env::var("HTTPS_PROXY").is_ok() && !kubeconfig.is_empty());
    let provider = KubernetesProvider::from_env().await.expect("builds");
    provider.connect().await.expect("connects, and not by way of the proxy");
    println!("connected to {:?}", provider.info().connection().address());
}

/// S14: a proxy variable for web traffic does not divert these requests.
#[tokio::test]
async fn a_proxy_of_the_environment_is_not_used() {
    let Some(space) = calm().await else { return };
    let proxy = FaultServer::start(async |_| Reply::new(502, "")).await;
    let directory = TempDir::new().expect("a directory");
    let mut command = std::process::Command::new(std::env::current_exe().expect("this program"));
    command
        .args(["--exact", "security::a_process_behind_a_proxy", "--ignored", "--nocapture"])
        .env("KUBECONFIG", space.plane.kubeconfig("proxied", &space.token, &space.namespace));
    for name in ["HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy"] {
        command.env(name, proxy.url());
    }
    let mut process = Process::start(&command, &directory.path().join("log")).expect("starts");
    failover_testkit::until(Duration::from_secs(20), "it has ended", || {
        let runs = process.is_running();
        async move { !runs }
    })
    .await;
    assert!(process.log_tail().contains("connected to"), "{}", process.log_tail());
    assert_eq!(proxy.connections(), 0);
}
