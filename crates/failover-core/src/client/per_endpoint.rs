//! What a caller keeps for each endpoint: a connection pool, a channel, a prepared client.

use std::collections::HashMap;
use std::fmt;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use crate::client::service::ServiceHandle;
use crate::engine::snapshot::Snapshot;
use crate::engine::{EndpointObserver, Engine};
use crate::model::endpoint::{Endpoint, EndpointId};

/// One value for each endpoint of a service: made on first use, dropped when the endpoint goes, and made anew when its
/// address changes. Cheap to clone; clones share the values.
///
/// ```
/// use failover_core::{PerEndpoint, ServiceHandle};
///
/// struct Pool(String);
///
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let users = ServiceHandle::fixed("user-service", ["10.0.0.1:5432", "10.0.0.2:5432"])?;
/// let pools = PerEndpoint::new(&users);
/// let done = users
///     .execute(async |endpoint| {
///         let pool = pools.get_or_init(&endpoint, |endpoint| Pool(endpoint.authority()));
///         Ok::<_, std::io::Error>(pool.0.clone())
///     })
///     .await?;
/// # Ok(()) }
/// ```
///
/// Who holds a value keeps it alive: what is dropped when an endpoint goes is the share of this collection. An endpoint
/// that has gone already while its last call runs is given a value that is kept nowhere. As long as there is a clone of
/// it, the service is looked after as if there were a handle.
pub struct PerEndpoint<T>(Arc<Values<T>>);

struct Values<T> {
    engine: Arc<Engine>,
    /// Without it the service could be let go, and come back with other endpoints than those that are asked for here.
    _lease: Option<Arc<dyn Send + Sync>>,
    by_id: Mutex<HashMap<EndpointId, Place<T>>>,
}

/// The value of an endpoint at one address.
struct Place<T> {
    address: String,
    port: u16,
    value: Arc<Value<T>>,
}

struct Value<T> {
    made: OnceLock<Arc<T>>,
    /// Held by the one that makes it and has to wait.
    making: tokio::sync::Mutex<()>,
}

impl<T> Clone for PerEndpoint<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T> fmt::Debug for PerEndpoint<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PerEndpoint").field("values", &self.len()).finish_non_exhaustive()
    }
}

impl<T> PerEndpoint<T> {
    /// How many endpoints have been used so far, of those that there are.
    pub fn len(&self) -> usize {
        self.0.by_id().len()
    }

    /// Whether none has been used so far.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl<T: Send + Sync + 'static> PerEndpoint<T> {
    /// A collection without values for a service.
    pub fn new<C>(service: &ServiceHandle<C>) -> Self {
        let engine = Arc::clone(service.engine());
        let values = Arc::new(Values { engine, _lease: service.lease(), by_id: Mutex::default() });
        let observer: Arc<dyn EndpointObserver> = values.clone();
        values.engine.observe(&observer);
        Self(values)
    }

    /// The endpoint's value, made by `make` if it is the first use. However many ask at once, it is made once; the
    /// others block meanwhile, so what takes long belongs into [`get_or_try_init`](Self::get_or_try_init).
    ///
    /// # Panics
    ///
    /// When `make` does; the next use makes it again.
    pub fn get_or_init(&self, endpoint: &Endpoint, make: impl FnOnce(&Endpoint) -> T) -> Arc<T> {
        let value = self.0.value(endpoint);
        Arc::clone(value.made.get_or_init(|| Arc::new(make(endpoint))))
    }

    /// The endpoint's value, made by `make` if it is the first use. However many ask at once, one makes it and the
    /// others wait; if it fails, the next one tries.
    ///
    /// # Errors
    ///
    /// What `make` answers.
    ///
    /// # Cancel safety
    ///
    /// A dropped future leaves the value unmade; the next use makes it.
    pub async fn get_or_try_init<E, Fut>(
        &self,
        endpoint: &Endpoint,
        make: impl FnOnce() -> Fut,
    ) -> Result<Arc<T>, E>
    where
        Fut: Future<Output = Result<T, E>>,
    {
        let value = self.0.value(endpoint);
        if let Some(made) = value.made.get() {
            return Ok(Arc::clone(made));
        }
        let _making = value.making.lock().await;
        if let Some(made) = value.made.get() {
            return Ok(Arc::clone(made));
        }
        let new = Arc::new(make().await?);
        // Somebody may have made one without waiting; all use the same.
        Ok(Arc::clone(value.made.get_or_init(|| new)))
    }
}

impl<T> Values<T> {
    fn by_id(&self) -> MutexGuard<'_, HashMap<EndpointId, Place<T>>> {
        // Nothing that is done under the lock can leave it half done.
        self.by_id.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn value(&self, endpoint: &Endpoint) -> Arc<Value<T>> {
        let mut by_id = self.by_id();
        let place = by_id.get(endpoint.id());
        if let Some(place) = place.filter(|place| place.is_of(endpoint)) {
            return Arc::clone(&place.value);
        }
        let value = Arc::new(Value { made: OnceLock::new(), making: tokio::sync::Mutex::new(()) });
        // Under the lock that `retain` takes after the snapshot has changed: what is gone by then is not kept.
        let replaced = if current(&self.engine.snapshot(), endpoint) {
            let (address, port) = (endpoint.address().to_owned(), endpoint.port());
            let place = Place { address, port, value: Arc::clone(&value) };
            by_id.insert(endpoint.id().clone(), place)
        } else {
            None
        };
        drop(by_id);
        // The caller's own code runs when a value is dropped: not under the lock.
        drop(replaced);
        value
    }
}

impl<T> Place<T> {
    fn is_of(&self, endpoint: &Endpoint) -> bool {
        self.address == endpoint.address() && self.port == endpoint.port()
    }
}

fn current(snapshot: &Snapshot, endpoint: &Endpoint) -> bool {
    let slot = snapshot.find(endpoint.id().as_str()).map(|index| &snapshot.slot(index).endpoint);
    slot.is_some_and(|now| now.address() == endpoint.address() && now.port() == endpoint.port())
}

impl<T: Send + Sync> EndpointObserver for Values<T> {
    fn retain(&self) {
        let gone: Vec<_> = {
            let mut by_id = self.by_id();
            let snapshot = self.engine.snapshot();
            let stays = |id: &EndpointId, place: &Place<T>| {
                let slot = snapshot.find(id.as_str()).map(|index| &snapshot.slot(index).endpoint);
                slot.is_some_and(|endpoint| place.is_of(endpoint))
            };
            let gone: Vec<_> =
                by_id.iter().filter(|(id, place)| !stays(id, place)).map(|(id, _)| id.clone()).collect();
            gone.iter().filter_map(|id| by_id.remove(id)).collect()
        };
        drop(gone);
    }
}

#[cfg(test)]
mod tests;
