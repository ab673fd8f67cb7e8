//! Managers must not leak. Alone in its process, because it counts the resources of the process.

use std::fs;
use std::time::Duration;

use failover_core::{Endpoint, FailoverManager};
use failover_memory::MemoryProvider;
use tokio::runtime::Handle;
use tokio::sync::oneshot;

/// Returns the open files and the resident kilobytes, where the system reports them.
fn held() -> (usize, usize) {
    let files = fs::read_dir("/proc/self/fd").map_or(0, Iterator::count);
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let digits = |text: &str| text.trim().trim_end_matches(" kB").trim().parse().ok();
    (files, resident.and_then(digits).unwrap_or(0))
}

async fn cycle() {
    let manager = FailoverManager::builder().provider(MemoryProvider::new()).build().await.expect("builds");
    let endpoint = Endpoint::builder("users-1", "users", "10.0.0.1", 80).build().expect("valid");
    manager.register_endpoint(endpoint).await.expect("registers");
    let service = manager.service("users").await.expect("a handle");
    let (begun, has_begun) = oneshot::channel();
    let (answer, answered) = oneshot::channel::<()>();
    let call = tokio::spawn(async move {
        service
            .execute_once(async |_| {
                begun.send(()).expect("waited for");
                answered.await
            })
            .await
    });
    has_begun.await.expect("it begins");
    drop(manager);
    answer.send(()).expect("it waits");
    assert!(call.await.expect("no panic").is_ok(), "a call in flight ends as it would have");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c4_a_thousand_managers_that_are_dropped_with_a_call_in_flight_leave_nothing_behind() {
    for _ in 0..200 {
        cycle().await;
    }
    let (files, resident) = held();
    for _ in 0..1_000 {
        cycle().await;
    }
    let mut waited = Duration::ZERO;
    while Handle::current().metrics().num_alive_tasks() > 0 {
        assert!(waited < Duration::from_secs(1), "tasks are left after a second");
        tokio::time::sleep(Duration::from_millis(5)).await;
        waited += Duration::from_millis(5);
    }
    let (files_after, resident_after) = held();
    assert_eq!(files_after, files, "open files");
    let grown = resident_after.saturating_sub(resident);
    assert!(grown < 1_000, "{grown} kB more: a kilobyte for each manager");
}
