//! The bridge with the recorder that most programs install: what it exports is what `render` returns.

#![allow(clippy::float_cmp, reason = "the values are whole numbers")]

mod support;

use std::collections::BTreeMap;
use std::time::Duration;

use failover_core::Outcome;
use failover_core::inspect::Forced;
use failover_metrics::{install, render};
use metrics::with_local_recorder;
use metrics_exporter_prometheus::PrometheusBuilder;
use support::manager;

const BOUNDS: [f64; 14] =
    [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

/// The values by name and labels, whose order differs.
fn values(text: &str) -> BTreeMap<String, f64> {
    let series = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    series
        .map(|line| {
            let (series, value) = line.rsplit_once(' ').expect("a value");
            let (name, labels) = series.trim_end_matches('}').split_once('{').expect("labels");
            let mut labels: Vec<_> = labels.split(',').collect();
            labels.sort_unstable();
            (format!("{name} {}", labels.join(" ")), value.parse().expect("a number"))
        })
        .collect()
}

#[tokio::test]
async fn the_exporter_of_the_facade_has_the_same_series_with_the_same_values() {
    let manager = manager(["users-1", "users-2", "users-3"]).await;
    let users = manager.service("users").await.expect("a handle");
    let recorder = PrometheusBuilder::new().set_buckets(&BOUNDS).expect("bounds").build_recorder();
    let bridge = install(&manager).expect("the only one");
    for number in 0..200_u32 {
        let pick = users.select().expect("available");
        if number == 100 {
            tokio::time::sleep(Duration::from_millis(30)).await;
        }
        pick.finish(if number % 7 == 0 { Outcome::Rejected } else { Outcome::Success });
    }
    users.force("users-3", Forced::Out, Duration::from_secs(60)).expect("listed");
    for _ in 0..2 {
        with_local_recorder(&recorder, || bridge.write());
    }
    recorder.handle().run_upkeep();
    let exported = values(&recorder.handle().render());
    let rendered = values(&render(&manager));
    assert_eq!(exported.keys().collect::<Vec<_>>(), rendered.keys().collect::<Vec<_>>());
    for (series, value) in &rendered {
        // The sum is an estimate there, and an age goes on.
        if !series.contains("_sum ") && !series.contains("_age_") {
            assert_eq!(exported[series], *value, "{series}");
        }
    }
    let sum = exported["failover_call_duration_seconds_sum service=\"users\""];
    assert!((0.025..0.2).contains(&sum), "{sum}");
}
