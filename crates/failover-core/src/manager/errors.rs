//! Errors that several parts of the manager return.

use std::panic::catch_unwind;
use std::time::Duration;

use crate::error::{Error, ErrorKind};
use crate::model::endpoint::ServiceName;

pub(super) fn no_runtime(what: &str) -> Error {
    let message = format!("{what} needs a tokio runtime; call it inside one, as under #[tokio::main]");
    Error::new(ErrorKind::Internal, message).with_code("NO_RUNTIME")
}

/// Returns an error unless the current runtime has timers.
///
/// tokio has no query for this, and panics when a timer is created. The panic is caught, after the
/// panic hook has printed it; with `panic = "abort"` it ends the process.
pub(super) fn ensure_timers() -> Result<(), Error> {
    catch_unwind(|| drop(tokio::time::sleep(Duration::ZERO))).map_err(|_| {
        let message = "the tokio runtime has no timers, which timeouts and retries need; build it with `enable_time` \
                       or `enable_all`";
        Error::new(ErrorKind::Internal, message).with_code("NO_TIMER")
    })
}

pub(super) fn closed_error() -> Error {
    Error::new(ErrorKind::Shutdown, "the failover manager is closed")
}

/// Parses the name of a service, for errors that refer to one.
pub(super) fn service_name(name: &str) -> Result<ServiceName, Error> {
    ServiceName::new(name)
}
