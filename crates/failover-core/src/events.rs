//! What happened and why: a bounded memory of it, and a subscription that may miss some.

mod flood;

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::sync::broadcast::{self, error::RecvError};

use crate::clock::Clock;
use crate::endpoint::{EndpointId, ServiceName};
use crate::error::one_line;
use flood::Flood;

/// How many events of state changes a service remembers, how many of single calls beside them, and how far a
/// subscriber may fall behind before it misses events.
const OF_SERVICE: usize = 256;
/// The same for a whole manager.
const OF_MANAGER: usize = 1024;

/// What kind of thing happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum EventKind {
    /// A health check changed its finding.
    HealthCheck,
    /// An attempt went to another endpoint after a failure.
    Failover,
    /// An endpoint's breaker closed: it works again.
    Recovery,
    /// An endpoint is no longer given calls.
    EndpointDown,
    /// An endpoint is given calls again.
    EndpointUp,
    /// An endpoint's breaker opened.
    CircuitOpen,
    /// An endpoint's breaker closed.
    CircuitClose,
    /// An endpoint's breaker lets a few probe calls through.
    CircuitHalfOpen,
    /// Calls are spread over the tiers in another way than before.
    LoadBalance,
    /// A call gets another attempt at the endpoint it has tried already.
    Retry,
    /// An attempt ran out of time.
    Timeout,
    /// The registry named a new endpoint.
    EndpointAdded,
    /// The registry no longer names an endpoint.
    EndpointRemoved,
    /// Outlier detection took an endpoint out.
    EndpointEjected,
    /// Outlier detection let an endpoint back.
    EndpointReadmitted,
    /// The registry cannot be reached; its last good answer is served.
    SourceStale,
    /// The registry answers again.
    SourceFresh,
    /// Another registry answers for the service now.
    SourceChanged,
    /// An unconfirmed empty answer is not believed yet.
    EmptyHeld,
    /// Many endpoints went at once; they are kept as a last resort for a while.
    RemovalHeld,
    /// One entry of the registry's answer cannot be used and was left out.
    EntryRejected,
    /// A new configuration is in use.
    ConfigApplied,
    /// A new configuration cannot be used; the last good one stays.
    ConfigRejected,
    /// A provider panicked; it is started again.
    ProviderPanicked,
    /// This process stood still; what it measured in that time does not count.
    ProcessStalled,
    /// The caller's own strategy panicked, or chose what is no candidate.
    StrategyFailed,
}

impl EventKind {
    /// The word for this kind, as it stands in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::HealthCheck => "health_check",
            Self::Failover => "failover",
            Self::Recovery => "recovery",
            Self::EndpointDown => "endpoint_down",
            Self::EndpointUp => "endpoint_up",
            Self::CircuitOpen => "circuit_open",
            Self::CircuitClose => "circuit_close",
            Self::CircuitHalfOpen => "circuit_half_open",
            Self::LoadBalance => "load_balance",
            Self::Retry => "retry",
            Self::Timeout => "timeout",
            Self::EndpointAdded => "endpoint_added",
            Self::EndpointRemoved => "endpoint_removed",
            Self::EndpointEjected => "endpoint_ejected",
            Self::EndpointReadmitted => "endpoint_readmitted",
            Self::SourceStale => "source_stale",
            Self::SourceFresh => "source_fresh",
            Self::SourceChanged => "source_changed",
            Self::EmptyHeld => "empty_held",
            Self::RemovalHeld => "removal_held",
            Self::EntryRejected => "entry_rejected",
            Self::ConfigApplied => "config_applied",
            Self::ConfigRejected => "config_rejected",
            Self::ProviderPanicked => "provider_panicked",
            Self::ProcessStalled => "process_stalled",
            Self::StrategyFailed => "strategy_failed",
        }
    }

    /// Whether it is about a single call.
    pub(crate) fn is_per_call(self) -> bool {
        self.weight() == Weight::PerCall
    }

    fn weight(self) -> Weight {
        match self {
            Self::Failover | Self::Retry | Self::Timeout => Weight::PerCall,
            Self::EndpointDown
            | Self::CircuitOpen
            | Self::EndpointEjected
            | Self::SourceStale
            | Self::EmptyHeld
            | Self::RemovalHeld
            | Self::EntryRejected
            | Self::ConfigRejected
            | Self::ProviderPanicked
            | Self::ProcessStalled
            | Self::StrategyFailed => Weight::Warning,
            _ => Weight::Notice,
        }
    }
}

impl fmt::Display for EventKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Weight {
    PerCall,
    Notice,
    Warning,
}

/// One thing that happened, with the numbers at that moment.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Event {
    /// What kind of thing.
    #[serde(rename = "type")]
    pub kind: EventKind,
    /// When, by the wall clock.
    #[serde(serialize_with = "crate::wire::write_time")]
    pub at: SystemTime,
    /// The service that it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service: Option<ServiceName>,
    /// The endpoint that it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<EndpointId>,
    /// The name of the provider that it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub provider: Option<Arc<str>>,
    /// Why, in words, on one line.
    pub reason: String,
    /// The numbers behind the reason.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub details: BTreeMap<&'static str, Value>,
}

impl Event {
    pub(crate) fn new(kind: EventKind, reason: impl Into<String>) -> Self {
        Self {
            kind,
            at: SystemTime::UNIX_EPOCH,
            service: None,
            endpoint: None,
            provider: None,
            reason: one_line(reason.into()),
            details: BTreeMap::new(),
        }
    }

    pub(crate) fn endpoint(mut self, id: &EndpointId) -> Self {
        self.endpoint = Some(id.clone());
        self
    }

    pub(crate) fn provider(mut self, name: &Arc<str>) -> Self {
        self.provider = Some(Arc::clone(name));
        self
    }

    pub(crate) fn detail(mut self, key: &'static str, value: impl Into<Value>) -> Self {
        self.details.insert(key, value.into());
        self
    }

    fn trace(&self) {
        let service = self.service.as_ref().map(tracing::field::display);
        let endpoint = self.endpoint.as_ref().map(tracing::field::display);
        let provider = self.provider.as_ref().map(tracing::field::display);
        let (kind, reason) = (self.kind.as_str(), self.reason.as_str());
        match self.kind.weight() {
            Weight::PerCall => {
                tracing::debug!(target: "failover", kind, service, endpoint, provider, "{reason}");
            }
            Weight::Notice => {
                tracing::info!(target: "failover", kind, service, endpoint, provider, "{reason}");
            }
            Weight::Warning => {
                tracing::warn!(target: "failover", kind, service, endpoint, provider, "{reason}");
            }
        }
    }
}

/// One line: `circuit_open user-service/server-2: 5 consecutive failures, …`.
impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.kind.as_str())?;
        match (&self.service, &self.endpoint) {
            (Some(service), Some(endpoint)) => write!(f, " {service}/{endpoint}")?,
            (Some(service), None) => write!(f, " {service}")?,
            (None, Some(endpoint)) => write!(f, " {endpoint}")?,
            (None, None) => {}
        }
        if let Some(provider) = &self.provider {
            write!(f, " [{provider}]")?;
        }
        write!(f, ": {}", self.reason)
    }
}

/// The memory of a service or of a whole manager. What is told to one is told to its parent, too.
#[derive(Debug)]
pub(crate) struct EventLog {
    service: Option<ServiceName>,
    clock: Clock,
    parent: Option<Arc<EventLog>>,
    capacity: usize,
    remembered: Mutex<Remembered>,
    subscribers: broadcast::Sender<Arc<Event>>,
}

/// Two rings, so that a storm of failing calls does not push out what it was that broke.
#[derive(Debug, Default)]
struct Remembered {
    changes: VecDeque<(u64, Arc<Event>)>,
    calls: VecDeque<(u64, Arc<Event>)>,
    next: u64,
    flood: Flood,
}

impl EventLog {
    /// The log of one service.
    pub(crate) fn of_service(service: ServiceName, clock: Clock, parent: Option<Arc<Self>>) -> Self {
        Self::new(Some(service), clock, parent, OF_SERVICE)
    }

    /// The log of a whole manager.
    pub(crate) fn of_manager(clock: Clock) -> Self {
        Self::new(None, clock, None, OF_MANAGER)
    }

    fn new(service: Option<ServiceName>, clock: Clock, parent: Option<Arc<Self>>, capacity: usize) -> Self {
        let subscribers = broadcast::Sender::new(capacity);
        Self { service, clock, parent, capacity, remembered: Mutex::default(), subscribers }
    }

    pub(crate) fn tell(&self, mut event: Event) {
        let Some(untold) = self.remembered().flood.admit(event.kind, self.clock.now()) else { return };
        if untold > 0 {
            event.details.insert("not_told_before", untold.into());
        }
        event.at = self.clock.wall();
        event.service.clone_from(&self.service);
        event.trace();
        let event = Arc::new(event);
        self.keep(&event);
        if let Some(parent) = &self.parent {
            parent.keep(&event);
        }
    }

    fn keep(&self, event: &Arc<Event>) {
        {
            let mut remembered = self.remembered();
            let number = remembered.next;
            remembered.next += 1;
            let ring = match event.kind.weight() {
                Weight::PerCall => &mut remembered.calls,
                _ => &mut remembered.changes,
            };
            if ring.len() == self.capacity {
                ring.pop_front();
            }
            ring.push_back((number, Arc::clone(event)));
        }
        // It fails when nobody listens, and that is no failure.
        let _ = self.subscribers.send(Arc::clone(event));
    }

    /// The newest `limit` events, oldest first.
    pub(crate) fn newest(&self, limit: usize) -> Vec<Arc<Event>> {
        let mut all: Vec<_> = {
            let remembered = self.remembered();
            remembered.changes.iter().chain(&remembered.calls).cloned().collect()
        };
        all.sort_by_key(|(number, _)| *number);
        let surplus = all.len().saturating_sub(limit);
        all.drain(surplus..).map(|(_, event)| event).collect()
    }

    pub(crate) fn subscribe(&self) -> Events {
        Events { receiver: self.subscribers.subscribe(), missed: 0 }
    }

    fn remembered(&self) -> MutexGuard<'_, Remembered> {
        // Nothing that is done under the lock can leave it half done.
        self.remembered.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A subscription to events. It never slows the engine down: who does not keep up misses the oldest.
#[derive(Debug)]
pub struct Events {
    receiver: broadcast::Receiver<Arc<Event>>,
    missed: u64,
}

impl Events {
    /// The next event; `None` when what it is subscribed to is gone.
    ///
    /// # Cancel safety
    ///
    /// Safe: a dropped future takes no event with it.
    pub async fn recv(&mut self) -> Option<Arc<Event>> {
        loop {
            match self.receiver.recv().await {
                Ok(event) => return Some(event),
                Err(RecvError::Lagged(count)) => self.missed += count,
                Err(RecvError::Closed) => return None,
            }
        }
    }

    /// The next event if one is waiting.
    pub fn try_recv(&mut self) -> Option<Arc<Event>> {
        use broadcast::error::TryRecvError;
        loop {
            match self.receiver.try_recv() {
                Ok(event) => return Some(event),
                Err(TryRecvError::Lagged(count)) => self.missed += count,
                Err(TryRecvError::Empty | TryRecvError::Closed) => return None,
            }
        }
    }

    /// How many events this subscription has missed because it was too slow.
    pub fn missed(&self) -> u64 {
        self.missed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log() -> EventLog {
        let service = ServiceName::new("users").expect("valid");
        EventLog::of_service(service, Clock::system(), None)
    }

    #[test]
    fn a_storm_of_call_events_does_not_push_out_changes() {
        let log = log();
        log.tell(Event::new(EventKind::CircuitOpen, "5 consecutive failures"));
        for n in 0..10_000 {
            log.tell(Event::new(EventKind::Retry, format!("number {n}")));
        }
        let all = log.newest(usize::MAX);
        assert_eq!(all.len(), 1 + OF_SERVICE);
        assert_eq!(all[0].kind, EventKind::CircuitOpen);
        assert_eq!(all[OF_SERVICE].reason, "number 9999");
        assert_eq!(log.newest(3).len(), 3);
    }

    #[test]
    fn a_slow_subscriber_misses_the_oldest_and_knows_how_many() {
        let log = log();
        let mut events = log.subscribe();
        for n in 0..OF_SERVICE + 10 {
            log.tell(Event::new(EventKind::CircuitOpen, format!("number {n}")));
        }
        assert_eq!(events.try_recv().expect("some are left").reason, "number 10");
        assert_eq!(events.missed(), 10);
    }

    #[test]
    fn the_parent_hears_what_a_service_tells() {
        let clock = Clock::system();
        let parent = Arc::new(EventLog::of_manager(clock.clone()));
        let service = ServiceName::new("users").expect("valid");
        let log = EventLog::of_service(service, clock, Some(Arc::clone(&parent)));
        let id = EndpointId::new("a").expect("valid");
        log.tell(
            Event::new(EventKind::EndpointDown, "its breaker\nopened").endpoint(&id).detail("failures", 5),
        );
        let heard = parent.newest(1).pop().expect("told");
        assert_eq!(heard.to_string(), "endpoint_down users/a: its breaker\\u{a}opened");
        let json = serde_json::to_value(&*heard).expect("serialises");
        assert_eq!(json["type"], "endpoint_down");
        assert_eq!(json["details"]["failures"], 5);
        assert!(json["at"].as_str().expect("text").ends_with('Z'), "{json}");
    }
}
