//! The position of an endpoint in the newest snapshot, and what the control side knows of it.

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use crate::engine::control_lock::ControlLock;
use crate::model::health::Health;
use crate::runtime::clock::Time;

/// Written only under the control lock, which each writing method takes as an argument; read by any
/// thread.
#[derive(Debug)]
pub(crate) struct Placement {
    /// The index of its slot in the newest snapshot.
    slot: AtomicU32,
    /// Its index in the partition of its tier.
    place: AtomicU32,
    /// The number of the source that names it.
    source: AtomicU32,
    /// In rotation although its breaker is not closed, because the floor requires it.
    pinned: AtomicBool,
    /// Whether this process probes it.
    probing: AtomicBool,
    /// The health that the probes of this process found, as a number.
    probed: AtomicU8,
    /// Why the breaker is not closed, as a number.
    cause: AtomicU8,
    /// When the breaker closed last, in nanoseconds; 0 for never.
    closed_at: AtomicU64,
    /// Until when an operator's decision lasts, in nanoseconds. The lowest bit is set if the endpoint is
    /// forced out, and otherwise it is out of reach of evidence.
    forced: AtomicU64,
    /// The successes, failures and slow attempts at the last comparison of all endpoints.
    compared: [AtomicU32; 3],
    /// No new calls before this time, in nanoseconds, because the endpoint asked for a pause.
    paused_until: AtomicU64,
    /// When the endpoint last entered or left rotation, in nanoseconds, doubled; the lowest bit is
    /// set if it is in rotation. 0 means new.
    since: AtomicU64,
}

/// The evidence on which a breaker opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cause {
    Hard,
    /// It failed more often than the others.
    Outlier,
    Ambiguous,
    /// Ambiguous, and a probe call failed as well.
    Confirmed,
}

impl Placement {
    pub(super) const fn new() -> Self {
        Self {
            slot: AtomicU32::new(0),
            place: AtomicU32::new(0),
            source: AtomicU32::new(0),
            pinned: AtomicBool::new(false),
            probing: AtomicBool::new(false),
            probed: AtomicU8::new(Health::Unknown as u8),
            cause: AtomicU8::new(Cause::Hard as u8),
            closed_at: AtomicU64::new(0),
            compared: [const { AtomicU32::new(0) }; 3],
            paused_until: AtomicU64::new(0),
            forced: AtomicU64::new(0),
            since: AtomicU64::new(0),
        }
    }

    pub(crate) fn slot(&self) -> u32 {
        self.slot.load(Ordering::Relaxed)
    }

    pub(crate) fn set_slot(&self, slot: u32, _lock: &ControlLock) {
        self.slot.store(slot, Ordering::Relaxed);
    }

    pub(crate) fn place(&self) -> u32 {
        self.place.load(Ordering::Relaxed)
    }

    pub(crate) fn set_place(&self, place: u32, _lock: &ControlLock) {
        self.place.store(place, Ordering::Relaxed);
    }

    pub(crate) fn source(&self) -> u32 {
        self.source.load(Ordering::Relaxed)
    }

    pub(crate) fn set_source(&self, source: u32, _lock: &ControlLock) {
        self.source.store(source, Ordering::Relaxed);
    }

    pub(crate) fn is_pinned(&self) -> bool {
        self.pinned.load(Ordering::Relaxed)
    }

    pub(crate) fn set_pinned(&self, pinned: bool, _lock: &ControlLock) {
        self.pinned.store(pinned, Ordering::Relaxed);
    }

    pub(crate) fn is_probing(&self) -> bool {
        self.probing.load(Ordering::Relaxed)
    }

    pub(crate) fn set_probing(&self, probing: bool, _lock: &ControlLock) {
        self.probing.store(probing, Ordering::Relaxed);
    }

    /// Returns the health that the probes of this process found.
    pub(crate) fn probed(&self) -> Health {
        let number = self.probed.load(Ordering::Relaxed);
        let all = [Health::Healthy, Health::Degraded, Health::Unhealthy];
        all.into_iter().find(|health| *health as u8 == number).unwrap_or_default()
    }

    /// Whether a probe found the endpoint unhealthy.
    pub(crate) fn is_probed_down(&self) -> bool {
        self.probed.load(Ordering::Relaxed) == Health::Unhealthy as u8
    }

    /// Records the verdict of a probe and returns the previous one.
    pub(crate) fn set_probed(&self, health: Health, _lock: &ControlLock) -> Health {
        let before = self.probed();
        self.probed.store(health as u8, Ordering::Relaxed);
        before
    }

    /// Returns the evidence on which the breaker opened.
    pub(crate) fn cause(&self) -> Cause {
        let number = self.cause.load(Ordering::Relaxed);
        let all = [Cause::Outlier, Cause::Ambiguous, Cause::Confirmed];
        all.into_iter().find(|cause| *cause as u8 == number).unwrap_or(Cause::Hard)
    }

    pub(crate) fn set_cause(&self, cause: Cause, _lock: &ControlLock) {
        self.cause.store(cause as u8, Ordering::Relaxed);
    }

    /// Returns how long the breaker has been closed since it closed last.
    pub(crate) fn closed_for(&self, now: Time) -> Duration {
        now.since(Time::from_nanos(self.closed_at.load(Ordering::Relaxed)))
    }

    pub(crate) fn set_closed_at(&self, now: Time, _lock: &ControlLock) {
        self.closed_at.store(now.as_nanos(), Ordering::Relaxed);
    }

    /// Replaces the counters of the last comparison, and returns what was added since.
    pub(crate) fn compare(&self, now: [u64; 3], _lock: &ControlLock) -> [u64; 3] {
        // The lower halves are enough for the difference between two comparisons.
        let since = |of: usize| {
            let now = now[of] as u32;
            u64::from(now.wrapping_sub(self.compared[of].swap(now, Ordering::Relaxed)))
        };
        [since(0), since(1), since(2)]
    }

    /// Returns the time before which the endpoint gets no new calls: it asked for a pause, or is forced
    /// out.
    pub(crate) fn no_calls_until(&self) -> Time {
        self.paused_until().max(self.forced_out_until())
    }

    pub(crate) fn forced_out_until(&self) -> Time {
        let forced = self.forced.load(Ordering::Relaxed);
        Time::from_nanos(if forced & 1 == 1 { forced } else { 0 })
    }

    /// Whether evidence of calls does not take the endpoint out.
    pub(crate) fn is_immune(&self, now: Time) -> bool {
        let forced = self.forced.load(Ordering::Relaxed);
        forced & 1 == 0 && now.as_nanos() < forced
    }

    /// Records an operator's decision, which lasts until this time: out, or out of reach of evidence.
    pub(crate) fn set_forced(&self, out: bool, until: Time, _lock: &ControlLock) {
        self.forced.store(until.as_nanos() & !1 | u64::from(out), Ordering::Relaxed);
    }

    pub(crate) fn end_forced(&self, _lock: &ControlLock) {
        self.forced.store(0, Ordering::Relaxed);
    }

    /// Returns the time until which the endpoint asked for no calls.
    pub(crate) fn paused_until(&self) -> Time {
        Time::from_nanos(self.paused_until.load(Ordering::Relaxed))
    }

    pub(crate) fn set_paused_until(&self, until: Time, _lock: &ControlLock) {
        self.paused_until.store(until.as_nanos(), Ordering::Relaxed);
    }

    /// Records whether the endpoint is in rotation, and the time if that has changed.
    pub(crate) fn record_transition(&self, is_in: bool, now: Time, _lock: &ControlLock) {
        let before = self.since.load(Ordering::Relaxed);
        if before == 0 || (before & 1 == 1) != is_in {
            // Never 0, because 0 means new.
            let since = (now.as_nanos().min(u64::MAX >> 1) << 1).max(2) | u64::from(is_in);
            self.since.store(since, Ordering::Relaxed);
        }
    }

    /// Returns when the endpoint last entered or left rotation; `now` if it is new.
    pub(crate) fn since(&self, now: Time) -> Time {
        match self.since.load(Ordering::Relaxed) {
            0 => now,
            since => Time::from_nanos(since >> 1),
        }
    }

    /// Resets the placement. The slot, the place and the source are set before they are read again.
    pub(super) fn clear(&self, _lock: &ControlLock) {
        self.pinned.store(false, Ordering::Relaxed);
        self.probing.store(false, Ordering::Relaxed);
        self.probed.store(Health::Unknown as u8, Ordering::Relaxed);
        let times = [&self.closed_at, &self.paused_until, &self.forced, &self.since];
        for time in times {
            time.store(0, Ordering::Relaxed);
        }
        for count in &self.compared {
            count.store(0, Ordering::Relaxed);
        }
        self.cause.store(Cause::Hard as u8, Ordering::Relaxed);
    }
}
