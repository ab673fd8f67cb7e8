//! Calls go to all endpoints in turn: when no endpoint is in use, and when every endpoint in use
//! fails.
//!
//! Whichever endpoint returns, it gets a call within one round, because the endpoint that was tried
//! longest ago comes first. A success closes the breaker of its endpoint at once.

use std::sync::atomic::Ordering;

use crate::engine::Engine;
use crate::engine::algorithm::Tried;
use crate::engine::breaker::Admission;
use crate::engine::snapshot::{Snapshot, Tier};
use crate::runtime::clock::Time;

/// After this many failures in a row per endpoint, calls go to all endpoints in turn.
const ROUNDS: u32 = 2;
/// The maximum number of endpoints that one call passes over.
const MAX_PASSED: u32 = 16;

impl Engine {
    /// Whether this attempt goes to all endpoints in turn. If endpoints are in use, a retry does not:
    /// it goes where the signs are best.
    pub(super) fn rotates(&self, snapshot: &Snapshot, tried: Tried<'_>) -> bool {
        snapshot.is_all_out() || (tried.is_none() && self.is_failing(snapshot))
    }

    /// Whether the last calls to all endpoints have failed, two per endpoint.
    pub(super) fn is_failing(&self, snapshot: &Snapshot) -> bool {
        !snapshot.policy.fail_fast
            && self.strain.failures() >= snapshot.eligible.saturating_mul(ROUNDS).max(1)
    }

    /// Picks the endpoint that was tried longest ago, and prefers those that this call has not
    /// tried. Endpoints that their sources report as unhealthy take their turn as well.
    #[cold]
    pub(super) fn next_in_rotation(
        &self,
        snapshot: &Snapshot,
        tried: Tried<'_>,
        now: Time,
    ) -> Option<(u32, Admission)> {
        if !tried.is_none() {
            let works = self.best_of_all(snapshot, tried, now);
            if works.is_some() {
                return works;
            }
        }
        let all: u32 = snapshot.tiers.iter().map(Tier::hosts).sum();
        let mut again = None;
        for _ in 0..all.min(MAX_PASSED) {
            let state = nth(snapshot, self.rotation.fetch_add(1, Ordering::Relaxed) % all)?;
            if !self.has_room(snapshot, state) {
                continue;
            }
            let waits = now < self.slab.state(state).placement().no_calls_until();
            if !tried.contains(state) && !waits {
                return Some((state, self.admission_beyond(state)));
            }
            let forced_out = now < self.slab.state(state).placement().forced_out_until();
            again = again.or(Some(state).filter(|_| !forced_out));
        }
        again.map(|state| (state, self.admission_beyond(state)))
    }

    /// Returns an endpoint that has not failed since its last success, for a retry: an endpoint that its
    /// source reports as unhealthy may be the only one that works.
    fn best_of_all(&self, snapshot: &Snapshot, tried: Tried<'_>, now: Time) -> Option<(u32, Admission)> {
        let all: u32 = snapshot.tiers.iter().map(Tier::hosts).sum();
        let first = self.random.below(all);
        let states = (0..all.min(MAX_PASSED)).filter_map(|step| nth(snapshot, (first + step) % all));
        let works = |state: &u32| {
            let of = self.slab.state(*state);
            !of.is_failing() && of.successes() > 0 && now >= of.placement().no_calls_until()
        };
        let free = |state: &u32| !tried.contains(*state) && self.has_room(snapshot, *state);
        let mut states = states.filter(free).filter(works);
        states.next().map(|state| (state, self.admission_beyond(state)))
    }

    /// Admits a call whatever the breaker's state, without a permit: nothing better is available.
    pub(super) fn admission_beyond(&self, state: u32) -> Admission {
        Admission { generation: self.slab.state(state).breaker().read().generation, permit: false }
    }
}

/// Returns a host by its number over all tiers.
fn nth(snapshot: &Snapshot, mut number: u32) -> Option<u32> {
    for tier in &snapshot.tiers {
        let members = tier.members.len() as u32;
        if number < members {
            return Some(tier.members.at(number));
        }
        number -= members;
        if let Some(state) = tier.unhealthy.get(number as usize) {
            return Some(*state);
        }
        number -= tier.unhealthy.len() as u32;
    }
    None
}
