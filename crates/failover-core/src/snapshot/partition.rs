//! A fixed set of slots, split in two: those that are given calls, and those that are not for the time being.
//!
//! A sparse set: `order[..available]` are in, the rest are out. Moving one is two swaps and a count, O(1). Movers
//! hold the control lock; readers take no lock and may, in the moment of a move, see one slot twice and another not
//! at all, which costs at most one pick that the breaker then decides about.

use std::sync::atomic::{AtomicU32, Ordering};

#[derive(Debug)]
pub(crate) struct Partition {
    order: Box<[AtomicU32]>,
    /// Where each slot of the tier stands in `order`, by its index less `start`; `NOWHERE` if it is no member.
    position: Box<[AtomicU32]>,
    start: u32,
    available: AtomicU32,
}

const NOWHERE: u32 = u32::MAX;

impl Partition {
    /// All of `members` are out at first. `start` is the index of the tier's first slot, `slots` their number.
    pub(crate) fn new(start: u32, slots: usize, members: impl Iterator<Item = u32>) -> Self {
        let order: Box<[AtomicU32]> = members.map(AtomicU32::new).collect();
        let position: Box<[AtomicU32]> = (0..slots).map(|_| AtomicU32::new(NOWHERE)).collect();
        for (slot, place) in order.iter().zip(0..) {
            position[(slot.load(Ordering::Relaxed) - start) as usize].store(place, Ordering::Relaxed);
        }
        Self { order, position, start, available: AtomicU32::new(0) }
    }

    pub(crate) fn len(&self) -> usize {
        self.order.len()
    }

    /// The slots that are given calls.
    #[inline]
    pub(crate) fn available(&self) -> &[AtomicU32] {
        &self.order[..self.available.load(Ordering::Acquire) as usize]
    }

    /// The members that are not; the one that went out last stands first.
    pub(crate) fn out(&self) -> &[AtomicU32] {
        &self.order[self.available.load(Ordering::Acquire) as usize..]
    }

    #[cfg(test)]
    pub(crate) fn is_in(&self, slot: u32) -> bool {
        self.position_of(slot).is_some_and(|place| place < self.available.load(Ordering::Acquire))
    }

    /// Under the control lock only.
    pub(crate) fn put_in(&self, slot: u32) {
        let available = self.available.load(Ordering::Relaxed);
        match self.position_of(slot) {
            Some(place) if place >= available => {
                self.swap(place, available);
                self.available.store(available + 1, Ordering::Release);
            }
            _ => {}
        }
    }

    /// Under the control lock only.
    pub(crate) fn take_out(&self, slot: u32) {
        let available = self.available.load(Ordering::Relaxed);
        match self.position_of(slot) {
            Some(place) if place < available => {
                self.swap(place, available - 1);
                self.available.store(available - 1, Ordering::Release);
            }
            _ => {}
        }
    }

    fn position_of(&self, slot: u32) -> Option<u32> {
        let offset = slot.checked_sub(self.start)? as usize;
        self.position.get(offset).map(|place| place.load(Ordering::Relaxed)).filter(|place| *place != NOWHERE)
    }

    fn swap(&self, a: u32, b: u32) {
        let slot_a = self.order[a as usize].load(Ordering::Relaxed);
        let slot_b = self.order[b as usize].swap(slot_a, Ordering::Relaxed);
        self.order[a as usize].store(slot_b, Ordering::Relaxed);
        self.position[(slot_a - self.start) as usize].store(b, Ordering::Relaxed);
        self.position[(slot_b - self.start) as usize].store(a, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn read(slots: &[AtomicU32]) -> Vec<u32> {
        slots.iter().map(|slot| slot.load(Ordering::Relaxed)).collect()
    }

    #[test]
    fn the_one_that_went_out_last_stands_first() {
        let partition = Partition::new(10, 4, 10..14);
        for slot in 10..14 {
            partition.put_in(slot);
        }
        partition.take_out(11);
        partition.take_out(13);
        assert_eq!(read(partition.out())[0], 13);
        assert!(partition.is_in(10) && !partition.is_in(11));
        assert!(!partition.is_in(9) && !partition.is_in(99));
    }

    proptest! {
        #[test]
        fn it_is_the_set_that_was_put_in(moves in prop::collection::vec((0_u32..12, any::<bool>()), 0..200)) {
            // Slots 0 to 11 of a tier that begins at 100; only even ones are members.
            let partition = Partition::new(100, 12, (100..112).step_by(2));
            let mut model = BTreeSet::new();
            for (slot, put_in) in moves {
                let slot = 100 + slot;
                if put_in {
                    partition.put_in(slot);
                    if slot % 2 == 0 { model.insert(slot); }
                } else {
                    partition.take_out(slot);
                    model.remove(&slot);
                }
                let seen: BTreeSet<u32> = read(partition.available()).into_iter().collect();
                prop_assert_eq!(&seen, &model);
                prop_assert_eq!(partition.available().len(), model.len());
                prop_assert_eq!(partition.out().len(), 6 - model.len());
                prop_assert!((100..112).all(|slot| partition.is_in(slot) == model.contains(&slot)));
            }
        }
    }
}
