//! Proof that the control lock is held.

/// What the control side writes of an endpoint takes a reference to this token. `Control`, which the lock protects,
/// holds the only one of a service, so that a reference to it can be had under the lock alone.
#[derive(Debug)]
pub(crate) struct ControlLock(());

impl ControlLock {
    /// For `Control`, and for tests of what lies below it.
    pub(in crate::engine) const fn new() -> Self {
        Self(())
    }
}
