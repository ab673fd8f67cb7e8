//! What became of a registration.

use crate::error::{Error, ErrorKind};
use crate::model::endpoint::{Endpoint, EndpointEntry};

/// What became of an endpoint that this process has registered.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RegistrationStatus {
    /// The registry has it as this process registered it.
    Registered,
    /// The registry has it as this process registered it. It had lost it since the last answer, and the
    /// provider has registered it again by itself.
    Restored {
        /// What had become of it, such as "it was deleted in the cluster".
        after: String,
    },
    /// The registry does not have it.
    Missing,
    /// Another process has registered an endpoint with its id.
    TakenOver {
        /// The other process, as far as it is known, such as its address and port.
        by: String,
    },
}

impl RegistrationStatus {
    /// Returns what a read of the endpoint shows about its registration.
    ///
    /// # Errors
    ///
    /// Returns the error of the read, unless it is `NotFound`.
    pub fn of_read(registered: &Endpoint, read: Result<EndpointEntry, Error>) -> Result<Self, Error> {
        match read {
            Ok(found) => Ok(Self::compare(registered, found.endpoint())),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(Self::Missing),
            Err(error) => Err(error),
        }
    }

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
