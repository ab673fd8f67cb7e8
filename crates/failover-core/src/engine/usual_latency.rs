//! The 99th percentile of a service's own answers, from which timeouts are derived.

use std::time::Duration;

use crate::engine::Engine;
use crate::engine::state::latency::Times;
use crate::model::attempt_class::AttemptClass;
use crate::runtime::clock::Time;

/// The number of answers below which the percentile is unknown.
const ENOUGH: u64 = 100;
/// The number of endpoints whose latencies are a large enough sample.
const SAMPLE: usize = 16;

impl Engine {
    /// Returns the 99th percentile of the latency of answers, once enough are known. Attempts that
    /// timed out are no answers: they would raise the timeouts that are derived from it.
    pub(crate) fn p99(&self, now: Time) -> Option<Duration> {
        self.p99.get(now, || self.compute_p99())
    }

    #[cold]
    #[inline(never)]
    fn compute_p99(&self) -> Option<Duration> {
        let snapshot = self.snapshot.load();
        let mut times = Times::none();
        let (mut ended, mut timeouts) = (0, 0);
        for slot in snapshot.slots.iter().step_by(snapshot.slots.len().div_ceil(SAMPLE).max(1)) {
            let state = self.slab.state(slot.state);
            let counts = state.ended();
            state.times_into(&mut times);
            ended += counts.answered();
            timeouts += counts.of(AttemptClass::Timeout);
        }
        let answers = ended - timeouts;
        // The attempts that timed out are taken to be the longest ones.
        (answers >= ENOUGH).then(|| times.percentile(answers as f64 / ended as f64, 0.99)).flatten()
    }
}
