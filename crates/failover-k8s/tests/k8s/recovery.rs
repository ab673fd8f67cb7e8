//! What comes back within seconds, and what keeps failing although every request is answered.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use failover_core::provider::{Provider, Query};
use failover_k8s::{KubernetesProvider, KubernetesProviderBuilder};
use failover_testkit::{FaultServer, Reply, Request};
use futures_util::StreamExt;
use tokio::io::AsyncReadExt;
use tokio::time::Instant;

use crate::harness::{calm, service};
use crate::scripted::{SOON, addresses, builder, event, is_watch, item, list, quiet, slice, status};

/// A watch that ends at once, again and again, although each one is opened: what arrives in between
/// is late, so it counts as a failure until one lasts.
#[tokio::test(flavor = "multi_thread")]
async fn a_watch_that_keeps_ending_early_counts_as_failing() {
    let lasts = Arc::new(AtomicBool::new(false));
    let steady = Arc::clone(&lasts);
    let server = FaultServer::start(move |request: Request| {
        let lasts = steady.load(Ordering::Relaxed);
        async move {
            match (is_watch(&request), lasts) {
                (true, true) => quiet(),
                (true, false) => Reply::new(200, ""),
                (false, _) => list(5, &[slice("a", 1, &[1])]),
            }
        }
    })
    .await;
    let (_directory, builder) = builder(&server.url());
    let provider = builder.build().await.expect("builds");
    let mut watch = provider.watch(&Query::service(&service("users"))).expect("it watches");
    assert_eq!(addresses(&item(&mut watch, SOON).await.expect("a set")), ["10.0.0.1"]);
    let error = loop {
        if let Err(error) = item(&mut watch, SOON).await {
            break error;
        }
    };
    assert_eq!(error.code(), "WATCH_CLOSED", "{error}");
    assert!(error.to_string().contains("keeps ending early"), "{error}");
    // Whatever a list says in between, the next end is a failure again.
    let mut ends = 0;
    let until = Instant::now() + Duration::from_secs(4);
    while let Ok(Some(item)) = tokio::time::timeout_at(until, watch.next()).await {
        ends += usize::from(item.is_err());
    }
    assert!(ends >= 1, "{ends}");
    lasts.store(true, Ordering::Relaxed);
    loop {
        let next = item(&mut watch, Duration::from_secs(45)).await;
        if next.is_ok() && tokio::time::timeout(Duration::from_secs(7), watch.next()).await.is_err() {
            break;
        }
    }
}

/// A deletion with the last version of the object, as some servers send it: it is applied, and the
/// next watch goes on from where this one was.
#[tokio::test]
async fn a_deletion_with_an_old_version_is_applied_and_nothing_is_repeated() {
    let server = FaultServer::start(move |request: Request| async move {
        match (is_watch(&request), request.query("resourceVersion")) {
            (true, Some("50")) if request.number <= 1 => {
                let (sender, reply) = Reply::stream(200);
                tokio::spawn(async move {
                    let _ = sender.send(event("DELETED", &slice("a", 7, &[1]))).await;
                    tokio::time::sleep(Duration::from_millis(200)).await;
                });
                reply
            }
            (true, Some("50")) => quiet(),
            (true, _) => Reply::json(410, status(410, "Expired").to_string()),
            (false, _) => list(50, &[slice("a", 7, &[1]), slice("b", 8, &[2])]),
        }
    })
    .await;
    let (_directory, builder) = builder(&server.url());
    let provider = builder.build().await.expect("builds");
    let mut watch = provider.watch(&Query::service(&service("users"))).expect("it watches");
    let until = Instant::now() + Duration::from_secs(3);
    let mut last = Vec::new();
    while let Ok(Some(set)) = tokio::time::timeout_at(until, watch.next()).await {
        last = addresses(&set.expect("no error")).iter().map(|&address| address.to_owned()).collect();
    }
    assert_eq!(last, ["10.0.0.2"]);
    let versions: Vec<_> = crate::scripted::watches(&server)
        .iter()
        .map(|watch| watch.query("resourceVersion").map(str::to_owned))
        .collect();
    assert_eq!(versions, [Some("50".to_owned()), Some("50".to_owned())], "none from an old version");
}

/// One connection that ends early is no failure: it is what a restarted load balancer does.
#[tokio::test]
async fn a_watch_that_ends_early_once_is_no_failure() {
    let ended = Arc::new(AtomicBool::new(false));
    let server = FaultServer::start(move |request: Request| {
        let first = is_watch(&request) && !ended.swap(is_watch(&request), Ordering::Relaxed);
        async move {
            match (is_watch(&request), first) {
                (true, true) => Reply::new(200, event("MODIFIED", &slice("a", 6, &[1, 2]))),
                (true, false) => quiet(),
                (false, _) => list(5, &[slice("a", 1, &[1])]),
            }
        }
    })
    .await;
    let (_directory, builder) = builder(&server.url());
    let provider = builder.build().await.expect("builds");
    let mut watch = provider.watch(&Query::service(&service("users"))).expect("it watches");
    let until = Instant::now() + Duration::from_secs(3);
    let mut last = Vec::new();
    while let Ok(Some(set)) = tokio::time::timeout_at(until, watch.next()).await {
        last = addresses(&set.expect("no error")).iter().map(|&address| address.to_owned()).collect();
    }
    assert_eq!(last, ["10.0.0.1", "10.0.0.2"]);
}

/// How a load balancer without a server behind it breaks a connection.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Breaks {
    AtOnce,
    AfterTheRequest,
}

/// A load balancer accepts every connection and breaks it while no server is behind it, for so long
/// that the back-off has become long: the return is noticed within 5 s.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_behind_a_load_balancer_that_accepts_and_resets_is_back_within_five_seconds() {
    let answer =
        async |request: Request| if is_watch(&request) { quiet() } else { list(5, &[slice("a", 1, &[1])]) };
    let server = FaultServer::start(answer).await;
    let port = |url: &str| url.rsplit(':').next().and_then(|port| port.parse::<u16>().ok()).expect("a port");
    let mut tests = tokio::task::JoinSet::new();
    for breaks in [Breaks::AtOnce, Breaks::AfterTheRequest] {
        let balancer = Balancer::new(port(&server.url()), breaks).await;
        let (directory, builder) = builder(&format!("http://127.0.0.1:{}", balancer.port));
        tests.spawn(async move {
            back_behind_a_balancer(&balancer, builder).await;
            drop(directory);
        });
    }
    // The real server, and TLS.
    if let Some(space) = calm().await {
        let balancer = Balancer::new(port(&space.plane.url()), Breaks::AtOnce).await;
        let url = format!("https://127.0.0.1:{}", balancer.port);
        let builder =
            KubernetesProvider::builder().api_server(url, space.plane.authority(), &space.token_file);
        let builder = builder.namespace(&space.namespace);
        tests.spawn(async move { back_behind_a_balancer(&balancer, builder).await });
    }
    while let Some(test) = tests.join_next().await {
        test.expect("it is back in time");
    }
}

/// Accepts connections, and forwards them while it is up.
struct Balancer {
    port: u16,
    up: Arc<AtomicBool>,
    breaks: Breaks,
    task: tokio::task::JoinHandle<()>,
}

impl Balancer {
    async fn new(to: u16, breaks: Breaks) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("bound").port();
        let up = Arc::new(AtomicBool::new(false));
        let is_up = Arc::clone(&up);
        let task = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((mut here, _)) = listener.accept().await {
                let up = is_up.load(Ordering::Relaxed);
                connections.spawn(async move {
                    if up {
                        let there = tokio::net::TcpStream::connect(("127.0.0.1", to)).await;
                        let _ =
                            tokio::io::copy_bidirectional(&mut here, &mut there.expect("it is there")).await;
                        return;
                    }
                    if breaks == Breaks::AfterTheRequest {
                        let _ = here.read(&mut [0; 4096]).await;
                    }
                    // Without lingering, it is a reset.
                    let _ = here.set_zero_linger();
                });
            }
        });
        Self { port, up, breaks, task }
    }
}

impl Drop for Balancer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn back_behind_a_balancer(balancer: &Balancer, builder: KubernetesProviderBuilder) {
    let provider = builder.build().await.expect("builds");
    let mut watch = provider.watch(&Query::service(&service("users"))).expect("it watches");
    item(&mut watch, SOON).await.expect_err("no server");
    tokio::time::sleep(Duration::from_secs(25)).await;
    balancer.up.store(true, Ordering::Relaxed);
    let begun = Instant::now();
    while item(&mut watch, Duration::from_secs(40)).await.is_err() {}
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}: {:?}", balancer.breaks, begun.elapsed());
}

/// After a refusal has lasted so long that requests are rare, a new token is tried within 2 s of its
/// change on disk, whether it is in a token file or in a kubeconfig.
#[tokio::test(flavor = "multi_thread")]
async fn a_new_token_is_tried_within_two_seconds_of_its_change_on_disk() {
    let tests = [false, true].map(|kubeconfig| tokio::spawn(back_with_a_new_token(kubeconfig)));
    for test in tests {
        test.await.expect("it is tried in time");
    }
}

async fn back_with_a_new_token(kubeconfig: bool) {
    let server = FaultServer::start(async |request: Request| {
        match (request.header("authorization") == Some("Bearer second"), is_watch(&request)) {
            (true, true) => quiet(),
            (true, false) => list(5, &[slice("a", 1, &[1])]),
            (false, _) => Reply::json(401, status(401, "Unauthorized").to_string()),
        }
    })
    .await;
    let directory = failover_testkit::TempDir::new().expect("a directory");
    let file = directory.path().join("credentials");
    let write = |token: &str| {
        let text = if kubeconfig {
            format!(
                "apiVersion: v1\nkind: Config\ncurrent-context: t\nclusters: [{{name: t, cluster: {{server: \"{}\"}}}}]\n\
                 users: [{{name: t, user: {{token: {token}}}}}]\ncontexts: [{{name: t, context: {{cluster: t, user: t, \
                 namespace: shop}}}}]\n",
                server.url()
            )
        } else {
            token.to_owned()
        };
        let new = directory.path().join("new");
        std::fs::write(&new, text).expect("writes");
        std::fs::rename(&new, &file).expect("renames");
    };
    write("first");
    let builder = KubernetesProvider::builder();
    let builder = if kubeconfig {
        builder.kubeconfig(&file, None)
    } else {
        builder.api_server(server.url(), "", &file).namespace("shop")
    };
    let provider = builder.build().await.expect("builds");
    let mut watch = provider.watch(&Query::service(&service("users"))).expect("it watches");
    item(&mut watch, SOON).await.expect_err("refused");
    // By now it waits for up to a minute.
    tokio::time::sleep(Duration::from_secs(8)).await;
    let before = server.request_count();
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert!(server.request_count() - before <= 2, "a refusal is not asked hotly");
    write("second");
    let begun = Instant::now();
    loop {
        if item(&mut watch, Duration::from_secs(40)).await.is_ok() {
            break;
        }
    }
    assert!(begun.elapsed() < Duration::from_secs(2), "kubeconfig {kubeconfig}: {:?}", begun.elapsed());
    provider.list(&Query::all()).await.expect("operations use it, too");
}
