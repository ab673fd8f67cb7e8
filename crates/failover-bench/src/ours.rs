//! The cases of `failover`, through its public API.

use std::future::Future;
use std::hint::black_box;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use failover_core::config::{CircuitBreakerConfig, LoadBalancerConfig, OutlierConfig, RetryBudgetConfig};
use failover_core::{Algorithm, FailoverConfig, Outcome, ServiceHandle};

use crate::measure::{Case, Shared};

pub(crate) const ALGORITHMS: [Algorithm; 6] = [
    Algorithm::RoundRobin,
    Algorithm::Random,
    Algorithm::Weighted,
    Algorithm::LeastConnections,
    Algorithm::PeakEwma,
    Algorithm::IpHash,
];

pub(crate) fn urls(n: usize) -> Vec<String> {
    (0..n).map(|i| format!("10.{}.{}.{}:80", i / 62_500, i / 250 % 250, i % 250 + 1)).collect()
}

pub(crate) fn service(algorithm: Algorithm, n: usize) -> ServiceHandle {
    // Skewed weights: one endpoint weighs 65 535 times as much as the others.
    let skewed = algorithm == Algorithm::Weighted;
    weighted(algorithm, n, |index| if skewed && index == 0 { 65_535 } else { 1 })
}

pub(crate) fn weighted(algorithm: Algorithm, n: usize, weight: impl Fn(usize) -> u32) -> ServiceHandle {
    let balancer = LoadBalancerConfig::builder().algorithm(algorithm);
    let balancer = urls(n)
        .into_iter()
        .enumerate()
        .filter(|(index, _)| weight(*index) != 1)
        .fold(balancer, |balancer, (index, url)| balancer.weight(&*url, weight(index)));
    let config = FailoverConfig::builder().load_balancer(balancer.build().expect("valid"));
    let config = config.build().expect("valid");
    ServiceHandle::builder("bench").endpoints(urls(n)).config(config).build().expect("valid")
}

pub(crate) fn select(service: &ServiceHandle) -> impl Fn(u32) + Sync + '_ {
    let keyed = service.config().algorithm() == Algorithm::IpHash;
    move |times| {
        for call in 0..times {
            let pick = if keyed { service.call().key(call.to_le_bytes()).select() } else { service.select() };
            pick.expect("available").finish(Outcome::Success);
        }
    }
}

pub(crate) fn cases<'a>(services: &'a [(Algorithm, usize, ServiceHandle)]) -> Vec<Case<'a>> {
    let mut cases: Vec<_> = services
        .iter()
        .map(|(algorithm, n, service)| {
            Case::new("failover", format!("select {algorithm}"), *n, select(service))
        })
        .collect();
    for (_, n, service) in services.iter().filter(|(algorithm, ..)| *algorithm == Algorithm::RoundRobin) {
        cases.push(Case::new("failover", "execute", *n, execute(service)));
    }
    cases
}

fn execute(service: &ServiceHandle) -> impl Fn(u32) + '_ {
    move |times| {
        for _ in 0..times {
            let done = ready(service.execute(async |attempt| Ok::<_, std::fmt::Error>(attempt.port())));
            black_box(done.expect("succeeds").value);
        }
    }
}

/// A service with the defaults: breakers, outlier detection, retry budget, percentiles, events.
pub(crate) fn with_health(n: usize) -> ServiceHandle {
    service(Algorithm::RoundRobin, n)
}

/// A service without those that can be switched off.
pub(crate) fn without_health(n: usize) -> ServiceHandle {
    let config = FailoverConfig::builder()
        .circuit_breaker(CircuitBreakerConfig::builder().enabled(false).build().expect("valid"))
        .outlier_detection(OutlierConfig::builder().enabled(false).build().expect("valid"))
        .retry_budget(RetryBudgetConfig::builder().enabled(false).build().expect("valid"));
    let config = config.build().expect("valid");
    ServiceHandle::builder("bench").endpoints(urls(n)).config(config).build().expect("valid")
}

/// The same work on both.
pub(crate) fn health([off, on]: &[ServiceHandle; 2]) -> Vec<Case<'_>> {
    let of = |service, which| {
        [
            Case::new("failover", format!("select round_robin, health {which}"), 10, select(service)),
            Case::new("failover", format!("execute, health {which}"), 10, execute(service)),
        ]
    };
    [of(off, "off"), of(on, "on")].into_iter().flatten().collect()
}

pub(crate) fn contended(services: &[(Algorithm, usize, ServiceHandle)]) -> Vec<Shared<'_>> {
    let some = services.iter().filter(|(_, n, _)| [10, 1_000].contains(n));
    some.map(|(algorithm, n, service)| Shared {
        peer: "failover",
        name: format!("select {algorithm}"),
        n: *n,
        work: Box::new(select(service)),
    })
    .collect()
}

pub(crate) fn ready<F: Future>(future: F) -> F::Output {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => output,
        Poll::Pending => unreachable!("the operation is ready at once"),
    }
}
