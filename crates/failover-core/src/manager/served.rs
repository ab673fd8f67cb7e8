//! The endpoints that this process serves, and where each is registered.

use std::collections::HashMap;
use std::time::Duration;

use tokio::time::{sleep, timeout};

use crate::codec::duration::rough;
use crate::error::{Error, ErrorKind, RetryAdvice};
use crate::manager::providers::Named;
use crate::model::endpoint::{EndpointId, ServiceName};
use crate::model::health::Lifecycle;
use crate::runtime::clock::{Clock, Time};

/// The number of attempts to deregister an endpoint that ends.
const TRIES: u32 = 3;
/// The time that an attempt has at least, as far as it is left.
const ATTEMPT: Duration = Duration::from_millis(2500);
/// The wait between two attempts.
const PAUSE: Duration = Duration::from_millis(250);

/// The endpoints that this process serves, by number.
#[derive(Debug, Default)]
pub(super) struct Served {
    pub(super) entries: HashMap<u64, Place>,
    pub(super) next: u64,
}

/// An endpoint, and where it is registered.
#[derive(Clone, Debug)]
pub(super) struct Place {
    pub(super) named: Named,
    pub(super) service: ServiceName,
    pub(super) id: EndpointId,
}

impl Place {
    /// Marks the endpoint as draining, if the registry supports that.
    pub(super) async fn drain(&self, limit: Duration) {
        if let Some(registry) = self.named.provider.registry() {
            let _ =
                timeout(limit, registry.set_lifecycle(&self.service, &self.id, Lifecycle::Draining)).await;
        }
    }

    /// Deregisters the endpoint in up to three attempts until `until`. A registry that does not
    /// answer an attempt leaves time for another one.
    pub(super) async fn deregister(&self, clock: &Clock, until: Time) -> Result<(), Error> {
        let Some(registry) = self.named.provider.registry() else { return Ok(()) };
        let mut tries = 1;
        loop {
            let left = until.since(clock.now());
            let limit = if tries == TRIES { left } else { (left / 2).max(ATTEMPT).min(left) };
            let error = match timeout(limit, registry.deregister(&self.service, &self.id)).await {
                Ok(Ok(_)) => return Ok(()),
                Ok(Err(error)) => error,
                Err(_) => Error::new(ErrorKind::Timeout, format!("no answer in {}", rough(limit))),
            };
            if tries == TRIES || error.retry() == RetryAdvice::Never || until.since(clock.now()) <= PAUSE {
                return Err(error.context(format!("deregistering {}/{}", self.service, self.id)));
            }
            tries += 1;
            sleep(PAUSE).await;
        }
    }
}
