//! Compares the attempts of all endpoints, and takes out the outliers.
//!
//! There is no task: the first failure or slow attempt after an interval compares. Without them there
//! are no outliers.

use crate::engine::Engine;
use crate::engine::outlier::{Outlier, Sample, allowed, outliers};
use crate::engine::snapshot::{Slot, Snapshot};
use crate::engine::state::placement::Cause;
use crate::events::{Event, EventKind};
use crate::runtime::clock::Time;

impl Engine {
    /// Takes out the endpoints that failed clearly more often than the others since the last
    /// comparison.
    #[cold]
    pub(in crate::engine) fn compare_endpoints(&self, now: Time) {
        self.change(|control, snapshot, events| {
            let mut samples = Vec::with_capacity(snapshot.slots.len());
            for slot in &snapshot.slots {
                let state = self.slab.state(slot.state);
                let counts = [state.successes(), state.hard_failures(), state.slow()];
                let [successes, failures, slow] = state.placement().compare(counts, &control.lock);
                let immune = state.placement().is_immune(now);
                let is_in = state.is_in_rotation() && slot.claim.eligible() && !immune;
                samples.push(if is_in {
                    Sample { successes, failures, slow: slow.min(successes) }
                } else {
                    Sample::default()
                });
            }
            let policy = &snapshot.policy.outliers;
            if self.strain.is_frozen(now) {
                return;
            }
            let is_out = |slot: &&Slot| self.is_out_for(slot.state, Cause::Outlier);
            let out = snapshot.slots.iter().filter(is_out).count() as u32;
            let room = allowed(snapshot.eligible, policy.max_ejected).saturating_sub(out);
            for (place, outlier) in outliers(&samples, policy).into_iter().take(room as usize) {
                if is_last_of_its_tier(snapshot, place) {
                    continue;
                }
                let slot = &snapshot.slots[place];
                let reason = match outlier {
                    Outlier::SuccessRate { rate, below } => {
                        let (rate, below) = (rate * 100.0, below * 100.0);
                        format!(
                            "{rate:.1} % of its attempts succeeded, and others suggest at least {below:.1} %"
                        )
                    }
                    Outlier::SlowCalls { percentage } => {
                        format!("{percentage:.0} % of its attempts were slow")
                    }
                    Outlier::FailurePercentage { percentage } => {
                        format!("{percentage:.0} % of its attempts failed")
                    }
                };
                events.push(snapshot.about(slot, Event::new(EventKind::EndpointEjected, reason)));
                self.eject(control, snapshot, slot, Cause::Outlier, now, events);
            }
        });
    }
}

fn is_last_of_its_tier(snapshot: &Snapshot, place: usize) -> bool {
    snapshot.tier_of(&snapshot.slots[place]).members.available().len() <= 1
}
