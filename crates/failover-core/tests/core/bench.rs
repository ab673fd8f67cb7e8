//! Services in virtual time, and operations that the tests of the public API share.

use std::collections::BTreeMap;
use std::time::Duration;

use failover_core::config::CircuitBreakerConfig;
use failover_core::events::EventKind;
use failover_core::inspect::BreakerState;
use failover_core::{Clock, Endpoint, FailoverConfig, Outcome, Random, ServiceHandle};

pub(crate) const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// A service with endpoints `e0`, `e1` and so on; `tiers` gives their number per priority.
pub(crate) fn service(config: FailoverConfig, tiers: &[usize]) -> ServiceHandle {
    let priorities = tiers.iter().zip(0..).flat_map(|(count, priority)| vec![priority; *count]);
    let endpoints = priorities.zip(0..).map(|(priority, n): (u32, u32)| {
        let builder = Endpoint::builder(format!("e{n}"), "users", format!("10.0.0.{n}"), 80);
        builder.priority(priority).build().expect("valid")
    });
    ServiceHandle::builder("users")
        .endpoints(endpoints)
        .config(config)
        .clock(Clock::tokio())
        .random(Random::seeded(1))
        .build()
        .expect("valid")
}

/// A breaker whose open times are exact.
pub(crate) fn exact() -> CircuitBreakerConfig {
    CircuitBreakerConfig::builder().jitter(0.0).build().expect("valid")
}

/// Returns the reply as the outcome.
pub(crate) fn as_said(reply: Result<&(), &Outcome>) -> Outcome {
    reply.map_or_else(|outcome| *outcome, |()| Outcome::Success)
}

/// Returns the ids of the endpoints whose breaker is not closed.
pub(crate) fn out(service: &ServiceHandle) -> Vec<String> {
    let endpoints = service.stats().endpoints;
    let out = endpoints.iter().filter(|endpoint| endpoint.breaker != BreakerState::Closed);
    out.map(|endpoint| endpoint.id.to_string()).collect()
}

/// Returns the number of events of a kind.
pub(crate) fn emitted(service: &ServiceHandle, kind: EventKind) -> usize {
    service.events(usize::MAX).iter().filter(|event| event.kind == kind).count()
}

/// Counts equal items.
pub(crate) fn count(items: impl IntoIterator<Item = String>) -> BTreeMap<String, usize> {
    items.into_iter().fold(BTreeMap::new(), |mut counts, item| {
        *counts.entry(item).or_default() += 1;
        counts
    })
}
