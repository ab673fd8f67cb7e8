//! What the library needs of the tokio runtime that it is called in.

use std::panic::catch_unwind;
use std::time::Duration;

use tokio::runtime::Handle;

use crate::error::{Error, ErrorKind};

/// Returns the current runtime, or an error that names what needs it.
pub(crate) fn current_runtime(what: &str) -> Result<Handle, Error> {
    Handle::try_current().map_err(|_| no_runtime(what))
}

fn no_runtime(what: &str) -> Error {
    let message = format!("{what} needs a tokio runtime; call it inside one, as under #[tokio::main]");
    Error::new(ErrorKind::Internal, message).with_code("NO_RUNTIME")
}

/// Returns an error unless the current runtime has timers.
///
/// tokio has no query for this, and panics when a timer is created. The panic is caught, after the
/// panic hook has printed it; with `panic = "abort"` it ends the process.
pub(crate) fn ensure_timers() -> Result<(), Error> {
    catch_unwind(|| drop(tokio::time::sleep(Duration::ZERO))).map_err(|_| {
        let message = "the tokio runtime has no timers, which timeouts and retries need; build it with `enable_time` \
                       or `enable_all`";
        Error::new(ErrorKind::Internal, message).with_code("NO_TIMER")
    })
}
