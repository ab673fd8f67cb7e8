//! Statistics, read without stopping the counters.

pub(crate) mod provider;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use serde::Serialize;

use crate::engine::Engine;
use crate::engine::availability::Availability;
use crate::engine::ejections::Ejections;
use crate::engine::readings::Reading;
use crate::engine::state::counters::{AttemptCounts, Counters};
use crate::engine::state::durations::Durations;
use crate::engine::state::latency::{Latency, Times};
use crate::engine::view::{EndpointView, Gone};
use crate::error::{one_line, shortened};
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
    /// The query for it, if it is more than its name; absent otherwise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub query: Option<Arc<str>>,
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
    #[serde(flatten, serialize_with = "crate::codec::seconds::average_response_time")]
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
    #[serde(flatten, serialize_with = "crate::codec::seconds::uptime")]
    pub uptime: Duration,
    /// When the statistics were read.
    #[serde(serialize_with = "crate::codec::time::write_time")]
    pub last_update: SystemTime,
    /// The ended attempts on all endpoints, also on those that have left, by class.
    pub attempts: AttemptCounts,
    /// The durations of these attempts, without the cancelled ones, in fixed buckets.
    pub attempt_durations: Durations,
    /// The durations of whole calls: of all finished ones (`total_requests`), with their retries and
    /// the waits between.
    pub call_durations: Durations,
    /// The last 10 s.
    pub last_ten_seconds: WindowStats,
    /// The last minute.
    pub last_minute: WindowStats,
    /// The remaining tokens of the retry budget.
    pub retry_tokens: u32,
    /// How often an endpoint stayed in use although it failed, because too many others were out
    /// (`max_ejected`).
    pub unenforced: u64,
    /// How often endpoints were taken out of use, by reason.
    pub ejections: Ejections,
    /// The sources of the endpoints.
    pub sources: Vec<SourceStats>,
    /// The endpoints, by tier and id.
    pub endpoints: Vec<EndpointStats>,
}

/// What happened at a service in a period up to now: the difference of two readings of its totals.
///
/// Readings are at most about 1 s apart while calls are made (5 s for those more than 12 s old, and
/// 1 ms for each endpoint of a service with more than 1 000), so that a period is that much longer than
/// its name says. After a time without calls it is longer still, unless somebody reads the statistics
/// regularly.
#[derive(Clone, Copy, Debug, Serialize)]
#[non_exhaustive]
pub struct WindowStats {
    /// The length of the period; shorter than its name says if the service is younger.
    #[serde(flatten, serialize_with = "crate::codec::seconds::length")]
    pub length: Duration,
    /// The ended attempts, by class.
    pub attempts: AttemptCounts,
    /// Calls that failed, except rejected ones.
    pub failed_requests: u64,
    /// Failed calls for which no endpoint was available.
    pub refused: u64,
    /// The durations of whole calls. Absent for a service with more than 64 endpoints, unless somebody
    /// reads the statistics regularly: an ending attempt that read them would take too long.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub call_durations: Option<Durations>,
}

impl WindowStats {
    fn new(now: &Reading, before: &Reading) -> Self {
        Self {
            length: now.at.since(before.at),
            attempts: now.attempts.since(&before.attempts),
            failed_requests: now.failed.saturating_sub(before.failed),
            refused: now.refused.saturating_sub(before.refused),
            call_durations: now.durations.zip(before.durations).map(|(now, before)| now.since(&before)),
        }
    }
}

/// One source of a service's endpoints.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct SourceStats {
    /// The name of the source: that of its provider. If the service has several sources at that
    /// provider, a slash and the service's name there or the source's position follow.
    pub provider: Arc<str>,
    /// What the provider is asked for, if it is more than the service by its name; absent otherwise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub query: Option<Arc<str>>,
    /// Its position in the order of sources, starting at 0.
    pub tier: u32,
    /// Whether its last answer was an error, so that an older answer is used.
    pub stale: bool,
    /// The age of its last good answer; absent if there was none.
    #[serde(flatten, serialize_with = "crate::codec::seconds::age")]
    pub age: Option<Duration>,
    /// The registry's revision of that answer, if it has one: processes that show the same one have seen
    /// the same state. At most 80 characters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revision: Option<String>,
    /// The number of endpoints that it listed.
    pub endpoints: usize,
    /// The number of its entries that were rejected, in all answers.
    pub rejected_entries: u64,
    /// The entries that are left out of its last answer, each with the reason: the first 20.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub left_out: Vec<String>,
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
    /// The name that operations accept: the id, or `id@source` if several endpoints have the id.
    pub name: String,
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
    /// The ended attempts, by class.
    pub by_class: AttemptCounts,
    /// The durations of the attempts, without the cancelled ones, in fixed buckets.
    pub durations: Durations,
    /// Attempts in flight.
    pub in_flight: u32,
    /// Number of times that its breaker opened.
    pub opened: u64,
    /// Number of times that its breaker closed again.
    pub recoveries: u64,
    /// The mean duration of attempts that were not cancelled, within 2 %.
    ///
    /// The newest hundred thousand weigh most.
    #[serde(flatten, serialize_with = "crate::codec::seconds::average_response_time")]
    pub average_response_time: Option<Duration>,
    /// The durations of its attempts; absent if none has ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub latency: Option<Latency>,
}

impl Engine {
    pub(crate) fn stats(&self) -> ServiceStats {
        let (view, mut sum) = self.view_and_gone();
        let mut endpoints = Vec::with_capacity(view.snapshot().slots.len());
        for of in view.endpoints() {
            let (counters, times) = (of.counters(), of.times());
            sum.counters = sum.counters.plus(&counters);
            sum.times.add(&times);
            sum.in_flight += u64::from(of.in_flight());
            let names = (Arc::clone(view.snapshot().source(of.slot)), view.snapshot().label(of.slot));
            endpoints.push(EndpointStats::new(&of, names, &counters, &times));
        }
        let Gone { counters, times, in_flight } = sum;
        let (calls, ended) = (view.calls(), counters.ended);
        let (succeeded, rejected) = (ended.of(AttemptClass::Success), ended.of(AttemptClass::Rejected));
        let call_durations = self.accounts().call_durations(&counters.durations);
        let now = Reading::new(view.now, ended, &calls, Some(call_durations));
        self.keep_reading(now);
        let since = |age| WindowStats::new(&now, &self.reading_before(view.now, age));
        ServiceStats {
            service: self.name().clone(),
            query: self.query().cloned(),
            total_requests: succeeded + rejected + calls.failed,
            successful_requests: succeeded,
            failed_requests: calls.failed,
            rejected_requests: rejected,
            cancelled: ended.cancelled(),
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
            attempts: ended,
            attempt_durations: counters.durations,
            call_durations,
            last_ten_seconds: since(Duration::from_secs(10)),
            last_minute: since(Duration::from_secs(60)),
            retry_tokens: view.retry_tokens(),
            unenforced: view.unenforced(),
            ejections: view.ejections(),
            sources: self.source_stats(),
            endpoints,
        }
    }

    /// Returns what happened between each two readings of about the last minute, oldest first.
    pub(crate) fn history(&self) -> Vec<WindowStats> {
        let readings = self.readings_since(self.clock().now(), Duration::from_secs(60));
        readings.windows(2).map(|pair| WindowStats::new(&pair[1], &pair[0])).collect()
    }

    pub(crate) fn source_stats(&self) -> Vec<SourceStats> {
        self.sources()
            .into_iter()
            .map(|source| SourceStats {
                provider: source.name,
                query: source.query,
                tier: source.tier,
                stale: source.error.is_some(),
                age: source.age,
                revision: source.revision.map(|revision| one_line(shortened(revision.as_str()))),
                endpoints: source.endpoints,
                rejected_entries: source.rejected,
                left_out: source.left_out,
                error: source.error.map(|error| error.to_string()),
            })
            .collect()
    }
}

impl EndpointStats {
    fn new(
        of: &EndpointView<'_>,
        (source, name): (Arc<str>, String),
        counters: &Counters,
        times: &Times,
    ) -> Self {
        let in_flight = of.in_flight();
        Self {
            id: of.slot.endpoint.id().clone(),
            source,
            name,
            address: of.slot.endpoint.authority(),
            tier: of.tier,
            health: of.slot.claim.health,
            lifecycle: of.slot.claim.lifecycle,
            availability: of.availability,
            breaker: of.breaker.state(),
            attempts: counters.ended.total() + u64::from(of.attempts_in_flight()),
            successes: counters.ended.of(AttemptClass::Success),
            failures: counters.ended.failures(),
            timeouts: counters.ended.of(AttemptClass::Timeout),
            cancelled: counters.ended.cancelled(),
            by_class: counters.ended,
            durations: counters.durations,
            in_flight,
            opened: of.opened(),
            recoveries: counters.recovered,
            average_response_time: counters.mean(),
            latency: times.latency(),
        }
    }
}
