//! Matches the places of a new snapshot with those of the previous one.

use std::collections::HashMap;
use std::sync::Arc;

use crate::engine::control::ranking::{Entry, Ranked};
use crate::engine::snapshot::{Slot, Snapshot};
use crate::model::endpoint::EndpointId;

/// Maps slots of two snapshots that belong to the same endpoint.
pub(super) struct Matches {
    /// For each slot of the new snapshot, the slot in the old one.
    pub(super) before: Vec<Option<u32>>,
    /// For each slot of the old snapshot, the slot in the new one.
    pub(super) after: Vec<Option<u32>>,
}

impl Matches {
    /// A slot continues one at the same place with which it shares an entry. Failing that, it is one
    /// whose entry has moved to another place.
    ///
    /// Both snapshots are sorted alike, so most matches follow one another; the others are looked
    /// up.
    pub(super) fn new(old: &Snapshot, ranked: &[Ranked<'_>], names: &[Arc<str>]) -> Self {
        let mut after = vec![None; old.slots.len()];
        let mut before = vec![None; ranked.len()];
        let mut unmatched = Vec::new();
        let mut next = 0;
        for (ranked, index) in ranked.iter().zip(0..) {
            let own = (ranked.entry.endpoint().id(), &names[ranked.source as usize]);
            let identities = || std::iter::once(own).chain(ranked.others.iter().map(Entry::identity));
            let is_same = |slot: &Slot| {
                old.is_kept(slot, ranked.entry.endpoint(), own.1)
                    || (slot.endpoint.place() == ranked.entry.endpoint().place()
                        && identities().any(|(id, source)| old.is_listed(slot, id.as_str(), source)))
            };
            let follows = old.slots.get(next as usize).is_some_and(is_same);
            let found = if follows {
                Some(next)
            } else {
                let with_id = identities().flat_map(|(id, _)| old.with_id(id.as_str()));
                let mut with_id = with_id.filter(|index| is_same(old.slot(*index)));
                with_id.next()
            };
            match found {
                Some(found) => {
                    after[found as usize] = Some(index);
                    before[index as usize] = Some(found);
                    next = found + 1;
                }
                None => unmatched.push(index),
            }
        }
        let mut matches = Self { before, after };
        matches.match_others(old, ranked, names, &unmatched);
        matches
    }

    /// Matches the slots that share no entry with one at the same place.
    fn match_others(&mut self, old: &Snapshot, ranked: &[Ranked<'_>], names: &[Arc<str>], unmatched: &[u32]) {
        if unmatched.is_empty() {
            return;
        }
        let free = old.slots.iter().zip(0_u32..).filter(|(_, index)| self.after[*index as usize].is_none());
        let by_place: HashMap<_, _> = free.map(|(slot, index)| (slot.endpoint.place(), index)).collect();
        let own = |index: u32| {
            let Ranked { entry, source, .. } = &ranked[index as usize];
            (entry.endpoint(), &names[*source as usize])
        };
        let renamed = |index: u32| {
            let (endpoint, source) = own(index);
            by_place.get(&endpoint.place()).copied().filter(|found| {
                let mut identities = old.identities(old.slot(*found));
                identities.any(|(id, from)| from == source && is_qualified(id, endpoint.id()))
            })
        };
        let moved = |index: u32| {
            let (endpoint, source) = own(index);
            old.with_id(endpoint.id().as_str())
                .find(|found| old.is_listed(old.slot(*found), endpoint.id().as_str(), source))
        };
        let mut take = |index: u32, found: Option<u32>| {
            let found = found.filter(|found| self.after[*found as usize].is_none());
            if let (Some(found), None) = (found, self.before[index as usize]) {
                self.after[found as usize] = Some(index);
                self.before[index as usize] = Some(found);
            }
        };
        for index in unmatched {
            take(*index, renamed(*index));
        }
        for index in unmatched {
            take(*index, moved(*index));
        }
    }
}

/// Whether one of the ids is the other with a qualifier, as in `a` and `a@node`: a registry adds it
/// while it has the id twice.
fn is_qualified(a: &EndpointId, b: &EndpointId) -> bool {
    let bare = |long: &EndpointId, short: &EndpointId| {
        long.as_str().rsplit_once('@').is_some_and(|(bare, _)| bare == short.as_str())
    };
    bare(a, b) || bare(b, a)
}
