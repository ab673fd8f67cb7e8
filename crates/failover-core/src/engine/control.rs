//! The rare changes: another answer of a source, another configuration, a breaker that moves.
//!
//! All of them hold one lock while they work out who is given calls, so that none of them works on what another one
//! has just replaced. Events are told after the lock is free.

pub(crate) mod active_source;
pub(crate) mod diff_events;
pub(crate) mod probe_verdicts;
pub(crate) mod ranking;
pub(crate) mod rebuild;
pub(crate) mod reported_load;
pub(crate) mod source;
pub(crate) mod sources;
pub(crate) mod state;

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, MutexGuard, PoisonError};

use crate::codec::duration::rough;
use crate::config::{Algorithm, FailoverConfig};
use crate::engine::breaker::Phase;
use crate::engine::breaker::atomic::Change;
use crate::engine::snapshot::Snapshot;
use crate::engine::state::latency::Times;
use crate::engine::state::{Cell, Tally};
use crate::engine::{CallCounts, Engine};
use crate::error::Error;
use crate::events::{Event, EventKind};
use crate::runtime::clock::Time;
use active_source::spread_event;
pub(crate) use probe_verdicts::Probed;
pub(crate) use source::{SourceId, SourceStatus};
use state::Control;

impl Engine {
    fn control(&self) -> MutexGuard<'_, Control> {
        // A panic under the lock would be a fault of this module; what it protects is replaced as a whole.
        self.control.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes another configuration into use. Endpoints keep their state; calls under way keep the old one.
    ///
    /// # Errors
    ///
    /// `Validation` when its strategy lacks what it needs; the old one stays in use.
    pub(crate) fn configure(&self, config: Arc<FailoverConfig>) -> Result<(), Error> {
        if let Err(error) = crate::config::usable::supported(&config) {
            self.told(vec![Event::new(EventKind::ConfigRejected, format!("{error}; the last one stays"))]);
            return Err(error);
        }
        let _before;
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
            let before = std::mem::replace(&mut control.config, config);
            _before = (before, self.rebuild(&mut control, &mut events));
        }
        self.told(events);
        Ok(())
    }

    /// Builds what this algorithm reads, for calls that ask for another one than the service's own.
    pub(super) fn build(&self, algorithm: Algorithm) {
        let _control = self.control();
        let snapshot = self.snapshot.load();
        snapshot.build(algorithm, &self.slab);
        self.weigh(&snapshot, self.clock.now());
    }

    /// What the endpoints that are gone have counted, how long their calls took, and how many of them are in flight
    /// still.
    pub(crate) fn gone(&self) -> (Tally, Times, u64) {
        let control = self.control();
        let leaving = control.ledger.leaving().map(|number| self.slab.cell(number));
        let retired = control.ledger.retired().values().fold(Tally::NONE, Tally::plus);
        let mut times = control.ledger.retired_times();
        let (tally, in_flight) = leaving.fold((retired, 0), |(tally, in_flight), cell| {
            cell.times_into(&mut times);
            (tally.plus(&cell.tally()), in_flight + u64::from(cell.in_flight()))
        });
        (tally, times, in_flight)
    }

    /// What the attempts came to, and how many are in flight, by the number of the source that named their endpoint.
    pub(crate) fn tallies_by_source(&self) -> BTreeMap<u32, (Tally, u64)> {
        let control = self.control();
        let snapshot = self.snapshot.load_full();
        let mut by_source: BTreeMap<u32, (Tally, u64)> =
            control.ledger.retired().iter().map(|(source, tally)| (*source, (*tally, 0))).collect();
        let cells = snapshot.slots.iter().map(|slot| slot.cell).chain(control.ledger.leaving());
        for cell in cells.map(|number| self.slab.cell(number)) {
            let source = cell.cold.source.load(Ordering::Relaxed);
            let (tally, in_flight) = by_source.entry(source).or_insert((Tally::NONE, 0));
            *tally = tally.plus(&cell.tally());
            *in_flight += u64::from(cell.in_flight());
        }
        by_source
    }

    /// A breaker has moved: works out who is given calls, and tells.
    pub(super) fn breaker_changed(&self, cell: u32, change: Change) {
        let mut events = Vec::new();
        {
            let mut control = self.control();
            let snapshot = self.snapshot.load_full();
            let index = self.slab.cell(cell).cold.slot.load(Ordering::Relaxed);
            // An endpoint that is gone may still have calls that report.
            if snapshot.slots.get(index as usize).is_some_and(|slot| slot.cell == cell) {
                self.settle(&mut control, &snapshot, index);
                events.push(self.breaker_event(self.slab.cell(cell), change));
                if snapshot.spread() {
                    events.push(spread_event(&snapshot));
                    active_source::tell(&mut control, &snapshot, &mut events);
                }
            }
        }
        self.told(events);
    }

    /// Brings one endpoint's membership in line with its breaker, in O(1): with the floor it may move one other.
    fn settle(&self, control: &mut Control, snapshot: &Snapshot, index: u32) {
        let slot = snapshot.slot(index);
        if !slot.claim.eligible() {
            return;
        }
        let cell = slot.cell;
        let phase = self.slab.cell(cell).gate().read().phase;
        let closed = matches!(phase, Phase::Closed { .. }) && !self.slab.cell(cell).is_probed_down();
        if control.closed[index as usize] != closed {
            control.closed[index as usize] = closed;
            let before = snapshot.closed();
            snapshot.set_closed(if closed { before + 1 } else { before - 1 });
        }
        if closed {
            self.release(control, snapshot, cell);
            snapshot.tier_of(slot).put_in(&self.slab, cell);
        }
        self.balance_floor(control, snapshot, index);
        self.mark(control, snapshot, index, self.clock.now());
        match phase {
            Phase::Open { until } => self.probe_from(until),
            Phase::HalfOpen { .. } => self.probe_from(self.clock.now()),
            Phase::Closed { .. } if snapshot.closed() == snapshot.eligible => {
                self.probe_at.store(Time::NEVER.as_nanos(), Ordering::Relaxed);
            }
            Phase::Closed { .. } => {}
        }
    }

    /// Holds as many endpoints as the floor asks for beyond the closed ones, and lets go of the others. `index` is the
    /// one that has moved: if it is not closed, it is held or goes out.
    fn balance_floor(&self, control: &mut Control, snapshot: &Snapshot, index: u32) {
        let wanted = snapshot.policy.min_available.min(snapshot.eligible).saturating_sub(snapshot.closed());
        while control.held.len() > wanted as usize {
            let first = control.held[0];
            self.release(control, snapshot, first);
        }
        let slot = snapshot.slot(index);
        if control.closed[index as usize] || control.held.contains(&slot.cell) {
            return;
        }
        let tier = snapshot.tier_of(slot);
        // A live standby takes over from a tier that is dead; only without one does the floor hold it.
        let tier_of = |cell: u32| snapshot.slot(self.slab.cell(cell).cold.slot.load(Ordering::Relaxed)).tier;
        let held_in = |tier: u32| control.held.iter().filter(|cell| tier_of(**cell) == tier).count();
        let standby = (slot.tier + 1..snapshot.tiers.len() as u32)
            .any(|tier| snapshot.tiers[tier as usize].members.available().len() > held_in(tier));
        if control.held.len() < wanted as usize && !standby {
            control.held.push(slot.cell);
            self.slab.cell(slot.cell).cold.held.store(true, Ordering::Relaxed);
            tier.put_in(&self.slab, slot.cell);
        } else {
            tier.take_out(&self.slab, slot.cell);
        }
    }

    /// Notes whether an endpoint is given calls, and since when.
    fn mark(&self, control: &Control, snapshot: &Snapshot, index: u32, now: Time) {
        let slot = snapshot.slot(index);
        let is_in =
            slot.claim.eligible() && (control.closed[index as usize] || control.held.contains(&slot.cell));
        self.slab.cell(slot.cell).mark(is_in, now);
    }

    fn release(&self, control: &mut Control, snapshot: &Snapshot, cell: u32) {
        let Some(place) = control.held.iter().position(|held| *held == cell) else { return };
        control.held.remove(place);
        let Cell { cold, .. } = self.slab.cell(cell);
        cold.held.store(false, Ordering::Relaxed);
        let index = cold.slot.load(Ordering::Relaxed);
        if !control.closed[index as usize] {
            snapshot.tier_of(snapshot.slot(index)).take_out(&self.slab, cell);
            self.mark(control, snapshot, index, self.clock.now());
        }
    }

    /// A breaker lets probe calls through. Who is given calls stays the same.
    #[cold]
    pub(super) fn half_opened(&self, cell: &Cell, early: bool) {
        let why = if early { "nothing else is available" } else { "its open time has passed" };
        let reason = format!("{why}; probe calls show whether it is back");
        let event = Event::new(EventKind::CircuitHalfOpen, reason)
            .endpoint(cell.endpoint().id())
            .detail("early", early);
        self.told(vec![event]);
    }

    /// A half-open round has ended because its probe calls did not answer in time.
    pub(super) fn half_open_expired(&self, cell: &Cell) {
        let limit = rough(self.breaker_rules().half_open_wait);
        let reason = format!("its probe calls did not answer in {limit}");
        self.told(vec![Event::new(EventKind::CircuitOpen, reason).endpoint(cell.endpoint().id())]);
    }

    fn breaker_event(&self, cell: &Cell, change: Change) -> Event {
        let held = cell.cold.held.load(Ordering::Relaxed);
        let was = change.from.state().as_str();
        let event = match (change.from.phase, change.to.phase) {
            (from, Phase::Open { until }) => {
                let wait = until.since(self.clock.now());
                let what = match from {
                    Phase::Closed { failures } => format!("{} failures in a row", failures + 1),
                    _ if change.to.rounds < 2 => "a probe call failed".to_owned(),
                    _ => format!("a probe call failed, for the {}. time", change.to.rounds),
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
        event.endpoint(cell.endpoint().id()).detail("was", was)
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
