//! A watch of a service's endpoints.

use std::sync::Arc;

use tokio::sync::watch;

use crate::client::service::fixed::Origin;
use crate::engine::Engine;
use crate::engine::snapshot::{Slot, Snapshot};
use crate::error::{Error, ErrorKind};
use crate::model::endpoint::EndpointEntry;

/// The endpoints of a service as their sources list them, with the number of changes so far.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct EndpointList {
    /// Rises with every change: an endpoint that came, left or changed, and a claim of its source
    /// about its health or its lifecycle.
    pub version: u64,
    /// The endpoints, by tier and id.
    pub endpoints: Vec<EndpointEntry>,
}

/// A watch of a service's endpoints, which never misses the last state.
///
/// A slow reader may miss states in between; the difference of two versions is the number of changes.
/// A watch keeps the service's discovery running, like a handle.
///
/// ```
/// # use failover_core::ServiceHandle;
/// # async fn example(users: ServiceHandle) -> Result<(), failover_core::Error> {
/// let mut changes = users.changes();
/// let mut list = changes.current();
/// loop {
///     println!("version {}: {} endpoints", list.version, list.endpoints.len());
///     list = changes.changed().await?;
/// }
/// # }
/// ```
pub struct EndpointChanges {
    engine: Arc<Engine>,
    /// Keeps the service's discovery.
    _origin: Origin,
    receiver: watch::Receiver<()>,
    seen: u64,
}

impl std::fmt::Debug for EndpointChanges {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EndpointChanges")
            .field("service", self.engine.name())
            .field("seen", &self.seen)
            .finish_non_exhaustive()
    }
}

impl EndpointChanges {
    pub(super) fn new(engine: Arc<Engine>, origin: Origin) -> Self {
        let receiver = engine.listed();
        let seen = engine.snapshot().version;
        Self { engine, _origin: origin, receiver, seen }
    }

    /// Returns the current list, which then counts as seen.
    pub fn current(&mut self) -> EndpointList {
        self.see(&self.engine.snapshot())
    }

    /// Waits until the list differs from the last one seen, and returns it.
    ///
    /// The list at the time of [`changes`](crate::ServiceHandle::changes) counts as seen.
    ///
    /// # Errors
    ///
    /// Returns `Shutdown` if the manager is closed and the last list has been seen.
    ///
    /// # Cancel safety
    ///
    /// Safe: a change is seen only when it is returned.
    pub async fn changed(&mut self) -> Result<EndpointList, Error> {
        loop {
            self.receiver.borrow_and_update();
            let snapshot = self.engine.snapshot();
            if snapshot.version != self.seen {
                return Ok(self.see(&snapshot));
            }
            drop(snapshot);
            if let Some(ended) = self.ended() {
                return Err(ended);
            }
            // The engine holds the sender and this watch holds the engine, so the wait ends with a
            // change.
            let _ = self.receiver.changed().await;
        }
    }

    fn see(&mut self, snapshot: &Snapshot) -> EndpointList {
        self.seen = snapshot.version;
        EndpointList { version: snapshot.version, endpoints: entries(snapshot) }
    }

    /// Returns the error of a service whose sources have all ended.
    fn ended(&self) -> Option<Error> {
        let sources = self.engine.sources().into_iter();
        let errors: Option<Vec<Error>> =
            sources.map(|source| source.error.filter(|error| error.kind() == ErrorKind::Shutdown)).collect();
        errors?.pop()
    }
}

pub(super) fn entries(snapshot: &Snapshot) -> Vec<EndpointEntry> {
    let entry = |slot: &Slot| {
        EndpointEntry::new(Arc::clone(&slot.endpoint))
            .with_health(slot.claim.health)
            .with_lifecycle(slot.claim.lifecycle)
    };
    snapshot.slots.iter().map(entry).collect()
}

#[cfg(test)]
mod tests;
