//! The bounded log of events, of one service or of a whole manager.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::broadcast;

use crate::events::event::Event;
use crate::events::kind::Weight;
use crate::events::subscription::EventReceiver;
use crate::events::throttle::Flood;
use crate::model::endpoint::ServiceName;
use crate::runtime::clock::Clock;

/// The capacity of a service's log for state changes, the capacity for events of single calls, and
/// how far a subscriber may fall behind before it misses events.
const OF_SERVICE: usize = 256;
/// The same for a whole manager.
const OF_MANAGER: usize = 1024;

/// The log of a service or of a whole manager. An event in one is also added to its parent.
#[derive(Debug)]
pub(crate) struct EventLog {
    service: Option<ServiceName>,
    /// The query for the service, if it is more than its name.
    query: Option<Arc<str>>,
    clock: Clock,
    parent: Option<Arc<EventLog>>,
    capacity: usize,
    remembered: Mutex<Remembered>,
    subscribers: broadcast::Sender<Arc<Event>>,
    /// The number of events that flood control left out.
    suppressed: Arc<AtomicU64>,
}

/// Two rings, so that events of failing calls do not evict the event that explains them.
#[derive(Debug, Default)]
struct Remembered {
    changes: VecDeque<(u64, Arc<Event>)>,
    calls: VecDeque<(u64, Arc<Event>)>,
    next: u64,
    flood: Flood,
}

impl EventLog {
    /// Creates the log of one service.
    pub(crate) fn of_service(service: ServiceName, clock: Clock, parent: Option<Arc<Self>>) -> Self {
        Self::new(Some(service), clock, parent, OF_SERVICE)
    }

    /// Creates the log of a whole manager.
    pub(crate) fn of_manager(clock: Clock) -> Self {
        Self::new(None, clock, None, OF_MANAGER)
    }

    fn new(service: Option<ServiceName>, clock: Clock, parent: Option<Arc<Self>>, capacity: usize) -> Self {
        let subscribers = broadcast::Sender::new(capacity);
        let suppressed = Arc::default();
        let (query, remembered) = (None, Mutex::default());
        Self { service, query, clock, parent, capacity, remembered, subscribers, suppressed }
    }

    /// Sets the query for the service, which its events then state as the detail `query`.
    pub(crate) fn set_query(&mut self, query: Option<Arc<str>>) {
        self.query = query;
    }

    pub(crate) fn emit(&self, mut event: Event) {
        let Some(suppressed) = self.remembered().flood.admit(event.kind, self.clock.now()) else {
            for log in [Some(self), self.parent.as_deref()].into_iter().flatten() {
                log.suppressed.fetch_add(1, Ordering::Relaxed);
            }
            return;
        };
        if suppressed > 0 {
            event.details.insert("suppressed", suppressed.into());
        }
        if let Some(query) = &self.query {
            event.details.insert("query", query.to_string().into());
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
        // Fails if there is no subscriber, which is not an error.
        let _ = self.subscribers.send(Arc::clone(event));
    }

    /// Returns the newest `limit` events, oldest first.
    pub(crate) fn newest(&self, limit: usize) -> Vec<Arc<Event>> {
        let mut all: Vec<_> = {
            let remembered = self.remembered();
            remembered.changes.iter().chain(&remembered.calls).cloned().collect()
        };
        all.sort_by_key(|(number, _)| *number);
        let surplus = all.len().saturating_sub(limit);
        all.drain(surplus..).map(|(_, event)| event).collect()
    }

    pub(crate) fn subscribe(&self) -> EventReceiver {
        EventReceiver::new(self.subscribers.subscribe(), Arc::clone(&self.suppressed))
    }

    fn remembered(&self) -> MutexGuard<'_, Remembered> {
        // No operation under the lock can leave it half updated.
        self.remembered.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::events::kind::EventKind;
    use crate::model::endpoint::EndpointId;

    fn log() -> EventLog {
        let service = ServiceName::new("users").expect("valid");
        EventLog::of_service(service, Clock::system(), None)
    }

    #[test]
    fn a_storm_of_call_events_does_not_push_out_changes() {
        let log = log();
        log.emit(Event::new(EventKind::CircuitOpen, "5 consecutive failures"));
        for n in 0..10_000 {
            log.emit(Event::new(EventKind::Retry, format!("number {n}")));
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
            log.emit(Event::new(EventKind::CircuitOpen, format!("number {n}")));
        }
        assert_eq!(events.try_recv().expect("some are left").reason, "number 10");
        assert_eq!(events.missed(), 10);
    }

    #[test]
    fn the_parent_receives_the_events_of_a_service() {
        let clock = Clock::system();
        let parent = Arc::new(EventLog::of_manager(clock.clone()));
        let service = ServiceName::new("users").expect("valid");
        let log = EventLog::of_service(service, clock, Some(Arc::clone(&parent)));
        let id = EndpointId::new("a").expect("valid");
        log.emit(
            Event::new(EventKind::EndpointDown, "its breaker\nopened").endpoint(&id).detail("failures", 5),
        );
        let heard = parent.newest(1).pop().expect("emitted");
        assert_eq!(heard.to_string(), "endpoint_down users/a: its breaker\\u{a}opened");
        let json = serde_json::to_value(&*heard).expect("serialises");
        assert_eq!(json["type"], "endpoint_down");
        assert_eq!(json["details"]["failures"], 5);
        assert!(json["at"].as_str().expect("text").ends_with('Z'), "{json}");
    }

    #[test]
    fn what_flood_control_leaves_out_is_missed_in_both_logs_and_by_no_later_subscriber() {
        let clock = Clock::system();
        let parent = Arc::new(EventLog::of_manager(clock.clone()));
        let service = ServiceName::new("users").expect("valid");
        let log = EventLog::of_service(service, clock, Some(Arc::clone(&parent)));
        let mut receivers = [log.subscribe(), parent.subscribe()];
        for _ in 0..150 {
            log.emit(Event::new(EventKind::EndpointAdded, "is new"));
        }
        for events in &mut receivers {
            let received = std::iter::from_fn(|| events.try_recv()).count() as u64;
            assert_eq!((received, events.missed()), (100, 50));
        }
        assert_eq!((log.subscribe().missed(), parent.subscribe().missed()), (0, 0));
    }
}
