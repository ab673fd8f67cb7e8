//! The clock of the machine: what a reading costs, and how many there are in an operation.

use std::fmt;
use std::hint::black_box;
use std::time::Instant;

use failover_core::Clock;

use crate::measure::{Row, quantile};
use crate::peers::WITHOUT_CLOCK;
use crate::report::find;

/// The cost of a reading on a machine with a fast counter, in nanoseconds.
const FAST: f64 = 12.0;
/// From this cost on, a clock is slow.
const SLOW: f64 = 30.0;
/// One call of eight is timed in a rush, with two readings.
const SAMPLED: f64 = 2.0 / 8.0;

/// The clock that services read by default.
pub(crate) struct ClockCost {
    /// What it reads.
    name: String,
    /// The cost of a reading in a loop of readings, in nanoseconds.
    alone: f64,
    /// Among other work: half of the difference between the floor and the floor without the clock.
    read: f64,
}

impl ClockCost {
    /// Measures it alone: the median of many short batches, once the core has its full speed.
    pub(crate) fn measure() -> Self {
        const BATCH: u32 = 1_000;
        const WARM_UP: u32 = 10_000;
        let clock = Clock::system();
        let batch = |_| {
            let began = Instant::now();
            (0..BATCH).for_each(|_| {
                black_box(clock.now());
            });
            began.elapsed().as_secs_f64() * 1e9 / f64::from(BATCH)
        };
        (0..WARM_UP).for_each(|n| {
            black_box(batch(n));
        });
        let alone = quantile((0..301).map(batch).collect(), 0.5);
        Self { name: clock.to_string(), alone, read: alone }
    }

    /// Takes the cost among other work from these rows.
    pub(crate) fn among(mut self, rows: &[Row]) -> Self {
        let floor = |name| find(rows, "floor", name, 10, 1);
        if let (Some(with), Some(without)) = (floor("floor"), floor(WITHOUT_CLOCK)) {
            self.read = (with - without) / 2.0;
        }
        self
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
            ("floor", WITHOUT_CLOCK) => 0.0,
            ("floor", _) => 2.0,
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

impl fmt::Display for ClockCost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, alone, read } = self;
        let speed = if self.is_slow() { "slow" } else { "fast" };
        write!(
            f,
            "The clock is {name}. A reading costs {alone:.1} ns in a loop of readings, and {read:.1} ns among other \
             work: a {speed} one."
        )
    }
}
