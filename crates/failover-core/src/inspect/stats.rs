//! Statistics, read without stopping the counters.

pub(crate) mod provider;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use serde::Serialize;

use crate::engine::Engine;
use crate::engine::availability::Availability;
use crate::engine::state::counters::Counters;
use crate::engine::state::latency::{Latency, Times};
use crate::engine::view::{EndpointView, Gone};
use crate::model::attempt_class::AttemptClass;
use crate::model::breaker_state::BreakerState;
use crate::model::endpoint::{EndpointId, ServiceName};
use crate::model::health::{Health, Lifecycle};

pub use provider::ProviderStats;

/// Statistics of a service since its handle was made.
///
/// The JSON names are those of the Go package, and additional ones.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct ServiceStats {
    /// The service.
    pub service: ServiceName,
    /// Finished calls, except cancelled ones.
    pub total_requests: u64,
    /// Calls that succeeded.
    pub successful_requests: u64,
    /// Calls that failed, except rejected ones.
    pub failed_requests: u64,
    /// Calls that the endpoint rejected as invalid.
    pub rejected_requests: u64,
    /// Attempts that were dropped before they ended.
    pub cancelled: u64,
    /// Failed calls for which no endpoint was available.
    pub refused: u64,
    /// Calls with more than one attempt.
    pub retried: u64,
    /// Attempts that went to another endpoint after a failure.
    pub failovers: u64,
    /// Number of times that a breaker closed again.
    pub recoveries: u64,
    /// Probes that this process made.
    pub health_checks: u64,
    /// Attempts in flight.
    pub in_flight: u64,
    /// The mean duration of attempts that were not cancelled, within 2 %.
    ///
    /// The newest hundred thousand weigh most.
    #[serde(
        serialize_with = "crate::codec::duration::write_option",
        skip_serializing_if = "Option::is_none"
    )]
    pub average_response_time: Option<Duration>,
    /// The durations of attempts; absent if none has ended.
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
    /// How long the service has been discovered.
    #[serde(serialize_with = "crate::codec::duration::write")]
    pub uptime: Duration,
    /// When the statistics were read.
    #[serde(serialize_with = "crate::codec::time::write_time")]
    pub last_update: SystemTime,
    /// The remaining tokens of the retry budget.
    pub retry_tokens: u32,
    /// How often an endpoint stayed in use although it failed, because too many others were out
    /// (`max_ejected`).
    pub unenforced: u64,
    /// The sources of the endpoints.
    pub sources: Vec<SourceStats>,
    /// The endpoints, by tier and id.
    pub endpoints: Vec<EndpointStats>,
}

/// One source of a service's endpoints.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct SourceStats {
    /// The name of the provider.
    pub provider: Arc<str>,
    /// Its position in the order of sources, starting at 0.
    pub tier: u32,
    /// Whether its last answer was an error, so that an older answer is used.
    pub stale: bool,
    /// The age of its last good answer; absent if there was none.
    #[serde(
        serialize_with = "crate::codec::duration::write_option",
        skip_serializing_if = "Option::is_none"
    )]
    pub age: Option<Duration>,
    /// The number of endpoints that it listed.
    pub endpoints: usize,
    /// The number of its entries that were rejected.
    pub rejected_entries: u64,
    /// The error that it returned instead of an answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// Statistics of the attempts on one endpoint.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct EndpointStats {
    /// The endpoint's id, which is unique within its source.
    pub id: EndpointId,
    /// The source that names it.
    pub source: Arc<str>,
    /// `host:port`.
    pub address: String,
    /// Its tier: that of its source, then its own priority.
    pub tier: (u32, u32),
    /// The health that its source claims.
    pub health: Health,
    /// Whether its source has taken it out of service on purpose.
    pub lifecycle: Lifecycle,
    /// Whether it receives calls, and why not.
    pub availability: Availability,
    /// The state of its breaker.
    pub breaker: BreakerState,
    /// Attempts that have started.
    pub attempts: u64,
    /// Attempts that succeeded.
    pub successes: u64,
    /// Attempts that failed because of the endpoint, including timeouts.
    pub failures: u64,
    /// Attempts that timed out.
    pub timeouts: u64,
    /// Attempts that were dropped before they ended.
    pub cancelled: u64,
    /// Attempts in flight.
    pub in_flight: u32,
    /// Number of times that its breaker opened.
    pub opened: u64,
    /// Number of times that its breaker closed again.
    pub recoveries: u64,
    /// The mean duration of attempts that were not cancelled, within 2 %.
    ///
    /// The newest hundred thousand weigh most.
    #[serde(
        serialize_with = "crate::codec::duration::write_option",
        skip_serializing_if = "Option::is_none"
    )]
    pub average_response_time: Option<Duration>,
    /// The durations of its attempts; absent if none has ended.
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
            let source = Arc::clone(view.snapshot().source(of.slot));
            endpoints.push(EndpointStats::new(&of, source, &counters, &times));
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
            unenforced: view.unenforced(),
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
    fn new(of: &EndpointView<'_>, source: Arc<str>, counters: &Counters, times: &Times) -> Self {
        let in_flight = of.in_flight();
        Self {
            id: of.slot.endpoint.id().clone(),
            source,
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
