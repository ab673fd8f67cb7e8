//! Endpoints of one rank, and what algorithms read of them.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use crate::config::Algorithm;
use crate::engine::availability::Claim;
use crate::engine::snapshot::Slot;
use crate::engine::snapshot::load_split::Share;
use crate::engine::snapshot::load_weights::Reported;
use crate::engine::snapshot::maglev::Keyed;
use crate::engine::snapshot::partition::Partition;
use crate::engine::snapshot::schedule::Schedule;
use crate::engine::state::slab::Slab;

/// Source tier, priority, and the step that the strategy makes inside of them: how far away, or how healthy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Rank {
    pub(crate) source: u32,
    pub(crate) priority: u32,
    pub(crate) step: u32,
}

impl Rank {
    /// Source tier and priority.
    pub(crate) fn place(self) -> (u32, u32) {
        (self.source, self.priority)
    }
}

/// Endpoints that are tried before those of the next tier.
#[derive(Debug)]
pub(crate) struct Tier {
    pub(crate) rank: Rank,
    pub(crate) members: Partition,
    /// Cells of endpoints that their source calls unhealthy: used when nothing else is left.
    pub(crate) unhealthy: Box<[u32]>,
    /// All cells but those that are out on purpose, for panic; empty where there is none.
    everyone: Box<[AtomicU32]>,
    /// The index of its first slot.
    first: u32,
    /// Up to which of 100 lots calls go to this tier or one before it.
    upto: AtomicU32,
    panic: AtomicBool,
    schedule: OnceLock<Schedule>,
    keyed: OnceLock<Keyed>,
    reported: OnceLock<Reported>,
}

impl Tier {
    pub(super) fn new(rank: Rank, slots: &[Slot], first: u32, panics: bool, slab: &Slab) -> Self {
        let cells = |which: fn(Claim) -> bool| {
            slots.iter().filter(move |slot| which(slot.claim)).map(|slot| slot.cell)
        };
        let everyone = cells(Claim::eligible).chain(cells(Claim::is_unhealthy));
        Self {
            rank,
            members: Partition::new(slab, cells(Claim::eligible)),
            unhealthy: cells(Claim::is_unhealthy).collect(),
            everyone: everyone.filter(|_| panics).map(AtomicU32::new).collect(),
            first,
            upto: AtomicU32::new(0),
            panic: AtomicBool::new(false),
            schedule: OnceLock::new(),
            keyed: OnceLock::new(),
            reported: OnceLock::new(),
        }
    }

    /// Builds what this algorithm reads, if that is not there yet: from the slots of the tier, after its twin in the
    /// snapshot before. Under the control lock only.
    pub(crate) fn build(&self, algorithm: Algorithm, slots: &[Slot], twin: Option<&Self>, slab: &Slab) {
        let member = |slot: &Slot| {
            let weight = if slot.claim.eligible() { slab.cell(slot.cell).weight() } else { 0 };
            (slot.cell, weight)
        };
        match algorithm {
            Algorithm::Weighted => {
                self.schedule.get_or_init(|| {
                    let before = twin.and_then(|twin| twin.schedule.get());
                    let schedule = Schedule::new(slots.iter().map(member).collect(), before);
                    for (slot, index) in slots.iter().zip(0..) {
                        schedule.put(index, self.holds(slot.cell, slab));
                    }
                    schedule
                });
            }
            Algorithm::IpHash => {
                self.keyed.get_or_init(|| {
                    let before = twin.and_then(|twin| twin.keyed.get());
                    let name = |index: usize| slots[index].endpoint.id().as_str();
                    Keyed::new(slots.iter().map(member).collect(), name, before)
                });
            }
            Algorithm::ReportedLoad => {
                self.reported.get_or_init(|| {
                    let reported = Reported::new(slots.iter().map(|slot| slot.cell).collect());
                    for (slot, index) in slots.iter().zip(0..) {
                        reported.put(index, self.holds(slot.cell, slab));
                    }
                    reported
                });
            }
            _ => {}
        }
    }

    fn holds(&self, cell: u32, slab: &Slab) -> bool {
        let available = self.members.available();
        let place = slab.cell(cell).cold.place.load(Ordering::Relaxed);
        available.get(place as usize).is_some_and(|at| at.load(Ordering::Relaxed) == cell)
    }

    /// The index of its first slot.
    pub(super) fn first(&self) -> u32 {
        self.first
    }

    #[inline]
    pub(crate) fn schedule(&self) -> Option<&Schedule> {
        self.schedule.get()
    }

    #[inline]
    pub(crate) fn keyed(&self) -> Option<&Keyed> {
        self.keyed.get()
    }

    #[inline]
    pub(crate) fn reported(&self) -> Option<&Reported> {
        self.reported.get()
    }

    /// The cells that calls are chosen from.
    #[inline]
    pub(crate) fn candidates(&self) -> &[AtomicU32] {
        if self.in_panic() { &self.everyone } else { self.members.available() }
    }

    #[inline]
    pub(crate) fn in_panic(&self) -> bool {
        self.panic.load(Ordering::Relaxed)
    }

    #[inline]
    pub(super) fn upto(&self) -> u32 {
        self.upto.load(Ordering::Relaxed)
    }

    /// Takes over its share; true when that is another one. Under the control lock only.
    pub(super) fn set_share(&self, upto: u32, share: Share) -> bool {
        let moved = self.upto.swap(upto, Ordering::Relaxed) != upto;
        // Nobody panics for nobody.
        let panic = share.panic && !self.everyone.is_empty();
        (self.panic.swap(panic, Ordering::Relaxed) != panic) || moved
    }

    /// How many endpoints it has that are not out on purpose.
    pub(super) fn hosts(&self) -> u32 {
        (self.members.len() + self.unhealthy.len()) as u32
    }

    /// A member is given calls from now on. Under the control lock only; O(log n).
    pub(crate) fn put_in(&self, slab: &Slab, cell: u32) {
        self.members.put_in(slab, cell);
        self.seat(slab, cell, true);
    }

    /// A member is given no calls from now on. Under the control lock only; O(log n).
    pub(crate) fn take_out(&self, slab: &Slab, cell: u32) {
        self.members.take_out(slab, cell);
        self.seat(slab, cell, false);
    }

    fn seat(&self, slab: &Slab, number: u32, seated: bool) {
        let cell = slab.cell(number);
        cell.set_seated(seated);
        let index = || cell.cold.slot.load(Ordering::Relaxed).wrapping_sub(self.first) as usize;
        if let Some(schedule) = self.schedule.get() {
            schedule.put(index(), seated);
        }
        if let Some(reported) = self.reported.get() {
            reported.put(index(), seated);
        }
    }
}
