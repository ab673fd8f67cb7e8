use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use super::*;
use crate::client::service::ServiceHandle;
use crate::config::FailoverConfig;
use crate::contract::classify::Outcome;
use crate::discovery::Update;
use crate::engine::SourceId;
use crate::events::EventKind;
use crate::model::endpoint::Endpoint;
use crate::model::health::{Health, Lifecycle};
use crate::runtime::clock::Clock;

/// A service whose source answers what a test says.
struct Registry {
    users: ServiceHandle,
    source: SourceId,
}

impl Registry {
    fn new() -> Self {
        let users = ServiceHandle::builder("users").clock(Clock::system()).build().expect("valid");
        let source = users.engine().add_source(Arc::from("registry"), 0);
        Self { users, source }
    }

    fn answer(&self, entries: impl IntoIterator<Item = EndpointEntry>) {
        self.users.engine().publish(self.source, entries.into_iter().collect(), true, Duration::ZERO);
    }
}

fn endpoint(id: &str, address: &str) -> crate::model::endpoint::EndpointBuilder {
    Endpoint::builder(id, "users", address, 80)
}

fn entry(id: &str) -> EndpointEntry {
    let address = format!("10.0.0.{}", id.bytes().map(|byte| u32::from(byte % 32)).sum::<u32>());
    EndpointEntry::new(endpoint(id, &address).build().expect("valid"))
}

/// Waits for what must happen: a test that cannot end has failed.
async fn in_time<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(Duration::from_secs(30), future).await.expect("it happens")
}

/// Whether a future is ready, now that the others have had their turn.
async fn is_ready(future: &mut Pin<Box<dyn Future<Output = ()> + Send>>) -> bool {
    tokio::task::yield_now().await;
    poll_fn(|context| Poll::Ready(future.as_mut().poll(context).is_ready())).await
}

#[tokio::test]
async fn every_change_is_received_or_counted_as_missed_and_the_watch_has_the_last_state() {
    let registry = Registry::new();
    registry.answer([entry("a")]);
    let (mut events, mut changes) = (registry.users.subscribe(), registry.users.changes());
    let first = changes.current().version;
    for change in 0..299 {
        registry.answer(if change % 2 == 0 { vec![entry("a"), entry("b")] } else { vec![entry("a")] });
    }
    let mut received = 0;
    while let Some(event) = events.try_recv() {
        received += u64::from(matches!(event.kind, EventKind::EndpointAdded | EventKind::EndpointRemoved));
    }
    assert!(received < 299, "flood control has left some out");
    assert_eq!((received + events.missed(), registry.users.subscribe().missed()), (299, 0));
    let last = in_time(changes.changed()).await.expect("there was a change");
    assert_eq!(last.version - first, 299);
    assert_eq!(last.endpoints.len(), 2);
}

#[tokio::test]
async fn a_change_before_the_wait_is_seen_at_once_and_an_equal_answer_is_none() {
    let registry = Registry::new();
    let mut changes = registry.users.changes();
    registry.answer([entry("a")]);
    let first = in_time(changes.changed()).await.expect("the list has changed");
    assert_eq!(first.endpoints, registry.users.endpoints());
    // Neither an equal answer nor a configuration nor a breaker changes the list.
    registry.answer([entry("a")]);
    registry
        .users
        .configure(FailoverConfig::builder().max_retries(1).build().expect("valid"))
        .expect("valid");
    for _ in 0..5 {
        registry.users.select().expect("available").finish(Outcome::Failure);
    }
    assert_eq!(changes.current().version, first.version);
    for changed in [
        entry("a").with_health(Health::Degraded),
        entry("a").with_lifecycle(Lifecycle::Draining),
        EndpointEntry::new(endpoint("a", "10.0.0.2").build().expect("valid")),
        EndpointEntry::new(endpoint("a", "10.0.0.2").metadata("version", "2").build().expect("valid")),
    ] {
        registry.answer([changed.clone()]);
        assert_eq!(in_time(changes.changed()).await.expect("the list has changed").endpoints, [changed]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_beside_a_writer_ends_with_the_last_list() {
    let registry = Registry::new();
    let mut changes = registry.users.changes();
    let reader = tokio::spawn(async move {
        let mut last = changes.current();
        while !last.endpoints.iter().any(|entry| entry.endpoint().id().as_str() == "last") {
            let next = in_time(changes.changed()).await.expect("not closed");
            assert!(next.version > last.version);
            last = next;
        }
        last.version
    });
    for n in 0..2_000 {
        registry.answer([entry(&format!("e{}", n % 7))]);
        if n % 50 == 0 {
            tokio::task::yield_now().await;
        }
    }
    registry.answer([entry("last")]);
    let version = in_time(reader).await;
    assert_eq!(version.expect("no panic"), registry.users.changes().current().version);
}

#[tokio::test]
async fn the_end_of_discovery_follows_the_last_list() {
    let registry = Registry::new();
    let mut changes = registry.users.changes();
    let mut waiting = registry.users.changes();
    let task = tokio::spawn(async move { (waiting.changed().await, waiting.changed().await) });
    tokio::task::yield_now().await;
    registry.answer([entry("a")]);
    tokio::task::yield_now().await;
    registry.users.engine().discovery_ended(&Error::new(ErrorKind::Shutdown, "the manager is closed"));
    assert_eq!(in_time(changes.changed()).await.expect("not yet seen").endpoints.len(), 1);
    assert_eq!(in_time(changes.changed()).await.expect_err("it has ended").kind(), ErrorKind::Shutdown);
    let (list, end) = in_time(task).await.expect("no panic");
    assert_eq!((list.expect("a list").endpoints.len(), end.is_err()), (1, true));
}

#[tokio::test]
async fn a_pick_learns_that_its_endpoint_leaves_moves_or_is_drained() {
    type Answer = fn() -> Vec<EndpointEntry>;
    let departures: [(&str, Answer); 4] = [
        ("leaves", || vec![entry("b")]),
        ("moves", || vec![EndpointEntry::new(endpoint("a", "10.0.0.2").build().expect("valid"))]),
        ("drains", || vec![entry("a").with_lifecycle(Lifecycle::Draining)]),
        ("in maintenance", || vec![entry("a").with_lifecycle(Lifecycle::Maintenance)]),
    ];
    for (case, answer) in departures {
        let registry = Registry::new();
        registry.answer([entry("a")]);
        let pick = registry.users.select_owned().expect("available");
        let mut departed: Pin<Box<dyn Future<Output = ()> + Send>> = Box::pin(pick.departed());
        assert!(!is_ready(&mut departed).await, "{case}");
        // Other changes of the endpoint are no departure, and neither is its health.
        let other = endpoint("a", "10.0.0.1").metadata("version", "2").build().expect("valid");
        registry.answer([EndpointEntry::new(other), entry("c")]);
        registry.answer([entry("a").with_health(Health::Unhealthy)]);
        assert!(!is_ready(&mut departed).await, "{case}");
        registry.answer(answer());
        assert!(is_ready(&mut departed).await, "{case}");
        // One that asks afterwards knows at once.
        assert!(is_ready(&mut (Box::pin(pick.departed()) as _)).await, "{case}");
    }
}

#[tokio::test]
async fn the_future_of_an_attempt_outlives_its_call() {
    let registry = Registry::new();
    registry.answer([entry("a")]);
    let call = registry.users.execute(async |endpoint| Ok::<_, Infallible>(endpoint.departed()));
    let mut departed: Pin<Box<dyn Future<Output = ()> + Send>> =
        Box::pin(call.await.expect("succeeds").value);
    assert!(!is_ready(&mut departed).await);
    let waits = tokio::spawn(departed);
    tokio::task::yield_now().await;
    registry.answer([]);
    in_time(waits).await.expect("no panic");
}

#[tokio::test]
async fn an_endpoint_that_returns_has_not_departed() {
    let registry = Registry::new();
    let a = entry("a");
    registry.answer([a.clone()]);
    registry.answer([]);
    registry.answer([a.clone()]);
    let pick = registry.users.select_owned().expect("available");
    let mut departed: Pin<Box<dyn Future<Output = ()> + Send>> = Box::pin(pick.departed());
    assert!(!is_ready(&mut departed).await, "the earlier stay has ended, not this one");
    registry.answer([a.clone(), entry("b")]);
    assert!(!is_ready(&mut departed).await);
    registry.answer([a.clone().with_lifecycle(Lifecycle::Draining)]);
    assert!(is_ready(&mut departed).await);
    registry.answer([a]);
    let pick = registry.users.select_owned().expect("available");
    assert!(!is_ready(&mut (Box::pin(pick.departed()) as _)).await, "it is drained no more");
}

#[tokio::test]
async fn a_service_that_shares_an_endpoint_with_another_has_departures_of_its_own() {
    let (one, other) = (Registry::new(), Registry::new());
    let shared = entry("a");
    for registry in [&one, &other] {
        registry.answer([shared.clone()]);
    }
    let picks = [&one, &other].map(|registry| registry.users.select_owned().expect("available"));
    let [mut of_one, mut of_other] =
        picks.map(|pick| Box::pin(pick.departed()) as Pin<Box<dyn Future<Output = ()> + Send>>);
    one.answer([]);
    assert!(is_ready(&mut of_one).await);
    assert!(!is_ready(&mut of_other).await);
    // The list is the same one as long as the answers are equal, although it holds a copy.
    let version = other.users.changes().current().version;
    other.answer([shared.clone(), entry("b")]);
    other.answer([shared]);
    assert!(!is_ready(&mut of_other).await);
    assert_eq!(other.users.changes().current().version, version + 2);
    other.answer([]);
    assert!(is_ready(&mut of_other).await);
}

#[tokio::test]
async fn an_endpoint_that_is_retained_as_a_last_resort_has_not_departed() {
    let registry = Registry::new();
    registry.answer([entry("a"), entry("b")]);
    let picks = [(); 2].map(|()| registry.users.select_owned().expect("available"));
    let whole = Update::Whole { entries: vec![entry("c")], retained: vec![entry("a")], unknown: false };
    registry.users.engine().update(registry.source, whole, Some(crate::discovery::Answered::default()));
    for pick in picks {
        let stays = pick.endpoint().id().as_str() == "a";
        assert_eq!(is_ready(&mut (Box::pin(pick.departed()) as _)).await, !stays);
    }
}

#[test]
fn what_is_attached_changes_neither_the_value_nor_the_traits_of_an_endpoint() {
    fn holds<T: Send + Sync + std::panic::UnwindSafe + std::panic::RefUnwindSafe>() {}
    holds::<Endpoint>();
    let registry = Registry::new();
    let a = entry("a");
    registry.answer([a.clone()]);
    let attached = registry.users.endpoint("a").expect("is there");
    assert!(Arc::ptr_eq(&attached, a.endpoint()), "no copy is made");
    assert_eq!(*attached, endpoint("a", "10.0.0.1").build().expect("valid"));
    assert!(attached.departure().is_some() && Endpoint::clone(&attached).departure().is_none());
}
