//! Observers that hold per-endpoint data and are notified when endpoints are removed.

use std::sync::{Arc, Mutex, PoisonError, Weak};

/// Holds per-endpoint data of a service.
pub(crate) trait EndpointObserver: Send + Sync {
    /// Drops the data of endpoints that have been removed or have changed their address.
    fn retain(&self);
}

#[derive(Default)]
pub(super) struct EndpointObservers(Mutex<Vec<Weak<dyn EndpointObserver>>>);

impl std::fmt::Debug for EndpointObservers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EndpointObservers").finish_non_exhaustive()
    }
}

impl EndpointObservers {
    /// Adds an observer. Only a weak reference is kept.
    pub(super) fn add(&self, observer: &Arc<dyn EndpointObserver>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::downgrade(observer));
    }

    /// Notifies all observers without holding the lock, because dropping their data runs the user's
    /// code.
    pub(super) fn notify(&self) {
        let alive: Vec<_> = {
            let mut observers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            observers.retain(|observer| observer.strong_count() > 0);
            observers.iter().filter_map(Weak::upgrade).collect()
        };
        for observer in alive {
            observer.retain();
        }
    }
}
