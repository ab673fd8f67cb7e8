//! Rare changes: a new answer of a source, a new configuration, a change of a breaker.
//!
//! Each change holds the control lock while it computes the rotation, so that no change works on
//! data that another one has just replaced. Events are emitted after the lock is released.

pub(crate) mod active_source;
pub(crate) mod departures;
pub(crate) mod diff_events;
pub(crate) mod ejection;
pub(crate) mod forced;
pub(crate) mod matches;
pub(crate) mod outliers;
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
use crate::engine::Engine;
use crate::engine::breaker::atomic::Change;
use crate::engine::breaker::{Input, Phase};
use crate::engine::snapshot::Snapshot;
use crate::engine::state::EndpointState;
use crate::engine::state::counters::{AttemptCounts, Counters};
use crate::engine::state::durations::Durations;
use crate::engine::state::latency::Times;
use crate::engine::state::placement::Cause;
use crate::error::Error;
use crate::events::{Event, EventKind};
use crate::model::breaker_state::BreakerState;
use crate::runtime::clock::Time;
use active_source::shares_event;
pub(crate) use probe_verdicts::Probed;
pub(crate) use source::{SourceDescription, SourceId, SourceStatus};
use state::Control;

/// The number of endpoints whose latencies make the mean of the others.
const MAX_PEERS: usize = 64;

impl Engine {
    fn control(&self) -> MutexGuard<'_, Control> {
        // A panic under the lock would be a bug in this module. The protected data is replaced as a
        // whole, so it is never inconsistent.
        self.control.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Applies a new configuration. Endpoints keep their state; calls in flight keep the old
    /// configuration.
    ///
    /// # Errors
    ///
    /// `Validation` if a requirement of the configured strategy is not met; the old configuration
    /// stays in use.
    pub(crate) fn configure(&self, config: Arc<FailoverConfig>) -> Result<(), Error> {
        if let Err(error) = crate::config::usable::supported(&config) {
            self.config_rejected(&error);
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
        self.emit_all(events);
        Ok(())
    }

    /// Reports a configuration that cannot be used.
    pub(crate) fn config_rejected(&self, error: &Error) {
        let reason = format!("{error}; keeping the last configuration");
        self.emit_all(vec![Event::new(EventKind::ConfigRejected, reason).detail("code", error.code())]);
    }

    /// Builds the data that this algorithm reads, for calls that override the service's algorithm.
    pub(super) fn build(&self, algorithm: Algorithm) {
        let _control = self.control();
        let snapshot = self.snapshot.load();
        snapshot.build(algorithm, &self.slab);
        self.recompute_weights(&snapshot, self.clock.now());
    }

    /// Returns the snapshot, with the counters of the endpoints that are not in it any more, the
    /// latencies of their attempts, and the number of their calls that are still in flight.
    ///
    /// Both are of one moment: an endpoint that leaves between two reads would count twice.
    pub(crate) fn snapshot_and_gone(&self) -> (Arc<Snapshot>, (Counters, Times, u64)) {
        let control = self.control();
        let snapshot = self.snapshot();
        let leaving = control.allocator.leaving().map(|number| self.slab.state(number));
        let retired = control.allocator.retired().values().fold(Counters::NONE, Counters::plus);
        let mut times = control.allocator.retired_times();
        let (counters, in_flight) = leaving.fold((retired, 0), |(counters, in_flight), state| {
            state.times_into(&mut times);
            (counters.plus(&state.counters()), in_flight + u64::from(state.in_flight()))
        });
        (snapshot, (counters, times, in_flight))
    }

    /// Counts the attempts on the endpoints that the service has and on those that it had, with their
    /// durations if that is asked for. Returns `None` if the control lock is taken.
    pub(crate) fn try_counts(&self, with_durations: bool) -> Option<(AttemptCounts, Option<Durations>)> {
        let control = self.control.try_lock().ok()?;
        let retired = control.allocator.retired().values().fold(Counters::NONE, Counters::plus);
        let (mut counts, mut durations) = (retired.ended, with_durations.then_some(retired.durations));
        let snapshot = self.snapshot.load();
        let states = snapshot.slots.iter().map(|slot| slot.state).chain(control.allocator.leaving());
        for state in states.map(|number| self.slab.state(number)) {
            match &mut durations {
                None => counts.add(&state.ended()),
                Some(durations) => {
                    let counters = state.counters();
                    counts.add(&counters.ended);
                    durations.add(&counters.durations);
                }
            }
        }
        Some((counts, durations))
    }

    /// Returns the attempt counters and the number of attempts in flight, by the number of the
    /// source that named the endpoint.
    pub(crate) fn counters_by_source(&self) -> BTreeMap<u32, (Counters, u64)> {
        let control = self.control();
        let snapshot = self.snapshot.load_full();
        let mut by_source: BTreeMap<u32, (Counters, u64)> =
            control.allocator.retired().iter().map(|(source, counters)| (*source, (*counters, 0))).collect();
        let states = snapshot.slots.iter().map(|slot| slot.state).chain(control.allocator.leaving());
        for state in states.map(|number| self.slab.state(number)) {
            let source = state.placement().source();
            let (counters, in_flight) = by_source.entry(source).or_insert((Counters::NONE, 0));
            *counters = counters.plus(&state.counters());
            *in_flight += u64::from(state.in_flight());
        }
        by_source
    }

    /// Recomputes the rotation after a breaker has changed, and emits the events.
    pub(super) fn breaker_changed(&self, state: u32, change: Change) {
        let mut events = Vec::new();
        {
            let mut control = self.control();
            let snapshot = self.snapshot.load_full();
            self.moved(&mut control, &snapshot, state, change, &mut events);
            if !events.is_empty() && snapshot.recompute_shares() {
                events.push(shares_event(&snapshot));
                active_source::emit(&mut control, &snapshot, &mut events);
            }
        }
        self.emit_all(events);
    }

    /// Updates the rotation and what else depends on a breaker that has changed.
    fn moved(
        &self,
        control: &mut Control,
        snapshot: &Snapshot,
        number: u32,
        change: Change,
        events: &mut Vec<Event>,
    ) {
        let now = self.clock.now();
        let state = self.slab.state(number);
        let placement = state.placement();
        let all_out = snapshot.closed() == 0;
        self.strain.reconsider();
        match change.to.phase {
            Phase::Closed { .. } => {
                placement.set_closed_at(now, &control.lock);
                self.slab.clear_window(number);
                if let Some(mean) = self.mean_latency(snapshot, number, now) {
                    state.ewma().seed(mean, now);
                }
            }
            Phase::Open { .. }
                if change.from.state() == BreakerState::HalfOpen && placement.cause() == Cause::Ambiguous =>
            {
                placement.set_cause(Cause::Confirmed, &control.lock);
            }
            _ => {}
        }
        let index = placement.slot();
        // A removed endpoint may still have calls that report.
        if snapshot.slots.get(index as usize).is_none_or(|slot| slot.state != number) {
            return;
        }
        self.reconcile(control, snapshot, index);
        let slot = snapshot.slot(index);
        events.push(snapshot.about(slot, self.breaker_event(state, change, snapshot.is_all_out())));
        self.end_pauses_if_alone(control, snapshot);
        if all_out && snapshot.closed() > 0 {
            self.recall(snapshot, now);
        }
    }

    /// Runs a breaker's state machine under the control lock.
    fn apply(&self, number: u32, input: Input, now: Time) -> Option<Change> {
        let unit = self.random.unit();
        let (_, change) = self.slab.state(number).breaker().apply(input, now, &self.breaker_rules(), unit);
        change.filter(|change| change.from.state() != change.to.state())
    }

    /// Returns the mean of the average latencies of the other endpoints in use, from a sample.
    pub(super) fn mean_latency(&self, snapshot: &Snapshot, except: u32, now: Time) -> Option<f32> {
        let in_use = snapshot.tiers.iter().flat_map(|tier| tier.members.available());
        let states = in_use.map(|state| state.load(Ordering::Relaxed)).filter(|state| *state != except);
        let ewma = |state| self.slab.state(state).ewma().at(now);
        let known = states.take(MAX_PEERS).map(ewma).filter(|nanos| *nanos > 0.0);
        let (sum, count) = known.fold((0.0, 0_u8), |(sum, count), nanos| (sum + nanos, count + 1));
        (count > 0).then(|| sum / f32::from(count))
    }

    /// Updates whether one endpoint is in rotation according to its breaker, in O(1). The floor may
    /// require one other endpoint to move as well.
    fn reconcile(&self, control: &mut Control, snapshot: &Snapshot, index: u32) {
        let slot = snapshot.slot(index);
        if !slot.claim.eligible() {
            return;
        }
        let state = slot.state;
        let phase = self.slab.state(state).breaker().read().phase;
        let closed =
            matches!(phase, Phase::Closed { .. }) && !self.slab.state(state).placement().is_probed_down();
        if control.closed[index as usize] != closed {
            control.closed[index as usize] = closed;
            let before = snapshot.closed();
            snapshot.set_closed(if closed { before + 1 } else { before - 1 });
        }
        let paused = closed && self.is_paused(state);
        if closed {
            self.unpin(control, snapshot, state);
        }
        if paused {
            snapshot.tier_of(slot).remove_from_rotation(&self.slab, state, &control.lock);
        } else if closed {
            snapshot.tier_of(slot).add_to_rotation(&self.slab, state, &control.lock);
        }
        self.balance_floor(control, snapshot, index);
        self.record_transition(control, snapshot, index, self.clock.now());
        match phase {
            Phase::Open { until } => self.probe_from(until),
            Phase::HalfOpen { .. } => self.probe_from(self.clock.now()),
            Phase::Closed { .. } if snapshot.available() == snapshot.eligible as usize => {
                self.probe_at.store(Time::NEVER.as_nanos(), Ordering::Relaxed);
            }
            Phase::Closed { .. } => {}
        }
    }

    /// Pins as many endpoints as the floor requires beyond the closed ones, and unpins the others.
    /// `index` is the slot that has changed: if it is not closed, it is pinned or leaves rotation.
    fn balance_floor(&self, control: &mut Control, snapshot: &Snapshot, index: u32) {
        let floor = snapshot.policy.min_available.min(snapshot.eligible);
        // Without a closed breaker, calls go to all endpoints in turn.
        let wanted = if snapshot.is_all_out() { 0 } else { floor.saturating_sub(snapshot.closed()) };
        while control.pinned.len() > wanted as usize {
            let first = control.pinned[0];
            self.unpin(control, snapshot, first);
        }
        let slot = snapshot.slot(index);
        if control.closed[index as usize] || control.pinned.contains(&slot.state) {
            return;
        }
        let tier = snapshot.tier_of(slot);
        // A live standby takes over from a tier that is down; the floor pins the endpoint only if
        // there is no standby.
        let tier_of = |state: u32| snapshot.slot(self.slab.state(state).placement().slot()).tier;
        let pinned_in = |tier: u32| control.pinned.iter().filter(|state| tier_of(**state) == tier).count();
        let standby = (slot.tier + 1..snapshot.tiers.len() as u32)
            .any(|tier| snapshot.tiers[tier as usize].members.available().len() > pinned_in(tier));
        if control.pinned.len() < wanted as usize && !standby && !self.is_paused(slot.state) {
            control.pinned.push(slot.state);
            self.slab.state(slot.state).placement().set_pinned(true, &control.lock);
            tier.add_to_rotation(&self.slab, slot.state, &control.lock);
        } else {
            tier.remove_from_rotation(&self.slab, slot.state, &control.lock);
        }
    }

    /// Records whether an endpoint is in rotation, and since when.
    fn record_transition(&self, control: &Control, snapshot: &Snapshot, index: u32, now: Time) {
        let slot = snapshot.slot(index);
        let closed = control.closed[index as usize] && !self.is_paused(slot.state);
        let is_in = slot.claim.eligible() && (closed || control.pinned.contains(&slot.state));
        self.slab.state(slot.state).placement().record_transition(is_in, now, &control.lock);
    }

    /// Whether the endpoint has asked for a pause, or is forced out.
    pub(in crate::engine) fn is_paused(&self, state: u32) -> bool {
        let until = self.slab.state(state).placement().no_calls_until();
        // Nearly no endpoint has ever been paused, and a rebuild asks this of each of them twice.
        until > Time::from_nanos(0) && self.clock.now() < until
    }

    fn unpin(&self, control: &mut Control, snapshot: &Snapshot, state: u32) {
        let Some(place) = control.pinned.iter().position(|pinned| *pinned == state) else { return };
        control.pinned.remove(place);
        let placement = self.slab.state(state).placement();
        placement.set_pinned(false, &control.lock);
        let index = placement.slot();
        if !control.closed[index as usize] {
            snapshot.tier_of(snapshot.slot(index)).remove_from_rotation(&self.slab, state, &control.lock);
            self.record_transition(control, snapshot, index, self.clock.now());
        }
    }

    /// Emits the event of a breaker that lets probe calls through. The rotation does not change.
    #[cold]
    pub(super) fn emit_half_open(&self, state: &EndpointState) {
        let reason = "its open time has passed; sending probe calls";
        self.emit_all(vec![self.about(state, Event::new(EventKind::CircuitHalfOpen, reason))]);
    }

    /// Emits the event of a half-open round that ended because no probe call was answered in time.
    pub(super) fn emit_half_open_expired(&self, state: &EndpointState) {
        let limit = rough(self.breaker_rules().half_open_wait);
        let reason = format!("no probe call was answered within {limit}");
        self.emit_all(vec![self.about(state, Event::new(EventKind::CircuitOpen, reason))]);
    }

    /// Like [`about`](Self::about), for the number of a state.
    #[cold]
    pub(crate) fn about_number(&self, number: u32, event: Event) -> Event {
        self.about(self.slab.state(number), event)
    }

    /// Adds the endpoint of a state to an event: see [`Snapshot::about`].
    pub(crate) fn about(&self, state: &EndpointState, event: Event) -> Event {
        let snapshot = self.snapshot.load();
        let slot = snapshot.slots.get(state.placement().slot() as usize);
        match slot.filter(|slot| std::ptr::eq(self.slab.state(slot.state), state)) {
            Some(slot) => snapshot.about(slot, event),
            // The endpoint has been removed, and calls to it are still in flight.
            None => event.endpoint(state.endpoint().id()),
        }
    }

    fn breaker_event(&self, state: &EndpointState, change: Change, all_out: bool) -> Event {
        let pinned = all_out || state.placement().is_pinned();
        let was = change.from.state().as_str();
        let event = match (change.from.phase, change.to.phase) {
            (from, Phase::Open { until }) => {
                let wait = until.since(self.clock.now());
                let what = match from {
                    Phase::Closed { .. } if state.placement().cause() == Cause::Hard => "too many failures",
                    Phase::Closed { .. } if state.placement().cause() == Cause::Outlier => {
                        "more failures than the other endpoints"
                    }
                    Phase::Closed { .. } => "too many timeouts or overload answers",
                    _ => "probe call failed",
                };
                let stays =
                    if pinned { "; stays in rotation, because too few others are available" } else { "" };
                let cause = state.last_failure().and_then(|last| last.reason);
                let last = cause.as_ref().map(|cause| format!(" (last: {cause})")).unwrap_or_default();
                let event = Event::new(
                    EventKind::CircuitOpen,
                    format!("{what}{last}; next probe call in {}{stays}", rough(wait)),
                )
                .detail("retry_in_ms", wait.as_millis() as u64)
                .detail("pinned", pinned);
                match cause {
                    Some(cause) => event.detail("last_failure", &*cause),
                    None => event,
                }
            }
            (from, _) => {
                self.accounts.recover(&self.clock);
                let reason = match from {
                    _ if self.strain.is_frozen(self.clock.now()) => "back in rotation".to_owned(),
                    Phase::HalfOpen { successes, failures: 0, .. } => {
                        format!("{} probe calls succeeded; back in rotation", successes + 1)
                    }
                    Phase::HalfOpen { .. } => "enough probe calls succeeded; back in rotation".to_owned(),
                    _ => "back in rotation".to_owned(),
                };
                Event::new(EventKind::CircuitClose, reason)
            }
        };
        event.detail("was", was)
    }

    fn emit_all(&self, events: Vec<Event>) {
        let moved = !events.is_empty();
        for event in events {
            let recovered = event.kind == EventKind::CircuitClose;
            let recovery = recovered.then(|| Event { kind: EventKind::Recovery, ..event.clone() });
            self.events.emit(event);
            if let Some(recovery) = recovery {
                self.events.emit(recovery);
            }
        }
        if moved {
            self.changes.send_modify(|count| *count += 1);
        }
    }
}
