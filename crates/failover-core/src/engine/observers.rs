//! Who keeps something for each endpoint, and is told when endpoints go.

use std::sync::{Arc, Mutex, PoisonError, Weak};

/// Keeps something for each endpoint of a service.
pub(crate) trait Keeper: Send + Sync {
    /// Lets go of what belongs to endpoints that are gone, or that have moved.
    fn retain(&self);
}

#[derive(Default)]
pub(super) struct Keepers(Mutex<Vec<Weak<dyn Keeper>>>);

impl std::fmt::Debug for Keepers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Keepers").finish_non_exhaustive()
    }
}

impl Keepers {
    /// Adds one, which is dropped with its last owner elsewhere.
    pub(super) fn add(&self, keeper: &Arc<dyn Keeper>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::downgrade(keeper));
    }

    /// Calls each of them without the lock: what is let go of runs the caller's code.
    pub(super) fn tell(&self) {
        let alive: Vec<_> = {
            let mut keepers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            keepers.retain(|keeper| keeper.strong_count() > 0);
            keepers.iter().filter_map(Weak::upgrade).collect()
        };
        for keeper in alive {
            keeper.retain();
        }
    }
}
