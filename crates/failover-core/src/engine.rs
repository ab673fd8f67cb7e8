//! One service at work: its snapshot, what its calls share, and the way from a choice to a report.
//!
//! Choosing and reporting touch only atomics. What changes who is given calls (a breaker that opens, a new answer
//! of the registry, another configuration) goes through [`control`] and its lock, and is rare.

pub(crate) mod accounting;
pub(crate) mod algorithm;
pub(crate) mod attempt_guard;
pub(crate) mod availability;
pub(crate) mod breaker;
pub(crate) mod control;
pub(crate) mod control_lock;
pub(crate) mod custom_strategy;
pub(crate) mod discovery_sink;
pub(crate) mod hash;
pub(crate) mod no_endpoints;
pub(crate) mod observers;
pub(crate) mod pick;
pub(crate) mod policy;
pub(crate) mod report;
pub(crate) mod retry_budget;
pub(crate) mod shares;
pub(crate) mod slow_start;
pub(crate) mod snapshot;
pub(crate) mod state;
pub(crate) mod view;

use std::sync::atomic::{AtomicU64, Ordering};
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
use crate::runtime::clock::{Clock, Time};
use crate::runtime::random::Random;
use accounting::CallAccounts;
use control::state::Control;

pub(crate) use control::{Probed, SourceId, SourceStatus};
pub(crate) use discovery_sink::EngineSink;
pub use no_endpoints::{NoEndpoints, NoEndpointsReason, UnavailableEndpoint};
pub(crate) use observers::EndpointObserver;
use observers::EndpointObservers;
pub(crate) use pick::{RawPick, Transition};

/// What one service's handles share.
#[derive(Debug)]
pub(crate) struct Engine {
    name: ServiceName,
    clock: Clock,
    random: Random,
    began: Time,
    snapshot: ArcSwap<Snapshot>,
    turns: ShardedCounter,
    /// When an endpoint that is out may next be tried, in nanoseconds: the one comparison that a pick makes while
    /// all is well.
    probe_at: AtomicU64,
    /// When weights that follow from reports are next worked out, in nanoseconds.
    weights_due: AtomicU64,
    accounts: CallAccounts,
    control: Mutex<Control>,
    observers: EndpointObservers,
    shares: Mutex<Shares>,
    events: EventLog,
    /// Counts the changes of who is given calls, for those who wait for one.
    changes: watch::Sender<u64>,
    slab: Slab,
}

impl Engine {
    /// A service without endpoints yet.
    ///
    /// # Errors
    ///
    /// `Validation` when the strategy of the configuration lacks what it needs.
    pub(crate) fn new(
        name: ServiceName,
        config: Arc<FailoverConfig>,
        clock: Clock,
        random: Random,
        parent: Option<Arc<EventLog>>,
    ) -> Result<Self, Error> {
        crate::config::usable::supported(&config)?;
        let slab = Slab::new();
        let control = Control::new(Arc::clone(&config));
        Ok(Self {
            began: clock.now(),
            snapshot: ArcSwap::from_pointee(Snapshot::new(
                config,
                Vec::new(),
                &[],
                None,
                &slab,
                &control.lock,
            )),
            slab,
            turns: ShardedCounter::from(random.bits() >> 48),
            probe_at: AtomicU64::new(Time::NEVER.as_nanos()),
            weights_due: AtomicU64::new(0),
            accounts: CallAccounts::new(),
            control: Mutex::new(control),
            observers: EndpointObservers::default(),
            shares: Mutex::default(),
            events: EventLog::of_service(name.clone(), clock.clone(), parent),
            changes: watch::Sender::new(0),
            name,
            clock,
            random,
        })
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

    /// What is counted of whole calls, and the retry budget.
    #[inline]
    pub(crate) fn accounts(&self) -> &CallAccounts {
        &self.accounts
    }

    /// The numbers that a call which begins now goes by.
    #[inline]
    pub(crate) fn call_policy(&self) -> CallPolicy {
        self.snapshot.load().policy.call
    }

    /// The rules that breakers go by.
    pub(crate) fn breaker_rules(&self) -> BreakerPolicy {
        self.snapshot.load().policy.breaker
    }

    /// Who picks among equals.
    pub(crate) fn algorithm(&self) -> Algorithm {
        self.snapshot.load().policy.algorithm
    }

    pub(crate) fn config(&self) -> Arc<FailoverConfig> {
        Arc::clone(&self.snapshot.load().config)
    }

    pub(crate) fn snapshot(&self) -> Arc<Snapshot> {
        self.snapshot.load_full()
    }

    /// For explanations only.
    pub(crate) fn shares(&self) -> MutexGuard<'_, Shares> {
        self.shares.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells of the next change of who is given calls.
    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// An endpoint that is out may be tried from this time on.
    fn probe_from(&self, time: Time) {
        self.probe_at.fetch_min(time.as_nanos(), Ordering::Relaxed);
        // A permit that is free, or a time that is set, is news for who waits for an endpoint.
        if self.changes.receiver_count() > 0 {
            self.changes.send_modify(|count| *count += 1);
        }
    }

    /// As [`probe_from`](Self::probe_from) after a pause, for those that are due already as well.
    fn probe_after(&self, now: Time, pause: Duration) {
        let due = self.probe_at.load(Ordering::Relaxed);
        if due <= now.as_nanos() {
            let next = (now + pause).as_nanos();
            // Whoever has changed it meanwhile knows better.
            let _ = self.probe_at.compare_exchange(due, next, Ordering::Relaxed, Ordering::Relaxed);
        }
        self.probe_from(now + pause);
    }

    /// Notifies this one of changes from now on, as long as it has another owner.
    pub(crate) fn observe(&self, observer: &Arc<dyn EndpointObserver>) {
        self.observers.add(observer);
    }

    /// Must be called without a lock of the engine's.
    fn notify_observers(&self) {
        self.observers.notify();
    }

    /// When time alone may make an endpoint available.
    pub(crate) fn next_probe(&self) -> Time {
        Time::from_nanos(self.probe_at.load(Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests;
