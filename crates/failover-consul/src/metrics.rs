//! A provider's counters.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A snapshot of a provider's counters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Metrics {
    /// Requests sent since the provider was created.
    pub requests: u64,
    /// Bytes of the responses, after decompression.
    pub bytes: u64,
    /// Services being watched or polled.
    pub services: usize,
    /// Services being polled because no connection is left for a watch, or the agent refused one.
    pub polled: usize,
    /// Endpoints that this provider keeps registered.
    pub registered: usize,
}

#[derive(Debug, Default)]
pub(crate) struct Counts {
    services: AtomicUsize,
    polled: AtomicUsize,
}

impl Counts {
    /// Counts one more service until the returned guard is dropped.
    pub(crate) fn watching(self: &Arc<Self>) -> Watching {
        self.services.fetch_add(1, Ordering::Relaxed);
        Watching { counts: Arc::clone(self), polling: false }
    }

    pub(crate) fn services(&self) -> usize {
        self.services.load(Ordering::Relaxed)
    }

    pub(crate) fn polled(&self) -> usize {
        self.polled.load(Ordering::Relaxed)
    }
}

/// Counts a service while it is followed, however its task ends.
#[derive(Debug)]
pub(crate) struct Watching {
    counts: Arc<Counts>,
    polling: bool,
}

impl Watching {
    pub(crate) fn is_polling(&self) -> bool {
        self.polling
    }

    pub(crate) fn set_polling(&mut self, polling: bool) {
        match (self.polling, polling) {
            (false, true) => drop(self.counts.polled.fetch_add(1, Ordering::Relaxed)),
            (true, false) => drop(self.counts.polled.fetch_sub(1, Ordering::Relaxed)),
            _ => {}
        }
        self.polling = polling;
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        self.set_polling(false);
        self.counts.services.fetch_sub(1, Ordering::Relaxed);
    }
}
