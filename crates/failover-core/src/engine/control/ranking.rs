//! The entries of all sources in the order of tiers, and which of them were there before.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use crate::config::{FailoverConfig, Locality, StrategyKind};
use crate::engine::control::source::Source;
use crate::engine::snapshot::{Rank, Snapshot};
use crate::model::endpoint::{Endpoint, EndpointEntry, EndpointId};
use crate::model::health::Health;

/// An entry with its place in the order of tiers and the weight that counts for it.
pub(super) struct Ranked<'a> {
    pub(super) rank: Rank,
    /// The number of its source.
    pub(super) source: u32,
    pub(super) entry: &'a EndpointEntry,
    pub(super) weight: u32,
    /// Kept although its source does not name it any more.
    pub(super) retained: bool,
}

/// Which slots of two snapshots are of the same endpoint.
pub(super) struct Matches {
    /// For each slot of the new one.
    pub(super) before: Vec<Option<u32>>,
    /// For each slot of the old one.
    pub(super) after: Vec<Option<u32>>,
}

impl Matches {
    /// Both are sorted alike, so that most twins follow on each other; the others are looked up.
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

/// All entries by tier and id, each id once: the source of the lower tier wins.
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
    // One source names each id once; of several that name it, the one of the lower tier wins.
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
    // By health, all that are healthy come before the degraded ones of every priority.
    let by_health = config.strategy() == StrategyKind::HealthBased;
    let first = |ranked: &Ranked<'_>| if by_health { ranked.rank.step } else { 0 };
    let key = |ranked: &Ranked<'a>| (first(ranked), ranked.rank, ranked.entry.endpoint().id());
    // The entries of a source are in order already.
    let one_rank = all.windows(2).all(|two| two[0].rank == two[1].rank);
    if sources.len() > 1 || !one_rank || sources.iter().any(|source| !source.retained.is_empty()) {
        all.sort_by(|a, b| key(a).cmp(&key(b)));
    }
    all
}

/// What the strategy makes of an endpoint among those of its priority: the lower, the earlier its turn.
fn step(config: &FailoverConfig, entry: &EndpointEntry) -> u32 {
    match (config.strategy(), config.locality()) {
        (StrategyKind::HealthBased, _) => u32::from(entry.health() == Health::Degraded),
        (StrategyKind::Geographic, Some(here)) if here.zone_weights().is_empty() => {
            distance(here, entry.endpoint())
        }
        // Each zone that has a weight is a step of its own, and the others together are the last one.
        (StrategyKind::Geographic, Some(here)) => {
            let mut zones = here.zone_weights().keys();
            let place = entry.endpoint().zone().and_then(|zone| zones.position(|named| named == zone));
            place.unwrap_or(here.zone_weights().len()) as u32
        }
        _ => 0,
    }
}

/// 0 in the same zone, 1 in the same region, 2 elsewhere or nobody knows where. Two zones of one name in two regions
/// are two.
fn distance(here: &Locality, endpoint: &Endpoint) -> u32 {
    let Some(zone) = endpoint.zone() else { return 2 };
    match (here.region(), endpoint.region()) {
        (Some(ours), Some(theirs)) if ours != theirs => 2,
        _ if zone == here.zone() => 0,
        (Some(_), Some(_)) => 1,
        _ => 2,
    }
}
