//! What ambiguous failures tell the retry gates of the tiers, and whether a retry may follow one.

use std::sync::atomic::Ordering;

use crate::engine::Engine;
use crate::engine::snapshot::tier::Tier;
use crate::runtime::clock::Time;

/// The part of an attempt's timeout from which on a mean answer is slow. If the times have an exponential
/// tail, one answer of a hundred then comes too late.
const SLOW: f32 = 0.2;
/// The number of endpoints that are a large enough sample.
const MAX_PEERS: usize = 64;

/// An ambiguous failure.
#[derive(Clone, Copy, Debug)]
pub(super) struct Vague {
    /// Others have answered calls that began well after the endpoint's first failure.
    pub(super) silent: bool,
    /// It is the first one since an answer.
    pub(super) first: bool,
    /// The endpoint has answered that it is overloaded.
    pub(super) overload: bool,
}

impl Engine {
    /// Whether a retry may follow an ambiguous failure: some tier in use has few of them.
    pub(crate) fn gate_is_open(&self) -> bool {
        let snapshot = self.snapshot.load();
        let limit = snapshot.policy.max_ambiguous;
        // A failed probe call updates no share, so that the successes since the last update may be missing.
        let admits = |tier: &Tier| {
            tier.admits_retries(limit) || {
                tier.update_gate(false, &self.slab, self.clock.now());
                tier.admits_retries(limit)
            }
        };
        snapshot.available() == 0 || snapshot.tiers.iter().any(admits)
    }

    /// Updates the retry gate of the endpoint's tier after an ambiguous failure, unless the endpoint
    /// is silent or on its way out: then the failure says nothing about the others.
    pub(super) fn feed_gate(&self, number: u32, failure: Vague, now: Time) {
        let state = self.slab.state(number);
        let leaving = self.breaker_rules().is_suspect(&state.breaker().read());
        let snapshot = self.snapshot.load();
        let slot = snapshot.slots.get(state.placement().slot() as usize);
        let Some(slot) = slot.filter(|slot| slot.state == number) else { return };
        let tier = snapshot.tier_of(slot);
        let counts = self.strain.is_frozen(now) || !(leaving || failure.silent);
        tier.update_gate(counts, &self.slab, now);
        match (failure.overload, counts) {
            (true, true) => state.count_gated(),
            (true, false) if failure.silent && self.answers(tier, number) => {
                tier.gate().retract(state.take_gated());
            }
            _ => {}
        }
        tier.gate().heed(self.answers_slowly(), failure.first);
        tier.avoid_busy(now);
    }

    /// Whether another endpoint of a tier has answered its last call.
    fn answers(&self, tier: &Tier, number: u32) -> bool {
        let others = tier.members.available().iter().map(|state| state.load(Ordering::Relaxed));
        let mut others = others.filter(|other| *other != number).take(MAX_PEERS);
        others.any(|other| !self.slab.state(other).is_failing())
    }

    fn answers_slowly(&self) -> bool {
        self.is_slow(self.strain.mean_answer())
    }

    /// Whether answers that take so long, in nanoseconds, show that endpoints have too many calls.
    pub(super) fn is_slow(&self, answer: f32) -> bool {
        answer > self.call_policy().usual_attempt().as_nanos() as f32 * SLOW
    }
}
