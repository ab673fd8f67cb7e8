//! Counts how often endpoints were taken out of use, by reason.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::Serialize;
use serde::ser::{SerializeMap, SerializeStruct, Serializer};

const REASONS: usize = EjectionReason::ALL.len();

/// Why an endpoint was taken out of use by this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum EjectionReason {
    /// Too many of its attempts failed.
    Failures,
    /// Too many of its attempts timed out, or it answered that it is overloaded.
    Overload,
    /// It failed clearly more often than the others, or was slower.
    Outlier,
    /// It asked for a pause (Retry-After).
    RetryAfter,
    /// An operator forced it out (`force`).
    Forced,
}

impl EjectionReason {
    /// All reasons, in the order of their numbers.
    const ALL: [Self; 5] = [Self::Failures, Self::Overload, Self::Outlier, Self::RetryAfter, Self::Forced];

    /// Returns the name of this reason, as in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Failures => "failures",
            Self::Overload => "overload",
            Self::Outlier => "outlier",
            Self::RetryAfter => "retry_after",
            Self::Forced => "forced",
        }
    }
}

impl fmt::Display for EjectionReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// How often endpoints of a service were taken out of use, by reason. The numbers never decrease while
/// the process runs.
///
/// serde writes `{"enforced": {"failures": 1, …}, "unenforced": {"failures": 0, …}}`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ejections {
    enforced: [u64; REASONS],
    unenforced: [u64; REASONS],
}

impl Ejections {
    /// Returns how often an endpoint was taken out for this reason.
    pub fn enforced(&self, reason: EjectionReason) -> u64 {
        self.enforced[reason as usize]
    }

    /// Returns how often an endpoint stayed in use although this reason was there: because too many
    /// others were out (`max_ejected`), or because an operator keeps it in.
    pub fn unenforced(&self, reason: EjectionReason) -> u64 {
        self.unenforced[reason as usize]
    }

    /// Returns all reasons, in a fixed order.
    pub fn reasons() -> impl Iterator<Item = EjectionReason> {
        EjectionReason::ALL.into_iter()
    }
}

impl Serialize for Ejections {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        struct Counts<'a>(&'a [u64; REASONS]);
        impl Serialize for Counts<'_> {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                let mut counts = serializer.serialize_map(Some(REASONS))?;
                for (reason, count) in EjectionReason::ALL.iter().zip(self.0) {
                    counts.serialize_entry(reason.as_str(), count)?;
                }
                counts.end()
            }
        }
        let mut ejections = serializer.serialize_struct("Ejections", 2)?;
        ejections.serialize_field("enforced", &Counts(&self.enforced))?;
        ejections.serialize_field("unenforced", &Counts(&self.unenforced))?;
        ejections.end()
    }
}

/// The counters. Written only where an endpoint is taken out, or would be.
#[derive(Debug)]
pub(crate) struct EjectionCounts {
    enforced: [AtomicU64; REASONS],
    unenforced: [AtomicU64; REASONS],
}

impl EjectionCounts {
    pub(super) const fn new() -> Self {
        Self {
            enforced: [const { AtomicU64::new(0) }; REASONS],
            unenforced: [const { AtomicU64::new(0) }; REASONS],
        }
    }

    pub(super) fn enforce(&self, reason: EjectionReason) {
        self.enforced[reason as usize].fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn hold(&self, reason: EjectionReason) {
        self.unenforced[reason as usize].fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn read(&self) -> Ejections {
        let read = |counts: &[AtomicU64; REASONS]| {
            std::array::from_fn(|reason| counts[reason].load(Ordering::Relaxed))
        };
        Ejections { enforced: read(&self.enforced), unenforced: read(&self.unenforced) }
    }

    /// The number of all that were not enforced.
    pub(crate) fn unenforced(&self) -> u64 {
        self.unenforced.iter().map(|count| count.load(Ordering::Relaxed)).sum()
    }
}
