//! The page in a real browser: Chromium without a window, where it is installed.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use axum::Router;
use axum::response::Html;
use axum::routing::get;
use failover_core::inspect::Availability;
use failover_core::{Endpoint, FailoverManager, ServiceHandle};
use failover_memory::MemoryProvider;
use failover_status::{Operations, router_with_operations};
use failover_testkit::TempDir;
use failover_testkit::servers::skip;

const TOKEN: &str = "a-token-of-24-characters";

/// Returns the browser, or reports that the test is skipped.
fn chromium() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path)
        .flat_map(|directory| {
            ["chromium", "chromium-browser", "google-chrome"].map(|name| directory.join(name))
        })
        .find(|path| path.is_file());
    if found.is_none() {
        skip("no chromium on this machine; Debian's package chromium has it");
    }
    found
}

/// Loads a page and returns its document after all that it does.
async fn load(browser: &Path, address: &str) -> String {
    let profile = TempDir::new().expect("a directory");
    let mut command = Command::new(browser);
    command
        .args([
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--no-first-run",
        ])
        .args(["--virtual-time-budget=4000", "--timeout=20000", "--dump-dom"])
        .arg(format!("--user-data-dir={}", profile.path().display()))
        .arg(address)
        .stderr(Stdio::null());
    let run = tokio::task::spawn_blocking(move || command.output());
    let output = tokio::time::timeout(Duration::from_secs(90), run).await.expect("in time");
    String::from_utf8_lossy(&output.expect("no panic").expect("it runs").stdout).into_owned()
}

/// Serves the pages, and pages that submit their form at once.
async fn serve() -> (FailoverManager, ServiceHandle, u16) {
    let manager = FailoverManager::builder().provider(MemoryProvider::new()).build().await.expect("builds");
    for (id, port) in [("users-1", 1), ("users-2", 2)] {
        let endpoint = Endpoint::builder(id, "users", "10.0.0.1", port).build().expect("valid");
        manager.register_endpoint(endpoint).await.expect("registers");
    }
    let users = manager.service("users").await.expect("a handle");
    users.ready().await.expect("ready");
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("binds");
    let port = listener.local_addr().expect("an address").port();
    let submitting = format!(
        "<form method=post action=http://127.0.0.1:{port}/failover/service/users/operate>\
         <input name=token value={TOKEN}><input name=endpoint value=users-1><input name=action value=out></form>\
         <script>document.forms[0].submit()</script>"
    );
    let operations = Operations::with_token(TOKEN).expect("long enough");
    let app = Router::new()
        .nest("/failover", router_with_operations(&manager, operations))
        .route("/submits", get(|| async move { Html(submitting) }));
    tokio::spawn(async move { axum::serve(listener, app).await });
    (manager, users, port)
}

fn is_in(users: &ServiceHandle) -> bool {
    matches!(users.explain().endpoint("users-1").expect("listed").availability, Availability::In { .. })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_browser_shows_the_pages_and_an_operation_of_another_site_changes_nothing() {
    let Some(browser) = chromium() else { return };
    let (_manager, users, port) = serve().await;
    let overview = load(&browser, &format!("http://127.0.0.1:{port}/failover")).await;
    assert!(overview.contains("2 of 2") && overview.contains("</tbody>"), "{overview}");
    let page = load(&browser, &format!("http://127.0.0.1:{port}/failover/service/users?refresh=60")).await;
    for part in ["users-2", "<polyline", "Configuration in force", "name=\"token\""] {
        assert!(page.contains(part), "{part}: {page}");
    }
    // The same server under another name is another site for the browser.
    let refused = load(&browser, &format!("http://localhost:{port}/submits")).await;
    assert!(refused.contains("comes from another site"), "{refused}");
    assert!(is_in(&users));
    let done = load(&browser, &format!("http://127.0.0.1:{port}/submits")).await;
    assert!(done.contains("forced out"), "{done}");
    assert!(!is_in(&users));
}
