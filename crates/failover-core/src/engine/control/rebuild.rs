//! A new snapshot from what the sources say now, with the state of every endpoint that stays.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::{Control, Engine, spread_event};
use crate::availability::Claim;
use crate::clock::Time;
use crate::endpoint::{EndpointEntry, EndpointId};
use crate::events::{Event, EventKind};
use crate::slot::{EndpointState, Slot};
use crate::snapshot::Snapshot;

/// An entry with its place in the order of tiers and the weight that counts for it.
struct Ranked<'a> {
    rank: (u32, u32),
    entry: &'a EndpointEntry,
    weight: u32,
}

impl Engine {
    pub(super) fn rebuild(&self, control: &mut Control, events: &mut Vec<Event>) {
        let old = self.snapshot.load_full();
        let snapshot = self.assemble(control, &old);
        tell_differences(&old, &snapshot, events);
        let gone = old.slots.iter().filter(|slot| !stays(slot, &snapshot));
        let lingering: Vec<_> = gone.map(|slot| Arc::downgrade(&slot.state)).collect();
        control.lingering.retain(|state| state.strong_count() > 0);
        control.lingering.extend(lingering);
        self.seat(control, &old, &snapshot);
        snapshot.spread();
        if !old.slots.is_empty() && old.spread_percent() != snapshot.spread_percent() {
            events.push(spread_event(&snapshot));
        }
        self.snapshot.store(Arc::new(snapshot));
        self.changes.send_modify(|count| *count += 1);
    }

    fn assemble(&self, control: &Control, old: &Snapshot) -> Snapshot {
        let ranked = ranked(control);
        let mut ranks: Vec<(u32, u32)> = ranked.iter().map(|ranked| ranked.rank).collect();
        ranks.dedup();
        let slots = ranked
            .chunk_by(|a, b| a.rank == b.rank)
            .zip(0..)
            .flat_map(|(of_tier, tier)| {
                let weighted = of_tier.iter().any(|ranked| ranked.weight > 0);
                of_tier.iter().map(move |ranked| self.slot(ranked, tier, weighted, old))
            })
            .collect();
        Snapshot::new(Arc::clone(&control.config), slots, &ranks)
    }

    fn slot(&self, ranked: &Ranked<'_>, tier: u32, weighted: bool, old: &Snapshot) -> Arc<Slot> {
        let entry = ranked.entry;
        let endpoint = Arc::clone(entry.endpoint());
        let before = old.by_id.get(endpoint.id()).map(|index| old.slot(*index));
        let same_place = before.filter(|slot| {
            slot.endpoint.address() == endpoint.address() && slot.endpoint.port() == endpoint.port()
        });
        let state = match same_place {
            Some(slot) => Arc::clone(&slot.state),
            None => Arc::new(EndpointState::new(Arc::clone(&self.retired))),
        };
        let claim = Claim {
            health: entry.health(),
            lifecycle: entry.lifecycle(),
            weightless: weighted && ranked.weight == 0,
        };
        Arc::new(Slot { endpoint, state, claim, weight: ranked.weight.max(1), tier })
    }

    /// Gives every slot of a new snapshot its place: in, out, or held by the floor.
    fn seat(&self, control: &mut Control, old: &Snapshot, snapshot: &Snapshot) {
        let held_before: Vec<EndpointId> =
            control.held.drain(..).map(|index| old.slot(index).endpoint.id().clone()).collect();
        let mut next = Time::NEVER;
        let mut outside = Vec::new();
        let mut closed_count = 0;
        control.closed = vec![false; snapshot.slots.len()];
        for (slot, index) in snapshot.slots.iter().zip(0..) {
            slot.state.held.store(false, Ordering::Relaxed);
            if !slot.claim.eligible() {
                continue;
            }
            if slot.state.gate.ticket_if_closed().is_some() {
                control.closed[index as usize] = true;
                closed_count += 1;
                snapshot.tiers[slot.tier as usize].members.put_in(index);
            } else {
                next = self.clock.now();
                outside.push(index);
            }
        }
        snapshot.set_closed(closed_count);
        // Those that were held before come first; then the first tier.
        outside.sort_by_key(|index| !held_before.contains(snapshot.slot(*index).endpoint.id()));
        for index in outside {
            self.balance_floor(control, snapshot, Some(index));
        }
        self.probe_at.store(next.as_nanos(), Ordering::Relaxed);
    }
}

/// All entries by tier and id, each id once: the source of the lower tier wins.
fn ranked(control: &Control) -> Vec<Ranked<'_>> {
    let overrides = control.config.load_balancer().weights();
    let mut by_id: HashMap<&EndpointId, Ranked<'_>> = HashMap::new();
    for source in &control.sources {
        for entry in &source.entries {
            let endpoint = entry.endpoint();
            let weight = overrides.get(endpoint.id()).copied().unwrap_or(endpoint.weight());
            let ranked = Ranked { rank: (source.tier, endpoint.priority()), entry, weight };
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
    now.is_some_and(|now| Arc::ptr_eq(&now.state, &slot.state))
}

fn tell_differences(old: &Snapshot, new: &Snapshot, events: &mut Vec<Event>) {
    for slot in &old.slots {
        if !new.by_id.contains_key(slot.endpoint.id()) {
            let reason = format!("{} is no longer named by its source", slot.endpoint.authority());
            let in_flight = slot.state.in_flight();
            events.push(
                Event::new(EventKind::EndpointRemoved, reason)
                    .endpoint(slot.endpoint.id())
                    .detail("in_flight", in_flight),
            );
        }
    }
    for slot in &new.slots {
        let id = slot.endpoint.id();
        let Some(before) = old.by_id.get(id).map(|index| old.slot(*index)) else {
            let reason = format!("{} is new", slot.endpoint.authority());
            events.push(Event::new(EventKind::EndpointAdded, reason).endpoint(id));
            continue;
        };
        if !Arc::ptr_eq(&before.state, &slot.state) {
            let reason = format!(
                "it moved from {} to {}, so nothing is known of it",
                before.endpoint.authority(),
                slot.endpoint.authority()
            );
            events.push(Event::new(EventKind::EndpointAdded, reason).endpoint(id));
        }
        match (before.claim.eligible(), slot.claim.eligible()) {
            (true, false) => {
                let reason = format!("its source says: {}", slot.claim);
                events.push(Event::new(EventKind::EndpointDown, reason).endpoint(id));
            }
            (false, true) => {
                let reason = format!("its source no longer says: {}", before.claim);
                events.push(Event::new(EventKind::EndpointUp, reason).endpoint(id));
            }
            _ => {}
        }
    }
}
