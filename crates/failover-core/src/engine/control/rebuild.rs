//! A new snapshot from what the sources say now, with the state of every endpoint that stays.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::config::FailoverConfig;
use crate::engine::Engine;
use crate::engine::availability::Claim;
use crate::engine::breaker;
use crate::engine::control::active_source::{self, spread_event};
use crate::engine::control::diff_events;
use crate::engine::control::ranking::{Ranked, Twins, ranked};
use crate::engine::control::state::{Control, TOLD};
use crate::engine::snapshot::{Rank, Slot, Snapshot};
use crate::engine::state::slab::Ledger;
use crate::events::{Event, EventKind};
use crate::model::endpoint::EndpointId;
use crate::runtime::clock::Time;

impl Engine {
    /// The answer is the configuration before it, to be dropped when the lock is free: it may hold the caller's own
    /// strategy.
    #[must_use = "it is dropped when the lock is free"]
    pub(super) fn rebuild(&self, control: &mut Control, events: &mut Vec<Event>) -> Arc<FailoverConfig> {
        let old = self.snapshot.load_full();
        control.ledger.sweep(&self.slab);
        let (snapshot, twins) = self.assemble(control, &old);
        diff_events::tell(&old, &snapshot, &twins, &self.slab, events);
        self.seat(control, &snapshot);
        snapshot.spread();
        if !old.slots.is_empty()
            && !snapshot.slots.is_empty()
            && old.spread_percent() != snapshot.spread_percent()
        {
            events.push(spread_event(&snapshot));
        }
        active_source::tell(control, &snapshot, events);
        self.weigh(&snapshot, self.clock.now());
        tell_strangers(control, &snapshot, events);
        for (slot, twin) in old.slots.iter().zip(&twins.after) {
            if twin.is_none_or(|index| snapshot.slot(index).cell != slot.cell) {
                self.slab.cell(slot.cell).set_seated(false);
                control.ledger.leave(slot.cell);
            }
        }
        self.snapshot.store(Arc::new(snapshot));
        control.ledger.replaced(Arc::downgrade(&old));
        let before = Arc::clone(&old.config);
        drop(old);
        control.ledger.sweep(&self.slab);
        self.changes.send_modify(|count| *count += 1);
        before
    }

    fn assemble(&self, control: &mut Control, old: &Snapshot) -> (Snapshot, Twins) {
        let Control { config, sources, ledger, .. } = control;
        let ranked = ranked(config, sources);
        let mut ranks: Vec<Rank> = ranked.iter().map(|ranked| ranked.rank).collect();
        ranks.dedup();
        let twins = Twins::new(old, &ranked);
        let mut slots = Vec::with_capacity(ranked.len());
        let weighted: HashSet<_> =
            ranked.iter().filter(|ranked| ranked.weight > 0).map(|ranked| ranked.rank.place()).collect();
        for (of_tier, tier) in ranked.chunk_by(|a, b| a.rank == b.rank).zip(0..) {
            let weighted = weighted.contains(&of_tier[0].rank.place());
            for ranked in of_tier {
                let before = twins.before[slots.len()].map(|index| old.slot(index));
                slots.push(self.slot(ranked, tier, weighted, before, ledger));
            }
        }
        self.seed(&slots, &twins, old);
        (Snapshot::new(Arc::clone(config), slots, &ranks, Some(old), &self.slab), twins)
    }

    /// Gives each new endpoint the median of what is known of the others: with nothing known of it, it would look the
    /// best until its first answer.
    fn seed(&self, slots: &[Slot], twins: &Twins, old: &Snapshot) {
        let now = self.clock.now();
        let is_new =
            |(slot, twin): &(&Slot, &Option<u32>)| twin.map(|index| old.slot(index).cell) != Some(slot.cell);
        let new: Vec<_> = slots.iter().zip(&twins.before).filter(is_new).map(|(slot, _)| slot.cell).collect();
        if new.is_empty() {
            return;
        }
        let average = |slot: &Slot| self.slab.cell(slot.cell).average().at(now);
        // A thousand of them, from everywhere, tell it as well as all.
        let some = slots.iter().step_by(slots.len().div_ceil(1000));
        let mut known: Vec<f32> = some.map(average).filter(|nanos| *nanos > 0.0).collect();
        if known.is_empty() {
            return;
        }
        let middle = known.len() / 2;
        let (_, median, _) = known.select_nth_unstable_by(middle, f32::total_cmp);
        for cell in new {
            self.slab.cell(cell).average().seed(*median, now);
        }
    }

    fn slot(
        &self,
        ranked: &Ranked<'_>,
        tier: u32,
        weighted: bool,
        before: Option<&Slot>,
        ledger: &mut Ledger<Snapshot>,
    ) -> Slot {
        let entry = ranked.entry;
        let endpoint = Arc::clone(entry.endpoint());
        let same_place = before.filter(|slot| {
            slot.endpoint.address() == endpoint.address() && slot.endpoint.port() == endpoint.port()
        });
        let cell = same_place.map_or_else(|| ledger.take(&self.slab), |slot| slot.cell);
        self.slab.cell(cell).set(&endpoint, ranked.weight.max(1));
        self.slab.cell(cell).cold.source.store(ranked.source, Ordering::Relaxed);
        let claim = Claim {
            health: entry.health(),
            lifecycle: entry.lifecycle(),
            weightless: weighted && ranked.weight == 0,
            lame: ranked.lame,
        };
        Slot { endpoint, claim, cell, tier }
    }

    /// Gives every endpoint of a new snapshot its place: in, out, or held by the floor.
    fn seat(&self, control: &mut Control, snapshot: &Snapshot) {
        let held_before = std::mem::take(&mut control.held);
        for cell in &held_before {
            self.slab.cell(*cell).cold.held.store(false, Ordering::Relaxed);
        }
        let mut outside = Vec::new();
        let rules = &snapshot.policy.breaker;
        control.closed = vec![false; snapshot.slots.len()];
        let mut closed = 0;
        for (slot, index) in snapshot.slots.iter().zip(0..).filter(|(slot, _)| slot.claim.eligible()) {
            let gate = self.slab.cell(slot.cell).gate();
            if !rules.enabled {
                gate.apply(breaker::Event::Reset, self.clock.now(), rules, 0.0);
            }
            if gate.ticket_if_closed().is_some() && !self.slab.cell(slot.cell).is_probed_down() {
                control.closed[index as usize] = true;
                closed += 1;
                snapshot.tier_of(slot).put_in(&self.slab, slot.cell);
            } else {
                outside.push(index);
            }
        }
        snapshot.set_closed(closed);
        let next = if outside.is_empty() { Time::NEVER } else { self.clock.now() };
        // Those that were held before come first; then the first tier.
        outside.sort_by_key(|index| !held_before.contains(&snapshot.slot(*index).cell));
        for index in outside {
            self.balance_floor(control, snapshot, index);
        }
        let now = self.clock.now();
        for index in 0..snapshot.slots.len() as u32 {
            self.mark(control, snapshot, index, now);
        }
        self.probe_at.store(next.as_nanos(), Ordering::Relaxed);
    }
}

/// Tells of weights for endpoints that nobody has named: once, until it is another set of them.
fn tell_strangers(control: &mut Control, snapshot: &Snapshot, events: &mut Vec<Event>) {
    let weights = snapshot.config.load_balancer().weights();
    if snapshot.slots.is_empty() || (weights.is_empty() && control.strangers.is_empty()) {
        return;
    }
    let strangers: Vec<_> =
        weights.keys().filter(|id| snapshot.find(id.as_str()).is_none()).take(TOLD).cloned().collect();
    if control.strangers != strangers && !strangers.is_empty() {
        let ids: Vec<_> = strangers.iter().map(EndpointId::as_str).collect();
        let reason = format!("load_balancer.weights names endpoints that do not exist: {}", ids.join(", "));
        events.push(Event::new(EventKind::LoadBalance, reason).detail("unknown", ids.len()));
    }
    control.strangers = strangers;
}
