//! A reference to a manager that does not keep it open.

use std::sync::Weak;

use crate::manager::FailoverManager;
use crate::manager::inner::Inner;

/// A reference to a [`FailoverManager`] that does not keep it: for a task that serves a manager, and
/// that is to end with it.
#[derive(Clone, Debug)]
pub struct WeakManager(Weak<Inner>);

impl WeakManager {
    pub(super) fn new(of: Weak<Inner>) -> Self {
        Self(of)
    }

    /// Returns the manager, or `None` after its last clone was dropped.
    pub fn upgrade(&self) -> Option<FailoverManager> {
        self.0.upgrade().map(FailoverManager)
    }

    /// Returns whether both refer to the same manager.
    pub fn is_same(&self, other: &Self) -> bool {
        self.0.ptr_eq(&other.0)
    }
}
