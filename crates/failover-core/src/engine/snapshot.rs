//! An immutable snapshot of a service's endpoints, with everything that a pick needs precomputed.
//!
//! Only rotation changes within a snapshot. It is a partition of a fixed array ([`partition`]),
//! changed in O(1) under the service's control lock and read by picks without a lock. With weights,
//! a Fenwick tree ([`fenwick`]) is updated beside it in O(log n).

pub(crate) mod busy_limit;
pub(crate) mod fenwick;
pub(crate) mod listing;
pub(crate) mod load_split;
pub(crate) mod load_weights;
pub(crate) mod maglev;
pub(crate) mod partition;
pub(crate) mod schedule;
pub(crate) mod session_table;
pub(crate) mod tier;
pub(crate) mod weighted_draw;
pub(crate) mod zone_capacity;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::config::{Algorithm, FailoverConfig, StrategyKind};
use crate::engine::availability::Claim;
use crate::engine::control_lock::ControlLock;
use crate::engine::policy::Policy;
use crate::engine::state::slab::Slab;
use crate::model::endpoint::{Endpoint, EndpointId};
use crate::runtime::clock::Time;
use load_split::{HostCounts, Zone, shares};
use session_table::SessionTable;
use zone_capacity::{Distance, limits};

pub(crate) use listing::{Listing, Others};
pub(crate) use tier::{Rank, Tier};

#[derive(Debug)]
pub(crate) struct Snapshot {
    pub(crate) config: Arc<FailoverConfig>,
    pub(crate) policy: Policy,
    /// The names of all sources of the service.
    sources: Arc<[Arc<str>]>,
    /// By tier, then by [name](Slot::name). No two have the same place.
    pub(crate) slots: Box<[Slot]>,
    /// The ids of slots with several entries, sorted, each with its slot.
    aliases: Box<[(EndpointId, u32)]>,
    pub(crate) tiers: Box<[Tier]>,
    /// Whether the entries come from more than one source.
    several_sources: bool,
    /// How many eligible endpoints have a closed breaker.
    closed: AtomicU32,
    /// Whether there is one tier and no other feature that a pick must consult.
    plain: bool,
    /// The session table, if sessions are sticky.
    sticky: Option<Arc<SessionTable>>,
    /// The number of endpoints whose sources do not exclude them.
    pub(crate) eligible: u32,
    /// The number of changes of the endpoints, or of their sources' claims, so far.
    pub(crate) version: u64,
}

/// One place of a snapshot, which is one candidate however many entries name it.
#[derive(Debug)]
pub(crate) struct Slot {
    /// The endpoint of the entry that counts.
    pub(crate) endpoint: Arc<Endpoint>,
    /// The other entries that name the place.
    pub(crate) others: Others,
    /// The number of the source of the entry that counts.
    pub(crate) source: u32,
    pub(crate) claim: Claim,
    /// The number of the endpoint's state, which counts its calls.
    pub(crate) state: u32,
    /// The index of its tier.
    pub(crate) tier: u32,
}

impl Snapshot {
    /// Builds a snapshot of these slots, which are sorted by tier and name; `ranks` holds the rank of
    /// each tier, and `sources` the name of each source. Parts that are equal to those of the previous snapshot are reused.
    pub(crate) fn new(
        config: Arc<FailoverConfig>,
        slots: Vec<Slot>,
        ranks: &[Rank],
        sources: Arc<[Arc<str>]>,
        before: Option<&Self>,
        slab: &Slab,
        lock: &ControlLock,
    ) -> Self {
        for (slot, index) in slots.iter().zip(0..) {
            let state = slab.state(slot.state);
            state.placement().set_slot(index, lock);
            if !slot.claim.eligible() {
                state.set_in_rotation(false, lock);
            }
        }
        let policy = Policy::from(&*config);
        let mut first = 0;
        let tiers: Box<[Tier]> = slots
            .chunk_by(|a, b| a.tier == b.tier)
            .map(|of_tier| {
                let rank = ranks[of_tier[0].tier as usize];
                let matched = before.and_then(|before| before.tiers.iter().find(|tier| tier.rank == rank));
                let panics = policy.panic_threshold > 0;
                let tier = Tier::new(rank, of_tier, first, panics, matched, slab, lock);
                tier.build(policy.algorithm, of_tier, &sources, matched, slab);
                first += of_tier.len() as u32;
                tier
            })
            .collect();
        let eligible = tiers.iter().map(|tier| tier.members.len() as u32).sum();
        let balancer = config.load_balancer();
        let (sessions, ttl) = (balancer.sticky_sessions(), balancer.sticky_ttl());
        let sticky = balancer.sticky().then(|| {
            let kept = before.and_then(|before| before.sticky.clone());
            kept.filter(|sticky| sticky.is_of(sessions, ttl))
                .unwrap_or_else(|| Arc::new(SessionTable::new(sessions, ttl)))
        });
        let closed = AtomicU32::new(0);
        let plain = tiers.len() == 1
            && sticky.is_none()
            && !policy.custom
            && !policy.slow_start.is_on()
            && policy.max_in_flight == u32::MAX
            && policy.algorithm != Algorithm::First;
        let aliases = Self::aliases(&slots);
        let several_sources = sources.len() > 1
            && slots.first().is_some_and(|first| {
                let first = &sources[first.source as usize];
                slots.iter().flat_map(|slot| slot.identities(&sources)).any(|(_, source)| source != first)
            });
        let slots = slots.into();
        Self {
            config,
            policy,
            sources,
            slots,
            aliases,
            tiers,
            several_sources,
            closed,
            plain,
            sticky,
            eligible,
            version: before.map_or(0, |before| before.version),
        }
    }

    /// Whether a pick needs only the endpoints of one tier, as long as the one picked has a closed
    /// breaker.
    #[inline]
    pub(crate) fn is_plain(&self) -> bool {
        self.plain
    }

    /// The session table, if sessions are sticky.
    #[inline]
    pub(crate) fn sessions(&self) -> Option<&SessionTable> {
        self.sticky.as_deref()
    }

    /// Builds the data of an algorithm other than the service's own. Requires the control lock.
    pub(crate) fn build(&self, algorithm: Algorithm, slab: &Slab) {
        for (of_tier, tier) in self.slots.chunk_by(|a, b| a.tier == b.tier).zip(&self.tiers) {
            tier.build(algorithm, of_tier, &self.sources, None, slab);
        }
    }

    /// Whether the data that this algorithm reads has been built.
    #[inline]
    pub(crate) fn has(&self, algorithm: Algorithm) -> bool {
        self.tiers.iter().all(|tier| match algorithm {
            Algorithm::Weighted => tier.schedule().is_some(),
            Algorithm::IpHash => tier.keyed().is_some() && tier.has_draw(),
            Algorithm::ReportedLoad => tier.reported().is_some(),
            Algorithm::RoundRobin | Algorithm::First => true,
            Algorithm::Random | Algorithm::LeastConnections | Algorithm::PeakEwma => tier.has_draw(),
        })
    }

    pub(crate) fn slot(&self, index: u32) -> &Slot {
        &self.slots[index as usize]
    }

    pub(crate) fn tier_of(&self, slot: &Slot) -> &Tier {
        &self.tiers[slot.tier as usize]
    }

    /// The number of eligible endpoints with a closed breaker. At 0, only pinned endpoints are
    /// available.
    #[inline]
    pub(crate) fn closed(&self) -> u32 {
        self.closed.load(Ordering::Relaxed)
    }

    /// The number of endpoints in rotation.
    pub(crate) fn available(&self) -> usize {
        self.tiers.iter().map(|tier| tier.members.available().len()).sum()
    }

    /// Whether no endpoint is in use, so that calls go to all of them in turn.
    #[inline]
    pub(crate) fn is_all_out(&self) -> bool {
        self.closed() == 0 && !self.policy.fail_fast
    }

    /// Requires the control lock.
    pub(crate) fn set_closed(&self, closed: u32) {
        self.closed.store(closed, Ordering::Relaxed);
    }

    /// Returns the tier for `lot`, a number from 0 to 99.
    #[inline]
    pub(crate) fn tier_for(&self, lot: u32) -> usize {
        self.tiers.iter().position(|tier| lot < tier.upto()).unwrap_or(0)
    }

    /// Recomputes the load split across the tiers. Requires the control lock. Returns true if the
    /// split changed.
    pub(crate) fn recompute_shares(&self) -> bool {
        if self.tiers.len() < 2 && self.policy.panic_threshold == 0 {
            return false;
        }
        let by_health = self.config.strategy() == StrategyKind::HealthBased;
        let of_priority = |of: &Tier| {
            let same = |tier: &&Tier| {
                let whole = by_health || self.zone_weight(tier).is_some();
                if whole { tier.rank.place() == of.rank.place() } else { tier.rank == of.rank }
            };
            self.tiers.iter().filter(same).fold((0, 0), |(available, hosts), tier| {
                (available + tier.members.available().len() as u32, hosts + tier.hosts())
            })
        };
        let heads: Vec<_> = self
            .tiers
            .iter()
            .map(|tier| HostCounts {
                available: tier.members.available().len() as u32,
                hosts: tier.hosts(),
                of_priority: of_priority(tier),
                limit: tier.limit(),
                zone: self.zone_weight(tier).map(|weight| Zone { weight, place: tier.rank.place() }),
            })
            .collect();
        let mut upto = 0;
        let mut changed = false;
        for (tier, share) in self.tiers.iter().zip(shares(&heads, self.policy.panic_threshold)) {
            upto += share.percent;
            changed |= tier.set_share(upto, share);
        }
        changed
    }

    /// Recomputes how many of the calls each zone can take, if the nearest one comes first. Endpoints
    /// that report their load count with what they can do in relation to the mean. Requires the control
    /// lock.
    pub(crate) fn recompute_limits(&self, slab: &Slab, now: Time) {
        let here = self.config.locality().filter(|here| here.zone_weights().is_empty());
        if self.config.strategy() != StrategyKind::Geographic || here.is_none() || self.tiers.len() < 2 {
            return;
        }
        let reported = |slot: &Slot| slab.state(slot.state).load().usable(now);
        let known: Vec<f32> = self.slots.iter().filter_map(reported).collect();
        let mean = known.iter().sum::<f32>() / known.len() as f32;
        let capacity = |slot: &Slot| reported(slot).map_or(1.0, |weight| f64::from(weight / mean));
        let distances: Vec<_> = self
            .slots
            .chunk_by(|a, b| a.tier == b.tier)
            .zip(&self.tiers)
            .map(|(slots, tier)| {
                let hosts = || slots.iter().filter(|slot| slot.claim.eligible() || slot.claim.is_unhealthy());
                Distance {
                    place: tier.rank.place(),
                    step: tier.rank.step,
                    capacity: hosts().map(capacity).sum(),
                    zones: hosts().map(|slot| (slot.endpoint.region(), slot.endpoint.zone())).collect(),
                }
            })
            .collect();
        for (tier, limit) in self.tiers.iter().zip(limits(&distances)) {
            tier.set_limit(limit);
        }
    }

    /// The weight of the tier's zone, if calls are distributed across zones by weight.
    fn zone_weight(&self, tier: &Tier) -> Option<u32> {
        let here = self.config.locality().filter(|_| self.config.strategy() == StrategyKind::Geographic)?;
        let weights = here.zone_weights();
        let by_weight = !weights.is_empty();
        by_weight.then(|| weights.values().nth(tier.rank.step as usize).copied().unwrap_or(0))
    }

    /// Whether availability is ignored in some tier, because too few endpoints are available in all
    /// tiers.
    pub(crate) fn panics(&self) -> bool {
        self.tiers.iter().any(Tier::in_panic)
    }

    /// The percentage of calls that each tier gets.
    pub(crate) fn share_percent(&self) -> Vec<u32> {
        if self.tiers.len() == 1 {
            return vec![100];
        }
        let mut before = 0;
        self.tiers
            .iter()
            .map(|tier| {
                let upto = tier.upto();
                let share = upto.saturating_sub(before);
                before = upto;
                share
            })
            .collect()
    }
}
