//! Who keeps something for each endpoint, and is told when endpoints go.

use std::sync::{Arc, Mutex, PoisonError, Weak};

use super::Engine;

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

impl Engine {
    /// Tells this one from now on, as long as somebody else holds it.
    pub(crate) fn keep(&self, keeper: &Arc<dyn Keeper>) {
        self.keepers.0.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::downgrade(keeper));
    }

    /// After the endpoints have changed, without a lock of the engine's: what is let go of runs the caller's code.
    pub(super) fn tell_keepers(&self) {
        let alive: Vec<_> = {
            let mut keepers = self.keepers.0.lock().unwrap_or_else(PoisonError::into_inner);
            keepers.retain(|keeper| keeper.strong_count() > 0);
            keepers.iter().filter_map(Weak::upgrade).collect()
        };
        for keeper in alive {
            keeper.retain();
        }
    }
}
