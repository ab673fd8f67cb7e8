//! The bridge to the `metrics` facade.

#![allow(clippy::float_cmp, reason = "the values are whole numbers")]

mod support;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use failover_core::{ErrorKind, FailoverManager, Outcome};
use failover_memory::MemoryProvider;
use failover_metrics::install;
use metrics::{
    Counter, CounterFn, Gauge, GaugeFn, Histogram, HistogramFn, Key, KeyName, Metadata, Recorder,
    SharedString, Unit, with_local_recorder,
};
use support::manager;

/// Keeps the values of each series, and the number and sum of the values of each histogram.
#[derive(Clone, Default)]
struct Kept(Arc<Mutex<BTreeMap<String, (f64, f64)>>>);

struct Series(Kept, String);

impl Series {
    fn set(&self, change: impl FnOnce(&mut (f64, f64))) {
        change(self.0.0.lock().expect("no panic").entry(self.1.clone()).or_default());
    }
}

impl CounterFn for Series {
    fn increment(&self, value: u64) {
        self.set(|kept| kept.0 += value as f64);
    }
    fn absolute(&self, value: u64) {
        self.set(|kept| kept.0 = kept.0.max(value as f64));
    }
}

impl GaugeFn for Series {
    fn increment(&self, value: f64) {
        self.set(|kept| kept.0 += value);
    }
    fn decrement(&self, value: f64) {
        self.set(|kept| kept.0 -= value);
    }
    fn set(&self, value: f64) {
        Series::set(self, |kept| kept.0 = value);
    }
}

impl HistogramFn for Series {
    fn record(&self, value: f64) {
        self.set(|kept| *kept = (kept.0 + 1.0, kept.1 + value));
    }
}

impl Kept {
    fn series(&self, key: &Key) -> Arc<Series> {
        let labels: Vec<_> = key.labels().map(|label| format!("{}={}", label.key(), label.value())).collect();
        Arc::new(Series(self.clone(), format!("{} {}", key.name(), labels.join(" "))))
    }

    fn get(&self, series: &str) -> Option<(f64, f64)> {
        self.0.lock().expect("no panic").get(series).copied()
    }
}

impl Recorder for Kept {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        Counter::from_arc(self.series(key))
    }
    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::from_arc(self.series(key))
    }
    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::from_arc(self.series(key))
    }
}

async fn called(manager: &FailoverManager, times: u32) {
    let users = manager.service("users").await.expect("a handle");
    for _ in 0..times {
        users.select().expect("available").finish(Outcome::Success);
    }
}

const SUCCESS: &str = "failover_calls_total service=users outcome=success";
const DURATIONS: &str = "failover_attempt_duration_seconds service=users";
const AVAILABLE: &str = "failover_endpoint_available service=users endpoint=users-1";

#[tokio::test]
async fn without_a_recorder_nothing_happens_and_a_later_one_gets_the_totals_and_new_durations() {
    let manager = manager(["users-1", "users-2"]).await;
    called(&manager, 7).await;
    let bridge = install(&manager).expect("the first one");
    bridge.write();
    called(&manager, 3).await;
    let (first, second) = (Kept::default(), Kept::default());
    with_local_recorder(&first, || bridge.write());
    assert_eq!(first.get(SUCCESS), Some((10.0, 0.0)));
    assert_eq!(first.get(AVAILABLE), Some((1.0, 0.0)));
    let (count, sum) = first.get(DURATIONS).expect("recorded");
    assert_eq!(count, 3.0);
    assert!((sum - 3.0 * 0.00025).abs() < 1e-9, "the middle of the first bucket: {sum}");
    // A program that changes its recorder: totals are the same, and no duration is recorded twice.
    with_local_recorder(&second, || bridge.write());
    assert_eq!((second.get(SUCCESS), second.get(DURATIONS)), (Some((10.0, 0.0)), None));
    // An endpoint that has left keeps its last value.
    manager.deregister_endpoint(("users", "users-1")).await.expect("deregisters");
    let users = manager.service("users").await.expect("a handle");
    support::until(|| users.endpoints().len() == 1).await;
    with_local_recorder(&first, || bridge.write());
    assert_eq!(first.get(AVAILABLE), Some((1.0, 0.0)));
}

#[tokio::test]
async fn a_second_bridge_of_one_manager_is_an_error_until_the_first_one_is_dropped() {
    let (one, other) = (manager(["users-1"]).await, manager(["users-1"]).await);
    let first = install(&one).expect("the first one");
    let error = install(&one.clone()).expect_err("a second one");
    assert_eq!(error.kind(), ErrorKind::Conflict);
    assert!(error.to_string().contains("drop that bridge first"), "{error}");
    let _other = install(&other).expect("of another manager");
    drop(first);
    let _again = install(&one).expect("the only one");
}

#[test]
fn outside_of_a_runtime_and_of_a_closed_manager_it_is_an_error() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("builds");
    let manager = runtime.block_on(manager(["users-1"]));
    assert_eq!(install(&manager).expect_err("no runtime").kind(), ErrorKind::Internal);
    runtime.block_on(async {
        manager.close().await.expect("closes");
        assert_eq!(install(&manager).expect_err("closed").kind(), ErrorKind::Shutdown);
    });
}

#[tokio::test(start_paused = true)]
async fn it_writes_every_five_seconds_and_ends_with_its_manager() {
    let kept = Kept::default();
    // The task of a current-thread runtime runs on this thread, so that the local recorder is its own.
    let _local = metrics::set_default_local_recorder(&kept);
    let manager = manager(["users-1"]).await;
    let bridge = install(&manager).expect("the first one");
    called(&manager, 2).await;
    assert_eq!(kept.get(SUCCESS), None, "there was no service yet");
    tokio::time::sleep(Duration::from_millis(5_100)).await;
    assert_eq!(kept.get(SUCCESS), Some((2.0, 0.0)));
    called(&manager, 2).await;
    tokio::time::sleep(Duration::from_millis(5_100)).await;
    assert_eq!(kept.get(SUCCESS), Some((4.0, 0.0)));
    assert!(!bridge.is_ended());
    manager.close().await.expect("closes");
    tokio::time::sleep(Duration::from_millis(5_100)).await;
    assert!(bridge.is_ended());
    bridge.write();
    assert_eq!(kept.get(SUCCESS), Some((4.0, 0.0)));
}

#[tokio::test(start_paused = true)]
async fn it_does_not_keep_the_manager_and_ends_when_it_is_dropped() {
    let provider = MemoryProvider::new();
    let manager = FailoverManager::builder().provider(provider).build().await.expect("builds");
    let tasks = || tokio::runtime::Handle::current().metrics().num_alive_tasks();
    let before = tasks();
    drop(install(&manager).expect("the first one"));
    tokio::time::sleep(Duration::from_millis(1)).await;
    assert_eq!(tasks(), before, "its task has ended");
    let bridge = install(&manager).expect("the only one");
    let weak = manager.downgrade();
    drop(manager);
    assert!(weak.upgrade().is_none());
    tokio::time::sleep(Duration::from_millis(5_100)).await;
    assert!(bridge.is_ended());
}
