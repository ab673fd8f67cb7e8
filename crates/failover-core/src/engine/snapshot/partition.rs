//! The states of a tier, partitioned into those in rotation and those out of it.
//!
//! A sparse set: `order[..available]` are in rotation, the rest are out. Moving an endpoint is a
//! swap and a count, O(1). Writers hold the control lock. Readers take no lock and may, during a
//! move, see one state twice and another not at all, which affects at most one pick, whose
//! endpoint's breaker still decides.

use std::sync::atomic::{AtomicU32, Ordering};

use crate::engine::control_lock::ControlLock;
use crate::engine::state::slab::Slab;

#[derive(Debug)]
pub(crate) struct Partition {
    order: Box<[AtomicU32]>,
    available: AtomicU32,
}

impl Partition {
    /// Creates a partition in which all states are out of rotation. Each state records its place in
    /// the newest partition that it was added to.
    pub(crate) fn new(slab: &Slab, states: impl Iterator<Item = u32>, lock: &ControlLock) -> Self {
        let order: Box<[AtomicU32]> = states.map(AtomicU32::new).collect();
        for (state, place) in order.iter().zip(0..) {
            slab.state(state.load(Ordering::Relaxed)).placement().set_place(place, lock);
        }
        Self { order, available: AtomicU32::new(0) }
    }

    pub(crate) fn len(&self) -> usize {
        self.order.len()
    }

    /// All members.
    pub(crate) fn all(&self) -> impl Iterator<Item = u32> {
        self.order.iter().map(|state| state.load(Ordering::Relaxed))
    }

    /// The member at this index, whether in rotation or not.
    pub(crate) fn at(&self, index: u32) -> u32 {
        self.order[index as usize].load(Ordering::Relaxed)
    }

    /// The states in rotation.
    #[inline]
    pub(crate) fn available(&self) -> &[AtomicU32] {
        &self.order[..self.available.load(Ordering::Acquire) as usize]
    }

    /// The members out of rotation; the one removed last comes first.
    pub(crate) fn out(&self) -> &[AtomicU32] {
        &self.order[self.available.load(Ordering::Acquire) as usize..]
    }

    /// Requires that `state` is a member.
    pub(crate) fn add_to_rotation(&self, slab: &Slab, state: u32, lock: &ControlLock) {
        let available = self.available.load(Ordering::Relaxed);
        let place = slab.state(state).placement().place();
        if place >= available {
            self.swap(slab, place, available, lock);
            self.available.store(available + 1, Ordering::Release);
        }
    }

    /// Requires that `state` is a member.
    pub(crate) fn remove_from_rotation(&self, slab: &Slab, state: u32, lock: &ControlLock) {
        let available = self.available.load(Ordering::Relaxed);
        let place = slab.state(state).placement().place();
        if place < available {
            self.swap(slab, place, available - 1, lock);
            self.available.store(available - 1, Ordering::Release);
        }
    }

    fn swap(&self, slab: &Slab, a: u32, b: u32, lock: &ControlLock) {
        // While a snapshot is built, a state may already be in the right place.
        if a == b {
            return;
        }
        let [state_a, state_b] = [a, b].map(|place| self.order[place as usize].load(Ordering::Relaxed));
        self.order[b as usize].store(state_a, Ordering::Relaxed);
        self.order[a as usize].store(state_b, Ordering::Relaxed);
        slab.state(state_a).placement().set_place(b, lock);
        slab.state(state_b).placement().set_place(a, lock);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    const LOCK: ControlLock = ControlLock::new();
    use crate::engine::state::slab::SlotAllocator;

    fn read(states: &[AtomicU32]) -> Vec<u32> {
        states.iter().map(|state| state.load(Ordering::Relaxed)).collect()
    }

    fn partition(slab: &Slab) -> Partition {
        let mut allocator = SlotAllocator::<()>::new();
        let states: Vec<_> = (0..12).map(|_| allocator.take(slab)).collect();
        Partition::new(slab, states.into_iter().filter(|state| state % 2 == 0), &LOCK)
    }

    #[test]
    fn the_endpoint_removed_last_comes_first() {
        let slab = Slab::new();
        let partition = partition(&slab);
        for state in [0, 2, 4, 6] {
            partition.add_to_rotation(&slab, state, &LOCK);
        }
        partition.remove_from_rotation(&slab, 2, &LOCK);
        partition.remove_from_rotation(&slab, 6, &LOCK);
        assert_eq!(read(partition.out())[0], 6);
        assert_eq!(read(partition.available()).len(), 2);
    }

    proptest! {
        #[test]
        fn it_is_the_set_that_was_put_in(moves in prop::collection::vec((0_u32..6, any::<bool>()), 0..200)) {
            let slab = Slab::new();
            let partition = partition(&slab);
            let mut model = BTreeSet::new();
            for (half, add_to_rotation) in moves {
                let state = half * 2;
                if add_to_rotation {
                    partition.add_to_rotation(&slab, state, &LOCK);
                    model.insert(state);
                } else {
                    partition.remove_from_rotation(&slab, state, &LOCK);
                    model.remove(&state);
                }
                let seen: BTreeSet<u32> = read(partition.available()).into_iter().collect();
                prop_assert_eq!(&seen, &model);
                prop_assert_eq!(partition.available().len(), model.len());
                prop_assert_eq!(partition.out().len(), 6 - model.len());
            }
        }
    }
}
