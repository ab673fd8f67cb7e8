//! What ambiguous failures tell the retry gates of the tiers, and whether a retry may follow one.

use crate::engine::Engine;
use crate::engine::snapshot::tier::Tier;
use crate::runtime::clock::Time;

/// The part of an attempt's timeout from which on a mean answer is slow. If the times have an exponential
/// tail, one answer of a hundred then comes too late.
const SLOW: f32 = 0.2;

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
    /// is silent or on its way out: then the failure says nothing about the others. `first` tells the
    /// first failure since an answer.
    pub(super) fn feed_gate(&self, number: u32, silent: bool, first: bool, now: Time) {
        let state = self.slab.state(number);
        let leaving = self.breaker_rules().is_suspect(&state.breaker().read());
        let snapshot = self.snapshot.load();
        let slot = snapshot.slots.get(state.placement().slot() as usize);
        if let Some(slot) = slot.filter(|slot| slot.state == number) {
            let counts = self.strain.is_frozen(now) || !(leaving || silent);
            let tier = snapshot.tier_of(slot);
            tier.update_gate(counts, &self.slab, now);
            tier.gate().heed(self.answers_slowly(), first);
            tier.avoid_busy(now);
        }
    }

    fn answers_slowly(&self) -> bool {
        let timeout = self.call_policy().usual_attempt().as_nanos() as f32;
        self.strain.mean_answer() > timeout * SLOW
    }
}
