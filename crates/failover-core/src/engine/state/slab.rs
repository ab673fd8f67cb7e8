//! All cells of a service: an array that only grows, so that a call can borrow a cell without a count.
//!
//! A cell whose endpoint is gone is used again, once its last call has ended and the last snapshot that knows it is
//! gone; so memory follows the largest number of endpoints at a time, not the number that there ever were.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{Ordering, fence};
use std::sync::{OnceLock, Weak};

use crate::engine::control_lock::ControlLock;
use crate::engine::state::latency::Times;
use crate::engine::state::{Counters, EndpointState};

/// How many cells the first four buckets hold. Each four after them hold twice as many as the four before, so that at
/// most a quarter of the cells wait for use.
const FIRST: u32 = 8;
/// Enough for 2^32 cells but eight.
const BUCKETS: usize = 4 * 29;

#[derive(Debug)]
pub(crate) struct Slab {
    buckets: [OnceLock<Box<[EndpointState]>>; BUCKETS],
}

/// Which cells are in use, and which the snapshots `S` that calls choose from may still know. Under the control lock.
#[derive(Debug)]
pub(crate) struct SlotAllocator<S> {
    next: u32,
    /// The lowest first, so that the cells in use stay close together.
    free: BTreeSet<u32>,
    leaving: Vec<Leaving>,
    /// The number of the snapshot in use, and those before it that somebody may still choose from.
    current: u64,
    past: Vec<(u64, Weak<S>)>,
    /// What the cells that are free again have counted.
    retired: BTreeMap<u32, Counters>,
    times: Option<Times>,
}

/// A cell whose endpoint is gone.
#[derive(Debug)]
struct Leaving {
    state: u32,
    /// The number of the last snapshot that knows it. Earlier ones may know it, too.
    known_to: u64,
}

impl Slab {
    pub(crate) const fn new() -> Self {
        Self { buckets: [const { OnceLock::new() }; BUCKETS] }
    }

    /// A cell that the ledger has given out.
    #[inline]
    pub(crate) fn state(&self, index: u32) -> &EndpointState {
        let (bucket, offset) = locate(index);
        let states = self.buckets[bucket].get().expect("a state exists before its number is handed out");
        &states[offset]
    }

    fn grow_to(&self, index: u32) {
        let (bucket, _) = locate(index);
        let size = (FIRST / 4) << (bucket / 4);
        self.buckets[bucket].get_or_init(|| (0..size).map(|_| EndpointState::new()).collect());
    }
}

/// Four buckets for each doubling. Every pick asks; so there is no case to tell apart.
#[inline]
fn locate(index: u32) -> (usize, usize) {
    let shifted = index + FIRST;
    let doubling = (shifted | FIRST).ilog2() - FIRST.ilog2();
    // The bits after the highest: two tell the quarter, the others the place in it.
    let bits = doubling + (FIRST / 4).ilog2();
    let quarter = (shifted >> bits) & 3;
    ((4 * doubling + quarter) as usize, (shifted & ((1 << bits) - 1)) as usize)
}

impl<S> SlotAllocator<S> {
    pub(crate) const fn new() -> Self {
        Self {
            next: 0,
            free: BTreeSet::new(),
            leaving: Vec::new(),
            current: 0,
            past: Vec::new(),
            retired: BTreeMap::new(),
            times: None,
        }
    }

    /// A cell that is as new.
    pub(crate) fn take(&mut self, slab: &Slab) -> u32 {
        self.free.pop_first().unwrap_or_else(|| {
            let index = self.next;
            self.next += 1;
            slab.grow_to(index);
            index
        })
    }

    /// The cell's endpoint is not in the snapshot that comes next.
    pub(crate) fn leave(&mut self, state: u32) {
        self.leaving.push(Leaving { state, known_to: self.current });
    }

    /// Another snapshot is in use; `replaced` is the one before it.
    pub(crate) fn replaced(&mut self, replaced: Weak<S>) {
        self.past.push((self.current, replaced));
        self.current += 1;
    }

    /// Frees the cells that nobody can reach any more.
    pub(crate) fn sweep(&mut self, slab: &Slab, lock: &ControlLock) {
        let Self { free, leaving, retired, times, current, past, .. } = self;
        past.retain(|(_, snapshot)| snapshot.strong_count() > 0);
        let oldest = past.first().map_or(*current, |(number, _)| *number);
        // What was done under a snapshot that is gone is seen below: a call that began is in flight.
        fence(Ordering::Acquire);
        leaving.retain(|leaving| {
            let state = slab.state(leaving.state);
            // In this order: without a snapshot nobody can begin a call, so what is idle then stays idle.
            if leaving.known_to >= oldest || !state.is_idle() {
                return true;
            }
            let of_source = retired.entry(state.placement().source()).or_insert(Counters::NONE);
            *of_source = of_source.plus(&state.counters());
            state.times_into(times.get_or_insert_with(Times::none));
            state.clear(lock);
            free.insert(leaving.state);
            false
        });
    }

    /// Cells whose endpoints are gone and that are not free yet.
    pub(crate) fn leaving(&self) -> impl Iterator<Item = u32> {
        self.leaving.iter().map(|leaving| leaving.state)
    }

    /// What the cells that are free again have counted, by the number of their source.
    pub(crate) fn retired(&self) -> &BTreeMap<u32, Counters> {
        &self.retired
    }

    /// How long the attempts took whose cells are free again.
    pub(crate) fn retired_times(&self) -> Times {
        self.times.clone().unwrap_or_else(Times::none)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::model::attempt_class::AttemptClass;

    #[test]
    fn every_index_has_a_place_of_its_own() {
        let places: HashSet<_> = (0..10_000).map(locate).collect();
        assert_eq!(places.len(), 10_000);
        assert_eq!(
            [0, 1, 2, 7, 8, 11, 12, 23, 24, 31, 32, 55, 56].map(locate),
            [
                (0, 0),
                (0, 1),
                (1, 0),
                (3, 1),
                (4, 0),
                (4, 3),
                (5, 0),
                (7, 3),
                (8, 0),
                (8, 7),
                (9, 0),
                (11, 7),
                (12, 0)
            ]
        );
        assert_eq!(locate(u32::MAX - FIRST).0, BUCKETS - 1);
    }

    #[test]
    fn a_cell_is_used_again_only_when_its_calls_have_ended_and_its_counts_stay() {
        let slab = Slab::new();
        let mut allocator = SlotAllocator::<()>::new();
        let first = allocator.take(&slab);
        assert_eq!(allocator.take(&slab), 1);
        slab.state(first).begin();
        allocator.leave(first);
        allocator.replaced(Weak::new());
        allocator.sweep(&slab, &ControlLock::new());
        assert_eq!(allocator.take(&slab), 2, "a call is in flight");
        slab.state(first).end(Some(AttemptClass::Success), 0);
        allocator.sweep(&slab, &ControlLock::new());
        assert_eq!(allocator.take(&slab), first);
        assert_eq!(slab.state(first).counters().ended(), 0, "as new");
        assert_eq!(allocator.retired()[&0].ended(), 1);
    }
}
