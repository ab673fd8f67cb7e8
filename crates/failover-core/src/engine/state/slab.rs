//! All endpoint states of a service, in an array that only grows, so that a call can borrow a state
//! without a reference count.
//!
//! The state of a removed endpoint is reused once its last call has ended and the last snapshot
//! that refers to it has been dropped. Memory therefore follows the largest number of endpoints at
//! any one time, not the total number of endpoints ever seen.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{Ordering, fence};
use std::sync::{OnceLock, Weak};

use crate::engine::control_lock::ControlLock;
use crate::engine::state::EndpointState;
use crate::engine::state::counters::Counters;
use crate::engine::state::failure_window::FailureWindow;
use crate::engine::state::latency::Times;

/// The number of states in the first four buckets. Each following four hold twice as many as the
/// four before, so that at most a quarter of the states are unused.
const FIRST: u32 = 8;
/// Enough for 2^32 - 8 states.
const BUCKETS: usize = 4 * 29;

#[derive(Debug)]
pub(crate) struct Slab {
    buckets: [OnceLock<Box<[EndpointState]>>; BUCKETS],
    /// Allocated only where the failure rate is watched.
    windows: [OnceLock<Box<[FailureWindow]>>; BUCKETS],
}

/// Tracks which states are in use, and which may still be referenced by snapshots `S` that calls
/// pick from. Protected by the control lock.
#[derive(Debug)]
pub(crate) struct SlotAllocator<S> {
    next: u32,
    /// Lowest first, so that the states in use stay close together.
    free: BTreeSet<u32>,
    leaving: Vec<Leaving>,
    /// The number of the current snapshot, and the earlier ones that calls may still pick from.
    current: u64,
    past: Vec<(u64, Weak<S>)>,
    /// The counters of the states that have been freed.
    retired: BTreeMap<u32, Counters>,
    times: Option<Times>,
}

/// The state of a removed endpoint.
#[derive(Debug)]
struct Leaving {
    state: u32,
    /// The number of the last snapshot that refers to it. Earlier ones may refer to it as well.
    known_to: u64,
}

impl Slab {
    pub(crate) const fn new() -> Self {
        Self { buckets: [const { OnceLock::new() }; BUCKETS], windows: [const { OnceLock::new() }; BUCKETS] }
    }

    /// Returns a state that the slot allocator has handed out.
    #[inline]
    pub(crate) fn state(&self, index: u32) -> &EndpointState {
        let (bucket, offset) = locate(index);
        let states = self.buckets[bucket].get().expect("a state exists before its number is handed out");
        &states[offset]
    }

    /// Returns the recent attempts at the endpoint of this state.
    pub(crate) fn window(&self, index: u32) -> &FailureWindow {
        let (bucket, offset) = locate(index);
        let windows = self.windows[bucket]
            .get_or_init(|| (0..size(bucket)).map(|_| FailureWindow::default()).collect());
        &windows[offset]
    }

    /// Forgets the recent attempts at the endpoint of this state.
    pub(crate) fn clear_window(&self, index: u32) {
        let (bucket, offset) = locate(index);
        if let Some(windows) = self.windows[bucket].get() {
            windows[offset].clear();
        }
    }

    fn grow_to(&self, index: u32) {
        let (bucket, _) = locate(index);
        self.buckets[bucket].get_or_init(|| (0..size(bucket)).map(|_| EndpointState::new()).collect());
    }
}

/// Returns the number of states in a bucket.
fn size(bucket: usize) -> u32 {
    (FIRST / 4) << (bucket / 4)
}

/// Returns the bucket and the offset in it, with four buckets per doubling. Every pick calls this
/// function, so it has no branches.
#[inline]
fn locate(index: u32) -> (usize, usize) {
    let shifted = index + FIRST;
    let doubling = (shifted | FIRST).ilog2() - FIRST.ilog2();
    // Of the bits after the highest, two select the quarter and the others the offset in it.
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

    /// Allocates a state without any history.
    pub(crate) fn take(&mut self, slab: &Slab) -> u32 {
        self.free.pop_first().unwrap_or_else(|| {
            let index = self.next;
            self.next += 1;
            slab.grow_to(index);
            index
        })
    }

    /// Marks a state whose endpoint is not in the next snapshot.
    pub(crate) fn leave(&mut self, state: u32) {
        self.leaving.push(Leaving { state, known_to: self.current });
    }

    /// Records that a new snapshot is in use; `replaced` is the previous one.
    pub(crate) fn replaced(&mut self, replaced: Weak<S>) {
        self.past.push((self.current, replaced));
        self.current += 1;
    }

    /// Frees the states that can no longer be reached.
    pub(crate) fn sweep(&mut self, slab: &Slab, lock: &ControlLock) {
        let Self { free, leaving, retired, times, current, past, .. } = self;
        past.retain(|(_, snapshot)| snapshot.strong_count() > 0);
        let oldest = past.first().map_or(*current, |(number, _)| *number);
        // Makes everything done under a dropped snapshot visible below: a call that began is
        // counted as in flight.
        fence(Ordering::Acquire);
        leaving.retain(|leaving| {
            let state = slab.state(leaving.state);
            // The order matters: without a snapshot no call can begin, so an idle state then stays
            // idle.
            if leaving.known_to >= oldest || !state.is_idle() {
                return true;
            }
            let of_source = retired.entry(state.placement().source()).or_insert(Counters::NONE);
            *of_source = of_source.plus(&state.counters());
            state.times_into(times.get_or_insert_with(Times::none));
            state.clear(lock);
            slab.clear_window(leaving.state);
            free.insert(leaving.state);
            false
        });
    }

    /// States of removed endpoints that are not free yet.
    pub(crate) fn leaving(&self) -> impl Iterator<Item = u32> {
        self.leaving.iter().map(|leaving| leaving.state)
    }

    /// The counters of the freed states, by the number of their source.
    pub(crate) fn retired(&self) -> &BTreeMap<u32, Counters> {
        &self.retired
    }

    /// The latencies of the attempts of the freed states.
    pub(crate) fn retired_times(&self) -> Times {
        self.times.clone().unwrap_or_else(Times::none)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::model::attempt_class::AttemptClass;
    use crate::runtime::rush::Timing;

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
        slab.state(first).end(Some(AttemptClass::Success), 0, Timing::Each);
        allocator.sweep(&slab, &ControlLock::new());
        assert_eq!(allocator.take(&slab), first);
        assert_eq!(slab.state(first).counters().ended.total(), 0, "as new");
        assert_eq!(allocator.retired()[&0].ended.total(), 1);
    }
}
