//! What the engine keeps of one endpoint, laid out for the calls that touch it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use crate::availability::Claim;
use crate::breaker::gate::Gate;
use crate::endpoint::Endpoint;
use crate::outcome::Outcome;

/// One endpoint in one snapshot. Aligned so that its reference count, which a pick writes, has a cache line
/// that no other endpoint's calls write.
#[derive(Debug)]
#[repr(align(64))]
pub(crate) struct Slot {
    pub(crate) endpoint: Arc<Endpoint>,
    pub(crate) state: Arc<EndpointState>,
    pub(crate) claim: Claim,
    /// The weight that counts, at least 1.
    pub(crate) weight: u32,
    /// Where it stands in the snapshot's tiers.
    pub(crate) tier: u32,
}

/// What calls to an endpoint write. It outlives snapshots: the key is the endpoint's id, and it begins anew only
/// when the address behind the id changes.
#[derive(Debug)]
#[repr(align(128))]
pub(crate) struct EndpointState {
    in_flight: AtomicU32,
    pub(crate) gate: Gate,
    counts: Counts,
    /// Given calls although its breaker is not closed, because too few others are left.
    pub(crate) held: AtomicBool,
    /// Its half-open round ended because the probe calls did not answer in time, and that is not told yet.
    pub(crate) expired: AtomicBool,
    /// Times that the breaker opened, and times that it closed again.
    pub(crate) opened: AtomicU64,
    pub(crate) recovered: AtomicU64,
    /// Where the counts go when the endpoint is gone and its last call has ended.
    retired: Arc<Counts>,
}

/// How one attempt ended, as it is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Success,
    Failure,
    Timeout,
    Overload,
    NotSent,
    Rejected,
    Local,
    Cancelled,
}

const VERDICTS: usize = 8;

impl From<Outcome> for Verdict {
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Success => Self::Success,
            Outcome::Failure => Self::Failure,
            Outcome::Overload(_) => Self::Overload,
            Outcome::Rejected => Self::Rejected,
            Outcome::NotSent => Self::NotSent,
            Outcome::Local => Self::Local,
        }
    }
}

/// Attempts by how they ended, and the time that those with an answer took.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    ended: [AtomicU64; VERDICTS],
    nanos: AtomicU64,
}

/// The counts as they were read.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Tally {
    ended: [u64; VERDICTS],
    pub(crate) time: Duration,
}

impl Counts {
    #[inline]
    fn add(&self, verdict: Verdict, took: Duration) {
        self.ended[verdict as usize].fetch_add(1, Ordering::Relaxed);
        if verdict != Verdict::Cancelled {
            self.nanos.fetch_add(took.as_nanos() as u64, Ordering::Relaxed);
        }
    }

    pub(crate) fn read(&self) -> Tally {
        let mut ended = [0; VERDICTS];
        for (to, from) in ended.iter_mut().zip(&self.ended) {
            *to = from.load(Ordering::Relaxed);
        }
        Tally { ended, time: Duration::from_nanos(self.nanos.load(Ordering::Relaxed)) }
    }

    fn fold(&self, tally: &Tally) {
        for (to, from) in self.ended.iter().zip(tally.ended) {
            to.fetch_add(from, Ordering::Relaxed);
        }
        self.nanos.fetch_add(tally.time.as_nanos() as u64, Ordering::Relaxed);
    }
}

impl Tally {
    pub(crate) fn of(&self, verdict: Verdict) -> u64 {
        self.ended[verdict as usize]
    }

    /// Attempts that the endpoint is to blame for.
    pub(crate) fn failures(&self) -> u64 {
        [Verdict::Failure, Verdict::Timeout, Verdict::Overload, Verdict::NotSent]
            .map(|v| self.of(v))
            .iter()
            .sum()
    }

    /// Attempts that have ended, those that were cancelled too.
    pub(crate) fn ended(&self) -> u64 {
        self.ended.iter().sum()
    }

    /// The mean time of the attempts that were not cancelled.
    pub(crate) fn mean(&self) -> Option<Duration> {
        let answered = self.ended() - self.of(Verdict::Cancelled);
        let nanos = u64::try_from(self.time.as_nanos()).unwrap_or(u64::MAX);
        nanos.checked_div(answered).map(Duration::from_nanos)
    }

    pub(crate) fn plus(mut self, other: &Self) -> Self {
        for (to, from) in self.ended.iter_mut().zip(other.ended) {
            *to += from;
        }
        self.time += other.time;
        self
    }
}

impl EndpointState {
    pub(crate) fn new(retired: Arc<Counts>) -> Self {
        Self {
            in_flight: AtomicU32::new(0),
            gate: Gate::new(),
            counts: Counts::default(),
            held: AtomicBool::new(false),
            expired: AtomicBool::new(false),
            opened: AtomicU64::new(0),
            recovered: AtomicU64::new(0),
            retired,
        }
    }

    /// Calls that have begun and not ended.
    #[inline]
    pub(crate) fn in_flight(&self) -> u32 {
        self.in_flight.load(Ordering::Relaxed)
    }

    #[inline]
    pub(crate) fn begin(&self) {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
    }

    #[inline]
    pub(crate) fn end(&self, verdict: Verdict, took: Duration) {
        self.in_flight.fetch_sub(1, Ordering::Relaxed);
        self.counts.add(verdict, took);
    }

    pub(crate) fn tally(&self) -> Tally {
        self.counts.read()
    }
}

impl Drop for EndpointState {
    fn drop(&mut self) {
        self.retired.fold(&self.counts.read());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_outlive_the_endpoint() {
        let retired = Arc::new(Counts::default());
        let state = EndpointState::new(Arc::clone(&retired));
        state.begin();
        state.begin();
        state.end(Verdict::Success, Duration::from_millis(3));
        assert_eq!(state.in_flight(), 1);
        state.end(Verdict::Cancelled, Duration::from_secs(9));
        drop(state);
        let tally = retired.read();
        assert_eq!((tally.of(Verdict::Success), tally.ended()), (1, 2));
        assert_eq!(tally.mean(), Some(Duration::from_millis(3)), "a cancelled call says nothing about time");
    }

    #[test]
    fn what_calls_write_has_cache_lines_of_its_own() {
        assert_eq!(align_of::<EndpointState>(), 128);
        assert!(size_of::<EndpointState>() <= 256);
        assert_eq!(size_of::<Slot>(), 64);
    }
}
