pub(crate) mod registry;

use std::future::pending;
use std::pin::Pin;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use super::*;
use crate::contract::provider::{AddressTrust, EndpointSet, ProviderInfo, Query, WatchStream};
use crate::events::EventKind;
use crate::model::endpoint::{Endpoint, EndpointEntry};
use crate::runtime::clock::Clock;
use crate::runtime::random::Random;

/// What the watch does after its first answer.
#[derive(Clone, Copy, PartialEq, Eq)]
enum After {
    /// There is no watch: the provider is polled.
    Polled,
    /// It ends, then stays pending forever.
    EndsAndHangs,
    /// It ends, then panics when polled again, as the `Stream` contract allows.
    EndsAndPanics,
}

struct Fake {
    after: After,
    address: &'static str,
    watches: AtomicU32,
}

fn fake(after: After, address: &'static str) -> Arc<Fake> {
    Arc::new(Fake { after, address, watches: AtomicU32::new(0) })
}

struct Once(After, &'static str, u32);

fn set(address: &str) -> EndpointSet {
    let endpoint = Endpoint::builder("a", "users", address, 80).build().expect("valid");
    EndpointSet::new([EndpointEntry::new(endpoint)])
}

impl futures_core::Stream for Once {
    type Item = Result<EndpointSet, Error>;

    fn poll_next(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.2 += 1;
        match (self.2, self.0) {
            (1, _) => Poll::Ready(Some(Ok(set(self.1)))),
            (2, _) => Poll::Ready(None),
            (_, After::EndsAndPanics) => panic!("polled after its end"),
            _ => Poll::Pending,
        }
    }
}

#[async_trait::async_trait]
impl Provider for Fake {
    fn info(&self) -> ProviderInfo {
        ProviderInfo::new("fake", "1").with_trust(AddressTrust::Remote)
    }

    async fn connect(&self) -> Result<(), Error> {
        Ok(())
    }

    async fn ping(&self) -> Result<(), Error> {
        pending().await
    }

    async fn close(&self) -> Result<(), Error> {
        Ok(())
    }

    async fn list(&self, _: &Query) -> Result<EndpointSet, Error> {
        Ok(set(self.address))
    }

    fn watch(&self, _: &Query) -> Option<WatchStream<'_>> {
        if self.after == After::Polled {
            return None;
        }
        self.watches.fetch_add(1, Ordering::Relaxed);
        Some(Box::pin(Once(self.after, self.address, 0)))
    }
}

async fn manager(provider: Arc<Fake>) -> FailoverManager {
    let builder =
        FailoverManager::builder().provider(provider).clock(Clock::tokio()).random(Random::seeded(1));
    builder.build().await.expect("builds")
}

#[tokio::test(start_paused = true)]
async fn a_watch_that_ends_is_started_again_with_back_off_and_is_no_panic() {
    for after in [After::EndsAndHangs, After::EndsAndPanics] {
        let provider = fake(after, "10.0.0.1");
        let manager = manager(Arc::clone(&provider)).await;
        let users = manager.service("users").await.expect("a handle");
        tokio::time::sleep(Duration::from_secs(600)).await;
        let watches = provider.watches.load(Ordering::Relaxed);
        assert!((20..=60).contains(&watches), "{watches} watches in ten minutes");
        assert!(users.events(usize::MAX).iter().all(|event| event.kind != EventKind::ProviderPanicked));
        assert!(users.select().is_ok());
    }
}

#[tokio::test(start_paused = true)]
async fn a_registry_elsewhere_cannot_send_calls_to_the_metadata_service_or_to_this_machine() {
    for (address, named) in [("169.254.169.254", "metadata"), ("127.0.0.1", "allow_loopback")] {
        let manager = manager(fake(After::Polled, address)).await;
        let users = manager.service("users").await.expect("a handle");
        users.select().expect_err("it is left out");
        let events = users.events(usize::MAX);
        let emitted = events
            .iter()
            .find(|event| event.kind == EventKind::EntryRejected)
            .expect("the rejection is emitted");
        assert!(emitted.reason.contains(named), "{emitted}");
    }
    let builder = FailoverManager::builder().provider(fake(After::Polled, "127.0.0.1")).allow_loopback(true);
    let manager = builder.build().await.expect("builds");
    assert!(manager.service("users").await.expect("a handle").select().is_ok());
}

#[test]
fn in_a_runtime_without_timers_building_is_a_typed_error() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let error = runtime.block_on(FailoverManager::builder().build()).expect_err("no timers");
    assert_eq!((error.code(), error.kind()), ("NO_TIMER", crate::ErrorKind::Internal));
    assert!(error.to_string().contains("`enable_time` or `enable_all`"), "{error}");
}

#[test]
fn outside_a_runtime_there_is_a_typed_error_and_no_panic() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let manager = runtime.block_on(manager(fake(After::Polled, "10.0.0.1")));
    let mut context = Context::from_waker(Waker::noop());
    let query = Query::all();
    let mut listing = Box::pin(manager.list_endpoints(&query));
    let Poll::Ready(Err(error)) = listing.as_mut().poll(&mut context) else { panic!("it cannot wait") };
    assert_eq!(error.code(), "NO_RUNTIME");
    let mut closing = Box::pin(manager.close());
    let Poll::Ready(Err(error)) = closing.as_mut().poll(&mut context) else { panic!("it cannot wait") };
    assert_eq!(error.code(), "NO_RUNTIME");
}
