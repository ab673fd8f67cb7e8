//! The endpoints of one rank, and the data that algorithms read.

use std::borrow::Cow;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};

use crate::config::Algorithm;
use crate::engine::availability::Claim;
use crate::engine::control_lock::ControlLock;
use crate::engine::retry_gate::RetryGate;
use crate::engine::snapshot::Slot;
use crate::engine::snapshot::busy_limit::BusyLimit;
use crate::engine::snapshot::load_split::Share;
use crate::engine::snapshot::load_weights::LoadWeights;
use crate::engine::snapshot::maglev::MaglevTable;
use crate::engine::snapshot::partition::Partition;
use crate::engine::snapshot::schedule::Schedule;
use crate::engine::snapshot::weighted_draw::WeightedDraw;
use crate::engine::state::slab::Slab;
use crate::runtime::clock::Time;

/// Source tier, priority, and the strategy's step within them: the distance or the health.
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

/// Endpoints that are candidates together, before those of the next tier.
#[derive(Debug)]
pub(crate) struct Tier {
    pub(crate) rank: Rank,
    pub(crate) members: Partition,
    /// The states of endpoints that their source reports as unhealthy: a last resort.
    pub(crate) unhealthy: Box<[u32]>,
    /// All states except those that are out on purpose, for panic mode; empty if panic mode is off.
    everyone: Box<[AtomicU32]>,
    /// The index of its first slot.
    first: u32,
    /// The upper bound, out of 100 lots, of the calls that go to this tier or an earlier one.
    upto: AtomicU32,
    /// The percentage of the calls that its endpoints can take.
    limit: AtomicU32,
    panic: AtomicBool,
    busy_limit: BusyLimit,
    /// Kept across snapshots.
    gate: Arc<RetryGate>,
    schedule: OnceLock<Schedule>,
    /// For the algorithms that draw at random; built only if the weights differ.
    draw: OnceLock<WeightedDraw>,
    uneven: bool,
    keyed: OnceLock<MaglevTable>,
    reported: OnceLock<LoadWeights>,
}

impl Tier {
    pub(super) fn new(
        rank: Rank,
        slots: &[Slot],
        first: u32,
        panics: bool,
        matched: Option<&Self>,
        slab: &Slab,
        lock: &ControlLock,
    ) -> Self {
        let gate = matched.map_or_else(|| Arc::new(RetryGate::new()), |matched| Arc::clone(&matched.gate));
        let states = |which: fn(Claim) -> bool| {
            slots.iter().filter(move |slot| which(slot.claim)).map(|slot| slot.state)
        };
        let mut weights = states(Claim::eligible).map(|state| slab.state(state).weight());
        let first_weight = weights.next();
        let uneven = weights.any(|weight| Some(weight) != first_weight);
        let everyone = states(Claim::eligible).chain(states(Claim::is_unhealthy));
        Self {
            rank,
            members: Partition::new(slab, states(Claim::eligible), lock),
            unhealthy: states(Claim::is_unhealthy).collect(),
            everyone: everyone.filter(|_| panics).map(AtomicU32::new).collect(),
            first,
            upto: AtomicU32::new(0),
            limit: AtomicU32::new(100),
            panic: AtomicBool::new(false),
            busy_limit: BusyLimit::after(matched.map(|matched| &matched.busy_limit)),
            gate,
            schedule: OnceLock::new(),
            draw: OnceLock::new(),
            uneven,
            keyed: OnceLock::new(),
            reported: OnceLock::new(),
        }
    }

    /// Builds the data that this algorithm reads, unless it exists, from the slots of the tier, the
    /// names of the sources, and the tier's match in the previous snapshot. Requires the control
    /// lock.
    pub(crate) fn build(
        &self,
        algorithm: Algorithm,
        slots: &[Slot],
        sources: &[Arc<str>],
        matched: Option<&Self>,
        slab: &Slab,
    ) {
        let member = |slot: &Slot| {
            let weight = if slot.claim.eligible() { slab.state(slot.state).weight() } else { 0 };
            (slot.state, weight)
        };
        if self.uneven && draws_at_random(algorithm) {
            self.draw.get_or_init(|| {
                let draw = WeightedDraw::new(slots.iter().map(member).collect());
                for (slot, index) in slots.iter().zip(0..) {
                    draw.put(index, self.holds(slot.state, slab));
                }
                draw
            });
        }
        match algorithm {
            Algorithm::Weighted => {
                self.schedule.get_or_init(|| {
                    let before = matched.and_then(|matched| matched.schedule.get());
                    let schedule = Schedule::new(slots.iter().map(member).collect(), before);
                    for (slot, index) in slots.iter().zip(0..) {
                        schedule.draw.put(index, self.holds(slot.state, slab));
                    }
                    schedule
                });
            }
            Algorithm::IpHash => {
                self.keyed.get_or_init(|| {
                    let before = matched.and_then(|matched| matched.keyed.get());
                    let name = |index: usize| hash_name(slots, sources, index);
                    MaglevTable::new(slots.iter().map(member).collect(), name, before)
                });
            }
            Algorithm::ReportedLoad => {
                self.reported.get_or_init(|| {
                    let reported = LoadWeights::new(slots.iter().map(|slot| slot.state).collect());
                    for (slot, index) in slots.iter().zip(0..) {
                        reported.put(index, self.holds(slot.state, slab));
                    }
                    reported
                });
            }
            _ => {}
        }
    }

    fn holds(&self, state: u32, slab: &Slab) -> bool {
        let available = self.members.available();
        let place = slab.state(state).placement().place();
        available.get(place as usize).is_some_and(|at| at.load(Ordering::Relaxed) == state)
    }

    /// The index of its first slot.
    pub(super) fn first(&self) -> u32 {
        self.first
    }

    #[inline]
    pub(crate) fn schedule(&self) -> Option<&Schedule> {
        self.schedule.get()
    }

    /// The draw by weight of the algorithms that draw at random; `None` if the weights are equal or do
    /// not count, as in panic mode.
    #[inline]
    pub(crate) fn draw(&self) -> Option<&WeightedDraw> {
        self.draw.get().filter(|_| !self.in_panic())
    }

    /// Whether the draw by weight has been built, if the weights differ.
    pub(super) fn has_draw(&self) -> bool {
        !self.uneven || self.draw.get().is_some()
    }

    #[inline]
    pub(crate) fn keyed(&self) -> Option<&MaglevTable> {
        self.keyed.get()
    }

    #[inline]
    pub(crate) fn reported(&self) -> Option<&LoadWeights> {
        self.reported.get()
    }

    /// The states that calls are picked from.
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

    pub(super) fn limit(&self) -> u32 {
        self.limit.load(Ordering::Relaxed)
    }

    /// Requires the control lock.
    pub(super) fn set_limit(&self, percent: u32) {
        self.limit.store(percent, Ordering::Relaxed);
    }

    /// Sets the tier's share. Returns true if it changed. Requires the control lock.
    pub(super) fn set_share(&self, upto: u32, share: Share) -> bool {
        let moved = self.upto.swap(upto, Ordering::Relaxed) != upto;
        // A tier without hosts is never in panic mode.
        let panic = share.panic && !self.everyone.is_empty();
        (self.panic.swap(panic, Ordering::Relaxed) != panic) || moved
    }

    /// The number of endpoints that are not out on purpose.
    pub(crate) fn hosts(&self) -> u32 {
        (self.members.len() + self.unhealthy.len()) as u32
    }

    /// The number of calls in flight up to which no endpoint is busy.
    #[inline]
    pub(crate) fn spare(&self) -> u32 {
        self.busy_limit.spare()
    }

    /// Makes round robin avoid busy endpoints for a minute, because one did not answer in time.
    pub(crate) fn avoid_busy(&self, now: Time) {
        self.busy_limit.be_strict(now);
    }

    /// The number of calls in flight above which round robin passes an endpoint over.
    pub(crate) fn busy_limit(&self, slab: &Slab, now: Time) -> u32 {
        self.busy_limit.of(self.candidates(), slab, now)
    }

    /// Updates the retry gate after an attempt, and returns the share of ambiguous failures.
    pub(crate) fn update_gate(&self, failed: bool, slab: &Slab, now: Time) -> f32 {
        self.gate.update(failed, self.members.len(), now, || self.successes(slab))
    }

    /// The gate for retries after ambiguous failures.
    pub(crate) fn gate(&self) -> &RetryGate {
        &self.gate
    }

    /// Whether a retry after an ambiguous failure may go to this tier.
    pub(crate) fn admits_retries(&self, limit: f32) -> bool {
        self.gate.admits(limit) && !self.members.available().is_empty()
    }

    /// Makes the retry gate count the successes of this tier's members from now on.
    pub(crate) fn rebase_gate(&self, slab: &Slab) {
        self.gate.rebase(self.successes(slab));
    }

    fn successes(&self, slab: &Slab) -> u64 {
        self.members.all().map(|state| slab.state(state).successes()).sum()
    }

    /// Puts a member into rotation, in O(log n).
    pub(crate) fn add_to_rotation(&self, slab: &Slab, state: u32, lock: &ControlLock) {
        self.members.add_to_rotation(slab, state, lock);
        self.update_weights(slab, state, true, lock);
    }

    /// Takes a member out of rotation, in O(log n).
    pub(crate) fn remove_from_rotation(&self, slab: &Slab, state: u32, lock: &ControlLock) {
        self.members.remove_from_rotation(slab, state, lock);
        self.update_weights(slab, state, false, lock);
    }

    fn update_weights(&self, slab: &Slab, number: u32, in_rotation: bool, lock: &ControlLock) {
        let state = slab.state(number);
        state.set_in_rotation(in_rotation, lock);
        let index = || state.placement().slot().wrapping_sub(self.first) as usize;
        if let Some(schedule) = self.schedule.get() {
            schedule.draw.put(index(), in_rotation);
        }
        if let Some(draw) = self.draw.get() {
            draw.put(index(), in_rotation);
        }
        if let Some(reported) = self.reported.get() {
            reported.put(index(), in_rotation);
        }
    }
}

/// Whether the algorithm draws endpoints at random, at least for calls without a key.
fn draws_at_random(algorithm: Algorithm) -> bool {
    match algorithm {
        Algorithm::Random | Algorithm::LeastConnections | Algorithm::PeakEwma | Algorithm::IpHash => true,
        Algorithm::RoundRobin | Algorithm::Weighted | Algorithm::ReportedLoad | Algorithm::First => false,
    }
}

/// Returns the name that places an endpoint in a hash table: its id, or `id@source` if another one
/// of its tier has the same id. It is the same in all processes, whichever entry counts.
fn hash_name<'s>(slots: &'s [Slot], sources: &'s [Arc<str>], index: usize) -> Cow<'s, str> {
    let (id, source) = slots[index].name(sources);
    // Slots of one name are adjacent.
    let same =
        |other: Option<usize>| other.and_then(|at| slots.get(at)).is_some_and(|of| of.name(sources).0 == id);
    if same(index.checked_sub(1)) || same(Some(index + 1)) {
        Cow::Owned(format!("{id}@{source}"))
    } else {
        Cow::Borrowed(id.as_str())
    }
}
