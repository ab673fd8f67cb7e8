//! Builds a new snapshot from the sources' current entries, keeping the state of every endpoint
//! that remains.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::config::FailoverConfig;
use crate::engine::Engine;
use crate::engine::availability::Claim;
use crate::engine::breaker;
use crate::engine::control::active_source::{self, shares_event};
use crate::engine::control::departures;
use crate::engine::control::diff_events;
use crate::engine::control::matches::Matches;
use crate::engine::control::ranking::{Ranked, ranked};
use crate::engine::control::state::{Control, MAX_EVENTS_PER_CHANGE};
use crate::engine::control_lock::ControlLock;
use crate::engine::snapshot::listing::Unresolved;
use crate::engine::snapshot::{Rank, Slot, Snapshot};
use crate::engine::state::slab::SlotAllocator;
use crate::events::{Event, EventKind};
use crate::model::endpoint::EndpointId;
use crate::runtime::clock::Time;

impl Engine {
    /// Returns the previous configuration. The caller drops it after releasing the lock, because it
    /// may hold the user's custom strategy.
    #[must_use = "it is dropped when the lock is free"]
    pub(super) fn rebuild(&self, control: &mut Control, events: &mut Vec<Event>) -> Arc<FailoverConfig> {
        let old = self.snapshot.load_full();
        control.allocator.sweep(&self.slab, &control.lock);
        let (mut snapshot, matches) = self.assemble(control, &old);
        let listed_before = snapshot.version;
        snapshot.version += u64::from(departures::differs(&old, &snapshot, &matches));
        let is_new = snapshot.version != listed_before;
        diff_events::emit(&old, &snapshot, &matches, &self.slab, events);
        self.place_endpoints(control, &snapshot);
        snapshot.recompute_limits(&self.slab, self.clock.now());
        snapshot.recompute_shares();
        if !old.slots.is_empty()
            && !snapshot.slots.is_empty()
            && old.share_percent() != snapshot.share_percent()
        {
            events.push(shares_event(&snapshot));
        }
        active_source::emit(control, &snapshot, events);
        self.recompute_weights(&snapshot, self.clock.now());
        emit_unmatched_weights(control, &snapshot, events);
        for (slot, matched) in old.slots.iter().zip(&matches.after) {
            if matched.is_none_or(|index| snapshot.slot(index).state != slot.state) {
                self.slab.state(slot.state).set_in_rotation(false, &control.lock);
                control.allocator.leave(slot.state);
            }
        }
        let outliers = &snapshot.policy.outliers;
        let slow_from = outliers.slow_call.filter(|_| outliers.enabled);
        self.strain.heed_all(slow_from.is_some() || snapshot.policy.failure_rate.is_some());
        let slow_from = slow_from.map_or(u64::MAX, |time| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX));
        self.slow_from.store(slow_from, Ordering::Relaxed);
        let snapshot = Arc::new(snapshot);
        self.snapshot.store(Arc::clone(&snapshot));
        departures::announce(&old, &snapshot, &matches);
        if is_new {
            self.listed.send_replace(());
        }
        control.allocator.replaced(Arc::downgrade(&old));
        let before = Arc::clone(&old.config);
        drop(old);
        control.allocator.sweep(&self.slab, &control.lock);
        self.changes.send_modify(|count| *count += 1);
        before
    }

    fn assemble(&self, control: &mut Control, old: &Snapshot) -> (Snapshot, Matches) {
        let Control { config, sources, allocator, lock, .. } = control;
        let ranked = ranked(config, sources, old);
        let names: Arc<[Arc<str>]> = sources.iter().map(|source| Arc::clone(&source.name)).collect();
        let mut ranks: Vec<Rank> = ranked.iter().map(|ranked| ranked.rank).collect();
        ranks.dedup();
        let matches = Matches::new(old, &ranked, &names);
        let mut slots = Vec::with_capacity(ranked.len());
        let tiers = || ranked.chunk_by(|a, b| a.rank == b.rank);
        let weighted: HashSet<_> = tiers()
            .filter(|of_tier| of_tier.iter().any(|ranked| ranked.weight > 0))
            .map(|of_tier| of_tier[0].rank.place())
            .collect();
        for (of_tier, tier) in tiers().zip(0..) {
            let weighted = weighted.contains(&of_tier[0].rank.place());
            for ranked in of_tier {
                let before = matches.before[slots.len()].map(|index| old.slot(index));
                slots.push(self.slot(ranked, tier, weighted, before, allocator, lock));
            }
        }
        self.seed_latency(&slots, &matches, old);
        let config = Arc::clone(config);
        (Snapshot::new(config, slots, &ranks, names, Some(old), &self.slab, lock), matches)
    }

    /// Seeds the average latency of each new endpoint with the median of the others. Without a
    /// seed, a new endpoint would appear the fastest until its first answer.
    fn seed_latency(&self, slots: &[Slot], matches: &Matches, old: &Snapshot) {
        let now = self.clock.now();
        let is_new = |(slot, matched): &(&Slot, &Option<u32>)| {
            matched.map(|index| old.slot(index).state) != Some(slot.state)
        };
        let new: Vec<_> =
            slots.iter().zip(&matches.before).filter(is_new).map(|(slot, _)| slot.state).collect();
        if new.is_empty() {
            return;
        }
        let ewma = |slot: &Slot| self.slab.state(slot.state).ewma().at(now);
        // A sample of a thousand endpoints, spread over all slots, is precise enough.
        let some = slots.iter().step_by(slots.len().div_ceil(1000));
        let mut known: Vec<f32> = some.map(ewma).filter(|nanos| *nanos > 0.0).collect();
        if known.is_empty() {
            return;
        }
        let middle = known.len() / 2;
        let (_, median, _) = known.select_nth_unstable_by(middle, f32::total_cmp);
        for state in new {
            self.slab.state(state).ewma().seed(*median, now);
        }
    }

    fn slot(
        &self,
        ranked: &Ranked<'_>,
        tier: u32,
        weighted: bool,
        before: Option<&Slot>,
        allocator: &mut SlotAllocator<Snapshot>,
        lock: &ControlLock,
    ) -> Slot {
        let entry = ranked.entry;
        let endpoint = entry.endpoint();
        let same_place = before.filter(|slot| slot.endpoint.place() == endpoint.place());
        let endpoint = departures::attached(endpoint, &self.owner, same_place);
        let number = same_place.map_or_else(|| allocator.take(&self.slab), |slot| slot.state);
        let state = self.slab.state(number);
        // Nearly always, nothing has changed: the state has the endpoint of the slot before.
        let weight = ranked.weight.max(1);
        let is_set = same_place.is_some_and(|slot| Arc::ptr_eq(&slot.endpoint, &endpoint));
        if !is_set || state.weight() != weight {
            state.set(&endpoint, weight, lock);
        }
        // The counters of an endpoint stay with one source as long as that one names it.
        let mut sources = ranked.others.iter().map(|other| other.source);
        if same_place.is_none() || !sources.any(|source| source == state.placement().source()) {
            state.placement().set_source(ranked.source, lock);
        }
        let claim = Claim {
            health: entry.health(),
            lifecycle: ranked.lifecycle,
            weightless: weighted && ranked.weight == 0,
            retained: ranked.retained,
        };
        Slot { endpoint, others: ranked.listings(), source: ranked.source, claim, state: number, tier }
    }

    /// Places every endpoint of a new snapshot: in rotation, out of it, or pinned by the floor.
    fn place_endpoints(&self, control: &mut Control, snapshot: &Snapshot) {
        let pinned_before = std::mem::take(&mut control.pinned);
        for state in &pinned_before {
            self.slab.state(*state).placement().set_pinned(false, &control.lock);
        }
        let mut outside = Vec::new();
        let rules = &snapshot.policy.breaker;
        control.closed = vec![false; snapshot.slots.len()];
        let (mut closed, mut paused) = (0, false);
        for (slot, index) in snapshot.slots.iter().zip(0..).filter(|(slot, _)| slot.claim.eligible()) {
            let breaker = self.slab.state(slot.state).breaker();
            if !rules.enabled {
                breaker.apply(breaker::Input::Close, self.clock.now(), rules, 0.0);
            }
            if breaker.admit_if_closed().is_some()
                && !self.slab.state(slot.state).placement().is_probed_down()
            {
                control.closed[index as usize] = true;
                closed += 1;
                if self.is_paused(slot.state) {
                    paused = true;
                } else {
                    snapshot.tier_of(slot).add_to_rotation(&self.slab, slot.state, &control.lock);
                }
            } else {
                outside.push(index);
            }
        }
        snapshot.set_closed(closed);
        let next = if outside.is_empty() && !paused { Time::NEVER } else { self.clock.now() };
        // Previously pinned endpoints come first, then those of the first tier.
        outside.sort_by_key(|index| !pinned_before.contains(&snapshot.slot(*index).state));
        for index in outside {
            self.balance_floor(control, snapshot, index);
        }
        self.end_pauses_if_alone(control, snapshot);
        snapshot.tiers.iter().for_each(|tier| tier.rebase_gate(&self.slab));
        let now = self.clock.now();
        for index in 0..snapshot.slots.len() as u32 {
            self.record_transition(control, snapshot, index, now);
        }
        self.probe_at.store(next.as_nanos(), Ordering::Relaxed);
    }
}

/// Emits an event if weights are configured for unknown endpoints: once per set of such endpoints.
fn emit_unmatched_weights(control: &mut Control, snapshot: &Snapshot, events: &mut Vec<Event>) {
    let weights = snapshot.config.load_balancer().weights();
    if snapshot.slots.is_empty() || (weights.is_empty() && control.unmatched_weights.is_empty()) {
        return;
    }
    let unmatched_weights: Vec<_> = weights
        .keys()
        .filter(|name| matches!(snapshot.resolve(name.as_str()), Err(Unresolved::Unknown)))
        .take(MAX_EVENTS_PER_CHANGE)
        .cloned()
        .collect();
    if control.unmatched_weights != unmatched_weights && !unmatched_weights.is_empty() {
        let ids: Vec<_> = unmatched_weights.iter().map(EndpointId::as_str).collect();
        let reason = format!("load_balancer.weights names unknown endpoints: {}", ids.join(", "));
        events.push(Event::new(EventKind::LoadBalance, reason).detail("unknown", ids.len()));
    }
    control.unmatched_weights = unmatched_weights;
}
