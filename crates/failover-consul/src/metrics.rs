//! What a provider is doing.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// What a provider has asked for and is watching, at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Metrics {
    /// Requests that were sent since the provider was made.
    pub requests: u64,
    /// Bytes of the answers to them, unpacked.
    pub bytes: u64,
    /// Services that are followed now.
    pub services: usize,
    /// How many of them are polled, because there is no connection left for a watch.
    pub polled: usize,
    /// Endpoints that this provider keeps registered now.
    pub registered: usize,
}

#[derive(Debug, Default)]
pub(crate) struct Counts {
    services: AtomicUsize,
    polled: AtomicUsize,
}

impl Counts {
    /// One more service, for as long as the answer lives.
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

/// A service that is followed, however its task ends.
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
