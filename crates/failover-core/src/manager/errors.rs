//! Errors that several parts of the manager answer.

use crate::error::{Error, ErrorKind};
use crate::model::endpoint::ServiceName;

pub(super) fn no_runtime(what: &str) -> Error {
    let message = format!("{what} needs a tokio runtime; call it inside one, as under #[tokio::main]");
    Error::new(ErrorKind::Internal, message).with_code("NO_RUNTIME")
}

pub(super) fn closed_error() -> Error {
    Error::new(ErrorKind::Shutdown, "the failover manager is closed")
}

/// The name of a service, for errors that are about one.
pub(super) fn service_name(name: &str) -> Result<ServiceName, Error> {
    ServiceName::new(name)
}
