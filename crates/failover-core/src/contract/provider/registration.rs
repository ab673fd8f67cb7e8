//! What became of a registration.

use crate::model::endpoint::Endpoint;

/// What became of an endpoint that this process has registered.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RegistrationStatus {
    /// The registry has it as this process registered it.
    Registered,
    /// The registry does not have it.
    Missing,
    /// Another process has registered an endpoint with its id.
    TakenOver {
        /// The other process, as far as it is known, such as its address and port.
        by: String,
    },
}

impl RegistrationStatus {
    /// Compares what this process has registered with what the registry has under its id.
    ///
    /// The endpoint belongs to another process if it is at another address and port, or if both have a
    /// `created_at` and the two differ.
    pub fn compare(registered: &Endpoint, found: &Endpoint) -> Self {
        let times = registered.created_at().zip(found.created_at());
        if registered.place() != found.place() || times.is_some_and(|(ours, theirs)| ours != theirs) {
            return Self::TakenOver { by: found.authority() };
        }
        Self::Registered
    }
}
