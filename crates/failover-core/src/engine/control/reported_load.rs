//! What endpoints say of their load, and what follows for who is given calls.

use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::engine::Engine;
use crate::engine::snapshot::Snapshot;
use crate::engine::state::load_weight::EXPIRY;
use crate::error::{Error, ErrorKind};
use crate::model::load_report::LoadReport;
use crate::runtime::clock::Time;

/// How often weights are worked out anew.
const PERIOD: Duration = Duration::from_secs(1);

impl Engine {
    /// Takes over a report. Once a second the weights follow, which takes the control lock and O(n log n).
    ///
    /// # Errors
    ///
    /// `NotFound` for an endpoint that the service does not have, `Validation` for what is no quantity.
    pub(crate) fn report_load(&self, id: &str, report: &LoadReport) -> Result<(), Error> {
        let snapshot = self.snapshot.load();
        let Some(index) = snapshot.find(id) else {
            let message = format!("service {} has no endpoint {id}", self.name);
            return Err(Error::new(ErrorKind::NotFound, message));
        };
        let Some(weight) = report.weight()? else { return Ok(()) };
        let now = self.clock.now();
        // The snapshot is held: the cell is this endpoint's.
        self.slab.state(snapshot.slot(index).state).load().report(weight, now);
        let due = self.weights_due.load(Ordering::Relaxed);
        let next = (now + PERIOD).as_nanos();
        let is_due = now.as_nanos() >= due;
        if is_due
            && self.weights_due.compare_exchange(due, next, Ordering::Relaxed, Ordering::Relaxed).is_ok()
        {
            let _control = self.control();
            self.recompute_weights(&self.snapshot.load(), now);
        }
        Ok(())
    }

    /// Works out the weights of a snapshot that has them. Under the control lock only.
    pub(super) fn recompute_weights(&self, snapshot: &Snapshot, now: Time) {
        for (slots, tier) in snapshot.slots.chunk_by(|a, b| a.tier == b.tier).zip(&snapshot.tiers) {
            if let Some(reported) = tier.reported() {
                let known = |state: u32| self.slab.state(state).load().usable(now);
                let known: Vec<_> = slots.iter().map(|slot| known(slot.state)).collect();
                reported.recompute(&known, now + EXPIRY);
            }
        }
    }
}
