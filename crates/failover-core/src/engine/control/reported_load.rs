//! Applies the load that endpoints report to their weights.

use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::engine::Engine;
use crate::engine::snapshot::Snapshot;
use crate::engine::state::load_weight::EXPIRY;
use crate::error::Error;
use crate::model::load_report::LoadReport;
use crate::runtime::clock::Time;

/// The minimum interval between two recomputations of the weights.
const PERIOD: Duration = Duration::from_secs(1);

impl Engine {
    /// Records a report. The weights are recomputed at most once a second, which takes the control
    /// lock and O(n log n).
    ///
    /// # Errors
    ///
    /// `NotFound` if the service has no such endpoint; `Validation` if it has several, or if the
    /// report contains an invalid number.
    pub(crate) fn report_load(&self, id: &str, report: &LoadReport) -> Result<(), Error> {
        let snapshot = self.snapshot.load();
        let index = snapshot.resolve(id).map_err(|unresolved| unresolved.error(self.name.as_str(), id))?;
        let Some(weight) = report.weight()? else { return Ok(()) };
        let now = self.clock.now();
        // The snapshot is held, so the state still belongs to this endpoint.
        self.slab.state(snapshot.slot(index).state).load().report(weight, now);
        let due = self.weights_due.load(Ordering::Relaxed);
        let next = (now + PERIOD).as_nanos();
        let is_due = now.as_nanos() >= due;
        if is_due
            && self.weights_due.compare_exchange(due, next, Ordering::Relaxed, Ordering::Relaxed).is_ok()
        {
            let _control = self.control();
            let snapshot = self.snapshot.load();
            self.recompute_weights(&snapshot, now);
            snapshot.recompute_limits(&self.slab, now);
            // Emits no event: the shares may change by a percent each second.
            snapshot.recompute_shares();
        }
        Ok(())
    }

    /// Recomputes the weights of a snapshot that uses reported load. Requires the control lock.
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
