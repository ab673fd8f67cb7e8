//! Runs the user's custom strategy, and falls back when it fails.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use crate::codec::ordinal::Ordinal;
use crate::contract::strategy::{Candidate, Candidates, View};
use crate::engine::Engine;
use crate::engine::algorithm::Tried;
use crate::engine::snapshot::Snapshot;
use crate::engine::state::slab::Slab;
use crate::events::{Event, EventKind};
use crate::runtime::clock::Time;

struct Seen<'a> {
    snapshot: &'a Snapshot,
    slab: &'a Slab,
    tried: Tried<'a>,
    now: Time,
}

impl View for Seen<'_> {
    fn len(&self) -> usize {
        self.snapshot.slots.len()
    }

    fn get(&self, index: usize) -> Option<Candidate<'_>> {
        let slot = self.snapshot.slots.get(index)?;
        let state = self.slab.state(slot.state);
        let ewma = state.ewma().at(self.now);
        Some(Candidate {
            endpoint: &slot.endpoint,
            available: slot.claim.eligible() && state.is_in_rotation(),
            tried: self.tried.contains(slot.state),
            health: slot.claim.health,
            breaker: state.breaker().read().state(),
            in_flight: state.in_flight(),
            weight: state.weight(),
            latency: (ewma > 0.0).then(|| Duration::from_nanos(ewma as u64)),
        })
    }

    fn attempt(&self) -> u32 {
        self.tried.states.len() as u32 + 1
    }
}

impl Engine {
    /// Returns the state that the custom strategy picks, if it is in rotation.
    pub(super) fn ask_custom(&self, snapshot: &Snapshot, tried: Tried<'_>, now: Time) -> Option<u32> {
        let strategy = snapshot.config.custom()?.get();
        let seen = Seen { snapshot, slab: &self.slab, tried, now };
        // A panic can leave only the strategy's own data inconsistent: it cannot change what it was
        // shown.
        let index = match catch_unwind(AssertUnwindSafe(|| strategy.pick(&Candidates::new(&seen)))) {
            Ok(index) => index?,
            Err(_) => {
                self.custom_failed("it panicked");
                return None;
            }
        };
        match snapshot.slots.get(index) {
            Some(slot) if slot.claim.eligible() => {
                self.slab.state(slot.state).is_in_rotation().then_some(slot.state)
            }
            Some(_) => {
                self.custom_failed("the strategy picked an endpoint that its source has taken out");
                None
            }
            None => {
                self.custom_failed("the strategy picked an index beyond the last candidate");
                None
            }
        }
    }

    /// Counts a failure, and emits an event for the 1st, 2nd, 4th, 8th … one, so that failures do
    /// not flood the log.
    #[cold]
    fn custom_failed(&self, what: &str) {
        let count = self.accounts.strategy_fault();
        if count.is_power_of_two() {
            let reason = format!("{what} ({} time); the configured algorithm picks instead", Ordinal(count));
            self.events.emit(Event::new(EventKind::StrategyFailed, reason).detail("count", count));
        }
    }
}
