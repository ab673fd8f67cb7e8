//! Errors that several parts of the manager return.

use crate::error::{Error, ErrorKind};
use crate::model::endpoint::ServiceName;

pub(super) fn closed_error() -> Error {
    Error::new(ErrorKind::Shutdown, "the failover manager is closed")
}

/// Parses the name of a service, for errors that refer to one.
pub(super) fn service_name(name: &str) -> Result<ServiceName, Error> {
    ServiceName::new(name)
}
