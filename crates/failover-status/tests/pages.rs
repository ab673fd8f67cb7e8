//! What the pages show.

#![allow(clippy::disallowed_methods, reason = "a test measures time")]

use std::time::Duration;

use failover_core::config::CircuitBreakerConfig;
use failover_core::inspect::Forced;
use failover_core::provider::{Query, Registry};
use failover_core::{Clock, Endpoint, FailoverConfig, FailoverManager, Outcome, ServiceHandle, ServiceName};
use failover_memory::MemoryProvider;
use failover_status::{Page, render};
use serde_json::Value;

async fn register(provider: &MemoryProvider, id: &str, port: u16) {
    let endpoint = Endpoint::builder(id, "users", "10.0.0.1", port).build().expect("valid");
    provider.register(&endpoint).await.expect("registers");
}

/// A manager in virtual time with the service `users` and these endpoints.
async fn users<const N: usize>(ids: [&str; N]) -> (FailoverManager, ServiceHandle, MemoryProvider) {
    let provider = MemoryProvider::new();
    for (id, port) in ids.into_iter().zip(8_000..) {
        register(&provider, id, port).await;
    }
    let breaker = CircuitBreakerConfig::builder().failure_threshold(3).build().expect("valid");
    let manager = FailoverManager::builder()
        .provider(provider.clone())
        .clock(Clock::tokio())
        .service_config(FailoverConfig::builder().circuit_breaker(breaker).build().expect("valid"))
        .build()
        .await
        .expect("builds");
    let users = manager.service("users").await.expect("a handle");
    users.ready().await.expect("ready");
    (manager, users, provider)
}

fn json(page: &Page) -> Value {
    assert_eq!(page.content_type(), "application/json");
    serde_json::from_str(page.body()).expect("JSON")
}

/// Makes calls for some seconds, 20 per second, each of which takes this long.
async fn load(users: &ServiceHandle, seconds: u32, takes: Duration, fails: &str) {
    for _ in 0..seconds * 20 {
        let pick = users.select().expect("available");
        tokio::time::sleep(takes).await;
        let outcome = if *pick.endpoint().id() == *fails { Outcome::Failure } else { Outcome::Success };
        pick.finish(outcome);
        tokio::time::sleep(Duration::from_millis(50).saturating_sub(takes)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_page_shows_state_cause_what_is_next_rates_sources_events_and_configuration() {
    let (manager, users, _) = users(["users-1", "users-2", "users-3"]).await;
    load(&users, 15, Duration::from_millis(20), "users-2").await;
    users.force("users-3", Forced::Out, Duration::from_secs(600)).expect("listed");
    let page = render(&manager, "/service/users");
    assert_eq!(page.status(), 200);
    for part in [
        "<title>users</title>",
        "1 of 3 in use",
        "users-2",
        "10.0.0.1:8001",
        "breaker",
        "forced out",
        "circuit_open",
        "last failure",
        "<td>last 10 s<td class=\"n\">",
        "memory",
        "fresh",
        "aria-label=\"calls/s in the last minute\"",
        "retries: ",
        "<td>circuit_breaker.failure_threshold<td>3<td>set in code",
        "<tr class=\"dim\"><td>strategy<td>round_robin<td>default</tr>",
    ] {
        assert!(page.body().contains(part), "{part} is not in {}", page.body());
    }
    assert!(!page.body().contains("<form"), "operations are off");
    for external in ["<script", "src=", "http://", "https://", "@import", "url("] {
        assert!(!page.body().contains(external), "{external} in {}", page.body());
    }
    let overview = render(&manager, "/");
    assert!(overview.body().contains("href=\"service/users\""), "{}", overview.body());
    assert!(overview.body().contains("1 of 3"), "{}", overview.body());
    let json = json(&render(&manager, "/json/users"));
    assert_eq!(json["explanation"]["endpoints"].as_array().map(Vec::len), Some(3));
    let rate = json["summary"]["last_ten_seconds"]["calls_per_second"].as_f64().expect("a number");
    assert!((rate - 20.0).abs() < 1.0, "{rate}");
    assert!((14..=16).contains(&json["samples"].as_array().expect("samples").len()), "{}", json["samples"]);
}

#[tokio::test(start_paused = true)]
async fn twelve_seconds_after_a_slow_spell_the_p99_of_ten_seconds_is_as_before() {
    let (manager, users, _) = users(["users-1", "users-2"]).await;
    let p99 = || {
        let json = json(&render(&manager, "/json/users"));
        json["summary"]["last_ten_seconds"]["p99_seconds"].as_f64().expect("calls were made")
    };
    load(&users, 70, Duration::from_millis(4), "").await;
    let before = p99();
    assert!(before < 0.006, "{before}");
    load(&users, 5, Duration::from_millis(400), "").await;
    assert!(p99() > 0.25, "{}", p99());
    load(&users, 12, Duration::from_millis(4), "").await;
    assert!(p99() <= before * 1.1, "{} and {before} before", p99());
    // The samples are a bounded minute, with the spell in it.
    let samples = json(&render(&manager, "/json/users"))["samples"].clone();
    let samples = samples.as_array().expect("samples");
    assert_eq!(samples.len(), 60);
    assert!(samples.iter().any(|of| of["p99_seconds"].as_f64().is_some_and(|p99| p99 > 0.25)), "{samples:?}");
}

#[tokio::test]
async fn what_there_is_not_is_a_404_and_a_service_that_is_gone_is_one() {
    let (manager, users, _) = users(["users-1"]).await;
    for path in
        ["/service/orders", "/json/orders", "/service/users?query=tag%3Da", "/nothing", "/service/<b>", "//"]
    {
        let page = render(&manager, path);
        assert_eq!(page.status(), 404, "{path}");
        assert!(
            !page.body().contains("<b>orders") && !page.body().contains("service <b>"),
            "{}",
            page.body()
        );
    }
    assert_eq!(render(&manager, "/service/users").status(), 200);
    drop(users);
    manager.close().await.expect("closes");
    assert_eq!(render(&manager, "/service/users").status(), 404);
    assert!(render(&manager, "").body().contains("The manager is closed"));
}

#[tokio::test]
async fn names_with_markup_are_escaped_everywhere() {
    let provider = MemoryProvider::new();
    let nasty = "<script>alert('1')</script>\"&";
    let manager = FailoverManager::builder().build().await.expect("builds");
    manager.register_provider_as(nasty, provider.clone()).await.expect("added");
    register(&provider, nasty, 80).await;
    let users = manager.service("users").await.expect("a handle");
    let name = ServiceName::new("users").expect("valid");
    let query = Query::service(&name).tag(nasty);
    let _tagged = manager.service_matching(query).await.expect("a handle");
    users.ready().await.expect("ready");
    users.force(nasty, Forced::Out, Duration::from_secs(60)).expect("listed");
    let shown = manager.inspect()[1].query().expect("a query").to_owned();
    let parameters = shown.bytes().map(|byte| format!("%{byte:02X}")).collect::<Vec<_>>().concat();
    for path in ["/", "/service/users", &format!("/service/users?query={parameters}")] {
        let page = render(&manager, path);
        assert_eq!(page.status(), 200, "{path}");
        assert!(!page.body().contains("<script"), "{}", page.body());
        assert!(page.body().contains("&lt;script&gt;"), "{path}: {}", page.body());
    }
    let overview = render(&manager, "/");
    let link = overview
        .body()
        .split("href=\"")
        .find(|part| part.starts_with("service/users?query="))
        .expect("a link");
    let link = link.split('"').next().expect("an end");
    assert_eq!(render(&manager, &format!("/{link}")).status(), 200, "the link of the overview leads there");
}

#[tokio::test]
async fn a_service_of_many_endpoints_is_paged_and_its_pages_list_each_once() {
    let (manager, users, provider) = users(["users-0"]).await;
    for number in 1..250 {
        register(&provider, &format!("users-{number}"), 8_000 + number).await;
    }
    failover_testkit::until(Duration::from_secs(20), "all endpoints", || {
        std::future::ready(users.endpoints().len() == 250)
    })
    .await;
    users.force("users-17", Forced::Out, Duration::from_secs(600)).expect("listed");
    let mut listed = std::collections::BTreeSet::new();
    for page in 1..=3 {
        let json = json(&render(&manager, &format!("/json/users?page={page}")));
        assert_eq!((&json["page"], &json["pages"]), (&page.into(), &3.into()));
        for endpoint in json["explanation"]["endpoints"].as_array().expect("a list") {
            assert!(listed.insert(endpoint["name"].as_str().expect("a name").to_owned()), "{endpoint}");
        }
        assert_eq!(
            json["stats"]["endpoints"].as_array().map(Vec::len),
            Some(if page == 3 { 50 } else { 100 })
        );
    }
    assert_eq!(listed.len(), 250);
    let second = render(&manager, "/service/users?page=2");
    for part in ["page 2 of 3", "service/users?page=3", "249 of 250 in use"] {
        assert!(second.body().contains(part), "{part}: {}", second.body());
    }
    let out = json(&render(&manager, "/json/users?show=out"));
    assert_eq!(out["explanation"]["endpoints"][0]["name"], "users-17");
    assert_eq!(
        (&out["pages"], out["explanation"]["endpoints"].as_array().map(Vec::len)),
        (&1.into(), Some(1))
    );
    assert_eq!(json(&render(&manager, "/json/users?page=99999999999999999999999"))["page"], 1);
    assert_eq!(json(&render(&manager, "/json/users?page=99"))["page"], 3);
}

#[tokio::test]
async fn looking_changes_nothing() {
    let (manager, users, _) = users(["users-1", "users-2"]).await;
    let events = manager.events(1_000).len();
    for path in ["/", "/service/users?refresh=5", "/json", "/json/users", "/service/users/operate"] {
        render(&manager, path);
    }
    assert_eq!(manager.events(1_000).len(), events);
    assert_eq!(users.stats().total_requests, 0);
    assert!(
        render(&manager, "/service/users?refresh=5").body().contains("http-equiv=\"refresh\" content=\"5\"")
    );
}

#[tokio::test]
#[ignore = "measures: cargo test --release -p failover-status --test pages -- --ignored"]
async fn ten_thousand_endpoints_take_less_than_a_tenth_of_a_second() {
    let (manager, users, provider) = users(["users-0"]).await;
    for number in 1..10_000_u16 {
        register(&provider, &format!("users-{number}"), 8_000 + number).await;
    }
    failover_testkit::until(Duration::from_secs(60), "all endpoints", || {
        std::future::ready(users.endpoints().len() == 10_000)
    })
    .await;
    for number in 0..100_000 {
        let outcome = if number % 50 == 0 { Outcome::Failure } else { Outcome::Success };
        users.select().expect("available").finish(outcome);
    }
    for path in ["/", "/service/users", "/service/users?page=57", "/json/users"] {
        let mut times: Vec<_> = (0..11)
            .map(|_| {
                let begun = std::time::Instant::now();
                let length = render(&manager, path).body().len();
                (begun.elapsed(), length)
            })
            .collect();
        times.sort();
        println!("{path}: median {:?}, {} bytes", times[5].0, times[5].1);
        assert!(times[5].0 < Duration::from_millis(100), "{path}: {times:?}");
        assert!(times[5].1 < 512 * 1024, "{path}: {times:?}");
    }
}
