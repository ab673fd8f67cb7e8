//! The 99th percentile of a service's own answers, from which timeouts are derived.
//!
//! It is computed at most once a second, by one call, and read by all.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::engine::Engine;
use crate::engine::state::latency::Times;
use crate::model::attempt_class::AttemptClass;
use crate::runtime::clock::Time;

/// The number of answers below which the percentile is unknown.
const ENOUGH: u64 = 100;
/// The interval between two computations.
const INTERVAL: Duration = Duration::from_secs(1);
/// The number of endpoints whose latencies are a large enough sample.
const SAMPLE: usize = 16;

/// The percentile in nanoseconds, 0 if it is unknown, and when it is computed next.
#[derive(Debug, Default)]
pub(super) struct UsualLatency {
    p99: AtomicU64,
    due: AtomicU64,
}

impl Engine {
    /// Returns the 99th percentile of the latency of answers, once enough are known. Attempts that
    /// timed out are no answers: they would raise the timeouts that are derived from it.
    pub(crate) fn p99(&self, now: Time) -> Option<Duration> {
        let latency = &self.usual_latency;
        let due = latency.due.load(Ordering::Relaxed);
        let next = (now + INTERVAL).as_nanos();
        if now.as_nanos() >= due
            && latency.due.compare_exchange(due, next, Ordering::Relaxed, Ordering::Relaxed).is_ok()
        {
            let p99 = self.compute_p99().map_or(0, |p99| p99.as_nanos() as u64);
            latency.p99.store(p99, Ordering::Relaxed);
        }
        let p99 = latency.p99.load(Ordering::Relaxed);
        (p99 > 0).then(|| Duration::from_nanos(p99))
    }

    #[cold]
    fn compute_p99(&self) -> Option<Duration> {
        let snapshot = self.snapshot.load();
        let mut times = Times::none();
        let (mut ended, mut timeouts) = (0, 0);
        for slot in snapshot.slots.iter().step_by(snapshot.slots.len().div_ceil(SAMPLE).max(1)) {
            let state = self.slab.state(slot.state);
            let counters = state.counters();
            state.times_into(&mut times);
            ended += counters.ended() - counters.cancelled();
            timeouts += counters.of(AttemptClass::Timeout);
        }
        let answers = ended - timeouts;
        // The attempts that timed out are taken to be the longest ones.
        (answers >= ENOUGH).then(|| times.percentile(answers as f64 / ended as f64, 0.99)).flatten()
    }
}
