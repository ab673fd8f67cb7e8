//! The engine of one service: its snapshot, the state that its calls share, and the path from a
//! pick to a report.
//!
//! Picking and reporting touch only atomics. Changes of the rotation (a breaker that opens, a new
//! answer of the registry, a new configuration) go through [`control`] and its lock, and are rare.

pub(crate) mod accounting;
pub(crate) mod algorithm;
pub(crate) mod attempt_guard;
pub(crate) mod availability;
pub(crate) mod breaker;
pub(crate) mod control;
pub(crate) mod control_lock;
pub(crate) mod custom_strategy;
pub(crate) mod discovery_sink;
pub(crate) mod ejections;
pub(crate) mod first_answer;
pub(crate) mod gate;
pub(crate) mod hash;
pub(crate) mod in_flight_limit;
pub(crate) mod latency_cache;
pub(crate) mod mean_answer;
pub(crate) mod no_endpoints;
pub(crate) mod observers;
pub(crate) mod outlier;
pub(crate) mod pick;
pub(crate) mod policy;
pub(crate) mod raw_pick;
pub(crate) mod readings;
pub(crate) mod report;
pub(crate) mod retry_budget;
pub(crate) mod retry_gate;
pub(crate) mod rotation;
pub(crate) mod shares;
pub(crate) mod slow_start;
pub(crate) mod snapshot;
pub(crate) mod state;
pub(crate) mod stay_first;
pub(crate) mod strain;
pub(crate) mod usual_latency;
pub(crate) mod view;
pub(crate) mod windows;

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::watch;

use crate::config::{Algorithm, FailoverConfig};
use crate::engine::algorithm::sharded_counter::ShardedCounter;
use crate::engine::breaker::BreakerPolicy;
use crate::engine::policy::CallPolicy;
use crate::engine::shares::Shares;
use crate::engine::snapshot::Snapshot;
use crate::engine::state::slab::Slab;
use crate::error::Error;
use crate::events::EventLog;
use crate::model::endpoint::ServiceName;
use crate::model::endpoint::departure::Owner;
use crate::runtime::clock::{Clock, Time};
use crate::runtime::random::Random;
use accounting::CallAccounts;
use control::state::Control;
use latency_cache::LatencyCache;
use readings::Readings;
use strain::Strain;

pub(crate) use control::{Probed, SourceDescription, SourceId, SourceStatus};
pub(crate) use discovery_sink::EngineSink;
pub use no_endpoints::{NoEndpoints, NoEndpointsReason, UnavailableEndpoint};
pub(crate) use observers::EndpointObserver;
use observers::EndpointObservers;
pub(crate) use raw_pick::{RawPick, Transition};

/// The state shared by the handles of one service.
#[derive(Debug)]
pub(crate) struct Engine {
    name: ServiceName,
    /// The query for it, if it is more than its name.
    query: Option<Arc<str>>,
    clock: Clock,
    random: Random,
    began: Time,
    snapshot: ArcSwap<Snapshot>,
    turns: ShardedCounter,
    /// When an endpoint out of rotation may next be tried, in nanoseconds. A pick compares only
    /// this value while all breakers are closed.
    probe_at: AtomicU64,
    /// When the weights from reported load are next recomputed, in nanoseconds.
    weights_due: AtomicU64,
    accounts: CallAccounts,
    readings: Readings,
    strain: Strain,
    /// From which duration on a success is slow, in nanoseconds.
    slow_from: AtomicU64,
    /// The 99th percentile of the latency of answers.
    p99: LatencyCache,
    /// The next turn when calls go to all endpoints in turn.
    rotation: AtomicU32,
    /// The state of the endpoint that all calls go to, for the algorithm `first`; `u32::MAX` before
    /// the first call.
    first: AtomicU32,
    control: Mutex<Control>,
    observers: EndpointObservers,
    shares: Mutex<Shares>,
    events: EventLog,
    /// Counts the changes of the rotation, for tasks that wait for one.
    changes: watch::Sender<u64>,
    /// Notifies of changes of the list of endpoints, and of the end of discovery.
    listed: watch::Sender<()>,
    /// What the endpoints of this service are attached to.
    owner: Arc<Owner>,
    slab: Slab,
}

impl Engine {
    /// Creates the engine of a service without endpoints.
    ///
    /// # Errors
    ///
    /// `Validation` if a requirement of the configured strategy is not met.
    pub(crate) fn new(
        name: ServiceName,
        config: Arc<FailoverConfig>,
        clock: Clock,
        random: Random,
        parent: Option<Arc<EventLog>>,
    ) -> Result<Self, Error> {
        crate::config::usable::supported(&config)?;
        let (slab, began) = (Slab::new(), clock.now());
        let control = Control::new(Arc::clone(&config));
        Ok(Self {
            began,
            readings: Readings::new(began),
            snapshot: ArcSwap::from_pointee(Snapshot::new(
                config,
                Vec::new(),
                &[],
                Arc::default(),
                None,
                &slab,
                &control.lock,
            )),
            slab,
            turns: ShardedCounter::from(random.bits() >> 48),
            probe_at: AtomicU64::new(Time::NEVER.as_nanos()),
            weights_due: AtomicU64::new(0),
            accounts: CallAccounts::new(),
            strain: Strain::new(),
            slow_from: AtomicU64::new(u64::MAX),
            p99: LatencyCache::default(),
            rotation: AtomicU32::new(0),
            first: AtomicU32::new(u32::MAX),
            control: Mutex::new(control),
            observers: EndpointObservers::default(),
            shares: Mutex::default(),
            events: EventLog::of_service(name.clone(), clock.clone(), parent),
            changes: watch::Sender::new(0),
            listed: watch::Sender::new(()),
            owner: Arc::default(),
            name,
            query: None,
            clock,
            random,
        })
    }

    /// Sets the query for the service, if it is more than its name.
    pub(crate) fn of_query(mut self, query: Option<Arc<str>>) -> Self {
        self.events.set_query(query.clone());
        self.query = query;
        self
    }

    /// The query for the service, if it is more than its name.
    pub(crate) fn query(&self) -> Option<&Arc<str>> {
        self.query.as_ref()
    }

    /// The service's name.
    pub(crate) fn name(&self) -> &ServiceName {
        &self.name
    }

    #[inline]
    pub(crate) fn clock(&self) -> &Clock {
        &self.clock
    }

    pub(crate) fn random(&self) -> &Random {
        &self.random
    }

    pub(crate) fn events(&self) -> &EventLog {
        &self.events
    }

    /// The call counters and the retry budget.
    #[inline]
    pub(crate) fn accounts(&self) -> &CallAccounts {
        &self.accounts
    }

    /// The settings that a call beginning now uses.
    #[inline]
    pub(crate) fn call_policy(&self) -> CallPolicy {
        self.snapshot.load().policy.call
    }

    /// The settings of the circuit breakers.
    pub(crate) fn breaker_rules(&self) -> BreakerPolicy {
        self.snapshot.load().policy.breaker
    }

    /// The service's load-balancing algorithm.
    pub(crate) fn algorithm(&self) -> Algorithm {
        self.snapshot.load().policy.algorithm
    }

    pub(crate) fn config(&self) -> Arc<FailoverConfig> {
        Arc::clone(&self.snapshot.load().config)
    }

    pub(crate) fn snapshot(&self) -> Arc<Snapshot> {
        self.snapshot.load_full()
    }

    /// Used only for explanations.
    pub(crate) fn shares(&self) -> MutexGuard<'_, Shares> {
        self.shares.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns a receiver that is notified of each change of the rotation.
    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// Returns a receiver that is notified of each change of the list of endpoints, and of the end of
    /// discovery.
    pub(crate) fn listed(&self) -> watch::Receiver<()> {
        self.listed.subscribe()
    }

    /// Allows an endpoint out of rotation to be tried from this time on.
    fn probe_from(&self, time: Time) {
        self.probe_at.fetch_min(time.as_nanos(), Ordering::Relaxed);
        // A free permit or a new time may end the wait of tasks that wait for an endpoint.
        if self.changes.receiver_count() > 0 {
            self.changes.send_modify(|count| *count += 1);
        }
    }

    /// Like [`probe_from`](Self::probe_from) after a pause, which also delays endpoints that are
    /// already due.
    fn probe_after(&self, now: Time, pause: Duration) {
        let due = self.probe_at.load(Ordering::Relaxed);
        if due <= now.as_nanos() {
            let next = (now + pause).as_nanos();
            // If another thread has changed the time, its value stays.
            let _ = self.probe_at.compare_exchange(due, next, Ordering::Relaxed, Ordering::Relaxed);
        }
        self.probe_from(now + pause);
    }

    /// Notifies this observer of future changes, as long as it has another owner.
    pub(crate) fn observe(&self, observer: &Arc<dyn EndpointObserver>) {
        self.observers.add(observer);
    }

    /// Must be called without holding a lock of the engine.
    fn notify_observers(&self) {
        self.observers.notify();
    }

    /// The time from which an endpoint may become available without any other change.
    pub(crate) fn next_probe(&self) -> Time {
        Time::from_nanos(self.probe_at.load(Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests;
