//! The limit on the calls that are in flight to one endpoint (`max_in_flight`).
//!
//! A call whose endpoint is at the limit goes to the least busy other one, and is refused if the
//! endpoints compared are all at their limits.

use crate::engine::Engine;
use crate::engine::algorithm::Candidates;
use crate::engine::breaker::{Admission, Input};
use crate::engine::pick::Picker;
use crate::engine::snapshot::Snapshot;
use crate::model::endpoint::Endpoint;
use crate::runtime::clock::Time;

/// The maximum number of endpoints compared.
const COMPARED: u32 = 64;

impl Engine {
    /// Whether the endpoint may get one more call.
    #[inline]
    pub(super) fn has_room(&self, snapshot: &Snapshot, state: u32) -> bool {
        self.slab.state(state).in_flight() < snapshot.policy.max_in_flight
    }

    /// Begins an admitted call, unless another thread's call has taken the last place meanwhile.
    #[inline]
    pub(super) fn begin(&self, snapshot: &Snapshot, state: u32, admission: Admission, now: Time) -> bool {
        let begun = self.slab.state(state).begin_within(snapshot.policy.max_in_flight);
        if !begun && admission.permit {
            self.update_breaker(state, Input::Release(admission), None, now);
        }
        begun
    }

    /// Keeps a call in flight beyond the end of its attempt. Returns the number of the endpoint's state,
    /// or `None` if the service does not have the endpoint at this place.
    pub(crate) fn begin_keeping(&self, endpoint: &Endpoint) -> Option<u32> {
        // Held until the call is counted, so that the state stays the endpoint's.
        let snapshot = self.snapshot.load();
        let state = snapshot.slot_of(endpoint, |found| found.place() == endpoint.place())?.state;
        self.slab.state(state).begin_keeping();
        Some(state)
    }

    pub(crate) fn end_keeping(&self, state: u32) {
        self.slab.state(state).end_keeping();
    }
}

impl Picker<'_> {
    #[inline]
    pub(super) fn has_room(&self, state: u32) -> bool {
        self.engine.has_room(self.snapshot, state)
    }

    /// Returns this endpoint or, if it is at its limit, the least busy one that is not: an untried one
    /// if there is one.
    #[inline]
    pub(super) fn with_room(&self, number: u32, candidates: Candidates<'_, '_>) -> Option<u32> {
        if self.has_room(number) { Some(number) } else { self.least_busy(candidates) }
    }

    #[cold]
    fn least_busy(&self, candidates: Candidates<'_, '_>) -> Option<u32> {
        let len = candidates.len();
        let first = self.engine.random.below(len);
        let numbers = (0..len.min(COMPARED)).map(|step| candidates.number((first + step) % len));
        let cost = |number: &u32| {
            let state = self.engine.slab.state(*number);
            let load = u64::from(state.in_flight()) * u64::from(u32::MAX) / u64::from(state.weight());
            (candidates.tried.contains(*number), load)
        };
        numbers.filter(|number| self.has_room(*number)).min_by_key(cost)
    }
}
