//! Who keeps something for each endpoint, and is told when endpoints go.

use std::sync::{Arc, Mutex, PoisonError, Weak};

/// Keeps something for each endpoint of a service.
pub(crate) trait EndpointObserver: Send + Sync {
    /// Lets go of what belongs to endpoints that are gone, or that have moved.
    fn retain(&self);
}

#[derive(Default)]
pub(super) struct EndpointObservers(Mutex<Vec<Weak<dyn EndpointObserver>>>);

impl std::fmt::Debug for EndpointObservers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Keepers").finish_non_exhaustive()
    }
}

impl EndpointObservers {
    /// Adds one, which is dropped with its last owner elsewhere.
    pub(super) fn add(&self, observer: &Arc<dyn EndpointObserver>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::downgrade(observer));
    }

    /// Calls each of them without the lock: what is let go of runs the caller's code.
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
