//! Services of a list that the program itself has: replaced, and probed.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use failover_core::inspect::Availability;
use failover_core::{
    Clock, Endpoint, ErrorKind, FailoverConfig, HealthCheck, Outcome, PerEndpoint, Random, ServiceBuilder,
    ServiceHandle,
};
use tokio::time::{Instant, sleep};

const SECOND: Duration = Duration::from_secs(1);

fn ids(service: &ServiceHandle) -> Vec<String> {
    service.endpoints().iter().map(|entry| entry.endpoint().authority()).collect()
}

#[test]
fn a_list_is_replaced_at_once_and_those_that_stay_keep_their_state() {
    let users = ServiceHandle::fixed("users", ["10.0.0.1:80", "10.0.0.2:80"]).expect("valid");
    let mut changes = users.changes();
    for _ in 0..10 {
        users.select().expect("two").finish(Outcome::Success);
    }
    users.clone().replace_endpoints(["10.0.0.2:80", "10.0.0.3:80"]).expect("valid");
    assert_eq!(ids(&users), ["10.0.0.2:80", "10.0.0.3:80"]);
    assert_eq!(changes.current().endpoints.len(), 2);
    let successes: Vec<_> = users.stats().endpoints.iter().map(|of| of.successes).collect();
    assert_eq!(successes, [5, 0]);
    users.replace_endpoints(Vec::<String>::new()).expect("an empty list is a list");
    assert!(users.select().is_err() && users.is_ready());
    users.replace_endpoints(["10.0.0.1:80"]).expect("valid");
    assert!(users.select().is_ok());
}

#[test]
fn a_list_with_a_fault_changes_nothing() {
    let users = ServiceHandle::fixed("users", ["10.0.0.1:80"]).expect("valid");
    for (list, named) in [
        (vec!["10.0.0.2:80", "10.0.0.2:80"], "10.0.0.2:80"),
        (vec!["10.0.0.3:80", "10.0.0.4:99999"], "99999"),
        (vec!["10.0.0.3:80", "http://10.0.0.3:80"], "10.0.0.3:80"),
        (vec!["10.0.0.3:80", ""], "empty"),
    ] {
        let error = users.replace_endpoints(list.clone()).expect_err("has a fault");
        assert_eq!(
            (error.kind(), error.to_string().contains(named)),
            (ErrorKind::Validation, true),
            "{error}"
        );
        assert_eq!(ids(&users), ["10.0.0.1:80"], "{list:?}");
    }
}

/// The endpoints that were probed, and when; those of the second list fail.
#[derive(Clone, Default)]
struct Probes(Arc<Mutex<(Vec<String>, Vec<String>)>>);

impl Probes {
    fn asked(&self, of: &str) -> usize {
        self.0.lock().expect("whole").0.iter().filter(|asked| *asked == of).count()
    }

    fn fail(&self, which: &[&str]) {
        self.0.lock().expect("whole").1 = which.iter().map(|&of| of.to_owned()).collect();
    }

    fn of(&self, endpoint: &Endpoint) -> Result<(), String> {
        let mut state = self.0.lock().expect("whole");
        state.0.push(endpoint.authority());
        if state.1.contains(&endpoint.authority()) { Err("connection refused".to_owned()) } else { Ok(()) }
    }
}

fn probed(probes: &Probes) -> ServiceBuilder {
    let probes = probes.clone();
    ServiceHandle::builder("users").clock(Clock::tokio()).random(Random::seeded(7)).probe(
        "HTTP",
        move |endpoint: Arc<Endpoint>| {
            let probes = probes.clone();
            async move { probes.of(&endpoint) }
        },
    )
}

async fn within(what: &str, limit: Duration, holds: impl Fn() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < limit, "{what}");
        sleep(SECOND / 10).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_list_is_probed_without_a_manager_and_so_is_what_replaces_it() {
    let probes = Probes::default();
    let users = probed(&probes).endpoints(["http://10.0.0.1:80", "http://10.0.0.2:80", "10.0.0.3:80"]);
    let users = users.build().expect("valid");
    probes.fail(&["10.0.0.1:80"]);
    let in_use = |of: &str| {
        users
            .stats()
            .endpoints
            .iter()
            .any(|e| e.id.as_str() == of && matches!(e.availability, Availability::In { .. }))
    };
    within("out after three probes", 40 * SECOND, || !in_use("10.0.0.1:80")).await;
    assert_eq!(probes.asked("10.0.0.3:80"), 0, "no probe for its protocol");
    probes.fail(&["10.0.0.4:80"]);
    within("back after two", 40 * SECOND, || in_use("10.0.0.1:80")).await;

    users.replace_endpoints(["http://10.0.0.4:80", "http://10.0.0.5:80"]).expect("valid");
    within("the new one goes out", 40 * SECOND, || !in_use("10.0.0.4:80")).await;
    let before = probes.asked("10.0.0.1:80");
    sleep(60 * SECOND).await;
    assert_eq!(probes.asked("10.0.0.1:80"), before, "it left the list");
    // Whatever holds the service keeps it probed; without a handle there is nobody to probe for.
    let values = PerEndpoint::<u8>::new(&users);
    drop(users);
    let before = probes.asked("10.0.0.5:80");
    sleep(60 * SECOND).await;
    assert!(probes.asked("10.0.0.5:80") > before);
    drop(values);
    sleep(SECOND).await;
    let before = probes.asked("10.0.0.5:80");
    sleep(60 * SECOND).await;
    assert_eq!(probes.asked("10.0.0.5:80"), before);
}

#[tokio::test(start_paused = true)]
async fn the_health_check_says_how_often_and_at_which_port() {
    let probes = Probes::default();
    let check = |port, interval| HealthCheck::builder().port(port).interval(interval).build().expect("valid");
    let own = Endpoint::builder("own", "users", "10.0.0.2", 80).protocol("http");
    let own = own.health_check(check(9_002, 60 * SECOND)).build().expect("valid");
    let users = probed(&probes).endpoint("http://10.0.0.1:80").endpoint(own);
    let users = users.health_check(check(9_001, SECOND)).build().expect("valid");
    sleep(100 * SECOND).await;
    assert!((90..=112).contains(&probes.asked("10.0.0.1:9001")), "{}", probes.asked("10.0.0.1:9001"));
    assert_eq!(probes.asked("10.0.0.2:9002"), 2);
    assert_eq!((probes.asked("10.0.0.1:80"), probes.asked("10.0.0.2:80")), (0, 0));
    assert_eq!(users.select().expect("two").endpoint().port(), 80, "calls go where they went");
}

#[tokio::test(start_paused = true)]
async fn a_configuration_can_say_not_to_probe() {
    let off = FailoverConfig::builder().probe_endpoints(false).build().expect("valid");
    let other = || FailoverConfig::builder().max_retries(1).build().expect("valid");
    let probes = Probes::default();
    let users = probed(&probes).endpoint("http://10.0.0.1:80").config(off.clone()).build().expect("valid");
    sleep(60 * SECOND).await;
    assert_eq!(probes.asked("10.0.0.1:80"), 0);
    users.configure(other()).expect("valid");
    sleep(60 * SECOND).await;
    let asked = probes.asked("10.0.0.1:80");
    assert!(asked > 4, "a configuration that does not say: {asked}");
    users.configure(off).expect("valid");
    sleep(SECOND).await;
    let before = probes.asked("10.0.0.1:80");
    sleep(60 * SECOND).await;
    assert_eq!(probes.asked("10.0.0.1:80"), before);
}

#[test]
fn a_list_with_a_probe_needs_a_runtime_and_says_so() {
    let error = probed(&Probes::default()).endpoint("http://10.0.0.1:80").build().expect_err("no runtime");
    assert_eq!(error.code(), "NO_RUNTIME", "{error}");
    let without = tokio::runtime::Builder::new_current_thread().build().expect("builds");
    let _inside = without.enter();
    let error = probed(&Probes::default()).endpoint("http://10.0.0.1:80").build().expect_err("no timers");
    assert_eq!(error.code(), "NO_TIMER", "{error}");
    assert!(ServiceHandle::fixed("users", ["http://10.0.0.1:80"]).is_ok(), "without a probe none is needed");
}
