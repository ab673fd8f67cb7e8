//! A manager and its providers, in virtual time: the provider in memory, and a scripted registry.

#![allow(clippy::disallowed_methods, reason = "tests measure time")]

mod config;
mod discovery;
mod identity;
mod inspecting;
mod lifetime;
mod managers;
mod probes;
mod queries;
mod registration;
mod registry;
mod regressions;
mod removal;
mod scopes;
mod sources;
mod start;

use std::collections::BTreeSet;
use std::time::Duration;

use failover_core::events::EventKind;
use failover_core::provider::Provider;
use failover_core::{
    Clock, Endpoint, EndpointId, Error, ErrorKind, FailoverManager, ManagerBuilder, Random, ServiceHandle,
    ServiceName,
};
use tokio::time::{Instant, sleep};

fn users() -> ServiceName {
    ServiceName::new("users").expect("valid")
}

fn id(id: &str) -> EndpointId {
    EndpointId::new(id).expect("valid")
}

/// Returns an endpoint of `users`, at `10.0.0.last`.
fn endpoint(id: &str, last: u8) -> Endpoint {
    endpoint_of("users", id, last)
}

fn endpoint_of(service: &str, id: &str, last: u8) -> Endpoint {
    let builder = Endpoint::builder(id, service, format!("10.0.0.{last}"), 8080);
    builder.protocol("http").build().expect("valid")
}

/// Returns a manager in virtual time, with the same randomness in each run.
fn virtual_manager(provider: impl Provider) -> ManagerBuilder {
    FailoverManager::builder().provider(provider).clock(Clock::tokio()).random(Random::seeded(7))
}

/// Waits for a condition in the runtime's time, and returns how long that took.
async fn until(what: &str, limit: Duration, condition: impl Fn() -> bool) -> Duration {
    let begun = Instant::now();
    while !condition() {
        assert!(begun.elapsed() <= limit, "{what}: not within {limit:?}");
        sleep(Duration::from_millis(1)).await;
    }
    begun.elapsed()
}

/// Returns the picked ids: all of them, if the algorithm takes turns.
fn picked(service: &ServiceHandle) -> BTreeSet<String> {
    let picks = (0..20).filter_map(|_| service.select().ok());
    picks.map(|pick| pick.endpoint().id().to_string()).collect()
}

fn named(service: &ServiceHandle) -> Vec<String> {
    service.endpoints().iter().map(|entry| entry.endpoint().id().to_string()).collect()
}

/// Returns the events of one kind, as text.
fn emitted(service: &ServiceHandle, kind: EventKind) -> Vec<String> {
    let events = service.events(usize::MAX);
    events.iter().filter(|event| event.kind == kind).map(ToString::to_string).collect()
}

/// Returns the error of a registry that is down.
fn down(message: &str) -> Error {
    Error::new(ErrorKind::Connection, message)
}
