//! The number of calls in flight and the number of successes, in one atomic.

use crate::runtime::sync::{AtomicU64, Ordering};

/// Holds the calls in flight in the lowest 24 bits and the successes above them, so that a success
/// is one write. There is room for 16 million concurrent calls and 10^12 successes.
#[derive(Debug)]
pub(crate) struct InFlight(AtomicU64);

const SUCCESS: u64 = 1 << 24;
const IN_FLIGHT: u64 = SUCCESS - 1;

impl InFlight {
    pub(crate) fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    /// Begins a call. Returns the number of calls that were in flight before.
    #[inline]
    pub(crate) fn begin(&self) -> u32 {
        (self.0.fetch_add(1, Ordering::Relaxed) & IN_FLIGHT) as u32
    }

    /// Ends a call that succeeded. A thread that sees no call in flight afterwards also sees what
    /// the call wrote before.
    #[inline]
    pub(crate) fn succeed(&self) {
        self.0.fetch_add(SUCCESS - 1, Ordering::Release);
    }

    /// Like [`succeed`](Self::succeed), for a call that did not succeed.
    #[inline]
    pub(crate) fn end(&self) {
        self.0.fetch_sub(1, Ordering::Release);
    }

    #[inline]
    pub(crate) fn in_flight(&self) -> u32 {
        (self.0.load(Ordering::Relaxed) & IN_FLIGHT) as u32
    }

    pub(crate) fn successes(&self) -> u64 {
        self.0.load(Ordering::Relaxed) >> SUCCESS.trailing_zeros()
    }

    /// Whether no call is in flight; the writes of ended calls are then visible.
    pub(crate) fn is_idle(&self) -> bool {
        self.0.load(Ordering::Acquire) & IN_FLIGHT == 0
    }

    pub(crate) fn clear(&self) {
        self.0.store(0, Ordering::Relaxed);
    }
}
