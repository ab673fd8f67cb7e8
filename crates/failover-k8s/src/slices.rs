//! All slices of one service, and their set of endpoints.
//!
//! A pure state machine: timed events go in, sets to publish come out.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use failover_core::provider::{EndpointEntry, EndpointSet};
use failover_core::{EndpointId, Error, Health, Lifecycle, Time};

use crate::convert::{Candidate, Family, Slice};
use crate::settings::AddressFamily;

/// The slices of one service.
#[derive(Debug)]
pub(crate) struct Slices {
    family: AddressFamily,
    settle: Duration,
    /// By name.
    known: BTreeMap<String, Slice>,
    /// The version up to which events are applied, if versions are numbers.
    position: Option<u64>,
    /// Endpoints that are in no slice any more but may be moving to another, with the time at which
    /// they are removed.
    leaving: BTreeMap<EndpointId, Time>,
    /// The last published set.
    published: Option<BTreeMap<EndpointId, Published>>,
    /// Whether the last slice was deleted by an event.
    emptied: bool,
    /// Whether the next set is published even if unchanged.
    again: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Published {
    entry: EndpointEntry,
    managed: bool,
}

impl Slices {
    pub(crate) fn new(family: AddressFamily, settle: Duration) -> Self {
        Self {
            family,
            settle,
            known: BTreeMap::new(),
            position: None,
            leaving: BTreeMap::new(),
            published: None,
            emptied: false,
            again: false,
        }
    }

    /// Replaces all slices by a list.
    pub(crate) fn listed(&mut self, slices: Vec<Slice>, version: &str) {
        self.emptied &= slices.is_empty();
        self.position = version.parse().ok();
        self.known = slices.into_iter().map(|slice| (slice.name.clone(), slice)).collect();
    }

    /// Adds or replaces a slice.
    pub(crate) fn changed(&mut self, slice: Slice) {
        if self.is_old(slice.version) {
            return;
        }
        self.emptied = false;
        self.known.insert(slice.name.clone(), slice);
    }

    /// Removes a slice.
    pub(crate) fn deleted(&mut self, name: &str, uid: &str, version: Option<u64>) {
        if self.is_old(version) {
            return;
        }
        // A newer slice of the same name is another object.
        if self.known.get(name).is_some_and(|slice| uid.is_empty() || slice.uid == uid) {
            self.known.remove(name);
            self.emptied = self.known.is_empty();
        }
    }

    /// Returns whether an event is older than the known state, as a repeated or late event is.
    fn is_old(&mut self, version: Option<u64>) -> bool {
        match (version, self.position) {
            (Some(version), Some(position)) if version <= position => true,
            (Some(version), Some(_)) => {
                self.position = Some(version);
                false
            }
            _ => false,
        }
    }

    /// Makes the next set be published even if unchanged, so that listeners learn after an error
    /// that it is current.
    pub(crate) fn republish(&mut self) {
        self.again = true;
    }

    /// Returns when to publish next without further events.
    pub(crate) fn due(&self) -> Option<Time> {
        self.leaving.values().min().copied()
    }

    /// Returns the current set if it differs from the last one.
    pub(crate) fn next_set(&mut self, now: Time) -> Option<EndpointSet> {
        let mut rejected = Vec::new();
        let mut union = union(self.known.values(), self.family, &mut rejected);
        self.keep_leaving(&mut union, now);
        if !self.again && self.published.as_ref() == Some(&union) {
            return None;
        }
        self.again = false;
        let mut set = EndpointSet::new(union.values().map(|one| one.entry.clone()));
        if union.is_empty() && rejected.is_empty() {
            set = match (self.known.is_empty(), self.emptied) {
                // Slices without endpoints, or events that deleted each slice, prove that there are
                // none.
                (false, _) | (true, true) => set.confirmed(),
                (true, false) => EndpointSet::unknown_service(),
            };
        }
        self.published = Some(union);
        for (what, error) in rejected {
            set.reject(what, error);
        }
        Some(set)
    }

    /// Keeps endpoints of others that are in no slice for a moment: they may be moving to another
    /// slice.
    fn keep_leaving(&mut self, union: &mut BTreeMap<EndpointId, Published>, now: Time) {
        let mut leaving = BTreeMap::new();
        let mut kept = Vec::new();
        for (id, one) in self.published.iter().flatten() {
            if one.managed || union.contains_key(id) {
                continue;
            }
            let until = self.leaving.get(id).copied().unwrap_or(now + self.settle);
            if until > now {
                leaving.insert(id.clone(), until);
                kept.push((id.clone(), one.clone()));
            }
        }
        self.leaving = leaving;
        if kept.is_empty() {
            return;
        }
        // The address of a leaving endpoint may already belong to another.
        let places: HashSet<Place> = union.values().map(|one| place(&one.entry)).collect();
        union.extend(kept.into_iter().filter(|(_, one)| !places.contains(&place(&one.entry))));
    }
}

/// Address, port, and whether the transport is UDP.
type Place = (String, u16, bool);

fn place(entry: &EndpointEntry) -> Place {
    let endpoint = entry.endpoint();
    (endpoint.address().to_owned(), endpoint.port(), endpoint.protocol() == "udp")
}

/// Returns the endpoints of all slices without duplicates, and the unreadable parts.
fn union<'s>(
    slices: impl Iterator<Item = &'s Slice>,
    family: AddressFamily,
    rejected: &mut Vec<(String, Error)>,
) -> BTreeMap<EndpointId, Published> {
    let mut best: HashMap<Place, (&Candidate, Option<u64>)> = HashMap::new();
    for slice in slices {
        rejected.extend(slice.rejected.iter().cloned());
        for candidate in &slice.candidates {
            let newer = |(known, version): &(&Candidate, Option<u64>)| {
                // As in kube-proxy, a running endpoint takes precedence over a terminating one,
                // then the newer slice.
                (candidate.rank, candidate.managed, slice.version) > (known.rank, known.managed, *version)
            };
            let place = place(&candidate.entry);
            if best.get(&place).is_none_or(newer) {
                best.insert(place, (candidate, slice.version));
            }
        }
    }
    let mut chosen: Vec<_> = best.into_values().collect();
    let preferred = match family {
        AddressFamily::PreferIpv4 => Some(Family::V4),
        AddressFamily::PreferIpv6 => Some(Family::V6),
        _ => None,
    };
    if let Some(preferred) = preferred {
        // A pod with an address of the preferred family is used only once.
        let targets: HashSet<Arc<str>> = chosen
            .iter()
            .filter(|(candidate, _)| candidate.family == preferred)
            .filter_map(|(candidate, _)| candidate.target.clone())
            .collect();
        chosen.retain(|(candidate, _)| {
            candidate.family == preferred
                || candidate.target.as_ref().is_none_or(|target| !targets.contains(target))
        });
    }
    // If no endpoint is ready, terminating endpoints that still serve are used, as in kube-proxy.
    let is_usable = |entry: &EndpointEntry| {
        entry.health() != Health::Unhealthy && entry.lifecycle() == Lifecycle::InService
    };
    let nothing_ready = !chosen.iter().any(|(candidate, _)| is_usable(&candidate.entry));
    chosen.sort_by_key(|(candidate, version)| (candidate.rank, candidate.managed, *version));
    chosen
        .into_iter()
        .map(|(candidate, _)| {
            let mut entry = candidate.entry.clone();
            if nothing_ready && candidate.is_last_resort {
                entry = entry.with_health(Health::Degraded).with_lifecycle(Lifecycle::InService);
            }
            // The best candidate of an id comes last and replaces the others.
            (entry.endpoint().id().clone(), Published { entry, managed: candidate.managed })
        })
        .collect()
}

#[cfg(test)]
mod tests;
