//! The hot path must not allocate.

use std::convert::Infallible;
use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use allocation_counter::{AllocationInfo, measure};
use failover_core::{Classified, FailoverConfig, Outcome, ServiceHandle, StrategyKind};

const ROUNDS: usize = 1_000;

fn service(strategy: StrategyKind) -> ServiceHandle {
    let config = FailoverConfig::builder().strategy(strategy).build().expect("valid");
    ServiceHandle::builder("users")
        .endpoints((0..100).map(|n| format!("10.0.0.{n}:80")))
        .config(config)
        .build()
        .expect("valid")
}

fn allocations(mut work: impl FnMut()) -> u64 {
    // The first round fills thread-local state: the generator, and the slot of the snapshot's
    // guard.
    work();
    let AllocationInfo { count_total, .. } = measure(|| (0..ROUNDS).for_each(|_| work()));
    count_total
}

/// Polls a future that is ready at once.
fn ready<F: Future>(future: F) -> F::Output {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => output,
        Poll::Pending => panic!("it was to be ready at once"),
    }
}

const STRATEGIES: [StrategyKind; 3] =
    [StrategyKind::RoundRobin, StrategyKind::Random, StrategyKind::LeastConnections];

#[test]
fn the_counter_counts() {
    assert_eq!(allocations(|| drop(std::hint::black_box(Box::new(1)))), ROUNDS as u64);
}

#[test]
fn select_and_finish_allocate_nothing() {
    for strategy in STRATEGIES {
        let service = service(strategy);
        let count = allocations(|| service.select().expect("available").finish(Outcome::Success));
        assert_eq!(count, 0, "{strategy}");
    }
}

#[test]
fn select_owned_and_a_dropped_pick_allocate_nothing() {
    let service = service(StrategyKind::RoundRobin);
    assert_eq!(allocations(|| drop(service.select_owned())), 0);
    assert_eq!(service.stats().in_flight, 0);
}

#[test]
fn execute_allocates_nothing_when_the_first_attempt_succeeds() {
    for strategy in STRATEGIES {
        let service = service(strategy);
        let count = allocations(|| {
            let done = ready(service.execute(async |attempt| Ok::<_, Infallible>(attempt.port())));
            assert_eq!(done.expect("succeeds").value, 80);
        });
        assert_eq!(count, 0, "{strategy}");
    }
}

#[test]
fn a_classifier_that_can_give_reasons_allocates_nothing_for_a_success() {
    let service =
        service(StrategyKind::RoundRobin).with_classifier(|reply: Result<&u16, &Infallible>| match reply {
            Ok(status) => Classified::from_http_status(*status, None),
            Err(never) => match *never {},
        });
    let count = allocations(|| {
        let done = ready(service.execute(async |attempt| Ok::<_, Infallible>(120 + attempt.port())));
        assert_eq!(done.expect("succeeds").value, 200);
        let outcome = service.outcome(&Ok::<_, Infallible>(200));
        service.select().expect("available").finish(outcome);
    });
    assert_eq!(count, 0);
}

#[test]
fn a_failure_that_opens_no_breaker_allocates_nothing_in_select_and_finish() {
    let service = service(StrategyKind::RoundRobin);
    let mut round = 0;
    let emitted = service.events(usize::MAX).len();
    let count = allocations(|| {
        round += 1;
        // Each endpoint fails every other time, so never five times in a row.
        let outcome = if (round / 100) % 2 == 0 { Outcome::Failure } else { Outcome::Success };
        service.select().expect("available").finish(outcome);
    });
    assert_eq!(count, 0);
    assert_eq!(service.events(usize::MAX).len(), emitted, "no breaker has moved");
}
