//! Active probes of the manager: when they run, what they change, and what they must not change.

use std::collections::HashMap;
use std::future::pending;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use failover_core::config::ProbePolicy;
use failover_core::events::EventKind;
use failover_core::inspect::{Availability, UnavailableCause};
use failover_core::probe::{Probe, ProbeOutcome, ProbeTarget};
use failover_core::provider::{EndpointSet, Feature, Provider, ProviderInfo, Query, Registry, WatchStream};
use failover_core::{
    Endpoint, Error, ErrorKind, FailoverConfig, FailoverManager, Health, HealthCheck, ServiceHandle,
    async_trait,
};
use failover_memory::MemoryProvider;
use tokio::time::{Instant, sleep};

use crate::{emitted, endpoint, picked, until, virtual_manager};

const SECOND: Duration = Duration::from_secs(1);

/// The answer of each endpoint, and when it was probed.
#[derive(Clone, Default)]
struct Answers(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    answers: HashMap<String, &'static str>,
    asked: Vec<(String, Instant)>,
    under_way: usize,
    most: usize,
}

impl Answers {
    fn say(&self, id: &str, answer: &'static str) {
        self.0.lock().expect("whole").answers.insert(id.to_owned(), answer);
    }

    fn asked(&self, id: &str) -> Vec<Instant> {
        let state = self.0.lock().expect("whole");
        state.asked.iter().filter(|(of, _)| of == id).map(|(_, at)| *at).collect()
    }
}

#[async_trait]
impl Probe for Answers {
    async fn probe(&self, target: &ProbeTarget) -> Result<ProbeOutcome, Error> {
        struct Ends<'a>(&'a Answers);
        impl Drop for Ends<'_> {
            fn drop(&mut self) {
                self.0.0.lock().expect("whole").under_way -= 1;
            }
        }
        let id = target.endpoint().id().to_string();
        let answer = {
            let mut state = self.0.lock().expect("whole");
            state.asked.push((id.clone(), Instant::now()));
            state.under_way += 1;
            state.most = state.most.max(state.under_way);
            state.answers.get(&id).copied().unwrap_or("ok")
        };
        let _ends = Ends(self);
        sleep(Duration::from_millis(1)).await;
        match answer {
            "ok" => Ok(ProbeOutcome::healthy("200 OK")),
            "slow" => Ok(ProbeOutcome::degraded("200 OK in 1.9 s")),
            "hang" => pending().await,
            "panic" => panic!("a bug in the probe"),
            other => Err(Error::new(ErrorKind::Connection, other)),
        }
    }
}

fn checked(id: &str, last: u8) -> Endpoint {
    let check = HealthCheck::builder().interval(10 * SECOND).build().expect("valid");
    endpoint(id, last).to_builder().health_check(check).build().expect("valid")
}

async fn probing(answers: &Answers, config: FailoverConfig) -> (FailoverManager, ServiceHandle) {
    let builder =
        virtual_manager(MemoryProvider::new()).probe("http", answers.clone()).service_config(config);
    let manager = builder.build().await.expect("builds");
    for last in 1..=3 {
        manager.register_endpoint(checked(&format!("u{last}"), last)).await.expect("registers");
    }
    let users = manager.service("users").await.expect("a handle");
    (manager, users)
}

fn on() -> FailoverConfig {
    FailoverConfig::builder().probe_endpoints(true).build().expect("valid")
}

#[tokio::test(start_paused = true)]
async fn three_failed_probes_take_an_endpoint_out_and_two_good_ones_bring_it_back() {
    let answers = Answers::default();
    let (_manager, users) = probing(&answers, on()).await;
    sleep(15 * SECOND).await;
    assert_eq!(picked(&users).len(), 3);
    let first = answers.asked("u1")[0];
    answers.say("u1", "connection refused");
    let begun = Instant::now();
    until("out", 40 * SECOND, || picked(&users).len() == 2).await;
    assert!(begun.elapsed() > 19 * SECOND, "after three: {:?}", begun.elapsed());
    let stats = users.stats();
    let out = stats.endpoints.iter().find(|of| of.id.as_str() == "u1").expect("is there");
    assert_eq!(out.availability, Availability::Out { cause: UnavailableCause::ProbeFailed });
    assert!(emitted(&users, EventKind::EndpointDown)[0].contains("connection refused"));
    // No call goes there to test what the probe tests.
    for _ in 0..100 {
        sleep(SECOND / 10).await;
        assert_ne!(users.select().expect("two are left").endpoint().id().as_str(), "u1");
    }
    answers.say("u1", "ok");
    let begun = Instant::now();
    until("back", 40 * SECOND, || picked(&users).len() == 3).await;
    assert!(begun.elapsed() > 9 * SECOND, "after two");
    assert_eq!(emitted(&users, EventKind::EndpointUp).len(), 1);
    let intervals: Vec<_> = answers.asked("u1").windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert!(intervals.iter().all(|of| (9 * SECOND..=12 * SECOND).contains(of)), "{intervals:?}");
    assert!(first.elapsed() > 40 * SECOND && users.stats().health_checks > 15);
}

#[tokio::test(start_paused = true)]
async fn the_first_probe_comes_at_once_and_not_all_at_the_same_time() {
    let answers = Answers::default();
    let begun = Instant::now();
    let (_manager, _users) = probing(&answers, on()).await;
    sleep(2 * SECOND).await;
    let first: Vec<_> = ["u1", "u2", "u3"].map(|id| answers.asked(id)[0] - begun).into();
    assert!(first.iter().all(|at| *at <= SECOND + SECOND / 10), "{first:?}");
    assert!(first[0] != first[1] && first[1] != first[2], "{first:?}");
}

#[tokio::test(start_paused = true)]
async fn a_probe_that_hangs_or_panics_is_a_failure_and_holds_up_no_other() {
    for (answer, named) in [("hang", "no answer in 2s"), ("panic", "the probe panicked: a bug in the probe")]
    {
        let answers = Answers::default();
        answers.say("u1", answer);
        let (_manager, users) = probing(&answers, on()).await;
        until("out", 60 * SECOND, || picked(&users).len() == 2).await;
        assert!(emitted(&users, EventKind::EndpointDown)[0].contains(named), "{answer}");
        assert!(answers.asked("u2").len() >= 2);
    }
}

#[tokio::test(start_paused = true)]
async fn all_out_by_their_probes_are_tried_even_so() {
    let answers = Answers::default();
    let (_manager, users) = probing(&answers, on()).await;
    for id in ["u1", "u2", "u3"] {
        answers.say(id, "refused");
    }
    sleep(60 * SECOND).await;
    assert!(!picked(&users).is_empty(), "fail open");
    let closed = FailoverConfig::builder().probe_endpoints(true).fail_fast(true).build().expect("valid");
    users.configure(closed).expect("valid");
    assert_eq!(picked(&users).len(), 0, "it fails fast");
}

#[tokio::test(start_paused = true)]
async fn no_more_probes_run_at_a_time_than_are_allowed() {
    let answers = Answers::default();
    let builder = virtual_manager(MemoryProvider::new()).probe("HTTP", answers.clone()).service_config(on());
    let settings = builder.build().await.expect("builds").config().to_builder().max_probes(4).build();
    let manager = FailoverManager::builder()
        .config(&settings.expect("valid"))
        .clock(failover_core::Clock::tokio())
        .provider(MemoryProvider::new())
        .probe("HTTP", answers.clone())
        .build()
        .await
        .expect("builds");
    for last in 1..=100 {
        let id = format!("u{last}");
        answers.say(&id, "hang");
        manager.register_endpoint(checked(&id, last)).await.expect("registers");
    }
    let _users = manager.service("users").await.expect("a handle");
    sleep(30 * SECOND).await;
    let state = answers.0.lock().expect("whole");
    assert_eq!(state.most, 4);
}

#[tokio::test(start_paused = true)]
async fn probes_end_with_the_endpoint_its_check_the_configuration_and_the_manager() {
    let answers = Answers::default();
    let (manager, users) = probing(&answers, on()).await;
    sleep(25 * SECOND).await;
    manager.deregister_endpoint(("users", "u1")).await.expect("removes");
    manager.update_endpoint(endpoint("u2", 2)).await.expect("without a check");
    sleep(SECOND).await;
    let counts = |id: &str| answers.asked(id).len();
    let (gone, unchecked) = (counts("u1"), counts("u2"));
    sleep(100 * SECOND).await;
    assert_eq!((counts("u1"), counts("u2")), (gone, unchecked));
    assert!(counts("u3") >= 10);
    // A probe's verdict ends with probing.
    answers.say("u3", "refused");
    sleep(60 * SECOND).await;
    assert_eq!(picked(&users), ["u2".to_owned()].into());
    users.configure(FailoverConfig::default()).expect("valid");
    sleep(SECOND).await;
    assert_eq!(picked(&users).len(), 2);
    let count = counts("u3");
    sleep(100 * SECOND).await;
    assert_eq!(counts("u3"), count);
    users.configure(on()).expect("valid");
    sleep(15 * SECOND).await;
    assert!(counts("u3") > count);
    manager.close().await.expect("closes");
    let count = counts("u3");
    sleep(100 * SECOND).await;
    assert_eq!(counts("u3"), count);
}

#[tokio::test(start_paused = true)]
async fn what_its_registry_checks_is_not_probed_twice_unless_that_is_asked_for() {
    let (answers, registry) = (Answers::default(), MemoryProvider::new());
    let checking = Checking(registry.clone());
    let manager = virtual_manager(checking)
        .probe("http", answers.clone())
        .service_config(on())
        .build()
        .await
        .expect("builds");
    for last in 1..=2 {
        manager.register_endpoint(checked(&format!("u{last}"), last)).await.expect("registers");
    }
    manager.set_health("u1", Health::Healthy).await.expect("claims");
    let users = manager.service("users").await.expect("a handle");
    sleep(60 * SECOND).await;
    assert_eq!((answers.asked("u1").len(), answers.asked("u2").len() > 3), (0, true), "u2 it does not check");
    users.configure(on().to_builder().probe(ProbePolicy::Always).build().expect("valid")).expect("valid");
    sleep(60 * SECOND).await;
    assert!(answers.asked("u1").len() > 3);
}

/// A registry that checks the health of its endpoints itself.
struct Checking(MemoryProvider);

#[async_trait]
impl Provider for Checking {
    fn info(&self) -> ProviderInfo {
        let features = self.0.info().features().to_vec();
        self.0.info().with_features(features.into_iter().chain([Feature::HealthCheck]))
    }

    async fn connect(&self) -> Result<(), Error> {
        self.0.connect().await
    }

    async fn ping(&self) -> Result<(), Error> {
        self.0.ping().await
    }

    async fn close(&self) -> Result<(), Error> {
        self.0.close().await
    }

    async fn list(&self, query: &Query) -> Result<EndpointSet, Error> {
        self.0.list(query).await
    }

    fn watch(&self, query: &Query) -> Option<WatchStream<'_>> {
        self.0.watch(query)
    }

    fn registry(&self) -> Option<&dyn Registry> {
        self.0.registry()
    }
}

#[tokio::test(start_paused = true)]
async fn never_is_never_and_an_endpoint_without_a_matching_probe_is_not_probed() {
    let answers = Answers::default();
    let never = on().to_builder().probe(ProbePolicy::Never).build().expect("valid");
    let (manager, users) = probing(&answers, never).await;
    let other = checked("u4", 4).to_builder().protocol("amqp").build().expect("valid");
    manager.register_endpoint(other).await.expect("registers");
    sleep(100 * SECOND).await;
    assert_eq!(answers.0.lock().expect("whole").asked.len(), 0);
    users.configure(on()).expect("valid");
    sleep(100 * SECOND).await;
    assert_eq!((answers.asked("u4").len(), answers.asked("u1").len() > 5), (0, true));
}

#[tokio::test(start_paused = true)]
async fn a_health_check_asks_now_and_says_how_it_knows() {
    let asked = Arc::new(AtomicUsize::new(0));
    let sql = {
        let asked = Arc::clone(&asked);
        move |endpoint: Arc<Endpoint>| {
            let number = asked.fetch_add(1, Ordering::SeqCst);
            async move {
                if number > 0 { Err(format!("{}: SELECT 1 failed", endpoint.authority())) } else { Ok(()) }
            }
        }
    };
    let manager =
        virtual_manager(MemoryProvider::new()).probe("postgres", sql).build().await.expect("builds");
    let database = checked("db", 9).to_builder().protocol("postgres").build().expect("valid");
    manager.register_endpoint(database).await.expect("registers");
    let report = manager.health_check("db").await.expect("is there");
    assert_eq!((report.health, report.probed), (Health::Healthy, true), "{report}");
    let report = manager.health_check(("users", "db")).await.expect("is there");
    assert_eq!((report.health, report.probed), (Health::Unhealthy, true));
    assert!(report.to_string().ends_with("10.0.0.9:8080: SELECT 1 failed"), "{report}");

    // Without a health check or a probe, the report contains only the registry's state, and says
    // so.
    manager.register_endpoint(endpoint("plain", 1)).await.expect("registers");
    manager.register_endpoint(checked("web", 2)).await.expect("registers");
    manager.set_health("plain", Health::Degraded).await.expect("claims");
    let reports = manager.health_check_all().await.expect("lists");
    let lines: Vec<_> = reports.iter().map(ToString::to_string).collect();
    assert_eq!(
        lines[1],
        "users/plain: degraded, not probed: it has no health_check; its registry says degraded; this process sends it no calls"
    );
    assert!(lines[2].contains("the manager has no probe for http"), "{lines:?}");
    assert_eq!(manager.health_check("absent").await.expect_err("unknown").kind(), ErrorKind::NotFound);
    let json = serde_json::to_value(&reports[0]).expect("serialises");
    assert_eq!((json["health"].as_str(), json["probed"].as_bool()), (Some("unhealthy"), Some(true)));
}
