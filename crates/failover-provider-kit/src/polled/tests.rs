#![allow(clippy::disallowed_methods, reason = "tests measure virtual time")]

use std::collections::BTreeMap;
use std::sync::Mutex;

use failover_core::provider::Feature;
use failover_core::{Endpoint, ErrorKind, Random, ServiceName, codes};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, timeout};

use super::*;

const SECOND: Duration = Duration::from_secs(1);

/// A source whose answers the test sets, and which counts how often it is asked.
#[derive(Clone, Default)]
struct Told(Arc<Inner>);

#[derive(Default)]
struct Inner {
    answers: Mutex<BTreeMap<String, Result<EndpointSet, Error>>>,
    asked: Mutex<Vec<Instant>>,
    takes: Mutex<Duration>,
    changed: Notify,
}

impl Told {
    fn answers(&self, service: &str, answer: Result<EndpointSet, Error>) {
        self.0.answers.lock().expect("not poisoned").insert(service.to_owned(), answer);
    }

    fn lists(&self, service: &str, ids: &[&str]) {
        self.answers(service, Ok(set(service, ids)));
    }

    fn asked(&self) -> usize {
        self.0.asked.lock().expect("not poisoned").len()
    }
}

#[async_trait]
impl Source for Told {
    fn info(&self) -> ProviderInfo {
        let connection = ConnectionInfo::new(ConnectionStatus::Disconnected).with_address("told:53");
        ProviderInfo::new("told", "1").with_features([Feature::HealthCheck]).with_connection(connection)
    }

    async fn fetch(&self, service: &ServiceName) -> Result<EndpointSet, Error> {
        assert!(service.as_str() != "panics", "the source panics");
        self.0.asked.lock().expect("not poisoned").push(Instant::now());
        let takes = *self.0.takes.lock().expect("not poisoned");
        sleep(takes).await;
        let answers = self.0.answers.lock().expect("not poisoned");
        answers.get(service.as_str()).cloned().unwrap_or(Ok(EndpointSet::unknown_service()))
    }

    async fn services(&self) -> Result<Vec<ServiceName>, Error> {
        self.0
            .answers
            .lock()
            .expect("not poisoned")
            .keys()
            .map(|name| ServiceName::new(name.as_str()))
            .collect()
    }

    async fn changed(&self) {
        self.0.changed.notified().await;
    }
}

fn set(service: &str, ids: &[&str]) -> EndpointSet {
    let entry =
        |id: &&str| Endpoint::builder(*id, service, "10.0.0.1", 80).tag(*id).build().expect("valid").into();
    EndpointSet::new(ids.iter().map(entry)).with_ttl(10 * SECOND)
}

fn busy(pause: Duration) -> Error {
    Error::new(ErrorKind::Connection, "busy").with_retry(RetryAdvice::After(pause))
}

fn provider(source: &Told) -> Polled<Told> {
    Polled::with_timing(source.clone(), Timing::new(failover_core::Clock::tokio(), Random::seeded(1)))
}

fn query(service: &str) -> Query {
    Query::service(&ServiceName::new(service).expect("valid"))
}

fn ids(set: &EndpointSet) -> Vec<&str> {
    set.entries().iter().map(|entry| entry.endpoint().id().as_str()).collect()
}

async fn next(stream: &mut WatchStream<'_>) -> Result<EndpointSet, Error> {
    poll_fn(|context| stream.as_mut().poll_next(context)).await.expect("it goes on")
}

#[tokio::test(start_paused = true)]
async fn a_watch_yields_changes_and_signs_of_life_and_asks_by_the_time_to_live() {
    let source = Told::default();
    source.lists("users", &["a", "b"]);
    let provider = provider(&source);
    let mut stream = provider.watch(&query("users")).expect("it watches");
    assert_eq!(ids(&next(&mut stream).await.expect("an answer")), ["a", "b"]);
    // In another order, it says the same.
    source.lists("users", &["b", "a"]);
    let begin = Instant::now();
    let again = next(&mut stream).await.expect("an answer");
    let after = begin.elapsed();
    assert!(
        ids(&again) == ["b", "a"] && after >= SIGN_OF_LIFE && after <= SIGN_OF_LIFE + 11 * SECOND,
        "{after:?}"
    );
    source.lists("users", &["c"]);
    let begin = Instant::now();
    assert_eq!(ids(&next(&mut stream).await.expect("an answer")), ["c"]);
    assert!(begin.elapsed() <= 11 * SECOND, "{:?}", begin.elapsed());
    let asked = source.asked();
    let _ = timeout(1_000 * SECOND, async { while next(&mut stream).await.is_ok() {} }).await;
    let asked = source.asked() - asked;
    assert!((90..=112).contains(&asked), "{asked} times in 100 times to live");
}

#[tokio::test(start_paused = true)]
async fn a_time_to_live_is_honoured_within_its_range_and_without_one_the_interval() {
    for (ttl, over, times) in [
        (Some(Duration::ZERO), 100 * SECOND, 360..=450),
        (Some(SECOND), 100 * SECOND, 90..=112),
        (Some(Duration::MAX), 100 * 3_600 * SECOND, 4..=6),
        (None, 100 * 7 * SECOND, 90..=112),
    ] {
        let source = Told::default();
        let plain = EndpointSet::new([]);
        source.answers("users", Ok(ttl.map_or(plain.clone(), |ttl| plain.with_ttl(ttl))));
        let provider = provider(&source).interval(7 * SECOND);
        let mut stream = provider.watch(&query("users")).expect("it watches");
        let _ = timeout(over, async { while next(&mut stream).await.is_ok() {} }).await;
        assert!(times.contains(&source.asked()), "{ttl:?}: {} times", source.asked());
    }
}

#[tokio::test(start_paused = true)]
async fn an_error_is_an_item_and_what_follows_it_is_yielded_though_it_says_the_same() {
    let source = Told::default();
    source.lists("users", &["a"]);
    let provider = provider(&source);
    let mut stream = provider.watch(&query("users")).expect("it watches");
    assert!(next(&mut stream).await.is_ok());
    assert_eq!(provider.info().connection().status(), ConnectionStatus::Connected);
    source.answers("users", Err(Error::new(ErrorKind::Connection, "down")));
    assert!(next(&mut stream).await.is_err());
    source.lists("users", &["a"]);
    assert!(timeout(SECOND, next(&mut stream)).await.expect("soon").is_ok(), "the outage is over");
    source.answers("users", Err(Error::new(ErrorKind::Connection, "down")));
    assert_eq!(next(&mut stream).await.expect_err("down").to_string(), "down");
    assert_eq!(provider.info().connection().status(), ConnectionStatus::Error);
    let asked = source.asked();
    let _ = timeout(600 * SECOND, async { while next(&mut stream).await.is_err() {} }).await;
    let asked = source.asked() - asked;
    assert!((20..=50).contains(&asked), "{asked} times in an outage of ten minutes");
    source.lists("users", &["a"]);
    while next(&mut stream).await.is_err() {}
    assert_eq!(provider.info().connection().status(), ConnectionStatus::Connected);

    source.answers("users", Err(busy(120 * SECOND)));
    assert!(next(&mut stream).await.is_err());
    let asked = source.asked();
    let _ = timeout(600 * SECOND, async { while next(&mut stream).await.is_err() {} }).await;
    assert!(source.asked() - asked <= 5, "{} times in ten minutes of two each", source.asked() - asked);
}

#[tokio::test(start_paused = true)]
async fn a_change_and_a_new_connection_end_the_wait() {
    let source = Told::default();
    source.lists("users", &["a"]);
    *source.0.takes.lock().expect("not poisoned") = SECOND;
    let provider = provider(&source);
    let mut stream = provider.watch(&query("users")).expect("it watches");
    assert!(next(&mut stream).await.is_ok());
    let begin = Instant::now();
    source.lists("users", &["b"]);
    source.0.changed.notify_waiters();
    assert_eq!(ids(&next(&mut stream).await.expect("an answer")), ["b"]);
    assert_eq!(begin.elapsed().as_secs(), 1, "what a fetch takes");

    // During a fetch, whose answer was read before it.
    source.0.changed.notify_waiters();
    let fetching = timeout(SECOND / 2, next(&mut stream)).await;
    assert!(fetching.is_err());
    source.0.changed.notify_waiters();
    sleep(SECOND).await;
    source.lists("users", &["c"]);
    assert_eq!(ids(&next(&mut stream).await.expect("an answer")), ["c"]);
    assert!(begin.elapsed() < 4 * SECOND, "{:?}", begin.elapsed());

    source.answers("users", Err(busy(3_600 * SECOND)));
    source.0.changed.notify_waiters();
    assert!(next(&mut stream).await.is_err());
    source.lists("users", &["d"]);
    provider.connect().await.expect("it connects");
    let begin = Instant::now();
    assert_eq!(ids(&next(&mut stream).await.expect("an answer")), ["d"]);
    assert!(begin.elapsed() <= 2 * SECOND, "{:?}", begin.elapsed());
}

#[tokio::test(start_paused = true)]
async fn changes_that_never_end_are_fetched_at_most_20_times_a_second() {
    let source = Told::default();
    let provider = provider(&source);
    let mut stream = provider.watch(&query("users")).expect("it watches");
    let watching = async { while next(&mut stream).await.is_ok() {} };
    let changing = async {
        loop {
            source.0.changed.notify_waiters();
            sleep(Duration::from_millis(1)).await;
        }
    };
    let _ = timeout(10 * SECOND, async { tokio::join!(watching, changing) }).await;
    assert!((150..=201).contains(&source.asked()), "{}", source.asked());
}

#[tokio::test(start_paused = true)]
async fn watches_of_a_service_share_the_requests_whatever_their_tags() {
    let source = Told::default();
    source.lists("users", &["a", "b"]);
    let provider = provider(&source);
    let mut streams: Vec<_> = ["a", "b", "c"]
        .map(|tag| provider.watch(&query("users").tag(tag)).expect("it watches"))
        .into_iter()
        .collect();
    for stream in &mut streams {
        assert_eq!(ids(&next(stream).await.expect("an answer")), ["a", "b"]);
    }
    assert_eq!(source.asked(), 1);
    drop(streams);
    sleep(100 * SECOND).await;
    assert_eq!(source.asked(), 1, "nobody watches");
}

#[tokio::test(start_paused = true)]
async fn a_list_matches_the_query_and_gathers_all_services() {
    let source = Told::default();
    source.lists("users", &["a", "b"]);
    let services: Vec<_> = (0..40).map(|number| format!("service-{number:02}")).collect();
    for service in &services {
        source.lists(service, &[service]);
    }
    *source.0.takes.lock().expect("not poisoned") = SECOND;
    let provider = provider(&source);
    let listed = provider.list(&query("users").tag("b")).await.expect("an answer");
    assert_eq!(ids(&listed), ["b"]);
    let none = provider.list(&query("users").tag("c")).await.expect("an answer");
    assert!(none.entries().is_empty() && none.is_confirmed());
    assert!(provider.list(&query("nobody")).await.expect("an answer").is_unknown_service());

    let begin = Instant::now();
    let all = provider.list(&Query::all()).await.expect("an answer");
    assert_eq!((all.entries().len(), ids(&all)[39], begin.elapsed().as_secs()), (42, "service-39", 6));
    source.answers("service-20", Err(Error::new(ErrorKind::Connection, "down")));
    assert_eq!(provider.list(&Query::all()).await.expect_err("it is not whole").to_string(), "down");
}

#[tokio::test(start_paused = true)]
async fn a_fetch_that_never_ends_is_a_timeout() {
    let source = Told::default();
    *source.0.takes.lock().expect("not poisoned") = Duration::MAX;
    let provider = provider(&source).timeout(2 * SECOND);
    let begin = Instant::now();
    let error = provider.list(&query("users")).await.expect_err("it is late");
    assert_eq!((error.kind(), begin.elapsed().as_secs()), (ErrorKind::Timeout, 2), "{error}");
    let mut stream = provider.watch(&query("users")).expect("it watches");
    assert_eq!(next(&mut stream).await.expect_err("it is late").kind(), ErrorKind::Timeout);
    assert_eq!(provider.info().connection().status(), ConnectionStatus::Error);
}

#[tokio::test(start_paused = true)]
async fn a_closed_provider_asks_nothing_until_it_is_connected() {
    let source = Told::default();
    source.lists("users", &["a"]);
    let provider = provider(&source);
    let mut stream = provider.watch(&query("users")).expect("it watches");
    assert!(next(&mut stream).await.is_ok());
    provider.close().await.expect("it closes");
    provider.close().await.expect("twice");
    assert!(poll_fn(|context| stream.as_mut().poll_next(context)).await.is_none());
    let mut late = provider.watch(&query("users")).expect("it watches");
    assert!(poll_fn(|context| late.as_mut().poll_next(context)).await.is_none());
    for error in [
        provider.ping().await.expect_err("closed"),
        provider.list(&query("users")).await.expect_err("closed"),
    ] {
        assert_eq!(
            (error.kind(), error.code()),
            (ErrorKind::Shutdown, codes::SERVICE_UNAVAILABLE),
            "{error}"
        );
    }
    assert_eq!((source.asked(), provider.info().connection().status()), (1, ConnectionStatus::Disconnected));
    provider.connect().await.expect("it opens");
    let mut again = provider.watch(&query("users")).expect("it watches");
    assert_eq!(ids(&next(&mut again).await.expect("an answer")), ["a"]);
}

#[tokio::test(start_paused = true)]
async fn a_fetch_that_panics_ends_its_own_watch_which_can_begin_again() {
    let source = Told::default();
    source.lists("users", &["a"]);
    let provider = provider(&source);
    let mut well = provider.watch(&query("users")).expect("it watches");
    for _ in 0..2 {
        let mut panics = provider.watch(&query("panics")).expect("it watches");
        assert!(poll_fn(|context| panics.as_mut().poll_next(context)).await.is_none(), "it has ended");
    }
    assert_eq!(ids(&next(&mut well).await.expect("an answer")), ["a"]);
    source.lists("users", &["b"]);
    assert_eq!(ids(&next(&mut well).await.expect("an answer")), ["b"]);
}

#[tokio::test(start_paused = true)]
async fn a_dropped_list_and_ten_thousand_endpoints_leave_nothing_behind() {
    let source = Told::default();
    let many: Vec<_> = (0..10_000).map(|number| format!("e-{number}")).collect();
    let listed =
        |ids: &mut dyn Iterator<Item = &String>| set("users", &ids.map(String::as_str).collect::<Vec<_>>());
    source.answers("users", Ok(listed(&mut many.iter())));
    *source.0.takes.lock().expect("not poisoned") = SECOND;
    let provider = provider(&source);
    assert!(timeout(SECOND / 2, provider.list(&query("users"))).await.is_err());
    let mut stream = provider.watch(&query("users")).expect("it watches");
    assert_eq!(next(&mut stream).await.expect("an answer").entries().len(), 10_000);
    source.answers("users", Ok(listed(&mut many.iter().rev())));
    assert!(timeout(15 * SECOND, next(&mut stream)).await.is_err(), "it says the same in another order");
}

#[test]
fn the_description_is_the_sources_with_a_watch_and_the_connection() {
    let provider = provider(&Told::default());
    let info = provider.info();
    assert_eq!((info.kind(), info.features()), ("told", &[Feature::HealthCheck, Feature::Watch][..]));
    assert_eq!(info.connection().address(), Some("told:53"));
    assert_eq!(format!("{provider:?}"), "Polled { kind: \"told\", interval: 30s, timeout: 10s, .. }");
}
