//! The text that Prometheus scrapes.

#![allow(clippy::float_cmp, reason = "the values are whole numbers")]
#![allow(clippy::disallowed_methods, reason = "a test measures time")]

mod support;

use std::collections::BTreeMap;
use std::time::Duration;

use failover_core::config::CircuitBreakerConfig;
use failover_core::inspect::Forced;
use failover_core::provider::{Query, Registry};
use failover_core::{
    AttemptClass, Endpoint, FailoverConfig, FailoverManager, Outcome, ServiceHandle, ServiceName, source,
};
use failover_memory::MemoryProvider;
use failover_metrics::{Limits, render, render_stats};
use support::{endpoint, manager, promtool, samples};

fn call(users: &ServiceHandle, outcome: Outcome) {
    users.select().expect("available").finish(outcome);
}

#[tokio::test]
async fn every_number_of_the_table_is_there_with_its_labels() {
    let manager = manager(["users-1", "users-2"]).await;
    let users = manager.service("users").await.expect("a handle");
    for outcome in [Outcome::Success, Outcome::Success, Outcome::Success, Outcome::Rejected, Outcome::Failure]
    {
        call(&users, outcome);
    }
    users.force("users-2", Forced::Out, Duration::from_secs(60)).expect("listed");
    let found = samples(&render(&manager));
    for (series, value) in [
        ("failover_calls_total{service=\"users\",outcome=\"success\"}", 3.0),
        ("failover_calls_total{service=\"users\",outcome=\"rejected\"}", 1.0),
        ("failover_calls_total{service=\"users\",outcome=\"failure\"}", 1.0),
        ("failover_calls_total{service=\"users\",outcome=\"refused\"}", 0.0),
        ("failover_endpoint_available{service=\"users\",endpoint=\"users-1\"}", 1.0),
        ("failover_endpoint_available{service=\"users\",endpoint=\"users-2\"}", 0.0),
        ("failover_breaker_state{service=\"users\",endpoint=\"users-1\"}", 0.0),
        ("failover_ejections_total{service=\"users\",enforced=\"true\",reason=\"forced\"}", 1.0),
        ("failover_ejections_total{service=\"users\",enforced=\"false\",reason=\"forced\"}", 0.0),
        ("failover_retry_tokens{service=\"users\"}", 500.0),
        ("failover_source_stale{service=\"users\",source=\"memory\"}", 0.0),
        ("failover_attempt_duration_seconds_bucket{service=\"users\",le=\"0.0005\"}", 5.0),
        ("failover_attempt_duration_seconds_bucket{service=\"users\",le=\"+Inf\"}", 5.0),
        ("failover_call_duration_seconds_count{service=\"users\"}", 5.0),
        ("failover_series_left_out{kind=\"endpoints\"}", 0.0),
    ] {
        assert_eq!(found.get(series), Some(&value), "{series} in {found:#?}");
    }
    let attempts: f64 =
        found.iter().filter(|(name, _)| name.starts_with("failover_attempts_total{")).map(|(_, n)| n).sum();
    assert_eq!(attempts, 5.0);
    let age = found["failover_source_age_seconds{service=\"users\",source=\"memory\"}"];
    assert!((0.0..5.0).contains(&age), "{age}");
    users.force("users-1", Forced::Out, Duration::from_secs(60)).expect("listed");
    assert!(users.select().is_err());
    assert_eq!(
        samples(&render(&manager))["failover_calls_total{service=\"users\",outcome=\"refused\"}"],
        1.0
    );
}

#[tokio::test]
async fn an_open_breaker_and_its_ejection_are_two_and_one() {
    let breaker = CircuitBreakerConfig::builder().failure_threshold(3).build().expect("valid");
    let users = ServiceHandle::builder("users")
        .endpoints(["10.0.0.1:80", "10.0.0.2:80"])
        .config(FailoverConfig::builder().circuit_breaker(breaker).build().expect("valid"))
        .build()
        .expect("valid");
    while users.stats().endpoints[0].opened == 0 {
        let pick = users.select().expect("available");
        let fails = pick.endpoint().id() == "10.0.0.1:80";
        pick.finish(if fails { Outcome::Failure } else { Outcome::Success });
    }
    let found = samples(&render_stats(&[users.stats()], Limits::new()));
    assert_eq!(found["failover_breaker_state{service=\"users\",endpoint=\"10.0.0.1:80\"}"], 2.0);
    assert_eq!(found["failover_endpoint_available{service=\"users\",endpoint=\"10.0.0.1:80\"}"], 0.0);
    let ejections = "failover_ejections_total{service=\"users\",enforced=\"true\",reason=\"failures\"}";
    assert_eq!(found[ejections], 1.0);
}

#[tokio::test]
async fn counters_and_buckets_of_a_service_never_decrease_while_its_endpoints_come_and_go() {
    let manager = manager(["users-1", "users-2", "users-3"]).await;
    let users = manager.service("users").await.expect("a handle");
    let mut before = BTreeMap::new();
    for round in 0..30_u32 {
        for number in 0..200 {
            call(&users, if number % 9 == 0 { Outcome::Failure } else { Outcome::Success });
        }
        let id = format!("users-{}", round % 3 + 1);
        manager.deregister_endpoint(("users", id.as_str())).await.expect("deregisters");
        support::until(|| users.endpoints().len() == 2).await;
        let text = render(&manager);
        assert!(!text.contains(&format!("endpoint=\"{id}\"")), "{id} has left: {text}");
        manager.register_endpoint(endpoint("users", &id, 9_000 + round as u16)).await.expect("registers");
        support::until(|| users.endpoints().len() == 3).await;
        let now = samples(&render(&manager));
        for (series, value) in now.iter().filter(|(series, _)| !series.contains("endpoint=\"")) {
            let name = series.split('{').next().unwrap_or_default();
            let is_total = ["_total", "_bucket", "_count", "_sum"].iter().any(|end| name.ends_with(end));
            let earlier = before.get(series).copied().unwrap_or(0.0);
            assert!(!is_total || *value >= earlier, "round {round}: {series} fell from {earlier} to {value}");
        }
        let mut below = 0.0;
        for bound in ["0.0005", "0.001", "0.05", "10", "+Inf"] {
            let count =
                now[&format!("failover_attempt_duration_seconds_bucket{{service=\"users\",le=\"{bound}\"}}")];
            assert!(count >= below, "buckets are cumulative");
            below = count;
        }
        before = now;
    }
    assert_eq!(before["failover_attempt_duration_seconds_count{service=\"users\"}"], 6_000.0);
}

#[tokio::test]
async fn the_number_of_series_is_bounded_and_a_small_service_loses_nothing_to_a_large_one() {
    let large =
        ServiceHandle::fixed("large", (1..=5_000).map(|port| format!("10.0.0.1:{port}"))).expect("valid");
    let small = ServiceHandle::fixed("small", ["10.0.0.2:80", "10.0.0.3:80"]).expect("valid");
    let stats = [large.stats(), small.stats()];
    let count = |text: &str, service: &str| {
        text.lines()
            .filter(|line| line.starts_with(&format!("failover_endpoint_available{{service=\"{service}\"")))
            .count()
    };
    let text = render_stats(&stats, Limits::new());
    assert_eq!((count(&text, "large"), count(&text, "small")), (1_998, 2));
    assert_eq!(samples(&text)["failover_series_left_out{kind=\"endpoints\"}"], 3_002.0);
    assert!(text.lines().filter(|line| !line.starts_with('#')).count() < 33_000);
    let text = render_stats(&stats, Limits::new().endpoints(0).services(1));
    assert_eq!((count(&text, "large"), count(&text, "small")), (0, 0));
    let found = samples(&text);
    assert_eq!(found["failover_series_left_out{kind=\"endpoints\"}"], 5_002.0);
    assert_eq!(found["failover_series_left_out{kind=\"services\"}"], 1.0);
    assert!(found.contains_key("failover_retry_tokens{service=\"large\"}"), "the first by name");
}

#[tokio::test]
async fn each_series_is_there_once_whatever_the_registry_and_the_program_name() {
    let manager = FailoverManager::builder().build().await.expect("builds");
    for (provider, ids) in [("a\"\n{b", ["x", "y\\\"}"]), ("c", ["x", "x@c"])] {
        let memory = MemoryProvider::new();
        manager.register_provider_as(provider, memory.clone()).await.expect("added");
        for (id, port) in ids.iter().zip(80..) {
            let address = if provider == "c" { "10.0.0.1" } else { "10.0.0.2" };
            let of = Endpoint::builder(*id, "users", address, port).build().expect("valid");
            memory.register(&of).await.expect("registers");
        }
    }
    let users = manager.service_from("users", [source("a\"\n{b"), source("c")]).await.expect("a handle");
    let name = ServiceName::new("users").expect("valid");
    let tagged = manager.service_matching(Query::service(&name).tag("a\"b")).await.expect("a handle");
    support::until(|| users.endpoints().len() == 4).await;
    let text = render(&manager);
    samples(&text); // panics at a second one
    assert!(text.contains("query=\""), "{text}");
    assert!(text.contains("endpoint=\"x@c\""), "{text}");
    assert!(text.contains("source=\"a\\\"\\n{b\""), "{text}");
    promtool(&["check", "metrics"], &text);
    drop(tagged);
    // The same service of two managers: the first one counts.
    let twice = render_stats(&[users.stats(), users.stats()], Limits::new());
    samples(&twice);
    assert!(twice.contains("failover_series_left_out{kind=\"services\"} 1\n"), "{twice}");
}

#[tokio::test]
async fn a_manager_without_services_and_a_closed_one_have_no_series() {
    let manager = manager([]).await;
    let lines = |text: String| text.lines().filter(|line| !line.starts_with('#')).count();
    assert_eq!(lines(render(&manager)), 2, "what is left out");
    let _users = manager.service("users").await.expect("a handle");
    assert!(lines(render(&manager)) > 50);
    manager.close().await.expect("closes");
    assert_eq!(lines(render(&manager)), 2);
}

#[test]
fn every_class_of_attempts_has_a_series() {
    let users = ServiceHandle::fixed("users", ["10.0.0.1:80"]).expect("valid");
    let classes = [Outcome::Success, Outcome::Failure, Outcome::Timeout, Outcome::NotSent, Outcome::Rejected];
    for outcome in classes {
        call(&users, outcome);
    }
    drop(users.select().expect("available")); // dropped: cancelled
    let stats = users.stats();
    let found = samples(&render_stats(std::slice::from_ref(&stats), Limits::new()));
    let of = |class: &str| {
        found[&format!(
            "failover_attempts_total{{service=\"users\",endpoint=\"10.0.0.1:80\",class=\"{class}\"}}"
        )]
    };
    let all = serde_json::to_value(stats.attempts).expect("JSON");
    for (class, count) in all.as_object().expect("an object") {
        assert_eq!(Some(of(class)), count.as_f64(), "{class}");
    }
    assert_eq!((of(AttemptClass::Timeout.as_str()), of("cancelled")), (1.0, 1.0));
}

#[test]
#[ignore = "measures: cargo test --release -p failover-metrics --test text -- --ignored"]
fn a_scrape_of_a_thousand_endpoints_takes_less_than_ten_milliseconds() {
    let users =
        ServiceHandle::fixed("users", (1..=1_000).map(|port| format!("10.0.0.1:{port}"))).expect("valid");
    for _ in 0..100_000 {
        call(&users, Outcome::Success);
    }
    let mut times: Vec<_> = (0..20)
        .map(|_| {
            let begun = std::time::Instant::now();
            let length = render_stats(&[users.stats()], Limits::new()).len();
            (begun.elapsed(), length)
        })
        .collect();
    times.sort();
    println!("median {:?}, {} bytes", times[10].0, times[10].1);
    assert!(times[10].0 < Duration::from_millis(10), "{times:?}");
}
