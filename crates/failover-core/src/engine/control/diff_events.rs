//! The events of a new snapshot, one per endpoint up to a limit that a log can take.

use std::collections::BTreeMap;

use crate::engine::control::ranking::Matches;
use crate::engine::control::state::MAX_EVENTS_PER_CHANGE;
use crate::engine::snapshot::{Slot, Snapshot};
use crate::engine::state::slab::Slab;
use crate::events::{Event, EventKind};

/// Collects the events of one change of snapshots.
struct Differences<'a> {
    events: &'a mut Vec<Event>,
    counts: BTreeMap<EventKind, usize>,
}

impl Differences<'_> {
    fn emit(&mut self, kind: EventKind, slot: &Slot, event: impl FnOnce() -> Event) {
        let count = self.counts.entry(kind).or_default();
        *count += 1;
        if *count <= MAX_EVENTS_PER_CHANGE {
            self.events.push(event().endpoint(slot.endpoint.id()));
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
        differences.emit(EventKind::EndpointRemoved, slot, || {
            let reason = format!("its source no longer names {}", slot.endpoint.authority());
            let in_flight = slab.state(slot.state).in_flight();
            Event::new(EventKind::EndpointRemoved, reason).detail("in_flight", in_flight)
        });
    }
    for (slot, before) in new.slots.iter().zip(&matches.before) {
        match before.map(|index| old.slot(index)) {
            None => differences.emit(EventKind::EndpointAdded, slot, || {
                Event::new(EventKind::EndpointAdded, format!("{} is new", slot.endpoint.authority()))
            }),
            Some(before) => of_one(&mut differences, before, slot),
        }
    }
    differences.sum_up();
}

fn of_one(differences: &mut Differences<'_>, before: &Slot, slot: &Slot) {
    if before.state != slot.state {
        differences.emit(EventKind::EndpointAdded, slot, || {
            let (from, to) = (before.endpoint.authority(), slot.endpoint.authority());
            let reason = format!("moved from {from} to {to}; its state starts afresh");
            Event::new(EventKind::EndpointAdded, reason)
        });
    }
    match (before.claim.eligible(), slot.claim.eligible()) {
        (true, false) => differences.emit(EventKind::EndpointDown, slot, || {
            Event::new(EventKind::EndpointDown, format!("its source says: {}", slot.claim))
        }),
        (false, true) => differences.emit(EventKind::EndpointUp, slot, || {
            Event::new(EventKind::EndpointUp, format!("its source no longer says: {}", before.claim))
        }),
        _ => {}
    }
}
