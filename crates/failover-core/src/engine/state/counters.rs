//! The counters of an endpoint's attempts, as they are read.

use std::time::Duration;

use crate::model::attempt_class::AttemptClass;

/// The number of ways in which an attempt ends: one per class, plus cancelled.
pub(super) const ENDINGS: usize = 1 + AttemptClass::ALL.len();
pub(super) const CANCELLED: usize = ENDINGS - 1;

/// The counters at the time they were read.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counters {
    pub(super) ended: [u64; ENDINGS],
    /// Total duration of the attempts that were not cancelled, within 2 %.
    pub(super) time: Duration,
    pub(crate) recovered: u64,
    /// Number of probes made by this process.
    pub(crate) probes: u64,
}

impl Counters {
    pub(crate) const NONE: Self = Self { ended: [0; ENDINGS], time: Duration::ZERO, recovered: 0, probes: 0 };

    pub(crate) fn of(&self, class: AttemptClass) -> u64 {
        self.ended[class as usize]
    }

    /// Attempts that were dropped before they ended.
    pub(crate) fn cancelled(&self) -> u64 {
        self.ended[CANCELLED]
    }

    /// Attempts that failed because of the endpoint.
    pub(crate) fn failures(&self) -> u64 {
        [AttemptClass::Failure, AttemptClass::Timeout, AttemptClass::Overload, AttemptClass::NotSent]
            .map(|v| self.of(v))
            .iter()
            .sum()
    }

    /// Attempts that have ended, including cancelled ones.
    pub(crate) fn ended(&self) -> u64 {
        self.ended.iter().sum()
    }

    /// Attempts that have ended and were not cancelled.
    pub(super) fn answered(&self) -> u64 {
        self.ended() - self.cancelled()
    }

    /// The mean latency of the attempts that were not cancelled.
    pub(crate) fn mean(&self) -> Option<Duration> {
        let nanos = u64::try_from(self.time.as_nanos()).unwrap_or(u64::MAX);
        nanos.checked_div(self.answered()).map(Duration::from_nanos)
    }

    pub(crate) fn plus(mut self, other: &Self) -> Self {
        for (to, from) in self.ended.iter_mut().zip(other.ended) {
            *to += from;
        }
        self.time += other.time;
        self.recovered += other.recovered;
        self.probes += other.probes;
        self
    }
}
