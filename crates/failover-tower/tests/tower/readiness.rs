//! How the layer calls the service below: only when it is ready, and without sharing it.

use std::cell::Cell;
use std::future::{Ready, ready};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use failover_core::{Clock, FailoverConfig, ServiceHandle};
use failover_tower::{BoxError, FailoverError, FailoverLayer, ReplayBody};
use http::{Request, Response};
use http_body_util::Full;
use tower::util::BoxCloneService;
use tower::{Layer, Service, ServiceExt};

use crate::support::{Bytes, get};

/// A service that panics if it is called before it is ready, and that is not `Sync`.
struct Strict {
    ready: Cell<bool>,
    /// The replies still to be failures, and how often a clone was polled.
    failures: Arc<AtomicUsize>,
    polled: Arc<AtomicUsize>,
    broken: bool,
}

impl Strict {
    fn new(failures: usize) -> Self {
        Self {
            ready: Cell::new(false),
            failures: Arc::new(AtomicUsize::new(failures)),
            polled: Arc::default(),
            broken: false,
        }
    }
}

impl Clone for Strict {
    fn clone(&self) -> Self {
        let (failures, polled) = (Arc::clone(&self.failures), Arc::clone(&self.polled));
        // Readiness is not inherited.
        Self { ready: Cell::new(false), failures, polled, broken: self.broken }
    }
}

impl Service<Request<ReplayBody<Full<Bytes>>>> for Strict {
    type Response = Response<Full<Bytes>>;
    type Error = BoxError;
    type Future = Ready<Result<Self::Response, BoxError>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        if self.broken {
            return Poll::Ready(Err("the pool is closed".into()));
        }
        // Pending once, so that readiness has to be awaited.
        if self.polled.fetch_add(1, Ordering::Relaxed) % 2 == 0 {
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        self.ready.set(true);
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<ReplayBody<Full<Bytes>>>) -> Self::Future {
        assert!(self.ready.replace(false), "called before it was ready");
        let failed =
            self.failures.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1));
        let mut response = Response::new(Full::default());
        if failed.is_ok() {
            *response.status_mut() = http::StatusCode::INTERNAL_SERVER_ERROR;
        }
        ready(Ok(response))
    }
}

fn users(count: usize) -> ServiceHandle {
    ServiceHandle::builder("users")
        .endpoints((0..count).map(|n| format!("http://10.0.0.{n}:80")))
        .config(FailoverConfig::builder().timeout(Duration::from_secs(3)).build().expect("valid"))
        .clock(Clock::tokio())
        .build()
        .expect("valid")
}

#[tokio::test(start_paused = true)]
async fn every_attempt_calls_a_service_that_was_polled_ready() {
    let strict = Strict::new(2);
    let mut tower = FailoverLayer::new(users(3)).layer(strict.clone());
    let response = tower.ready().await.expect("ready").call(get("/")).await.expect("the third answers");
    assert_eq!(response.status(), 200);
    assert_eq!(strict.polled.load(Ordering::Relaxed), 6, "three attempts, each polled twice");
    // The same service again, and boxed.
    let mut tower = BoxCloneService::new(tower);
    for _ in 0..3 {
        tower.ready().await.expect("ready").call(get("/")).await.expect("answers");
    }
}

#[tokio::test(start_paused = true)]
async fn a_service_that_is_not_ready_holds_its_caller_up() {
    let limited = tower::limit::ConcurrencyLimit::new(Strict::new(0), 1);
    let mut tower = FailoverLayer::new(users(2)).layer(limited);
    tower.ready().await.expect("ready");
    let first = tower.call(get("/"));
    let waiting = tokio::time::timeout(Duration::from_millis(100), tower.ready()).await;
    assert!(waiting.is_err(), "the only permit is the first request's");
    first.await.expect("answers");
    tower.ready().await.expect("ready again").call(get("/")).await.expect("answers");
}

/// A service of which no clone is ever ready, as of a pool whose connections are all in use.
struct Last(Strict, bool);

impl Clone for Last {
    fn clone(&self) -> Self {
        Self(self.0.clone(), true)
    }
}

impl Service<Request<ReplayBody<Full<Bytes>>>> for Last {
    type Response = Response<Full<Bytes>>;
    type Error = BoxError;
    type Future = Ready<Result<Self::Response, BoxError>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        if self.1 { Poll::Pending } else { self.0.poll_ready(context) }
    }

    fn call(&mut self, request: Request<ReplayBody<Full<Bytes>>>) -> Self::Future {
        self.0.call(request)
    }
}

#[tokio::test(start_paused = true)]
async fn an_attempt_waits_for_a_ready_clone_no_longer_than_its_time() {
    let users = users(2);
    let mut tower = FailoverLayer::new(users.clone()).layer(Last(Strict::new(9), false));
    let begun = tokio::time::Instant::now();
    let response = tower.ready().await.expect("ready").call(get("/")).await.expect("the only answer");
    assert_eq!(response.status(), 500);
    let waited = begun.elapsed();
    assert!(waited >= Duration::from_millis(500) && waited <= Duration::from_secs(3), "{waited:?}");
    let stats = users.stats();
    assert_eq!((stats.in_flight, stats.attempts.of(failover_core::AttemptClass::Failure)), (0, 1));
}

#[tokio::test(start_paused = true)]
async fn a_service_that_has_failed_says_so_and_is_not_called() {
    let broken = Strict { broken: true, ..Strict::new(0) };
    let mut tower = FailoverLayer::new(users(2)).layer(broken);
    let error = tower.ready().await.map(|_| ()).expect_err("it is closed");
    assert!(matches!(error, FailoverError::Service(_)), "{error:?}");
    let cause = std::error::Error::source(&error).expect("a cause");
    assert_eq!((cause.to_string().as_str(), error.status().as_u16()), ("the pool is closed", 502));
}

#[tokio::test(start_paused = true)]
async fn a_dropped_request_leaves_nothing_behind() {
    let users = users(2);
    let hang = tower::service_fn(|_: Request<ReplayBody<Full<Bytes>>>| {
        std::future::pending::<Result<Response<Full<Bytes>>, BoxError>>()
    });
    let tower = FailoverLayer::new(users.clone()).layer(hang);
    let call = tokio::time::timeout(Duration::from_millis(10), tower.oneshot(get("/"))).await;
    assert!(call.is_err());
    let stats = users.stats();
    assert_eq!((stats.in_flight, stats.cancelled, stats.failed_requests), (0, 1, 0));
}
