//! The counters of an endpoint's attempts, as they are read.

use std::time::Duration;

use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};

use crate::engine::state::durations::Durations;
use crate::model::attempt_class::AttemptClass;

/// The number of ways in which an attempt ends: one per class, plus cancelled.
pub(super) const ENDINGS: usize = 1 + AttemptClass::ALL.len();
pub(super) const CANCELLED: usize = ENDINGS - 1;

/// How many attempts ended in each way. The numbers never decrease while the process runs.
///
/// serde writes an object with a key for each class, such as `success` and `not_sent`, and
/// `cancelled`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AttemptCounts(pub(super) [u64; ENDINGS]);

impl AttemptCounts {
    pub(crate) const NONE: Self = Self([0; ENDINGS]);

    /// Returns the number of attempts of a class.
    pub fn of(&self, class: AttemptClass) -> u64 {
        self.0[class as usize]
    }

    /// Returns the number of attempts that were dropped before they ended.
    pub fn cancelled(&self) -> u64 {
        self.0[CANCELLED]
    }

    /// Returns the number of attempts that failed because of the endpoint: failures, timeouts, overload
    /// answers, and requests that were not sent.
    pub fn failures(&self) -> u64 {
        let failed = AttemptClass::ALL.iter().filter(|class| class.is_failure());
        failed.map(|class| self.of(*class)).sum()
    }

    /// Returns the number of attempts, including cancelled ones.
    pub fn total(&self) -> u64 {
        self.0.iter().sum()
    }

    /// Returns the attempts since an earlier reading of the same counts.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        let mut since = *self;
        for (now, before) in since.0.iter_mut().zip(earlier.0) {
            *now = now.saturating_sub(before);
        }
        since
    }

    /// Adds the attempts on another endpoint.
    pub fn add(&mut self, other: &Self) {
        for (to, from) in self.0.iter_mut().zip(other.0) {
            *to += from;
        }
    }

    /// Attempts that have ended and were not cancelled.
    pub(crate) fn answered(&self) -> u64 {
        self.total() - self.cancelled()
    }
}

impl Serialize for AttemptCounts {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut ended = serializer.serialize_map(Some(ENDINGS))?;
        for class in AttemptClass::ALL {
            ended.serialize_entry(class.as_str(), &self.of(class))?;
        }
        ended.serialize_entry("cancelled", &self.cancelled())?;
        ended.end()
    }
}

/// The counters at the time they were read.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counters {
    pub(crate) ended: AttemptCounts,
    /// Total duration of the attempts that were not cancelled, within 2 %.
    pub(super) time: Duration,
    /// Their durations in fixed buckets.
    pub(crate) durations: Durations,
    pub(crate) recovered: u64,
    /// Number of probes made by this process.
    pub(crate) probes: u64,
}

impl Counters {
    pub(crate) const NONE: Self = Self {
        ended: AttemptCounts::NONE,
        time: Duration::ZERO,
        durations: Durations::NONE,
        recovered: 0,
        probes: 0,
    };

    /// The mean latency of the attempts that were not cancelled.
    pub(crate) fn mean(&self) -> Option<Duration> {
        let nanos = u64::try_from(self.time.as_nanos()).unwrap_or(u64::MAX);
        nanos.checked_div(self.ended.answered()).map(Duration::from_nanos)
    }

    pub(crate) fn plus(mut self, other: &Self) -> Self {
        self.ended.add(&other.ended);
        self.time += other.time;
        self.durations.add(&other.durations);
        self.recovered += other.recovered;
        self.probes += other.probes;
        self
    }
}
