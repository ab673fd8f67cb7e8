//! All slices of one service, and their set of endpoints.
//!
//! A pure state machine: timed events go in, sets to publish come out.

use std::collections::hash_map::RandomState;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::hash::BuildHasher;
use std::sync::Arc;
use std::time::Duration;

use failover_core::provider::{EndpointEntry, EndpointSet};
use failover_core::{Error, Health, Lifecycle, Time};

use crate::convert::{self, Candidate, Family, Slice};
use crate::pods::{PodLabels, labelled};
use crate::settings::{AddressFamily, Reading, UsedPort};

/// The slices of one service.
#[derive(Debug)]
pub(crate) struct Slices {
    family: AddressFamily,
    settle: Duration,
    /// By name.
    known: BTreeMap<String, Known>,
    /// The labels of pods, if they are read.
    labels: Option<Arc<PodLabels>>,
    /// Random, because the text that is hashed comes from outside.
    hasher: RandomState,
    /// The version up to which events are applied, if versions are numbers.
    position: Option<u64>,
    /// Endpoints that are in no slice any more but may be moving to another, by key, with the time
    /// at which they are removed.
    leaving: BTreeMap<u64, Time>,
    /// The last published set.
    published: Option<Vec<Published>>,
    /// What was unreadable in it.
    rejected: Vec<(String, Error)>,
    /// Whether the last slice was deleted by an event.
    emptied: bool,
    /// Whether the next set is published even if unchanged.
    again: bool,
}

/// A slice and the keys of its candidates.
#[derive(Debug)]
struct Known {
    slice: Slice,
    /// The slice without the labels of pods, if these are read.
    plain: Option<Slice>,
    keys: Vec<Keys>,
}

/// Hashes of what identifies a candidate, computed once, because each change compares all of them.
#[derive(Clone, Copy, Debug)]
struct Keys {
    id: u64,
    place: u64,
    target: Option<u64>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Published {
    entry: EndpointEntry,
    managed: bool,
    id: u64,
    place: u64,
}

impl Slices {
    pub(crate) fn new(family: AddressFamily, settle: Duration) -> Self {
        Self {
            family,
            settle,
            known: BTreeMap::new(),
            labels: None,
            hasher: RandomState::new(),
            position: None,
            leaving: BTreeMap::new(),
            published: None,
            rejected: Vec::new(),
            emptied: false,
            again: false,
        }
    }

    /// Replaces all slices by a list.
    pub(crate) fn listed(&mut self, slices: Vec<Slice>, version: &str) {
        self.emptied &= slices.is_empty();
        self.position = version.parse().ok();
        let before = std::mem::take(&mut self.known);
        for slice in slices {
            self.put(slice, &before);
        }
    }

    /// Adds or replaces a slice.
    pub(crate) fn changed(&mut self, slice: Slice) {
        if self.is_old(slice.version) {
            return;
        }
        self.emptied = false;
        let before: BTreeMap<_, _> = self.known.remove_entry(&slice.name).into_iter().collect();
        self.put(slice, &before);
    }

    /// Gives the endpoints of pods the labels of these.
    pub(crate) fn label(&mut self, labels: Arc<PodLabels>) {
        self.labels = Some(labels);
        let before = std::mem::take(&mut self.known);
        for (name, known) in &before {
            // The unlabelled slice is kept beside the labelled one.
            let slice = known.plain.clone().unwrap_or_else(|| known.slice.clone());
            debug_assert_eq!(*name, slice.name);
            self.put(slice, &before);
        }
    }

    fn put(&mut self, mut slice: Slice, before: &BTreeMap<String, Known>) {
        let plain = self.labels.is_some().then(|| slice.clone());
        for candidate in &mut slice.candidates {
            let labels = self.labels.as_ref().zip(candidate.target.as_ref());
            let Some(labels) = labels.and_then(|(labels, target)| labels.get(target)) else { continue };
            candidate.entry = labelled(&candidate.entry, labels);
            candidate.fallback = candidate.fallback.as_ref().map(|entry| labelled(entry, labels));
        }
        if let Some(before) = before.get(&slice.name) {
            // What did not change stays the same object, which is compared without a look at it.
            for (now, before) in slice.candidates.iter_mut().zip(&before.slice.candidates) {
                if now.entry == before.entry {
                    now.entry = before.entry.clone();
                }
                if now.fallback == before.fallback {
                    now.fallback.clone_from(&before.fallback);
                }
            }
        }
        slice.candidates.sort_by(|a, b| a.entry.endpoint().id().cmp(b.entry.endpoint().id()));
        let keys = slice.candidates.iter().map(|candidate| self.keys(candidate)).collect();
        self.known.insert(slice.name.clone(), Known { slice, plain, keys });
    }

    fn keys(&self, candidate: &Candidate) -> Keys {
        let endpoint = candidate.entry.endpoint();
        let place = (endpoint.address(), endpoint.port(), endpoint.protocol() == "udp");
        Keys {
            id: self.hasher.hash_one(endpoint.id()),
            place: self.hasher.hash_one(place),
            target: candidate.target.as_ref().map(|target| self.hasher.hash_one(target)),
        }
    }

    /// Removes a slice.
    ///
    /// The uid names the object, which cannot return: the version does not matter, and that of a
    /// deletion may be older than the deletion. Without a uid, an event older than what is known is
    /// ignored.
    pub(crate) fn deleted(&mut self, name: &str, uid: &str, version: Option<u64>) {
        let is_old = self.is_old(version);
        // A newer slice of the same name is another object.
        let is_meant = |known: &Known| if uid.is_empty() { !is_old } else { known.slice.uid == uid };
        if self.known.get(name).is_some_and(is_meant) {
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

    /// Returns whether the port to use is unknown for some slice.
    pub(crate) fn is_undecided(&self) -> bool {
        self.known.values().any(|known| known.slice.undecided.is_some())
    }

    /// Reads slices again whose port was unknown, with the port that the others use. Returns the
    /// port in use.
    pub(crate) fn decide(&mut self, reading: &Reading) -> Option<UsedPort> {
        let used = self.port_in_use(reading.used.as_ref());
        if !self.is_undecided() {
            return used;
        }
        let reading = Reading { used, ..reading.clone() };
        let undecided: Vec<_> =
            self.known.values().filter_map(|known| known.slice.undecided.as_deref().cloned()).collect();
        for object in undecided {
            if let Ok(slice) = convert::read(&object, &reading)
                && slice.undecided.is_none()
            {
                let before: BTreeMap<_, _> = self.known.remove_entry(&slice.name).into_iter().collect();
                self.put(slice, &before);
            }
        }
        self.port_in_use(reading.used.as_ref())
    }

    /// Returns the port that the slices use: the one in use until now if a slice has it, else that of
    /// the newest slice.
    fn port_in_use(&self, before: Option<&UsedPort>) -> Option<UsedPort> {
        let all = || {
            self.known.values().filter_map(|known| Some((known.slice.version, known.slice.used.as_ref()?)))
        };
        if let Some(before) = before.filter(|before| all().any(|(_, used)| used == *before)) {
            return Some(before.clone());
        }
        all().max_by_key(|(version, _)| *version).map(|(_, used)| used.clone()).or_else(|| before.cloned())
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
        let mut union = self.union();
        self.keep_leaving(&mut union, now);
        let rejected: Vec<_> =
            self.known.values().flat_map(|known| known.slice.rejected.iter().cloned()).collect();
        let same = self.published.as_ref() == Some(&union) && are_same(&self.rejected, &rejected);
        if !self.again && same {
            return None;
        }
        self.again = false;
        let mut set = EndpointSet::new(union.iter().map(|one| one.entry.clone()));
        if union.is_empty() && rejected.is_empty() {
            set = match (self.known.is_empty(), self.emptied) {
                // Slices without endpoints, or events that deleted each slice, prove that there are
                // none.
                (false, _) | (true, true) => set.confirmed(),
                (true, false) => EndpointSet::unknown_service(),
            };
        }
        for (what, error) in &rejected {
            set.reject(what.as_str(), error.clone());
        }
        (self.published, self.rejected) = (Some(union), rejected);
        Some(set)
    }

    /// Keeps endpoints of others that are in no slice for a moment: they may be moving to another
    /// slice.
    fn keep_leaving(&mut self, union: &mut Vec<Published>, now: Time) {
        let before = self.published.as_deref().unwrap_or_default();
        if before == union.as_slice() {
            self.leaving.clear();
            return;
        }
        let ids: HashSet<u64> = union.iter().map(|one| one.id).collect();
        let mut leaving = BTreeMap::new();
        let mut kept = Vec::new();
        for one in before.iter().filter(|one| !one.managed && !ids.contains(&one.id)) {
            let until = self.leaving.get(&one.id).copied().unwrap_or(now + self.settle);
            if until > now {
                leaving.insert(one.id, until);
                kept.push(one.clone());
            }
        }
        self.leaving = leaving;
        if kept.is_empty() {
            return;
        }
        // The address of a leaving endpoint may already belong to another.
        let places: HashSet<u64> = union.iter().map(|one| one.place).collect();
        union.extend(kept.into_iter().filter(|one| !places.contains(&one.place)));
        sort(union);
    }

    /// Returns the endpoints of all slices, without duplicates.
    fn union(&self) -> Vec<Published> {
        let mut chosen: Vec<(&Candidate, Keys, Option<u64>)> = Vec::new();
        for Known { slice, keys, .. } in self.known.values() {
            chosen.extend(slice.candidates.iter().zip(keys).map(|(one, keys)| (one, *keys, slice.version)));
        }
        // As in kube-proxy, a running endpoint takes precedence over a terminating one, then the
        // newer slice.
        keep_best(&mut chosen, |keys| keys.place);
        self.keep_one_family(&mut chosen);
        keep_best(&mut chosen, |keys| keys.id);
        // If no endpoint is ready, terminating endpoints that still serve are used, as in kube-proxy.
        let is_usable = |entry: &EndpointEntry| {
            entry.health() != Health::Unhealthy && entry.lifecycle() == Lifecycle::InService
        };
        let nothing_ready = !chosen.iter().any(|(candidate, ..)| is_usable(&candidate.entry));
        let hint = hint_to_follow(&chosen.iter().map(|(one, ..)| *one).filter(|one| is_usable(&one.entry)));
        let publish = |(candidate, keys, _): (&Candidate, Keys, Option<u64>)| {
            let is_elsewhere = hint.is_some_and(|hint| hint(candidate) == Some(false));
            let fallback = candidate.fallback.as_ref().filter(|_| is_elsewhere);
            let mut entry = fallback.unwrap_or(&candidate.entry).clone();
            if nothing_ready && candidate.is_last_resort {
                entry = entry.with_health(Health::Degraded).with_lifecycle(Lifecycle::InService);
            }
            Published { entry, managed: candidate.managed, id: keys.id, place: keys.place }
        };
        let mut union: Vec<_> = chosen.into_iter().map(publish).collect();
        sort(&mut union);
        union
    }

    /// Keeps one address family of each pod: the better one, and of equals the preferred one. A pod
    /// that is ready by IPv6 alone is ready.
    fn keep_one_family(&self, chosen: &mut Vec<(&Candidate, Keys, Option<u64>)>) {
        let preferred = match self.family {
            AddressFamily::PreferIpv4 => Family::V4,
            AddressFamily::PreferIpv6 => Family::V6,
            _ => return,
        };
        if chosen.iter().all(|(candidate, ..)| candidate.family == preferred) {
            return;
        }
        let mut best: HashMap<u64, (u8, bool, Family)> = HashMap::new();
        for (candidate, keys, _) in chosen.iter() {
            let Some(target) = keys.target else { continue };
            let now = (candidate.rank, candidate.family == preferred, candidate.family);
            let known = best.entry(target).or_insert(now);
            if (now.0, now.1) > (known.0, known.1) {
                *known = now;
            }
        }
        chosen.retain(|(candidate, keys, _)| {
            let best = keys.target.and_then(|target| best.get(&target));
            best.is_none_or(|(.., family)| *family == candidate.family)
        });
    }
}

type Hint = fn(&Candidate) -> Option<bool>;

/// Returns the hint that is followed: as in kube-proxy, one that every ready endpoint has and that
/// names this node or zone for one of them.
fn hint_to_follow<'a>(ready: &(impl Iterator<Item = &'a Candidate> + Clone)) -> Option<Hint> {
    let hints: [Hint; 2] = [|one| one.for_node, |one| one.for_zone];
    let is_followed = |hint: &Hint| {
        let mut all = ready.clone().map(hint);
        all.clone().all(|meant| meant.is_some()) && all.any(|meant| meant == Some(true))
    };
    hints.into_iter().find(is_followed)
}

/// Keeps the best candidate of each key: by rank, then one written by this crate, then the newest.
fn keep_best(chosen: &mut Vec<(&Candidate, Keys, Option<u64>)>, key: impl Fn(&Keys) -> u64) {
    let mut best: HashMap<u64, usize> = HashMap::with_capacity(chosen.len());
    let value = |(candidate, _, version): &(&Candidate, Keys, Option<u64>)| {
        (candidate.rank, candidate.managed, *version)
    };
    for (index, one) in chosen.iter().enumerate() {
        let known = best.entry(key(&one.1)).or_insert(index);
        if value(one) > value(&chosen[*known]) {
            *known = index;
        }
    }
    if best.len() == chosen.len() {
        return;
    }
    let mut index = 0;
    chosen.retain(|one| {
        index += 1;
        best.get(&key(&one.1)) == Some(&(index - 1))
    });
}

/// Sorts by id. The endpoints of each slice are sorted, so that few comparisons are needed.
fn sort(union: &mut [Published]) {
    union.sort_by(|a, b| a.entry.endpoint().id().cmp(b.entry.endpoint().id()));
}

fn are_same(before: &[(String, Error)], now: &[(String, Error)]) -> bool {
    let mut pairs = before.iter().zip(now);
    before.len() == now.len() && pairs.all(|(a, b)| a.0 == b.0 && a.1.to_string() == b.1.to_string())
}

#[cfg(test)]
mod tests;
