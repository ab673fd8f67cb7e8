//! Credentials from a plugin: one that hangs, one that fails, and credentials that expire.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use failover_core::ErrorKind;
use failover_core::provider::{Provider, Query};
use failover_k8s::{KubernetesProvider, KubernetesProviderBuilder};
use failover_testkit::{FaultServer, Reply, Request, TempDir, until};
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use tokio::time::Instant;

use crate::harness::service;
use crate::scripted::{SOON, is_watch, item, list, quiet, slice, status};

/// A plugin whose token and hanging a test controls at run time, and the kubeconfig that names it.
struct Plugin {
    directory: TempDir,
}

impl Plugin {
    fn new(url: &str) -> Self {
        let plugin = Self { directory: TempDir::new().expect("a directory") };
        let all = plugin.directory.path().display();
        let script = format!(
            "echo $$ >> {all}/runs\n[ -e {all}/hangs ] && exec sleep 600\n[ -e {all}/fails ] && exit 1\n\
             printf '{{\"apiVersion\":\"client.authentication.k8s.io/v1\",\"kind\":\"ExecCredential\",\"status\":'\n\
             cat {all}/status\nprintf '}}'\n"
        );
        plugin.write("plugin", &script);
        let script = plugin.file("plugin");
        let exec = format!(
            "{{apiVersion: client.authentication.k8s.io/v1, command: sh, args: [\"{}\"], interactiveMode: Never}}",
            script.display()
        );
        plugin.write(
            "config",
            &format!(
                "apiVersion: v1\nkind: Config\ncurrent-context: t\nclusters: [{{name: t, cluster: {{server: \"{url}\"}}}}]\n\
                 users: [{{name: t, user: {{exec: {exec}}}}}]\n\
                 contexts: [{{name: t, context: {{cluster: t, user: t, namespace: shop}}}}]\n"
            ),
        );
        plugin.prints("first", None);
        plugin
    }

    fn file(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        // Replaced atomically: the plugin may be running.
        std::fs::write(self.file("new"), text).expect("writes");
        std::fs::rename(self.file("new"), self.file(name)).expect("renames");
    }

    /// Sets the token that the plugin prints from its next run on.
    fn prints(&self, token: &str, left: Option<SignedDuration>) {
        let mut status = format!("{{\"token\":\"{token}\"");
        if let Some(left) = left {
            let _ = write!(status, ",\"expirationTimestamp\":\"{:.0}\"", Timestamp::now() + left);
        }
        status.push('}');
        self.write("status", &status);
    }

    /// Returns the ids of the processes started so far.
    fn runs(&self) -> Vec<String> {
        let runs = std::fs::read_to_string(self.file("runs")).unwrap_or_default();
        runs.lines().map(str::to_owned).collect()
    }

    fn running(&self) -> usize {
        self.runs().iter().filter(|id| Path::new(&format!("/proc/{id}")).exists()).count()
    }

    fn builder(&self) -> KubernetesProviderBuilder {
        KubernetesProvider::builder().kubeconfig(self.file("config"), None)
    }
}

/// Starts a server that accepts only this token.
async fn server(token: &'static str) -> FaultServer {
    FaultServer::start(move |request: Request| async move {
        match (request.header("authorization") == Some(token), is_watch(&request)) {
            (true, true) => quiet(),
            (true, false) => list(5, &[slice("a", 1, &[1])]),
            (false, _) => Reply::json(401, status(401, "Unauthorized").to_string()),
        }
    })
    .await
}

/// Counts how often the runtime's only thread was free, sampled every 10 ms.
fn ticks() -> Arc<AtomicUsize> {
    let count = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&count);
    tokio::spawn(async move {
        loop {
            tokio::time::sleep(Duration::from_millis(10)).await;
            counted.fetch_add(1, Ordering::Relaxed);
        }
    });
    count
}

/// R3, for credentials: the builder returns a timely error, nothing else is blocked, and no process
/// is left running.
#[tokio::test]
async fn a_plugin_that_hangs_at_the_start_is_ended_at_the_deadline() {
    let plugin = Plugin::new("http://127.0.0.1:1");
    plugin.write("hangs", "");
    let ticks = ticks();
    for number in 1..=2 {
        let (begun, before) = (Instant::now(), ticks.load(Ordering::Relaxed));
        let error =
            plugin.builder().deadline(Duration::from_millis(500)).build().await.expect_err("it hangs");
        assert!(begun.elapsed() < Duration::from_millis(900), "{:?}", begun.elapsed());
        assert_eq!(error.kind(), ErrorKind::Timeout, "{error}");
        let text = error.to_string();
        for said in ["credentials plugin sh", "500ms", "by hand", "deadline"] {
            assert!(text.contains(said), "{said} is missing: {text}");
        }
        assert!(ticks.load(Ordering::Relaxed) - before >= 20, "the runtime's thread was free");
        assert_eq!(plugin.runs().len(), number, "once for each");
        until(SOON, "it has been ended", async || plugin.running() == 0).await;
    }
    // The same if the future is dropped.
    let given_up = tokio::time::timeout(Duration::from_millis(300), plugin.builder().build()).await;
    assert!(given_up.is_err() && plugin.runs().len() == 3);
    until(SOON, "it has been ended", async || plugin.running() == 0).await;
    std::fs::remove_file(plugin.file("hangs")).expect("removes");
    plugin.builder().build().await.expect("builds");
    assert_eq!(plugin.runs().len(), 4, "once for each client");
}

/// A file can hang, too.
#[cfg(unix)]
#[tokio::test]
async fn a_file_that_hangs_is_reported_by_name_in_time() {
    let plugin = Plugin::new("http://127.0.0.1:1");
    let pipe = plugin.file("pipe");
    let made = std::process::Command::new("mkfifo").arg(&pipe).status().expect("there is mkfifo");
    assert!(made.success());
    let ticks = ticks();
    let deadline = Duration::from_millis(300);
    let kubeconfig = KubernetesProvider::builder().kubeconfig(&pipe, None).deadline(deadline);
    let token = KubernetesProvider::builder().api_server("https://127.0.0.1:1", "", &pipe).namespace("shop");
    for builder in [kubeconfig, token.deadline(deadline)] {
        let error = builder.build().await.expect_err("the pipe has no writer");
        assert_eq!(error.kind(), ErrorKind::Timeout, "{error}");
        assert!(error.to_string().contains(&*pipe.to_string_lossy()), "{error}");
    }
    assert!(ticks.load(Ordering::Relaxed) >= 30, "the runtime's thread was free");
    // A token that was read before stays in use.
    let server = server("Bearer canary-token").await;
    let file = plugin.file("token");
    std::fs::write(&file, "canary-token").expect("writes");
    let builder = KubernetesProvider::builder().api_server(server.url(), "", &file).namespace("shop");
    let provider = builder.build().await.expect("builds");
    provider.list(&Query::all()).await.expect("lists");
    std::fs::rename(&pipe, &file).expect("renames");
    for _ in 0..3 {
        provider.list(&Query::all()).await.expect("lists");
    }
}

/// Credentials are renewed before they expire, and no request waits for the renewal; a hanging
/// plugin does no harm while they are valid, and is named once they are not.
#[tokio::test]
async fn a_plugin_that_hangs_later_holds_up_no_request_whose_credentials_are_good() {
    let good = Arc::new(std::sync::Mutex::new("Bearer first"));
    let taken = Arc::clone(&good);
    let server = FaultServer::start(move |request: Request| {
        let good = *taken.lock().expect("whole");
        async move {
            if request.header("authorization") == Some(good) {
                list(5, &[slice("a", 1, &[1])])
            } else {
                Reply::json(401, status(401, "Unauthorized").to_string())
            }
        }
    })
    .await;
    let plugin = Plugin::new(&server.url());
    // Due for renewal.
    plugin.prints("first", Some(SignedDuration::from_secs(30)));
    let provider = plugin.builder().deadline(Duration::from_secs(2)).build().await.expect("builds");
    plugin.write("hangs", "");
    let ticks = ticks();
    for _ in 0..10 {
        let begun = Instant::now();
        provider.list(&Query::all()).await.expect("they are good");
        assert!(begun.elapsed() < Duration::from_millis(500), "{:?}", begun.elapsed());
    }
    until(SOON, "it runs", async || plugin.running() == 1).await;
    assert_eq!(plugin.runs().len(), 2, "one, for all of them");
    *good.lock().expect("whole") = "Bearer second";
    let begun = Instant::now();
    let all = Query::all();
    let (one, two) = tokio::join!(provider.list(&all), provider.list(&all));
    for error in [one.expect_err("refused"), two.expect_err("refused")] {
        assert!(error.to_string().contains("credentials plugin sh"), "{error}");
    }
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
    until(SOON, "it has been ended", async || plugin.running() == 0).await;
    let begun = Instant::now();
    let error = provider.list(&Query::all()).await.expect_err("refused");
    assert!(error.to_string().contains("credentials plugin sh"), "{error}");
    assert!(begun.elapsed() < Duration::from_millis(500), "it is not tried again at once");
    assert_eq!(plugin.runs().len(), 2);
    assert!(ticks.load(Ordering::Relaxed) >= 50, "the runtime's thread was free");
}

/// Closing or dropping a provider kills its plugin.
#[tokio::test]
async fn a_plugin_ends_with_its_provider() {
    let server = server("Bearer second").await;
    for closed in [true, false] {
        let plugin = Plugin::new(&server.url());
        let provider = plugin.builder().build().await.expect("builds");
        plugin.write("hangs", "");
        let asked = tokio::time::timeout(Duration::from_millis(500), provider.list(&Query::all())).await;
        assert!(asked.is_err(), "it waits for other credentials");
        assert_eq!(plugin.running(), 1, "a dropped request did not end it for the others");
        if !closed {
            drop(provider);
            until(SOON, "it has been ended", async || plugin.running() == 0).await;
            continue;
        }
        provider.close().await.expect("closes");
        until(SOON, "it has been ended", async || plugin.running() == 0).await;
        // After reopening, it runs again without delay.
        std::fs::remove_file(plugin.file("hangs")).expect("removes");
        plugin.prints("second", None);
        provider.connect().await.expect("with the other token");
        provider.list(&Query::all()).await.expect("with the other token");
    }
}

/// F9: each of many requests refused at once is repeated, and the plugin runs once for all of them.
#[tokio::test(flavor = "multi_thread")]
async fn many_requests_that_are_refused_at_once_are_each_repeated_once() {
    let server = FaultServer::start(async |request: Request| {
        if request.header("authorization") == Some("Bearer second") {
            return list(5, &[slice("a", 1, &[1])]);
        }
        if request.query("labelSelector").is_some_and(|selector| selector.contains("late")) {
            // Refused when the others already have new credentials.
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        Reply::json(401, status(401, "Unauthorized").to_string())
    })
    .await;
    let plugin = Plugin::new(&server.url());
    let provider = Arc::new(plugin.builder().build().await.expect("builds"));
    plugin.prints("second", None);
    let late = tokio::spawn({
        let provider = Arc::clone(&provider);
        async move { provider.list(&Query::service(&service("late"))).await }
    });
    until(SOON, "it is under way", async || server.request_count() == 1).await;
    let mut lists = tokio::task::JoinSet::new();
    for _ in 0..20 {
        let provider = Arc::clone(&provider);
        lists.spawn(async move { provider.list(&Query::all()).await });
    }
    while let Some(listed) = lists.join_next().await {
        listed.expect("no panic").expect("with the other token");
    }
    late.await.expect("no panic").expect("with the other token, and without a renewal of its own");
    assert_eq!(plugin.runs().len(), 2, "once to build, and once for all");
    let refused = server
        .requests()
        .iter()
        .filter(|request| request.header("authorization") == Some("Bearer first"))
        .count();
    assert_eq!(server.request_count(), 21 + refused, "each refused one was repeated once");
    assert!(refused > 1, "several were refused");
    // Refused again with the new credentials: rereading returns the same ones, and happens once,
    // not per request.
    drop(provider);
    plugin.prints("third", None);
    let provider = plugin.builder().build().await.expect("builds");
    for _ in 0..3 {
        let error = provider.list(&Query::all()).await.expect_err("refused");
        assert_eq!((error.kind(), error.code()), (ErrorKind::Permission, "UNAUTHENTICATED"));
    }
    assert_eq!(plugin.runs().len(), 4);
}

/// A plugin that fails for a while: the last endpoints stay, the error names the plugin, and
/// requests succeed afterwards.
#[tokio::test]
async fn a_plugin_that_fails_for_a_while_is_named_and_its_word_is_taken_later() {
    let server = server("Bearer first").await;
    let plugin = Plugin::new(&server.url());
    plugin.write("fails", "");
    let error = plugin.builder().build().await.expect_err("it fails");
    assert_eq!((error.kind(), error.code()), (ErrorKind::Permission, "UNAUTHENTICATED"));
    assert!(
        error.to_string().contains("plugin sh") && error.to_string().contains("exit status: 1"),
        "{error}"
    );
    std::fs::remove_file(plugin.file("fails")).expect("removes");
    let provider = plugin.builder().build().await.expect("builds");
    let users = service("users");
    let mut watch = provider.watch(&Query::service(&users)).expect("it watches");
    assert_eq!(item(&mut watch, SOON).await.expect("a set").entries().len(), 1);
}

/// kubectl no longer runs the command of an auth-provider; kube would, on the runtime's thread.
#[tokio::test]
async fn an_auth_provider_with_a_command_is_refused_and_its_successor_is_named() {
    let plugin = Plugin::new("https://127.0.0.1:1");
    let text = std::fs::read_to_string(plugin.file("config")).expect("reads");
    let (before, _) = text.split_once("users: ").expect("it has users");
    let (_, after) = text.split_once("contexts: ").expect("it has contexts");
    let user = "{auth-provider: {name: gcp, config: {cmd-path: sleep, cmd-args: \"600\"}}}";
    plugin.write("config", &format!("{before}users: [{{name: t, user: {user}}}]\ncontexts: {after}"));
    let error = plugin.builder().build().await.expect_err("it is not run");
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert!(error.to_string().contains("exec"), "{error}");
}
