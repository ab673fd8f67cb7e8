//! What has been counted, read without stopping who counts.

pub(crate) mod provider;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use serde::Serialize;

use crate::engine::Engine;
use crate::engine::availability::Availability;
use crate::engine::state::Counters;
use crate::engine::state::latency::{Latency, Times};
use crate::engine::view::{EndpointView, Gone};
use crate::model::attempt_class::AttemptClass;
use crate::model::breaker_state::BreakerState;
use crate::model::endpoint::{EndpointId, ServiceName};
use crate::model::health::{Health, Lifecycle};

pub use provider::ProviderStats;

/// What a service's calls came to since its handle was made. The JSON names are those of the Go package, and more.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct ServiceStats {
    /// The service.
    pub service: ServiceName,
    /// Calls that have ended, except those that were cancelled.
    pub total_requests: u64,
    /// Calls that ended in a success.
    pub successful_requests: u64,
    /// Calls that ended in an error that is not the caller's own mistake.
    pub failed_requests: u64,
    /// Calls that the endpoint rejected as the caller's own mistake.
    pub rejected_requests: u64,
    /// Attempts that were dropped before they ended.
    pub cancelled: u64,
    /// Of the failed calls, those for which there was no endpoint.
    pub refused: u64,
    /// Calls with more than one attempt.
    pub retried: u64,
    /// Attempts that went to another endpoint after a failure.
    pub failovers: u64,
    /// Times that a breaker closed again.
    pub recoveries: u64,
    /// Probes that this process has made.
    pub health_checks: u64,
    /// Attempts that are under way.
    pub in_flight: u64,
    /// The mean time of the attempts that were not cancelled, within 2 %; the newest hundred thousand weigh most.
    #[serde(
        serialize_with = "crate::codec::duration::write_option",
        skip_serializing_if = "Option::is_none"
    )]
    pub average_response_time: Option<Duration>,
    /// How long attempts took; absent when none has ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub latency: Option<Latency>,
    /// When an attempt last went to another endpoint.
    #[serde(
        serialize_with = "crate::codec::time::write_time_option",
        skip_serializing_if = "Option::is_none"
    )]
    pub last_failover: Option<SystemTime>,
    /// When a breaker last closed again.
    #[serde(
        serialize_with = "crate::codec::time::write_time_option",
        skip_serializing_if = "Option::is_none"
    )]
    pub last_recovery: Option<SystemTime>,
    /// How long the service has been looked after.
    #[serde(serialize_with = "crate::codec::duration::write")]
    pub uptime: Duration,
    /// When this was read.
    #[serde(serialize_with = "crate::codec::time::write_time")]
    pub last_update: SystemTime,
    /// Tokens that the retry budget has left.
    pub retry_tokens: u32,
    /// Where the endpoints come from.
    pub sources: Vec<SourceStats>,
    /// The endpoints, by tier and id.
    pub endpoints: Vec<EndpointStats>,
}

/// One of the places where a service's endpoints come from.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct SourceStats {
    /// The name of the provider.
    pub provider: Arc<str>,
    /// Its place in the order of sources, 0 first.
    pub tier: u32,
    /// Whether its last answer was an error, and an older one is served.
    pub stale: bool,
    /// How long ago it gave a good answer; absent when it never did.
    #[serde(
        serialize_with = "crate::codec::duration::write_option",
        skip_serializing_if = "Option::is_none"
    )]
    pub age: Option<Duration>,
    /// How many endpoints it named.
    pub endpoints: usize,
    /// How many entries it named that could not be used.
    pub rejected_entries: u64,
    /// What it said instead of an answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// What the attempts at one endpoint came to.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct EndpointStats {
    /// The endpoint.
    pub id: EndpointId,
    /// `host:port`.
    pub address: String,
    /// Its tier: that of its source, then its own priority.
    pub tier: (u32, u32),
    /// The health that its source claims.
    pub health: Health,
    /// Whether its source has taken it out on purpose.
    pub lifecycle: Lifecycle,
    /// Whether it is given calls, and why not.
    pub availability: Availability,
    /// What its breaker does.
    pub breaker: BreakerState,
    /// Attempts that have begun.
    pub attempts: u64,
    /// Attempts that succeeded.
    pub successes: u64,
    /// Attempts that the endpoint is to blame for, timeouts included.
    pub failures: u64,
    /// Attempts that had no answer in time.
    pub timeouts: u64,
    /// Attempts that were dropped before they ended.
    pub cancelled: u64,
    /// Attempts that are under way.
    pub in_flight: u32,
    /// Times that its breaker opened.
    pub opened: u64,
    /// Times that its breaker closed again.
    pub recoveries: u64,
    /// The mean time of the attempts that were not cancelled, within 2 %; the newest hundred thousand weigh most.
    #[serde(
        serialize_with = "crate::codec::duration::write_option",
        skip_serializing_if = "Option::is_none"
    )]
    pub average_response_time: Option<Duration>,
    /// How long its attempts took; absent when none has ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub latency: Option<Latency>,
}

impl Engine {
    pub(crate) fn stats(&self) -> ServiceStats {
        let view = self.view();
        let mut sum = view.gone();
        let mut endpoints = Vec::with_capacity(view.snapshot().slots.len());
        for of in view.endpoints() {
            let (counters, times) = (of.counters(), of.times());
            sum.counters = sum.counters.plus(&counters);
            sum.times.add(&times);
            sum.in_flight += u64::from(of.in_flight());
            endpoints.push(EndpointStats::new(&of, &counters, &times));
        }
        let Gone { counters, times, in_flight } = sum;
        let calls = view.calls();
        let (succeeded, rejected) = (counters.of(AttemptClass::Success), counters.of(AttemptClass::Rejected));
        ServiceStats {
            service: self.name().clone(),
            total_requests: succeeded + rejected + calls.failed,
            successful_requests: succeeded,
            failed_requests: calls.failed,
            rejected_requests: rejected,
            cancelled: counters.cancelled(),
            refused: calls.refused,
            retried: calls.retried,
            failovers: calls.failovers,
            recoveries: counters.recovered,
            health_checks: counters.probes,
            in_flight,
            average_response_time: counters.mean(),
            latency: times.latency(),
            last_failover: calls.last_failover,
            last_recovery: calls.last_recovery,
            uptime: view.uptime(),
            last_update: self.clock().wall(),
            retry_tokens: view.retry_tokens(),
            sources: self.source_stats(),
            endpoints,
        }
    }

    pub(crate) fn source_stats(&self) -> Vec<SourceStats> {
        self.sources()
            .into_iter()
            .map(|source| SourceStats {
                provider: source.name,
                tier: source.tier,
                stale: source.error.is_some(),
                age: source.age,
                endpoints: source.endpoints,
                rejected_entries: source.rejected,
                error: source.error.map(|error| error.to_string()),
            })
            .collect()
    }
}

impl EndpointStats {
    fn new(of: &EndpointView<'_>, counters: &Counters, times: &Times) -> Self {
        let in_flight = of.in_flight();
        Self {
            id: of.slot.endpoint.id().clone(),
            address: of.slot.endpoint.authority(),
            tier: of.tier,
            health: of.slot.claim.health,
            lifecycle: of.slot.claim.lifecycle,
            availability: of.availability,
            breaker: of.breaker.state(),
            attempts: counters.ended() + u64::from(in_flight),
            successes: counters.of(AttemptClass::Success),
            failures: counters.failures(),
            timeouts: counters.of(AttemptClass::Timeout),
            cancelled: counters.cancelled(),
            in_flight,
            opened: of.opened(),
            recoveries: counters.recovered,
            average_response_time: counters.mean(),
            latency: times.latency(),
        }
    }
}
