//! Shared by the tests.

use std::future::poll_fn;
use std::time::Duration;

use failover_consul::{ConsulBuilder, ConsulProvider};
use failover_core::provider::{EndpointSet, WatchStream};
use failover_core::{Endpoint, Error, ServiceName};
use tokio::time::timeout;
use tracing::Dispatch;
use tracing::subscriber::DefaultGuard;

pub(crate) const SECOND: Duration = Duration::from_secs(1);

/// Sends what this thread traces to a subscriber while the guard lives.
///
/// While one subscriber is registered, tracing asks the thread that first reaches a call site whether
/// anybody listens there. That may be a thread of another test, where nobody does, and the call site is
/// then off for all threads. A second registered subscriber makes it ask both, whatever the thread.
pub(crate) fn listen(subscriber: impl tracing::Subscriber + Send + Sync) -> (DefaultGuard, Dispatch) {
    let second = tracing_subscriber::fmt().with_max_level(tracing::Level::TRACE).with_writer(std::io::sink);
    let second = Dispatch::new(second.finish());
    (tracing::subscriber::set_default(subscriber), second)
}

pub(crate) fn builder(address: &str) -> ConsulBuilder {
    ConsulProvider::builder().address(address)
}

pub(crate) fn provider(address: &str) -> ConsulProvider {
    builder(address).build().expect("valid")
}

pub(crate) fn name(text: &str) -> ServiceName {
    ServiceName::new(text).expect("valid")
}

pub(crate) fn endpoint(id: &str, service: &str, last: u8) -> Endpoint {
    Endpoint::builder(id, service, format!("10.1.2.{last}"), 8080).protocol("http").build().expect("valid")
}

pub(crate) fn ids(set: &EndpointSet) -> Vec<String> {
    let mut ids: Vec<_> =
        set.entries().iter().map(|entry| entry.endpoint().id().as_str().to_owned()).collect();
    ids.sort_unstable();
    ids
}

pub(crate) async fn next(stream: &mut WatchStream<'_>, limit: Duration) -> Result<EndpointSet, Error> {
    let item = timeout(limit, poll_fn(|context| stream.as_mut().poll_next(context))).await;
    item.unwrap_or_else(|_| panic!("nothing in {limit:?}")).expect("it goes on")
}

/// Reads a watch until the predicate holds; returns the items read.
pub(crate) async fn see(
    stream: &mut WatchStream<'_>,
    limit: Duration,
    what: &str,
    is_so: impl Fn(&Result<EndpointSet, Error>) -> bool,
) -> Vec<Result<EndpointSet, Error>> {
    let mut seen = Vec::new();
    let reading = async {
        loop {
            let item = poll_fn(|context| stream.as_mut().poll_next(context)).await.expect("it goes on");
            let done = is_so(&item);
            seen.push(item);
            if done {
                return;
            }
        }
    };
    let done = timeout(limit, reading).await.is_ok();
    assert!(done, "not in {limit:?}: {what}; seen {seen:?}");
    seen
}

pub(crate) fn has(expected: &[&str]) -> impl Fn(&Result<EndpointSet, Error>) -> bool {
    let expected: Vec<String> = expected.iter().map(|id| (*id).to_owned()).collect();
    move |item| item.as_ref().is_ok_and(|set| ids(set) == expected)
}

/// Asserts that the stream yields nothing in this time.
pub(crate) async fn quiet(stream: &mut WatchStream<'_>, time: Duration) {
    if let Ok(item) = timeout(time, poll_fn(|context| stream.as_mut().poll_next(context))).await {
        panic!("something came: {item:?}");
    }
}
