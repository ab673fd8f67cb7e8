//! The provider on a real directory.

#![allow(clippy::disallowed_methods, reason = "tests with real files, in real time")]

mod conformance;
mod saving;

use std::fs;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use failover_core::events::EventKind;
use failover_core::provider::{ConnectionStatus, Provider};
use failover_core::{ErrorKind, FailoverManager, ServiceHandle, codes};
use failover_file::FileProvider;
use tempfile::TempDir;

const SOON: Duration = Duration::from_secs(5);

/// A directory, and the path of a file in it.
fn place(name: &str) -> (TempDir, PathBuf) {
    let directory = TempDir::new().expect("a directory");
    let path = directory.path().join(name);
    (directory, path)
}

/// The text of a file that lists these addresses for `users`.
fn listing(addresses: &[&str]) -> String {
    let endpoints: Vec<_> = addresses.iter().map(|address| format!("\"http://{address}\"")).collect();
    format!("[services]\nusers = [{}]\n", endpoints.join(", "))
}

async fn watching(path: &Path) -> (FailoverManager, ServiceHandle) {
    let provider = FileProvider::new(path).expect("a known ending");
    let manager = FailoverManager::builder().provider(provider).build().await.expect("builds");
    let users = manager.service("users").await.expect("a handle");
    (manager, users)
}

fn ids(service: &ServiceHandle) -> Vec<String> {
    let mut ids: Vec<_> = service.stats().endpoints.iter().map(|endpoint| endpoint.id.to_string()).collect();
    ids.sort();
    ids
}

/// Waits until it holds, and returns how long that took.
async fn until(what: &str, holds: impl Fn() -> bool) -> Duration {
    let begin = Instant::now();
    while !holds() {
        assert!(begin.elapsed() < SOON, "{what} after {:?}", begin.elapsed());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    begin.elapsed()
}

async fn fails<T>(what: impl Future<Output = Result<T, failover_core::Error>>) -> failover_core::Error {
    what.await.map(drop).expect_err("it fails")
}

#[tokio::test]
async fn a_broken_file_keeps_the_last_good_endpoints_and_says_where_it_is_broken() {
    let (_directory, path) = place("services.toml");
    fs::write(&path, listing(&["10.0.0.1:80", "10.0.0.2:80"])).expect("it is written");
    let (_manager, users) = watching(&path).await;
    assert_eq!(ids(&users), ["10.0.0.1:80", "10.0.0.2:80"]);
    for broken in ["[services]\nusers = [\"http://10.0.0.1:80\"", "", "[servics]\n"] {
        fs::write(&path, broken).expect("it is written");
        until("it is stale", || users.is_stale()).await;
        assert_eq!(ids(&users).len(), 2, "{broken:?}");
        assert!(users.select().is_ok());
        fs::write(&path, listing(&["10.0.0.1:80", "10.0.0.2:80"])).expect("it is written");
        until("it is fresh", || !users.is_stale()).await;
    }
    let stale: Vec<_> =
        users.events(100).into_iter().filter(|event| event.kind == EventKind::SourceStale).collect();
    let reasons = format!("{stale:?}");
    for part in ["services.toml", "not valid TOML", "line 2 column", "it is empty", "`servics` is no key"] {
        assert!(reasons.contains(part), "{part}: {reasons}");
    }
}

#[tokio::test]
async fn endpoints_that_are_not_valid_are_shown_with_their_reason() {
    let (_directory, path) = place("services.json");
    let text = r#"{"services": {"users": ["http://10.0.0.1:80", {"id": "far", "address": "10.0.0.2", "port": 99999}]}}"#;
    fs::write(&path, text).expect("it is written");
    let (_manager, users) = watching(&path).await;
    assert_eq!(ids(&users), ["10.0.0.1:80"]);
    let shown = users.explain().to_string();
    assert!(shown.contains("far") && shown.contains("port"), "{shown}");
}

#[tokio::test]
async fn configuration_is_applied_as_it_is_written() {
    let (_directory, path) = place("services.yaml");
    let text = |timeout: &str| {
        format!(
            "config: {{ timeout: 7s }}\nservices:\n  users:\n    endpoints: [http://10.0.0.1:80]\n    config: {{ timeout: {timeout} }}\n  others: [http://10.0.0.1:80]\n"
        )
    };
    fs::write(&path, text("2s")).expect("it is written");
    let (manager, users) = watching(&path).await;
    let timeout = |service: &ServiceHandle| service.config().timeout();
    until("the service's own", || timeout(&users) == Duration::from_secs(2)).await;
    let others = manager.service("others").await.expect("a handle");
    until("the default", || timeout(&others) == Duration::from_secs(7)).await;
    fs::write(&path, text("3s")).expect("it is written");
    until("the change", || timeout(&users) == Duration::from_secs(3)).await;
    // One that cannot be used is reported, and the one before stays.
    fs::write(&path, text("soon")).expect("it is written");
    let rejected = || users.events(100).iter().any(|event| event.kind == EventKind::ConfigRejected);
    until("it is rejected", rejected).await;
    assert_eq!(timeout(&users), Duration::from_secs(3));
    fs::write(&path, "services:\n  users: [http://10.0.0.1:80]\n").expect("it is written");
    until("it is taken back", || timeout(&users) != Duration::from_secs(3)).await;
}

#[tokio::test]
async fn a_file_that_cannot_be_read_is_an_error_at_once_that_says_why() {
    let (directory, path) = place("services.toml");
    let provider = FileProvider::builder(&path).max_bytes(100).build().expect("a known ending");
    let all = failover_core::provider::Query::all();
    let list = || provider.list(&all);
    let error = fails(list()).await;
    assert_eq!((error.kind(), error.code()), (ErrorKind::Connection, codes::CONNECTION_ERROR), "{error}");
    assert!(
        error.to_string().contains("services.toml") && error.to_string().contains("No such file"),
        "{error}"
    );
    fs::create_dir(&path).expect("a directory");
    assert!(fails(list()).await.to_string().contains("it is no regular file"));
    fs::remove_dir(&path).expect("it is removed");
    fs::write(&path, [b'#', 0xff]).expect("it is written");
    assert!(fails(list()).await.to_string().contains("not text in UTF-8 from byte 1 on"));
    fs::write(&path, "#".repeat(101)).expect("it is written");
    let error = fails(list()).await;
    assert!(error.code() == codes::TOO_LARGE && error.to_string().contains("max_bytes"), "{error}");
    fs::write(&path, listing(&["10.0.0.1:80"])).expect("it is written");
    assert_eq!(list().await.expect("it reads").entries().len(), 1);
    assert_eq!(provider.info().connection().status(), ConnectionStatus::Connected);
    drop(directory);
    for (interval, kept) in [(Duration::ZERO, "interval: 250ms"), (Duration::MAX, "interval: 86400s")] {
        let shown = format!("{:?}", FileProvider::builder("a.toml").poll_interval(interval));
        assert!(shown.contains(kept), "{shown}");
    }
    for bad in ["services", "services.txt", ""] {
        let error = FileProvider::new(bad).expect_err("no known ending").to_string();
        assert!(error.contains(".toml, .yaml, .yml or .json"), "{error}");
    }
}

#[cfg(unix)]
#[tokio::test]
async fn a_pipe_does_not_block_the_provider() {
    let (_directory, path) = place("services.toml");
    let made = std::process::Command::new("mkfifo").arg(&path).status().expect("mkfifo runs");
    assert!(made.success());
    let provider = FileProvider::new(&path).expect("a known ending");
    assert!(fails(provider.ping()).await.to_string().contains("it is no regular file"));
}
