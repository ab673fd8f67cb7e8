//! Tells the holders of endpoints and the observers of the list what a new snapshot changes for them.

use std::sync::Arc;

use crate::engine::control::matches::Matches;
use crate::engine::snapshot::{Slot, Snapshot};
use crate::model::endpoint::Endpoint;
use crate::model::endpoint::departure::Owner;
use crate::model::health::Lifecycle;

/// Returns an entry's endpoint as one of this service, with the departure of its stay: that of the slot
/// before, if the entry names the same place.
pub(super) fn attached(endpoint: &Arc<Endpoint>, owner: &Arc<Owner>, before: Option<&Slot>) -> Arc<Endpoint> {
    let Some(before) = before.map(|slot| &slot.endpoint) else {
        return endpoint.attached_to(owner, None);
    };
    // An equal endpoint keeps its value, which may be a copy with a departure of its own.
    if Arc::ptr_eq(before, endpoint) || before == endpoint {
        return Arc::clone(before);
    }
    endpoint.attached_to(owner, before.departure())
}

/// Whether the list of endpoints, as the handle returns it, is another one.
pub(super) fn differs(old: &Snapshot, new: &Snapshot, matches: &Matches) -> bool {
    let same = |(slot, before): (&Slot, &Option<u32>)| {
        before.map(|index| old.slot(index)).is_some_and(|before| {
            Arc::ptr_eq(&before.endpoint, &slot.endpoint)
                && before.claim.health == slot.claim.health
                && before.claim.lifecycle == slot.claim.lifecycle
        })
    };
    old.slots.len() != new.slots.len() || !new.slots.iter().zip(&matches.before).all(same)
}

/// Completes the departures of endpoints that the new snapshot no longer has at their place, or that
/// are drained in it.
pub(super) fn announce(old: &Snapshot, new: &Snapshot, matches: &Matches) {
    let depart = |slot: &Slot, departed| {
        if let Some(departure) = slot.endpoint.departure() {
            departure.set(departed);
        }
    };
    for (slot, after) in old.slots.iter().zip(&matches.after) {
        if after.is_none_or(|index| new.slot(index).state != slot.state) {
            depart(slot, true);
        }
    }
    let is_drained = |slot: &Slot| slot.claim.lifecycle != Lifecycle::InService;
    for (slot, before) in new.slots.iter().zip(&matches.before) {
        let before = before.map(|index| old.slot(index)).filter(|before| before.state == slot.state);
        if is_drained(slot) != before.is_some_and(is_drained) {
            depart(slot, is_drained(slot));
        }
    }
}
