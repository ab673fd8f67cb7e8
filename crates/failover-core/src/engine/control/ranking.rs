//! Orders the entries of all sources into tiers, and matches them with the previous snapshot.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use crate::config::{FailoverConfig, Locality, StrategyKind};
use crate::engine::control::source::Source;
use crate::engine::snapshot::{Rank, Snapshot};
use crate::model::endpoint::{Endpoint, EndpointEntry, EndpointId};
use crate::model::health::Health;

/// An entry with its rank and its effective weight.
pub(super) struct Ranked<'a> {
    pub(super) rank: Rank,
    /// The number of its source.
    pub(super) source: u32,
    pub(super) entry: &'a EndpointEntry,
    pub(super) weight: u32,
    /// Retained although its source no longer names it.
    pub(super) retained: bool,
}

/// Maps slots of two snapshots that belong to the same endpoint.
pub(super) struct Matches {
    /// For each slot of the new snapshot, the slot in the old one.
    pub(super) before: Vec<Option<u32>>,
    /// For each slot of the old snapshot, the slot in the new one.
    pub(super) after: Vec<Option<u32>>,
}

impl Matches {
    /// Both snapshots are sorted alike, so most matches follow one another; the others are looked
    /// up.
    pub(super) fn new(old: &Snapshot, ranked: &[Ranked<'_>]) -> Self {
        let mut after = vec![None; old.slots.len()];
        let mut next = 0;
        let matched = |(ranked, index): (&Ranked<'_>, u32)| {
            let id = ranked.entry.endpoint().id();
            let follows = old.slots.get(next as usize).is_some_and(|slot| slot.endpoint.id() == id);
            let found = if follows { Some(next) } else { old.find(id.as_str()) };
            if let Some(found) = found {
                after[found as usize] = Some(index);
                next = found + 1;
            }
            found
        };
        let before = ranked.iter().zip(0..).map(matched).collect();
        Self { before, after }
    }
}

/// Returns all entries by tier and id, each id once: the source of the lower tier wins.
pub(super) fn ranked<'a>(config: &FailoverConfig, sources: &'a [Source]) -> Vec<Ranked<'a>> {
    let overrides = config.load_balancer().weights();
    let mut all = Vec::with_capacity(sources.iter().map(|source| source.entries.len()).sum());
    for (source, number) in sources.iter().zip(0..) {
        let retained = source.retained.iter().map(|entry| (entry, true));
        for (entry, retained) in source.entries.iter().map(|entry| (entry, false)).chain(retained) {
            let endpoint = entry.endpoint();
            let weight = overrides.get(endpoint.id()).copied().unwrap_or(endpoint.weight());
            let rank = Rank { source: source.tier, priority: endpoint.priority(), step: step(config, entry) };
            all.push(Ranked { rank, source: number, entry, weight, retained });
        }
    }
    // A source names each id once. If several sources name an id, the one of the lower tier wins.
    if sources.len() > 1 {
        let mut by_id: HashMap<&EndpointId, Ranked<'_>> = HashMap::with_capacity(all.len());
        for ranked in all {
            match by_id.entry(ranked.entry.endpoint().id()) {
                Entry::Vacant(place) => drop(place.insert(ranked)),
                Entry::Occupied(kept) if kept.get().rank.source <= ranked.rank.source => {}
                Entry::Occupied(mut kept) => drop(kept.insert(ranked)),
            }
        }
        all = by_id.into_values().collect();
    }
    // With the health-based strategy, healthy endpoints of all priorities precede degraded ones.
    let by_health = config.strategy() == StrategyKind::HealthBased;
    let first = |ranked: &Ranked<'_>| if by_health { ranked.rank.step } else { 0 };
    let key = |ranked: &Ranked<'a>| (first(ranked), ranked.rank, ranked.entry.endpoint().id());
    // The entries of a source are already sorted.
    let one_rank = all.windows(2).all(|two| two[0].rank == two[1].rank);
    if sources.len() > 1 || !one_rank || sources.iter().any(|source| !source.retained.is_empty()) {
        all.sort_by(|a, b| key(a).cmp(&key(b)));
    }
    all
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
