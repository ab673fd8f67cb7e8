//! One immutable view of a service's endpoints, with all that a pick needs worked out beforehand.
//!
//! Only membership moves inside it: which endpoints of a tier are given calls. That is a partition of a fixed
//! array ([`partition`]), changed in O(1) under the service's control lock and read by picks without one.

pub(crate) mod partition;
pub(crate) mod tiers;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::availability::Claim;
use crate::cell::slab::Slab;
use crate::config::FailoverConfig;
use crate::endpoint::{Endpoint, EndpointId};
use crate::policy::Policy;
use partition::Partition;
use tiers::{Headcount, shares};

#[derive(Debug)]
pub(crate) struct Snapshot {
    pub(crate) config: Arc<FailoverConfig>,
    pub(crate) policy: Policy,
    /// By tier, then by id.
    pub(crate) slots: Box<[Slot]>,
    pub(crate) by_id: HashMap<EndpointId, u32>,
    pub(crate) tiers: Box<[Tier]>,
    /// How many eligible endpoints have a closed breaker.
    closed: AtomicU32,
    /// How many endpoints their source leaves to the engine.
    pub(crate) eligible: u32,
}

/// One endpoint of a snapshot.
#[derive(Debug)]
pub(crate) struct Slot {
    pub(crate) endpoint: Arc<Endpoint>,
    pub(crate) claim: Claim,
    /// Where its calls are counted.
    pub(crate) cell: u32,
    /// Where it stands among the tiers.
    pub(crate) tier: u32,
}

/// Endpoints that are tried before those of the next tier.
#[derive(Debug)]
pub(crate) struct Tier {
    /// Source tier and priority.
    pub(crate) rank: (u32, u32),
    pub(crate) members: Partition,
    /// Cells of endpoints that their source calls unhealthy: used when nothing else is left.
    pub(crate) unhealthy: Box<[u32]>,
    /// Up to which of 100 lots calls go to this tier or one before it.
    upto: AtomicU32,
}

impl Snapshot {
    /// A snapshot of these slots, which are sorted by tier; `ranks` says what each tier is.
    pub(crate) fn new(
        config: Arc<FailoverConfig>,
        slots: Vec<Slot>,
        ranks: &[(u32, u32)],
        slab: &Slab,
    ) -> Self {
        let by_id = slots.iter().zip(0..).map(|(slot, index)| (slot.endpoint.id().clone(), index)).collect();
        for (slot, index) in slots.iter().zip(0..) {
            slab.cell(slot.cell).cold.slot.store(index, Ordering::Relaxed);
        }
        let tiers = slots
            .chunk_by(|a, b| a.tier == b.tier)
            .map(|of_tier| {
                let cells = |which: fn(Claim) -> bool| {
                    of_tier.iter().filter(move |slot| which(slot.claim)).map(|slot| slot.cell)
                };
                Tier {
                    rank: ranks[of_tier[0].tier as usize],
                    members: Partition::new(slab, cells(Claim::eligible)),
                    unhealthy: cells(Claim::is_unhealthy).collect(),
                    upto: AtomicU32::new(0),
                }
            })
            .collect::<Box<[Tier]>>();
        let eligible = tiers.iter().map(|tier| tier.members.len() as u32).sum();
        let policy = Policy::from(&*config);
        Self { config, policy, slots: slots.into(), by_id, tiers, closed: AtomicU32::new(0), eligible }
    }

    pub(crate) fn slot(&self, index: u32) -> &Slot {
        &self.slots[index as usize]
    }

    pub(crate) fn tier_of(&self, slot: &Slot) -> &Tier {
        &self.tiers[slot.tier as usize]
    }

    /// How many eligible endpoints have a closed breaker. None: nothing is available but what the floor holds.
    #[inline]
    pub(crate) fn closed(&self) -> u32 {
        self.closed.load(Ordering::Relaxed)
    }

    /// Under the control lock only.
    pub(crate) fn set_closed(&self, closed: u32) {
        self.closed.store(closed, Ordering::Relaxed);
    }

    /// The tier that lot number `lot` (0 to 99) falls to.
    #[inline]
    pub(crate) fn tier_for(&self, lot: u32) -> usize {
        self.tiers.iter().position(|tier| lot < tier.upto.load(Ordering::Relaxed)).unwrap_or(0)
    }

    /// Works out anew how calls spread over the tiers. Under the control lock only; true when it changed.
    pub(crate) fn spread(&self) -> bool {
        if self.tiers.len() < 2 {
            return false;
        }
        let heads: Vec<_> = self
            .tiers
            .iter()
            .map(|tier| Headcount {
                available: tier.members.available().len() as u32,
                total: (tier.members.len() + tier.unhealthy.len()) as u32,
            })
            .collect();
        let mut upto = 0;
        let mut changed = false;
        for (tier, share) in self.tiers.iter().zip(shares(&heads)) {
            upto += share;
            changed |= tier.upto.swap(upto, Ordering::Relaxed) != upto;
        }
        changed
    }

    /// The percentage of calls that each tier gets.
    pub(crate) fn spread_percent(&self) -> Vec<u32> {
        if self.tiers.len() == 1 {
            return vec![100];
        }
        let mut before = 0;
        self.tiers
            .iter()
            .map(|tier| {
                let upto = tier.upto.load(Ordering::Relaxed);
                let share = upto.saturating_sub(before);
                before = upto;
                share
            })
            .collect()
    }
}
