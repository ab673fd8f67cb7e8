//! The engine's state of one endpoint, laid out for the calls that access it.

pub(crate) mod buckets;
pub(crate) mod counters;
pub(crate) mod durations;
pub(crate) mod ewma;
pub(crate) mod failure_window;
pub(crate) mod in_flight;
pub(crate) mod last_failure;
pub(crate) mod latency;
pub(crate) mod load_weight;
pub(crate) mod placement;
pub(crate) mod slab;

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use arc_swap::ArcSwapOption;

use crate::engine::breaker::atomic::AtomicBreaker;
use crate::engine::control_lock::ControlLock;
use crate::engine::state::buckets::{BUCKETS, bucket};
use crate::engine::state::durations::Durations;
use crate::engine::state::latency::{Histogram, Times};
use crate::model::attempt_class::AttemptClass;
use crate::model::endpoint::Endpoint;
use crate::runtime::clock::Time;
use crate::runtime::rush::{SPAN, Timing};
use counters::{AttemptCounts, CANCELLED, Counters, ENDINGS};
use ewma::PeakEwma;
use in_flight::InFlight;
use last_failure::{LastFailure, Noted};
use load_weight::LoadWeight;
use placement::Placement;

/// Holds what calls to an endpoint read and write. The state outlives snapshots: it stays while
/// one of the entries that name its place stays, and is replaced when the id has another place.
///
/// The first cache line holds the fields that a pick compares and a success writes; the remaining
/// lines hold rarely used fields.
#[derive(Debug)]
#[repr(align(64))]
pub(crate) struct EndpointState {
    hot: HotState,
    cold: ColdState,
}

#[derive(Debug)]
#[repr(align(64))]
struct HotState {
    breaker: AtomicBreaker,
    /// Calls in flight and successes.
    flow: InFlight,
    /// The effective weight, at least 1.
    weight: AtomicU32,
    /// The moving average of the latency of attempts.
    ewma: PeakEwma,
    /// Allocated when the first endpoint is set.
    apart: OnceLock<Box<Apart>>,
    /// The most recent latencies that are not yet in the histogram: bucket numbers plus 1, nine bits each.
    /// The highest bit is set if each of them stands for [`SPAN`] attempts.
    recent: AtomicU64,
    /// Held by the thread that moves `recent` into the histogram.
    flushing: AtomicBool,
    /// Whether the endpoint is in rotation in its tier.
    in_rotation: AtomicBool,
    /// The half-open round ended because the probe calls did not return in time, and no event has
    /// been emitted yet. The flag is rarely used; it is stored here because this line has room.
    expired: AtomicBool,
    /// The failures since the last success that the retry gate has counted, up to 255; here for the same
    /// reason.
    gated: AtomicU8,
}

/// Bits per latency in `recent`, and the number of latencies that it holds.
const RECENT: u32 = 9;
const HELD: u32 = u64::BITS / RECENT;
const SEVERAL: u64 = 1 << (u64::BITS - 1);
const _: () = assert!(BUCKETS < 1 << RECENT && HELD * RECENT < u64::BITS);

/// What is large or rare, and has no room in the state's cache lines. In this order, so that the
/// address of the histogram is that of the allocation.
#[derive(Debug)]
#[repr(C)]
struct Apart {
    times: Histogram,
    last_failure: LastFailure,
}

#[derive(Debug)]
struct ColdState {
    /// The endpoint as its source currently names it. Empty when the state is free.
    endpoint: ArcSwapOption<Endpoint>,
    others: [AtomicU64; ENDINGS - 1],
    /// The number of times that the breaker opened, and that it closed again.
    opened: AtomicU64,
    recovered: AtomicU64,
    /// Number of probes made by this process.
    probes: AtomicU32,
    /// Calls whose attempt has ended and that stay in flight.
    kept: AtomicU32,
    /// When the first attempt since the last success began that failed, and when the first overload
    /// answer since then came, in nanoseconds; 0 for never.
    failing_since: AtomicU64,
    overloaded_since: AtomicU64,
    /// Successful attempts that were slow.
    slow: AtomicU64,
    /// The load that the endpoint has reported.
    load: LoadWeight,
    placement: Placement,
}

impl EndpointState {
    pub(crate) fn new() -> Self {
        Self {
            hot: HotState {
                breaker: AtomicBreaker::new(),
                flow: InFlight::new(),
                weight: AtomicU32::new(1),
                ewma: PeakEwma::new(),
                apart: OnceLock::new(),
                recent: AtomicU64::new(0),
                flushing: AtomicBool::new(false),
                in_rotation: AtomicBool::new(false),
                expired: AtomicBool::new(false),
                gated: AtomicU8::new(0),
            },
            cold: ColdState {
                endpoint: ArcSwapOption::const_empty(),
                others: [const { AtomicU64::new(0) }; ENDINGS - 1],
                opened: AtomicU64::new(0),
                recovered: AtomicU64::new(0),
                probes: AtomicU32::new(0),
                kept: AtomicU32::new(0),
                failing_since: AtomicU64::new(0),
                overloaded_since: AtomicU64::new(0),
                slow: AtomicU64::new(0),
                load: LoadWeight::default(),
                placement: Placement::new(),
            },
        }
    }

    #[inline]
    pub(crate) fn breaker(&self) -> &AtomicBreaker {
        &self.hot.breaker
    }

    /// Calls that have begun and not ended, including those whose attempt has ended.
    #[inline]
    pub(crate) fn in_flight(&self) -> u32 {
        self.hot.flow.in_flight()
    }

    /// Attempts that have begun and not ended.
    pub(crate) fn attempts_in_flight(&self) -> u32 {
        self.in_flight().saturating_sub(self.cold.kept.load(Ordering::Relaxed))
    }

    /// Begins a stay in flight beyond an attempt's end.
    pub(crate) fn begin_keeping(&self) {
        // In this order, and the other way round at the end, so that no reader counts it as an attempt
        // for long.
        self.hot.flow.begin();
        self.cold.kept.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn end_keeping(&self) {
        self.cold.kept.fetch_sub(1, Ordering::Relaxed);
        self.hot.flow.end();
    }

    #[inline]
    pub(crate) fn weight(&self) -> u32 {
        self.hot.weight.load(Ordering::Relaxed)
    }

    #[inline]
    pub(crate) fn ewma(&self) -> &PeakEwma {
        &self.hot.ewma
    }

    #[inline]
    pub(crate) fn is_in_rotation(&self) -> bool {
        self.hot.in_rotation.load(Ordering::Relaxed)
    }

    pub(crate) fn set_in_rotation(&self, in_rotation: bool, _lock: &ControlLock) {
        self.hot.in_rotation.store(in_rotation, Ordering::Relaxed);
    }

    #[inline]
    pub(crate) fn begin(&self) {
        self.hot.flow.begin();
    }

    /// Begins a call, unless that makes more than `limit` calls in flight.
    pub(crate) fn begin_within(&self, limit: u32) -> bool {
        let begun = self.hot.flow.begin() < limit;
        if !begun {
            self.hot.flow.end();
        }
        begun
    }

    /// Ends an attempt. Returns whether this was one of every few attempts after which other work is
    /// due.
    pub(crate) fn end(&self, class: Option<AttemptClass>, nanos: u64, timing: Timing) -> bool {
        if class == Some(AttemptClass::Success) {
            return self.succeed(nanos, timing);
        }
        let due = class.is_some() && self.record(nanos, timing);
        self.cold.others[class.map_or(CANCELLED, |class| class as usize) - 1].fetch_add(1, Ordering::Relaxed);
        // Last, so that a reader that sees no call in flight also sees the counts.
        self.hot.flow.end();
        due
    }

    /// Like [`end`](Self::end), for a success.
    #[inline]
    pub(crate) fn succeed(&self, nanos: u64, timing: Timing) -> bool {
        let due = self.record(nanos, timing);
        self.hot.flow.succeed();
        due
    }

    /// Like [`succeed`](Self::succeed), for an attempt that was not timed.
    #[inline]
    pub(crate) fn succeed_untimed(&self) {
        self.hot.flow.succeed();
    }

    /// Records the latency of an attempt that is timed: first in this cache line, and with every seventh time
    /// in the histogram, which is allocated separately; then returns true. If calls on several threads end
    /// within the same nanoseconds, a latency may be lost or counted twice, so the latencies are a
    /// sample. The numbers of calls are exact.
    #[inline]
    fn record(&self, nanos: u64, timing: Timing) -> bool {
        if timing == Timing::Skipped {
            return false;
        }
        let recent = self.hot.recent.load(Ordering::Relaxed);
        let several = if timing == Timing::Sample { SEVERAL } else { 0 };
        let one = (bucket(nanos) as u64 + 1) | several;
        // Full, or of the other kind.
        let full = (recent ^ several) >> ((HELD - 1) * RECENT) != 0;
        if full {
            self.make_room(one);
        } else {
            self.hot.recent.store(recent << RECENT | one, Ordering::Relaxed);
        }
        full
    }

    #[cold]
    #[inline(never)]
    fn make_room(&self, one: u64) {
        // If another thread is moving them, these are dropped.
        self.flush_recent(0);
        self.hot.recent.store(one, Ordering::Relaxed);
    }

    /// Moves the most recent latencies into the histogram, unless another thread is doing so. A reader
    /// passes the number of attempts so far.
    fn flush_recent(&self, attempts: u64) {
        let Some(apart) = self.hot.apart.get() else { return };
        if self.hot.flushing.swap(true, Ordering::Acquire) {
            return;
        }
        let mut recent = self.hot.recent.load(Ordering::Relaxed);
        self.hot.recent.store(0, Ordering::Relaxed);
        let weight = if recent & SEVERAL == 0 { 1 } else { SPAN as u8 };
        recent &= !SEVERAL;
        while recent > 0 {
            apart.times.record((recent & ((1 << RECENT) - 1)) as usize - 1, weight);
            recent >>= RECENT;
        }
        apart.times.keep_taken(attempts);
        self.hot.flushing.store(false, Ordering::Release);
    }

    /// Returns the endpoint that this state belongs to.
    ///
    /// A state is reused for another endpoint only when no call is in flight and no snapshot refers
    /// to it, so the holder of a pick always finds an endpoint here.
    pub(crate) fn endpoint(&self) -> Arc<Endpoint> {
        self.cold.endpoint.load_full().expect("a state in use has an endpoint")
    }

    /// Applies the source's current data.
    pub(crate) fn set(&self, endpoint: &Arc<Endpoint>, weight: u32, _lock: &ControlLock) {
        // A store waits for readers. Most updates leave most endpoints unchanged and skip it.
        if !self.cold.endpoint.load().as_ref().is_some_and(|before| Arc::ptr_eq(before, endpoint)) {
            self.cold.endpoint.store(Some(Arc::clone(endpoint)));
        }
        self.hot.apart.get_or_init(|| {
            Box::new(Apart { times: Histogram::new(), last_failure: LastFailure::default() })
        });
        self.hot.weight.store(weight, Ordering::Relaxed);
    }

    pub(crate) fn placement(&self) -> &Placement {
        &self.cold.placement
    }

    fn times(&self) -> Option<&Histogram> {
        self.hot.apart.get().map(|apart| &apart.times)
    }

    /// Records how an attempt failed.
    pub(crate) fn note_failure(&self, noted: Noted) {
        if let Some(apart) = self.hot.apart.get() {
            apart.last_failure.note(noted);
        }
    }

    /// How the last attempt that failed ended.
    pub(crate) fn last_failure(&self) -> Option<Noted> {
        self.hot.apart.get()?.last_failure.get()
    }

    /// The load that the endpoint has reported.
    pub(crate) fn load(&self) -> &LoadWeight {
        &self.cold.load
    }

    pub(crate) fn count_probe(&self) {
        self.cold.probes.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts an opening of the breaker.
    pub(crate) fn count_opened(&self) {
        self.cold.opened.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn opened(&self) -> u64 {
        self.cold.opened.load(Ordering::Relaxed)
    }

    /// Records a failed attempt. Returns when the first one since the last success began.
    pub(crate) fn failing_from(&self, began: Time) -> Time {
        first(&self.cold.failing_since, began)
    }

    /// Whether the first attempt that failed since the last success began at this time.
    pub(crate) fn is_failing_since(&self, began: Time) -> bool {
        self.cold.failing_since.load(Ordering::Relaxed) == began.as_nanos().max(1)
    }

    /// Whether an attempt has failed since the last success.
    pub(crate) fn is_failing(&self) -> bool {
        self.cold.failing_since.load(Ordering::Relaxed) != 0
    }

    /// Records an overload answer. Returns when the first one since the last success came.
    pub(crate) fn overloaded_from(&self, now: Time) -> Time {
        first(&self.cold.overloaded_since, now)
    }

    /// Records a success after failures.
    pub(crate) fn clear_failing(&self) {
        self.cold.failing_since.store(0, Ordering::Relaxed);
        self.cold.overloaded_since.store(0, Ordering::Relaxed);
        self.hot.gated.store(0, Ordering::Relaxed);
    }

    /// Records that the retry gate has counted a failure. Of two concurrent ones, one may be lost.
    pub(crate) fn count_gated(&self) {
        let gated = self.hot.gated.load(Ordering::Relaxed);
        self.hot.gated.store(gated.saturating_add(1), Ordering::Relaxed);
    }

    /// Returns the failures since the last success that the retry gate has counted, and forgets them.
    pub(crate) fn take_gated(&self) -> u8 {
        self.hot.gated.swap(0, Ordering::Relaxed)
    }

    pub(crate) fn successes(&self) -> u64 {
        self.hot.flow.successes()
    }

    pub(crate) fn count_slow(&self) {
        self.cold.slow.fetch_add(1, Ordering::Relaxed);
    }

    /// Successful attempts that were slow.
    pub(crate) fn slow(&self) -> u64 {
        self.cold.slow.load(Ordering::Relaxed)
    }

    /// Attempts whose failure proves something about the endpoint: it refused, or answered with an
    /// error.
    pub(crate) fn hard_failures(&self) -> u64 {
        let of = |class: AttemptClass| self.cold.others[class as usize - 1].load(Ordering::Relaxed);
        of(AttemptClass::Failure) + of(AttemptClass::NotSent)
    }

    /// Counts a recovery: the breaker closed.
    pub(crate) fn count_recovered(&self) {
        self.cold.recovered.fetch_add(1, Ordering::Relaxed);
    }

    /// Records that a half-open round has expired, so that the next report emits an event.
    pub(crate) fn note_expired(&self) {
        self.hot.expired.store(true, Ordering::Relaxed);
    }

    /// Returns whether a half-open round has expired since the last call of this method.
    pub(crate) fn take_expired(&self) -> bool {
        self.hot.expired.swap(false, Ordering::Relaxed)
    }

    /// Whether no call is in flight; the counters are then complete.
    pub(crate) fn is_idle(&self) -> bool {
        self.hot.flow.is_idle()
    }

    /// The number of attempts that ended in each way.
    pub(crate) fn ended(&self) -> AttemptCounts {
        let mut ended = AttemptCounts::NONE;
        ended.0[0] = self.hot.flow.successes();
        for (to, from) in ended.0[1..].iter_mut().zip(&self.cold.others) {
            *to = from.load(Ordering::Relaxed);
        }
        ended
    }

    pub(crate) fn counters(&self) -> Counters {
        let mut counters = Counters {
            ended: self.ended(),
            time: Duration::ZERO,
            durations: Durations::NONE,
            recovered: self.cold.recovered.load(Ordering::Relaxed),
            probes: self.cold.probes.load(Ordering::Relaxed).into(),
        };
        let answered = counters.ended.answered();
        self.flush_recent(answered);
        if let Some(times) = self.times() {
            let (durations, mean) = times.durations();
            (counters.durations, counters.time) = (durations, mean.mul_f64(answered as f64));
        }
        counters
    }

    /// Adds the latencies of the endpoint's attempts to `sum`.
    pub(crate) fn times_into(&self, sum: &mut Times) {
        self.flush_recent(0);
        if let Some(times) = self.times() {
            times.read_into(sum);
        }
    }

    /// Resets the state for another endpoint. Must be called only when the state is idle and no
    /// snapshot refers to it.
    fn clear(&self, lock: &ControlLock) {
        self.hot.breaker.clear();
        self.hot.weight.store(1, Ordering::Relaxed);
        self.cold.endpoint.store(None);
        self.hot.flow.clear();
        self.hot.ewma.clear();
        self.set_in_rotation(false, lock);
        self.cold.probes.store(0, Ordering::Relaxed);
        let counts = [&self.cold.opened, &self.cold.recovered, &self.cold.slow];
        for count in counts.into_iter().chain(&self.cold.others) {
            count.store(0, Ordering::Relaxed);
        }
        self.hot.recent.store(0, Ordering::Relaxed);
        if let Some(apart) = self.hot.apart.get() {
            apart.times.clear();
            apart.last_failure.clear();
        }
        self.hot.expired.store(false, Ordering::Relaxed);
        self.clear_failing();
        self.cold.load.clear();
        self.cold.placement.clear(lock);
    }
}

/// Stores the time unless one is stored, and returns what is stored.
fn first(stored: &AtomicU64, time: Time) -> Time {
    let time = time.as_nanos().max(1);
    let before = stored.compare_exchange(0, time, Ordering::Relaxed, Ordering::Relaxed);
    Time::from_nanos(before.map_or_else(|before| before, |_| time))
}

#[cfg(test)]
mod tests;
