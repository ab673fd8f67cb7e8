//! A new snapshot from what the sources say now, with the state of every endpoint that stays.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::{Control, Engine, Source, differences, serving, spread_event};
use crate::availability::Claim;
use crate::breaker;
use crate::cell::slab::Ledger;
use crate::clock::Time;
use crate::config::FailoverConfig;
use crate::endpoint::{EndpointEntry, EndpointId};
use crate::events::Event;
use crate::snapshot::{Slot, Snapshot};

/// An entry with its place in the order of tiers and the weight that counts for it.
struct Ranked<'a> {
    rank: (u32, u32),
    /// The number of its source.
    source: u32,
    entry: &'a EndpointEntry,
    weight: u32,
    /// Kept although its source does not name it any more.
    lame: bool,
}

impl Engine {
    pub(super) fn rebuild(&self, control: &mut Control, events: &mut Vec<Event>) {
        let old = self.snapshot.load_full();
        control.ledger.sweep(&self.slab);
        let snapshot = self.assemble(control, &old);
        differences::tell(&old, &snapshot, &self.slab, events);
        self.seat(control, &snapshot);
        snapshot.spread();
        if !old.slots.is_empty()
            && !snapshot.slots.is_empty()
            && old.spread_percent() != snapshot.spread_percent()
        {
            events.push(spread_event(&snapshot));
        }
        serving::tell(control, &snapshot, events);
        for slot in old.slots.iter().filter(|slot| !stays(slot, &snapshot)) {
            control.ledger.leave(slot.cell);
        }
        self.snapshot.store(Arc::new(snapshot));
        control.ledger.replaced(Arc::downgrade(&old));
        drop(old);
        control.ledger.sweep(&self.slab);
        self.changes.send_modify(|count| *count += 1);
    }

    fn assemble(&self, control: &mut Control, old: &Snapshot) -> Snapshot {
        let Control { config, sources, ledger, .. } = control;
        let ranked = ranked(config, sources);
        let mut ranks: Vec<(u32, u32)> = ranked.iter().map(|ranked| ranked.rank).collect();
        ranks.dedup();
        let mut slots = Vec::with_capacity(ranked.len());
        for (of_tier, tier) in ranked.chunk_by(|a, b| a.rank == b.rank).zip(0..) {
            let weighted = of_tier.iter().any(|ranked| ranked.weight > 0);
            for ranked in of_tier {
                slots.push(self.slot(ranked, tier, weighted, old, ledger));
            }
        }
        Snapshot::new(Arc::clone(config), slots, &ranks, &self.slab)
    }

    fn slot(
        &self,
        ranked: &Ranked<'_>,
        tier: u32,
        weighted: bool,
        old: &Snapshot,
        ledger: &mut Ledger<Snapshot>,
    ) -> Slot {
        let entry = ranked.entry;
        let endpoint = Arc::clone(entry.endpoint());
        let before = old.by_id.get(endpoint.id()).map(|index| old.slot(*index));
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
                snapshot.tier_of(slot).members.put_in(&self.slab, slot.cell);
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
        for index in 0..snapshot.slots.len() as u32 {
            self.mark(control, snapshot, index);
        }
        self.probe_at.store(next.as_nanos(), Ordering::Relaxed);
    }
}

/// All entries by tier and id, each id once: the source of the lower tier wins.
fn ranked<'a>(config: &FailoverConfig, sources: &'a [Source]) -> Vec<Ranked<'a>> {
    let overrides = config.load_balancer().weights();
    let mut by_id: HashMap<&EndpointId, Ranked<'_>> = HashMap::new();
    for (source, number) in sources.iter().zip(0..) {
        let lame = source.lame.iter().map(|entry| (entry, true));
        for (entry, lame) in source.entries.iter().map(|entry| (entry, false)).chain(lame) {
            let endpoint = entry.endpoint();
            let weight = overrides.get(endpoint.id()).copied().unwrap_or(endpoint.weight());
            let rank = (source.tier, endpoint.priority());
            let ranked = Ranked { rank, source: number, entry, weight, lame };
            let kept = by_id.entry(endpoint.id()).or_insert(Ranked { entry, ..ranked });
            if ranked.rank.0 < kept.rank.0 {
                *kept = ranked;
            }
        }
    }
    let mut all: Vec<_> = by_id.into_values().collect();
    all.sort_by(|a, b| (a.rank, a.entry.endpoint().id()).cmp(&(b.rank, b.entry.endpoint().id())));
    all
}

fn stays(slot: &Slot, snapshot: &Snapshot) -> bool {
    let now = snapshot.by_id.get(slot.endpoint.id()).map(|index| snapshot.slot(*index));
    now.is_some_and(|now| now.cell == slot.cell)
}
