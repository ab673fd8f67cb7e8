//! Statistics by the provider of the endpoints.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use serde::Serialize;

use crate::engine::Engine;
use crate::engine::state::counters::Counters;
use crate::model::attempt_class::AttemptClass;

/// Statistics of the attempts on one provider's endpoints, over all services.
///
/// The JSON names are those of the Go package, and additional ones.
///
/// For a service with two providers, each attempt counts with the provider of its endpoint. The
/// values of whole calls (`failovers` and the times) count with the service's first provider.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct ProviderStats {
    /// The name of the provider.
    pub provider: Arc<str>,
    /// Services that have it as a source.
    pub services: usize,
    /// Endpoints that it lists.
    pub endpoints: usize,
    /// Finished attempts, except cancelled ones.
    pub total_requests: u64,
    /// Attempts that succeeded.
    pub successful_requests: u64,
    /// Attempts that failed because of an endpoint.
    pub failed_requests: u64,
    /// Attempts that an endpoint rejected as invalid.
    pub rejected_requests: u64,
    /// Attempts that were dropped before they ended.
    pub cancelled: u64,
    /// Probes of its endpoints.
    pub health_checks: u64,
    /// Attempts that went to another endpoint after a failure.
    pub failovers: u64,
    /// Number of times that a breaker closed again.
    pub recoveries: u64,
    /// Attempts in flight.
    pub in_flight: u64,
    /// The mean duration of an attempt that received a reply.
    #[serde(flatten, serialize_with = "crate::codec::seconds::average_response_time")]
    pub average_response_time: Option<Duration>,
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
    /// How long its oldest service has been discovered.
    #[serde(flatten, serialize_with = "crate::codec::seconds::uptime")]
    pub uptime: Duration,
    /// When the statistics were read.
    #[serde(serialize_with = "crate::codec::time::write_time")]
    pub last_update: SystemTime,
    /// Whether it is unreachable for one of its services, so that an older answer is used.
    pub stale: bool,
    #[serde(skip)]
    counters: Counters,
}

impl ProviderStats {
    pub(crate) fn new(provider: Arc<str>, now: SystemTime) -> Self {
        Self {
            provider,
            services: 0,
            endpoints: 0,
            total_requests: 0,
            successful_requests: 0,
            failed_requests: 0,
            rejected_requests: 0,
            cancelled: 0,
            health_checks: 0,
            failovers: 0,
            recoveries: 0,
            in_flight: 0,
            average_response_time: None,
            last_failover: None,
            last_recovery: None,
            uptime: Duration::ZERO,
            last_update: now,
            stale: false,
            counters: Counters::NONE,
        }
    }

    fn add(&mut self, counters: &Counters, in_flight: u64) {
        self.counters = self.counters.plus(counters);
        self.total_requests = self.counters.ended.answered();
        self.successful_requests = self.counters.ended.of(AttemptClass::Success);
        self.failed_requests = self.counters.ended.failures();
        self.rejected_requests = self.counters.ended.of(AttemptClass::Rejected);
        self.cancelled = self.counters.ended.cancelled();
        self.health_checks = self.counters.probes;
        self.recoveries = self.counters.recovered;
        self.in_flight += in_flight;
        self.average_response_time = self.counters.mean();
    }
}

impl Engine {
    /// Adds this service's values to the statistics of its providers.
    pub(crate) fn add_to_providers(&self, all: &mut BTreeMap<Arc<str>, ProviderStats>) {
        let view = self.view();
        let calls = view.calls();
        let mut by_source = view.counters_by_source();
        for (source, number) in view.sources().into_iter().zip(0..) {
            let Some(stats) = all.get_mut(&source.provider) else { continue };
            stats.services += 1;
            stats.endpoints += source.endpoints;
            stats.stale |= source.error.is_some();
            stats.uptime = stats.uptime.max(view.uptime());
            if let Some((counters, in_flight)) = by_source.remove(&number) {
                stats.add(&counters, in_flight);
            }
            if number == 0 {
                stats.failovers += calls.failovers;
                stats.last_failover = stats.last_failover.max(calls.last_failover);
                stats.last_recovery = stats.last_recovery.max(calls.last_recovery);
            }
        }
    }
}
