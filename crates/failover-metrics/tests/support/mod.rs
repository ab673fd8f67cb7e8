//! What the tests share.

#![allow(dead_code, reason = "each test uses a part")]

use std::collections::BTreeMap;
use std::io::Write;
use std::process::{Command, Stdio};
use std::time::Duration;

use failover_core::{Endpoint, FailoverManager};
use failover_memory::MemoryProvider;
use failover_testkit::servers::skip;

pub(crate) fn endpoint(service: &str, id: &str, port: u16) -> Endpoint {
    Endpoint::builder(id, service, "10.0.0.1", port).build().expect("valid")
}

/// A manager with the service `users`.
pub(crate) async fn manager<const N: usize>(ids: [&str; N]) -> FailoverManager {
    let manager = FailoverManager::builder().provider(MemoryProvider::new()).build().await.expect("builds");
    for (id, port) in ids.into_iter().zip(8_000..) {
        manager.register_endpoint(endpoint("users", id, port)).await.expect("registers");
    }
    manager
}

/// Waits for a change that a task of the manager makes.
pub(crate) async fn until(is_true: impl Fn() -> bool) {
    let wait = async {
        while !is_true() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), wait).await.expect("in time");
}

/// Returns each series with its value, and panics at one that is there twice, or not after its `# TYPE`.
pub(crate) fn samples(text: &str) -> BTreeMap<String, f64> {
    let (mut found, mut family) = (BTreeMap::new(), "");
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            family = rest.split(' ').next().expect("a name");
        } else if !line.starts_with('#') {
            assert!(!family.is_empty() && line.starts_with(family), "{line} below {family}");
            let (series, value) = line.rsplit_once(' ').expect("a value");
            let value = value.parse().expect("a number");
            assert_eq!(found.insert(series.to_owned(), value), None, "{series} twice");
        }
    }
    found
}

/// Runs promtool with this input, where it is installed.
pub(crate) fn promtool(arguments: &[&str], input: &str) {
    let run = Command::new("promtool")
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut child = match run {
        Ok(child) => child,
        Err(error) => {
            return skip(&format!("promtool cannot be run ({error}); Debian's package prometheus has it"));
        }
    };
    child.stdin.take().expect("piped").write_all(input.as_bytes()).expect("it reads");
    let output = child.wait_with_output().expect("it ends");
    let said =
        [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned()).concat();
    assert!(output.status.success(), "promtool {arguments:?}: {said}");
}
