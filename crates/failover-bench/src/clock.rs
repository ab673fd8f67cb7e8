//! The clock of the machine: what a reading costs, and how many there are in an operation.

use std::hint::black_box;
use std::time::Instant;

use failover_core::Clock;

use crate::measure::{Row, quantile};

/// The cost of a reading on a machine with a fast counter, in nanoseconds.
const FAST: f64 = 12.0;
/// From this cost on, a clock is slow.
const SLOW: f64 = 30.0;
/// One call of eight is timed in a rush, with two readings.
const SAMPLED: f64 = 2.0 / 8.0;

/// The clock that services read by default.
pub(crate) struct ClockCost {
    /// What it reads.
    pub(crate) name: String,
    /// The cost of a reading in nanoseconds.
    pub(crate) read: f64,
}

impl ClockCost {
    /// Measures it: the median of many short batches.
    pub(crate) fn measure() -> Self {
        const BATCH: u32 = 1_000;
        let clock = Clock::system();
        let batch = |_| {
            let began = Instant::now();
            (0..BATCH).for_each(|_| {
                black_box(clock.now());
            });
            began.elapsed().as_secs_f64() * 1e9 / f64::from(BATCH)
        };
        Self { name: clock.to_string(), read: quantile((0..301).map(batch).collect(), 0.5) }
    }

    pub(crate) fn is_slow(&self) -> bool {
        self.read >= SLOW
    }

    /// Returns the limit for this clock.
    pub(crate) fn limit(&self, slow: f64, fast: f64) -> f64 {
        if self.is_slow() { slow } else { fast }
    }

    /// Returns the time of a row as it would be with a fast counter, as far as its readings are known.
    pub(crate) fn computed(&self, row: &Row) -> Option<f64> {
        let reads = match (row.peer, row.name.split(',').next().unwrap_or_default()) {
            _ if row.allocations.is_nan() => return None,
            ("floor", _) | ("failover", "execute" | "select peak_ewma") => 2.0,
            ("failover", _) if self.name.contains("coarse") => SAMPLED,
            ("failover", _) => 2.0,
            ("pingora", _) => 0.0,
            // Two loads are compared; a call has a start, an end and an update.
            ("tower", _) => 5.0,
            _ => return None,
        };
        Some(row.nanos - reads * (self.read - FAST))
    }
}
