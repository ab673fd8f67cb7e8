//! The events of a new snapshot, one per endpoint up to a limit that a log can take.

use std::collections::BTreeMap;

use crate::engine::control::matches::Matches;
use crate::engine::control::state::MAX_EVENTS_PER_CHANGE;
use crate::engine::snapshot::{Slot, Snapshot};
use crate::engine::state::slab::Slab;
use crate::events::{Event, EventKind};

/// The number of entries beside the one that counts that an event names.
const SHOWN: usize = 5;

/// Collects the events of one change of snapshots.
struct Differences<'a> {
    events: &'a mut Vec<Event>,
    counts: BTreeMap<EventKind, usize>,
}

impl Differences<'_> {
    /// `snapshot` is the one that the slot is part of.
    fn emit(&mut self, kind: EventKind, snapshot: &Snapshot, slot: &Slot, event: impl FnOnce() -> Event) {
        let count = self.counts.entry(kind).or_default();
        *count += 1;
        if *count <= MAX_EVENTS_PER_CHANGE {
            self.events.push(snapshot.about(slot, event()));
        }
    }

    fn sum_up(self) {
        for (kind, count) in self.counts.into_iter().filter(|(_, count)| *count > MAX_EVENTS_PER_CHANGE) {
            let more = count - MAX_EVENTS_PER_CHANGE;
            let event = Event::new(kind, format!("and {more} more in the same change")).detail("more", more);
            self.events.push(event);
        }
    }
}

pub(super) fn emit(old: &Snapshot, new: &Snapshot, matches: &Matches, slab: &Slab, events: &mut Vec<Event>) {
    let mut differences = Differences { events, counts: BTreeMap::new() };
    for (slot, _) in old.slots.iter().zip(&matches.after).filter(|(_, after)| after.is_none()) {
        differences.emit(EventKind::EndpointRemoved, old, slot, || {
            let reason = format!("its source no longer names {}", slot.endpoint.authority());
            let in_flight = slab.state(slot.state).in_flight();
            Event::new(EventKind::EndpointRemoved, reason).detail("in_flight", in_flight)
        });
    }
    for (slot, before) in new.slots.iter().zip(&matches.before) {
        let before = before.map(|index| old.slot(index));
        match before {
            None => differences.emit(EventKind::EndpointAdded, new, slot, || {
                Event::new(EventKind::EndpointAdded, format!("{} is new", slot.endpoint.authority()))
            }),
            Some(before) => of_one(&mut differences, (old, before), (new, slot)),
        }
        of_entries(&mut differences, before.map(|before| (old, before)), (new, slot));
    }
    differences.sum_up();
}

/// A slot and the snapshot that it is part of.
type Of<'a> = (&'a Snapshot, &'a Slot);

fn of_one(differences: &mut Differences<'_>, (old, before): Of<'_>, (new, slot): Of<'_>) {
    if before.state != slot.state {
        differences.emit(EventKind::EndpointAdded, new, slot, || {
            let (from, to) = (before.endpoint.authority(), slot.endpoint.authority());
            let reason = format!("moved from {from} to {to}; its state starts afresh");
            Event::new(EventKind::EndpointAdded, reason)
        });
    } else if !new.is_kept(slot, &before.endpoint, old.source(before))
        && !old.identities(before).any(|(id, source)| new.is_listed(slot, id.as_str(), source))
    {
        differences.emit(EventKind::EndpointAdded, new, slot, || {
            let reason = format!("its source named it {} before; its state stays", before.endpoint.id());
            Event::new(EventKind::EndpointAdded, reason)
        });
    }
    match (before.claim.eligible(), slot.claim.eligible()) {
        (true, false) => differences.emit(EventKind::EndpointDown, new, slot, || {
            Event::new(EventKind::EndpointDown, format!("its source says: {}", slot.claim))
        }),
        (false, true) => differences.emit(EventKind::EndpointUp, new, slot, || {
            Event::new(EventKind::EndpointUp, format!("its source no longer says: {}", before.claim))
        }),
        _ => {}
    }
}

/// Reports the entries of a place that has several, and a change of them.
fn of_entries(differences: &mut Differences<'_>, before: Option<Of<'_>>, (new, slot): Of<'_>) {
    let several = |slot: &Slot| !slot.others.is_empty();
    let same = before.map_or(!several(slot), |(old, before)| {
        (!several(before) && !several(slot)) || old.identities(before).eq(new.identities(slot))
    });
    if same {
        return;
    }
    differences.emit(EventKind::PlaceShared, new, slot, || {
        let (id, source) = (slot.endpoint.id(), new.source(slot));
        let place = slot.endpoint.authority();
        let count = slot.others.len() + 1;
        let reason = if count == 1 {
            format!("only {id}@{source} names {place} now")
        } else {
            let health = slot.claim.health;
            let mut others: Vec<_> = slot.others.iter().take(SHOWN).map(ToString::to_string).collect();
            if slot.others.len() > SHOWN {
                others.push(format!("and {} more", slot.others.len() - SHOWN));
            }
            format!(
                "{count} entries name {place}: {id}@{source} ({health}) counts, beside {}",
                others.join(", ")
            )
        };
        Event::new(EventKind::PlaceShared, reason).detail("entries", count)
    });
}
