//! The rare changes: another answer of a source, another configuration, a breaker that moves.
//!
//! All of them hold one lock while they work out who is given calls, so that none of them works on what another one
//! has just replaced. Events are told after the lock is free.

mod rebuild;

use std::sync::atomic::Ordering;
use std::sync::{Arc, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use super::{CallCounts, Engine};
use crate::breaker::gate::Change;
use crate::breaker::{BreakerState, Phase};
use crate::clock::Time;
use crate::config::FailoverConfig;
use crate::duration::rough;
use crate::endpoint::EndpointEntry;
use crate::error::Error;
use crate::events::{Event, EventKind};
use crate::provider::RejectedEntry;
use crate::slot::{EndpointState, Slot};
use crate::snapshot::Snapshot;

#[derive(Debug)]
pub(crate) struct Control {
    config: Arc<FailoverConfig>,
    sources: Vec<Source>,
    /// For each slot of the current snapshot whether it counts as closed.
    closed: Vec<bool>,
    /// Slots that the floor holds.
    held: Vec<u32>,
    /// Endpoints that are gone and have calls in flight.
    lingering: Vec<Weak<EndpointState>>,
}

/// Which of a service's sources.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SourceId(usize);

/// One place where the service's endpoints come from.
#[derive(Debug)]
struct Source {
    name: Arc<str>,
    tier: u32,
    entries: Vec<EndpointEntry>,
    answered: Option<Time>,
    unknown: bool,
    error: Option<Error>,
    rejected: u64,
}

/// What a source has said last.
#[derive(Clone, Debug)]
pub(crate) struct SourceStatus {
    pub(crate) name: Arc<str>,
    pub(crate) tier: u32,
    pub(crate) answered: bool,
    pub(crate) unknown: bool,
    pub(crate) endpoints: usize,
    pub(crate) rejected: u64,
    /// How long ago it gave a good answer.
    pub(crate) age: Option<Duration>,
    pub(crate) error: Option<Error>,
}

impl Control {
    pub(super) fn new(config: Arc<FailoverConfig>) -> Self {
        Self { config, sources: Vec::new(), closed: Vec::new(), held: Vec::new(), lingering: Vec::new() }
    }
}

impl Engine {
    fn control(&self) -> MutexGuard<'_, Control> {
        // A panic under the lock would be a fault of this module; what it protects is replaced as a whole.
        self.control.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn add_source(&self, name: Arc<str>, tier: u32) -> SourceId {
        let mut control = self.control();
        control.sources.push(Source {
            name,
            tier,
            entries: Vec::new(),
            answered: None,
            unknown: false,
            error: None,
            rejected: 0,
        });
        SourceId(control.sources.len() - 1)
    }

    pub(crate) fn sources(&self) -> Vec<SourceStatus> {
        let now = self.clock.now();
        self.control()
            .sources
            .iter()
            .map(|source| SourceStatus {
                name: Arc::clone(&source.name),
                tier: source.tier,
                answered: source.answered.is_some(),
                unknown: source.unknown,
                endpoints: source.entries.len(),
                rejected: source.rejected,
                age: source.answered.map(|at| now.since(at)),
                error: source.error.clone(),
            })
            .collect()
    }

    /// A good answer of a source: these entries, already checked one by one, replace its last ones.
    pub(crate) fn publish(&self, id: SourceId, entries: Vec<EndpointEntry>, unknown: bool) {
        let mut events = Vec::new();
        {
            let mut control = self.control();
            let now = self.clock.now();
            let source = &mut control.sources[id.0];
            let first = source.answered.is_none();
            source.answered = Some(now);
            source.unknown = unknown;
            if source.error.take().is_some() {
                let count = entries.len();
                events.push(
                    Event::new(EventKind::SourceFresh, format!("it answers again, with {count} endpoints"))
                        .provider(&source.name),
                );
            }
            if source.entries != entries || first {
                source.entries = entries;
                self.rebuild(&mut control, &mut events);
            }
        }
        self.told(events);
    }

    /// A source whose answer is an error, or is not believed: what it said before stays. The first time in a row is
    /// told as an event of this kind.
    pub(crate) fn source_failed(&self, id: SourceId, error: Error, kind: EventKind) {
        let mut events = Vec::new();
        {
            let mut control = self.control();
            let now = self.clock.now();
            let source = &mut control.sources[id.0];
            if source.error.is_none() {
                let served = match source.answered {
                    Some(at) => format!(
                        "its {} endpoints, {} old, are served meanwhile",
                        source.entries.len(),
                        rough(now.since(at))
                    ),
                    None => "it has never answered, so nothing is served from it".to_owned(),
                };
                events.push(
                    Event::new(kind, format!("{error}; {served}"))
                        .provider(&source.name)
                        .detail("code", error.code()),
                );
            }
            source.error = Some(error);
        }
        self.told(events);
    }

    /// Entries that a source's answer held and that cannot be used.
    pub(crate) fn entries_rejected(&self, id: SourceId, rejected: &[RejectedEntry]) {
        let events = {
            let mut control = self.control();
            let source = &mut control.sources[id.0];
            source.rejected += rejected.len() as u64;
            rejected
                .iter()
                .map(|entry| {
                    Event::new(EventKind::EntryRejected, format!("{}: {}", entry.what(), entry.error()))
                        .provider(&source.name)
                        .detail("code", entry.error().code())
                })
                .collect()
        };
        self.told(events);
    }

    /// Discovery of this service has ended: what is known stays, marked stale.
    pub(crate) fn discovery_ended(&self, why: &Error) {
        let sources = self.control().sources.len();
        for id in 0..sources {
            self.source_failed(SourceId(id), why.clone(), EventKind::SourceStale);
        }
    }

    /// An event about a source.
    pub(crate) fn tell_source(&self, id: SourceId, kind: EventKind, reason: String) {
        let name = Arc::clone(&self.control().sources[id.0].name);
        self.events.tell(Event::new(kind, reason).provider(&name));
    }

    /// How many endpoints the source has named last.
    pub(crate) fn source_endpoints(&self, id: SourceId) -> usize {
        self.control().sources[id.0].entries.len()
    }

    /// Takes another configuration into use. Endpoints keep their state; calls under way keep the old one.
    ///
    /// # Errors
    ///
    /// `Unsupported` when it asks for what this version cannot do; the old one stays in use.
    pub(crate) fn configure(&self, config: Arc<FailoverConfig>) -> Result<(), Error> {
        if let Err(error) = crate::select::supported(config.algorithm()) {
            self.told(vec![Event::new(EventKind::ConfigRejected, format!("{error}; the last one stays"))]);
            return Err(error);
        }
        let mut events = Vec::new();
        {
            let mut control = self.control();
            if *control.config == *config {
                return Ok(());
            }
            let summary = format!(
                "{} with {} retries and a timeout of {}",
                config.strategy(),
                config.max_retries(),
                rough(config.timeout())
            );
            events.push(Event::new(EventKind::ConfigApplied, summary));
            control.config = config;
            self.rebuild(&mut control, &mut events);
        }
        self.told(events);
        Ok(())
    }

    /// States of endpoints that are gone and have calls in flight.
    pub(crate) fn lingering(&self) -> Vec<Arc<EndpointState>> {
        self.control().lingering.iter().filter_map(Weak::upgrade).collect()
    }

    pub(crate) fn retired(&self) -> crate::slot::Tally {
        self.retired.read()
    }

    /// A breaker has moved: works out who is given calls, and tells.
    pub(super) fn breaker_changed(&self, slot: &Arc<Slot>, change: Change) {
        let mut events = Vec::new();
        {
            let mut control = self.control();
            let snapshot = self.snapshot.load_full();
            let index = snapshot.by_id.get(slot.endpoint.id()).copied();
            let current = index.filter(|index| Arc::ptr_eq(&snapshot.slot(*index).state, &slot.state));
            if let Some(index) = current {
                self.settle(&mut control, &snapshot, index);
                let held = slot.state.held.load(Ordering::Relaxed);
                events.push(self.breaker_event(slot, change, held));
                if snapshot.spread() {
                    events.push(spread_event(&snapshot));
                }
            }
        }
        self.told(events);
    }

    /// Brings one slot's membership in line with its breaker, in O(1): with the floor it may move one other.
    fn settle(&self, control: &mut Control, snapshot: &Snapshot, index: u32) {
        let slot = snapshot.slot(index);
        if !slot.claim.eligible() {
            return;
        }
        let phase = slot.state.gate.read().phase;
        let closed = matches!(phase, Phase::Closed { .. });
        if control.closed[index as usize] != closed {
            control.closed[index as usize] = closed;
            let before = snapshot.closed();
            snapshot.set_closed(if closed { before + 1 } else { before - 1 });
        }
        if closed {
            release(control, snapshot, |held| held == index);
            snapshot.tier_of(index).members.put_in(index);
        }
        self.balance_floor(control, snapshot, Some(index));
        match phase {
            Phase::Open { until } => self.probe_from(until),
            Phase::HalfOpen { .. } => self.probe_from(self.clock.now()),
            Phase::Closed { .. } if snapshot.closed() == snapshot.eligible => {
                self.probe_at.store(Time::NEVER.as_nanos(), Ordering::Relaxed);
            }
            Phase::Closed { .. } => {}
        }
    }

    /// Holds as many endpoints as the floor asks for beyond the closed ones, and lets go of the others.
    fn balance_floor(&self, control: &mut Control, snapshot: &Snapshot, last_out: Option<u32>) {
        let wanted = snapshot.policy.min_available.min(snapshot.eligible).saturating_sub(snapshot.closed());
        while control.held.len() > wanted as usize {
            let first = control.held[0];
            release(control, snapshot, |held| held == first);
        }
        let Some(index) = last_out.filter(|index| !control.closed[*index as usize]) else {
            return;
        };
        if control.held.contains(&index) {
            return;
        }
        if control.held.len() < wanted as usize {
            control.held.push(index);
            snapshot.slot(index).state.held.store(true, Ordering::Relaxed);
            snapshot.tier_of(index).members.put_in(index);
        } else {
            snapshot.tier_of(index).members.take_out(index);
        }
    }

    /// A breaker lets probe calls through. Who is given calls stays the same.
    #[cold]
    pub(super) fn half_opened(&self, slot: &Slot, early: bool) {
        let why = if early { "nothing else is available" } else { "its open time has passed" };
        let reason = format!("{why}; probe calls show whether it is back");
        let event = Event::new(EventKind::CircuitHalfOpen, reason)
            .endpoint(slot.endpoint.id())
            .detail("early", early);
        self.told(vec![event]);
    }

    /// A half-open round has ended because its probe calls did not answer in time.
    pub(super) fn half_open_expired(&self, slot: &Slot) {
        let limit = rough(self.policy().breaker.half_open_wait);
        let reason = format!("its probe calls did not answer in {limit}");
        self.told(vec![Event::new(EventKind::CircuitOpen, reason).endpoint(slot.endpoint.id())]);
    }

    fn breaker_event(&self, slot: &Slot, change: Change, held: bool) -> Event {
        let was = change.from.state().as_str();
        let event = match (change.from.phase, change.to.phase) {
            (from, Phase::Open { until }) => {
                let wait = until.since(self.clock.now());
                let what = match from {
                    Phase::Closed { failures } => format!("{} failures in a row", failures + 1),
                    _ if change.to.rounds == 0 => "a probe call failed".to_owned(),
                    _ => format!("a probe call failed, {} rounds in a row", change.to.rounds),
                };
                let stays = if held { "; it stays in use, because too few others are available" } else { "" };
                Event::new(EventKind::CircuitOpen, format!("{what}; tried again in {}{stays}", rough(wait)))
                    .detail("retry_in_ms", wait.as_millis() as u64)
                    .detail("held_by_floor", held)
            }
            (Phase::HalfOpen { successes, .. }, _) => {
                self.calls.last_recovery.store(CallCounts::now(&self.clock), Ordering::Relaxed);
                let reason = format!("{} probe calls succeeded; it is given calls again", successes + 1);
                Event::new(EventKind::CircuitClose, reason)
            }
            // No other change of phase is a report's doing.
            _ => Event::new(EventKind::CircuitClose, "it is given calls again"),
        };
        event.endpoint(slot.endpoint.id()).detail("was", was)
    }

    fn told(&self, events: Vec<Event>) {
        let moved = !events.is_empty();
        for event in events {
            let recovered = event.kind == EventKind::CircuitClose;
            let recovery = recovered.then(|| Event { kind: EventKind::Recovery, ..event.clone() });
            self.events.tell(event);
            if let Some(recovery) = recovery {
                self.events.tell(recovery);
            }
        }
        if moved {
            self.changes.send_modify(|count| *count += 1);
        }
    }
}

fn release(control: &mut Control, snapshot: &Snapshot, which: impl Fn(u32) -> bool) {
    let Some(place) = control.held.iter().position(|held| which(*held)) else {
        return;
    };
    let index = control.held.remove(place);
    let slot = snapshot.slot(index);
    slot.state.held.store(false, Ordering::Relaxed);
    if slot.state.gate.state() != BreakerState::Closed {
        snapshot.tier_of(index).members.take_out(index);
    }
}

fn spread_event(snapshot: &Snapshot) -> Event {
    let spread = snapshot.spread_percent();
    let words: Vec<_> = snapshot
        .tiers
        .iter()
        .zip(&spread)
        .map(|(tier, percent)| {
            let (source, priority) = tier.rank;
            format!("{percent} % to priority {priority} of source tier {source}")
        })
        .collect();
    Event::new(EventKind::LoadBalance, format!("calls go {}", words.join(", "))).detail("percent", spread)
}
