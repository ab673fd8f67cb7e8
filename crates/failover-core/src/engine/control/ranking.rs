//! Merges the entries of all sources by place, and orders the places into tiers.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap, HashSet, hash_map};
use std::sync::Arc;

use crate::config::{FailoverConfig, Locality, StrategyKind};
use crate::engine::control::source::{Sighted, Source};
use crate::engine::snapshot::{Listing, Others, Rank, Slot, Snapshot};
use crate::model::endpoint::place::PlaceKey;
use crate::model::endpoint::{Endpoint, EndpointEntry, EndpointId};
use crate::model::health::{Health, Lifecycle};

/// A place with its rank and its effective weight.
pub(super) struct Ranked<'a> {
    pub(super) rank: Rank,
    /// The number of the source of the entry that counts.
    pub(super) source: u32,
    /// The entry that counts.
    pub(super) entry: &'a EndpointEntry,
    /// The strictest of all entries of the place, because an operator set it.
    pub(super) lifecycle: Lifecycle,
    pub(super) weight: u32,
    /// Retained although its source no longer names it.
    pub(super) retained: bool,
    /// The other entries of the place, by id and source.
    pub(super) others: Vec<Entry<'a>>,
}

/// An entry of a source.
#[derive(Clone, Copy)]
pub(super) struct Entry<'a> {
    pub(super) source: u32,
    pub(super) name: &'a Arc<str>,
    tier: u32,
    pub(super) sighted: &'a Sighted,
    retained: bool,
}

impl<'a> Entry<'a> {
    /// Id and source.
    pub(super) fn identity(&self) -> (&'a EndpointId, &'a Arc<str>) {
        (self.sighted.id(), self.name)
    }

    /// Whether its source leaves the decision to the engine, except for a lifecycle.
    fn is_usable(&self) -> bool {
        !self.retained && self.sighted.entry.health() != Health::Unhealthy
    }

    /// Of the entries of one place, the lowest counts: a named one before a retained one, then the
    /// healthiest, then the one first seen last. The rest makes the order independent of arrival.
    fn precedence(&self) -> impl Ord + use<'a> {
        let health = self.sighted.entry.health().order();
        (self.retained, health, Reverse(self.sighted.first_seen), self.tier, self.identity())
    }

    fn listing(&self) -> Listing {
        let (id, source) = self.identity();
        let entry = &self.sighted.entry;
        Listing {
            id: id.clone(),
            source: Arc::clone(source),
            health: entry.health(),
            lifecycle: entry.lifecycle(),
        }
    }
}

impl Ranked<'_> {
    pub(super) fn listings(&self) -> Others {
        Others::from(self.others.iter().map(Entry::listing).collect::<Vec<_>>())
    }
}

/// Returns all places by tier and name.
pub(super) fn ranked<'a>(config: &FailoverConfig, sources: &'a [Source], old: &Snapshot) -> Vec<Ranked<'a>> {
    let weights = Weights::new(config, sources);
    let (places, shared) = match unshared(sources, old) {
        Some(places) => (places, false),
        None => places(sources),
    };
    let mut all: Vec<_> = places.into_iter().map(|entries| one(config, entries, &weights)).collect();
    // With the health-based strategy, healthy endpoints of all priorities precede degraded ones.
    let by_health = config.strategy() == StrategyKind::HealthBased;
    let first = |ranked: &Ranked<'_>| if by_health { ranked.rank.step } else { 0 };
    let name = |ranked: &Ranked<'a>| {
        let own = (ranked.entry.endpoint().id(), &sources[ranked.source as usize].name);
        ranked.others.first().map_or(own, |other| own.min(other.identity()))
    };
    let key = |ranked: &Ranked<'a>| (first(ranked), ranked.rank, name(ranked));
    // The entries of a source are already sorted.
    let one_rank = all.windows(2).all(|two| two[0].rank == two[1].rank);
    if sources.len() > 1 || shared || !one_rank || sources.iter().any(|source| !source.retained.is_empty()) {
        all.sort_by(|a, b| key(a).cmp(&key(b)));
    }
    all
}

/// The entries of one place.
enum Entries<'a> {
    One(Entry<'a>),
    Several(Vec<Entry<'a>>),
}

/// The largest number of new endpoints whose places are compared one by one.
const FEW: usize = 8;

/// Returns the entries of the only source, if nearly all of them were in the old snapshot and no two
/// are at one place. The places of those that were there differ, as in the old snapshot, so only the
/// others' are compared.
fn unshared<'a>(sources: &'a [Source], old: &Snapshot) -> Option<Vec<Entries<'a>>> {
    let [source] = sources else { return None };
    if !source.retained.is_empty() {
        return None;
    }
    let mut slots = &*old.slots;
    let mut new = Vec::new();
    for (sighted, index) in source.entries.iter().zip(0_usize..) {
        let is_of = |slot: &Slot| Arc::ptr_eq(&slot.endpoint, sighted.entry.endpoint());
        // Both are sorted by id, if there is one tier.
        match slots.iter().take(FEW + 1).position(is_of) {
            Some(at) => slots = &slots[at + 1..],
            None if new.len() == FEW => return None,
            None => new.push((index, sighted.entry.endpoint().place())),
        }
    }
    let is_alone = |(sighted, index): (&Sighted, usize)| {
        let place = sighted.entry.endpoint().place();
        !new.iter().any(|(other, new)| *other != index && *new == place)
    };
    let entry =
        |sighted| Entry { source: 0, name: &source.name, tier: source.tier, sighted, retained: false };
    let all_alone = new.is_empty() || source.entries.iter().zip(0..).all(is_alone);
    all_alone.then(|| source.entries.iter().map(|sighted| Entries::One(entry(sighted))).collect())
}

/// Returns the entries of each place, and whether a place has several.
fn places(sources: &[Source]) -> (Vec<Entries<'_>>, bool) {
    let count = sources.iter().map(|source| source.entries.len() + source.retained.len()).sum();
    let mut places: Vec<Entries<'_>> = Vec::with_capacity(count);
    let mut by_place = HashMap::with_capacity_and_hasher(count, PlaceKey::random());
    let mut shared = false;
    for (source, number) in sources.iter().zip(0..) {
        let named = source.entries.iter().map(|sighted| (sighted, false));
        let retained = source.retained.iter().map(|sighted| (sighted, true));
        for (sighted, retained) in named.chain(retained) {
            let entry = Entry { source: number, name: &source.name, tier: source.tier, sighted, retained };
            match by_place.entry(sighted.entry.endpoint().place()) {
                hash_map::Entry::Vacant(vacant) => {
                    vacant.insert(places.len());
                    places.push(Entries::One(entry));
                }
                hash_map::Entry::Occupied(occupied) => {
                    shared = true;
                    match &mut places[*occupied.get()] {
                        Entries::Several(all) => all.push(entry),
                        one @ Entries::One(_) => {
                            let Entries::One(first) = one else { continue };
                            *one = Entries::Several(vec![*first, entry]);
                        }
                    }
                }
            }
        }
    }
    (places, shared)
}

/// Makes one candidate of the entries of a place.
///
/// The entry that counts gives the endpoint, its health and its weight. The rank is that of the
/// first source tier and priority in which the place could be used, as if each entry were a
/// candidate: a registry that claims no health does not lose a place to one that does.
fn one<'a>(config: &FailoverConfig, entries: Entries<'a>, weights: &Weights<'_>) -> Ranked<'a> {
    let rank = |entry: &Entry<'_>| (entry.tier, entry.sighted.entry.endpoint().priority());
    let (counts, others) = match entries {
        Entries::One(one) => (one, Vec::new()),
        Entries::Several(mut all) => {
            all.sort_by_cached_key(Entry::precedence);
            // A source that names the place again under another id has not removed it.
            if !all[0].retained {
                all.retain(|entry| !entry.retained);
            }
            let counts = all.remove(0);
            all.sort_by_key(Entry::identity);
            (counts, all)
        }
    };
    let entry = &counts.sighted.entry;
    let lifecycle = others.iter().map(|other| other.sighted.entry.lifecycle());
    let usable = others.iter().chain([&counts]).filter(|entry| entry.is_usable());
    let (source, priority) = usable.map(rank).min().unwrap_or_else(|| rank(&counts));
    Ranked {
        rank: Rank { source, priority, step: step(config, entry) },
        source: counts.source,
        entry,
        lifecycle: lifecycle.fold(entry.lifecycle(), Lifecycle::stricter),
        weight: weights.of(&counts, &others),
        retained: counts.retained,
        others,
    }
}

/// The configured weights, by id or by `id@source`.
struct Weights<'a> {
    by_name: &'a BTreeMap<EndpointId, u32>,
    /// The names with an `@` that are ids of entries, and so qualify no other id.
    exact: HashSet<&'a EndpointId>,
}

impl<'a> Weights<'a> {
    fn new(config: &'a FailoverConfig, sources: &'a [Source]) -> Self {
        let by_name = config.load_balancer().weights();
        let mut exact = HashSet::new();
        if by_name.keys().any(|name| name.as_str().contains('@')) {
            let ids = sources.iter().flat_map(|source| &source.entries).map(Sighted::id);
            exact.extend(ids.filter(|id| id.as_str().contains('@')));
        }
        Self { by_name, exact }
    }

    /// Returns the weight of a place: the one configured for the entry that counts, or for another
    /// of its entries, or the endpoint's own.
    fn of(&self, counts: &Entry<'_>, others: &[Entry<'_>]) -> u32 {
        let own = counts.sighted.entry.endpoint().weight();
        if self.by_name.is_empty() {
            return own;
        }
        std::iter::once(counts).chain(others).find_map(|entry| self.configured(entry)).unwrap_or(own)
    }

    fn configured(&self, entry: &Entry<'_>) -> Option<u32> {
        let (id, source) = entry.identity();
        let qualified = || {
            let (name, weight) = self.by_name.get_key_value(format!("{id}@{source}").as_str())?;
            (!self.exact.contains(name)).then_some(*weight)
        };
        qualified().or_else(|| self.by_name.get(id).copied())
    }
}

/// Returns the strategy's step for an endpoint within its priority; lower steps come first.
fn step(config: &FailoverConfig, entry: &EndpointEntry) -> u32 {
    match (config.strategy(), config.locality()) {
        (StrategyKind::HealthBased, _) => u32::from(entry.health() == Health::Degraded),
        (StrategyKind::Geographic, Some(here)) if here.zone_weights().is_empty() => {
            distance(here, entry.endpoint())
        }
        // Each zone with a weight is a step of its own; the other zones together are the last step.
        (StrategyKind::Geographic, Some(here)) => {
            let mut zones = here.zone_weights().keys();
            let place = entry.endpoint().zone().and_then(|zone| zones.position(|named| named == zone));
            place.unwrap_or(here.zone_weights().len()) as u32
        }
        _ => 0,
    }
}

/// Returns 0 for the same zone, 1 for the same region, and 2 otherwise or if the locality is
/// unknown. Zones with the same name in different regions are different zones.
fn distance(here: &Locality, endpoint: &Endpoint) -> u32 {
    let Some(zone) = endpoint.zone() else { return 2 };
    match (here.region(), endpoint.region()) {
        (Some(ours), Some(theirs)) if ours != theirs => 2,
        _ if zone == here.zone() => 0,
        (Some(_), Some(_)) => 1,
        _ => 2,
    }
}
