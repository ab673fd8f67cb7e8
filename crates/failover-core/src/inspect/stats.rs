//! What has been counted, read without stopping who counts.

pub(crate) mod provider;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use serde::Serialize;

use crate::engine::Engine;
use crate::engine::availability::Availability;
use crate::engine::snapshot::{Slot, Snapshot};
use crate::engine::state::latency::{Latency, Times};
use crate::model::attempt_class::AttemptClass;
use crate::model::breaker_state::BreakerState;
use crate::model::endpoint::{EndpointId, ServiceName};
use crate::model::health::{Health, Lifecycle};
use crate::runtime::clock::Time;

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
        let snapshot = self.snapshot();
        let now = self.clock.now();
        let states = || snapshot.slots.iter().map(|slot| self.slab.state(slot.state));
        let (gone, mut times, gone_in_flight) = self.gone();
        let endpoints =
            snapshot.slots.iter().map(|slot| self.endpoint_stats(&snapshot, slot, now, &mut times)).collect();
        let counters = states().fold(gone, |sum, state| sum.plus(&state.counters()));
        let calls = &self.calls;
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let (succeeded, rejected) = (counters.of(AttemptClass::Success), counters.of(AttemptClass::Rejected));
        let failed = count(&calls.failed);
        ServiceStats {
            service: self.name.clone(),
            total_requests: succeeded + rejected + failed,
            successful_requests: succeeded,
            failed_requests: failed,
            rejected_requests: rejected,
            cancelled: counters.cancelled(),
            refused: count(&calls.refused),
            retried: count(&calls.retried),
            failovers: count(&calls.failovers),
            recoveries: counters.recovered,
            health_checks: counters.probes,
            in_flight: gone_in_flight + states().map(|state| u64::from(state.in_flight())).sum::<u64>(),
            average_response_time: counters.mean(),
            latency: times.latency(),
            last_failover: wall(count(&calls.last_failover)),
            last_recovery: wall(count(&calls.last_recovery)),
            uptime: now.since(self.began),
            last_update: self.clock.wall(),
            retry_tokens: self.budget.left(snapshot.policy.call.budget),
            sources: self.source_stats(),
            endpoints,
        }
    }

    /// What one endpoint's attempts came to; how long they took is added to `sum`.
    fn endpoint_stats(&self, snapshot: &Snapshot, slot: &Slot, now: Time, sum: &mut Times) -> EndpointStats {
        let state = self.slab.state(slot.state);
        let counters = state.counters();
        let mut times = Times::none();
        state.times_into(&mut times);
        sum.add(&times);
        let breaker = state.breaker().read();
        let pinned = state.placement().is_pinned();
        let in_flight = state.in_flight();
        EndpointStats {
            id: slot.endpoint.id().clone(),
            address: slot.endpoint.authority(),
            tier: snapshot.tiers[slot.tier as usize].rank.place(),
            health: slot.claim.health,
            lifecycle: slot.claim.lifecycle,
            availability: Availability::derive(slot.claim, state.placement().probed(), &breaker, pinned, now),
            breaker: breaker.state(),
            attempts: counters.ended() + u64::from(in_flight),
            successes: counters.of(AttemptClass::Success),
            failures: counters.failures(),
            timeouts: counters.of(AttemptClass::Timeout),
            cancelled: counters.cancelled(),
            in_flight,
            opened: state.opened(),
            recoveries: counters.recovered,
            average_response_time: counters.mean(),
            latency: times.latency(),
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

fn wall(millis: u64) -> Option<SystemTime> {
    (millis > 0).then(|| SystemTime::UNIX_EPOCH + Duration::from_millis(millis))
}
