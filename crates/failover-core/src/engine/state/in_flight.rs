//! How many calls are under way, and how many have succeeded, in one number.

use crate::runtime::sync::{AtomicU64, Ordering};

/// Calls in flight in the lowest 24 bits, successes above them, so that a success is one write: there is room for
/// 16 million calls at a time and a million million successes.
#[derive(Debug)]
pub(crate) struct InFlight(AtomicU64);

const SUCCESS: u64 = 1 << 24;
const IN_FLIGHT: u64 = SUCCESS - 1;

impl InFlight {
    pub(crate) fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    #[inline]
    pub(crate) fn begin(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    /// A call has succeeded. Who sees it idle afterwards sees what the call has written before.
    #[inline]
    pub(crate) fn succeed(&self) {
        self.0.fetch_add(SUCCESS - 1, Ordering::Release);
    }

    /// As [`succeed`](Self::succeed), for a call that did not.
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

    /// Whether nothing is in flight; what ended calls have written is then seen.
    pub(crate) fn is_idle(&self) -> bool {
        self.0.load(Ordering::Acquire) & IN_FLIGHT == 0
    }

    pub(crate) fn clear(&self) {
        self.0.store(0, Ordering::Relaxed);
    }
}
