//! Operations on a failing registry: retried by kind of error, within the timeout.

use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::*;
use crate::contract::provider::Registry;
use crate::error::ErrorKind;
use crate::error::RetryAdvice;
use crate::model::endpoint::EndpointId;
use crate::model::endpoint::ServiceName;
use crate::runtime::clock::Clock;
use crate::runtime::random::Random;

/// Fails with this error the given number of times, then succeeds.
struct Flaky {
    error: Error,
    failures: u32,
    asked: Arc<AtomicU32>,
    hangs: bool,
}

impl Flaky {
    async fn answer<T>(&self, value: T) -> Result<T, Error> {
        if self.asked.fetch_add(1, Ordering::SeqCst) < self.failures {
            return Err(self.error.clone());
        }
        if self.hangs {
            pending::<()>().await;
        }
        Ok(value)
    }
}

#[async_trait::async_trait]
impl Provider for Flaky {
    fn info(&self) -> ProviderInfo {
        ProviderInfo::new("flaky", "1")
    }

    async fn connect(&self) -> Result<(), Error> {
        Ok(())
    }

    async fn ping(&self) -> Result<(), Error> {
        Ok(())
    }

    async fn close(&self) -> Result<(), Error> {
        Ok(())
    }

    async fn list(&self, _: &Query) -> Result<EndpointSet, Error> {
        self.answer(set("10.0.0.1")).await
    }

    fn registry(&self) -> Option<&dyn Registry> {
        Some(self)
    }
}

#[async_trait::async_trait]
impl Registry for Flaky {
    async fn register(&self, _: &Endpoint) -> Result<(), Error> {
        self.answer(()).await
    }

    async fn update(&self, _: &Endpoint) -> Result<(), Error> {
        self.answer(()).await
    }

    async fn deregister(&self, _: &ServiceName, _: &EndpointId) -> Result<bool, Error> {
        self.answer(true).await
    }

    async fn get(&self, _: &ServiceName, _: &EndpointId) -> Result<EndpointEntry, Error> {
        self.answer(set("10.0.0.1").into_entries().remove(0)).await
    }
}

fn endpoint() -> Endpoint {
    Endpoint::builder("a", "users", "10.0.0.1", 80).build().expect("valid")
}

async fn flaky(error: Error, failures: u32, hangs: bool) -> (FailoverManager, Arc<AtomicU32>) {
    let asked = Arc::new(AtomicU32::new(0));
    let provider = Flaky { error, failures, asked: Arc::clone(&asked), hangs };
    let builder =
        FailoverManager::builder().provider(provider).clock(Clock::tokio()).random(Random::seeded(1));
    (builder.build().await.expect("builds"), asked)
}

#[tokio::test(start_paused = true)]
async fn an_operation_is_tried_again_where_that_can_help_and_never_for_a_validation_error() {
    let error = |kind| Error::new(kind, "no");
    let table = [
        (error(ErrorKind::Connection), 2, Ok(3)),
        (error(ErrorKind::Timeout), 1, Ok(2)),
        (error(ErrorKind::Connection), 3, Err(3)),
        (error(ErrorKind::Validation), 1, Err(1)),
        (error(ErrorKind::Permission), 1, Err(1)),
        (error(ErrorKind::Conflict), 1, Err(1)),
        (error(ErrorKind::NotFound), 1, Err(1)),
        (error(ErrorKind::Internal).with_retry(RetryAdvice::After(Duration::from_secs(3))), 1, Ok(2)),
        (error(ErrorKind::Connection).with_retry(RetryAdvice::Never), 1, Err(1)),
    ];
    for (error, failures, expected) in table {
        let (manager, asked) = flaky(error.clone(), failures, false).await;
        let done = manager.register_endpoint(endpoint()).await;
        let tries = asked.load(Ordering::SeqCst);
        assert_eq!(done.as_ref().map_err(|_| tries).map(|()| tries), expected, "{error:?}");
        if let Err(emitted) = done {
            assert_eq!(
                (emitted.kind(), emitted.details()["provider"].as_str()),
                (error.kind(), Some("flaky"))
            );
        }
    }
}

#[tokio::test(start_paused = true)]
async fn the_waits_double_and_are_jittered_and_all_tries_end_within_the_timeout() {
    let down = Error::new(ErrorKind::Connection, "refused");
    let (manager, _) = flaky(down.clone(), 2, false).await;
    let begun = tokio::time::Instant::now();
    manager.register_endpoint(endpoint()).await.expect("the third time");
    let waited = begun.elapsed().as_millis();
    assert!((375..=750).contains(&waited), "{waited} ms: half of 250 + 500 for certain");

    let (manager, _) =
        flaky(down.clone().with_retry(RetryAdvice::After(Duration::from_secs(40))), 9, false).await;
    let begun = tokio::time::Instant::now();
    let error = manager.register_endpoint(endpoint()).await.expect_err("down");
    assert_eq!((begun.elapsed(), error.kind()), (Duration::from_secs(30), ErrorKind::Connection));
    assert_eq!(error.to_string(), "registering a (tcp://10.0.0.1:80): giving up after 30s: refused");

    let (manager, _) = flaky(down, 0, true).await;
    let error = manager.update_endpoint(endpoint()).await.expect_err("it hangs");
    assert_eq!(error.kind(), ErrorKind::Timeout);
    assert!(
        error.to_string().contains("no answer in 30s; the operation may still have taken effect"),
        "{error}"
    );
}

#[tokio::test(start_paused = true)]
async fn closing_ends_the_waits_of_operations() {
    let (manager, _) = flaky(Error::new(ErrorKind::Connection, "refused"), 9, false).await;
    let waiting = tokio::spawn({
        let manager = manager.clone();
        async move { manager.register_endpoint(endpoint()).await }
    });
    tokio::task::yield_now().await;
    manager.close().await.expect("closes");
    assert_eq!(waiting.await.expect("no panic").expect_err("closed").kind(), ErrorKind::Shutdown);
}
