//! Proof that the control lock is held.

/// Methods that write control-side data of an endpoint take a reference to this token. `Control`,
/// which the lock protects, holds the only token of a service, so a reference to it is available
/// only under the lock.
#[derive(Debug)]
pub(crate) struct ControlLock(());

impl ControlLock {
    /// Used by `Control`, and by tests of the layers below it.
    pub(in crate::engine) const fn new() -> Self {
        Self(())
    }
}
