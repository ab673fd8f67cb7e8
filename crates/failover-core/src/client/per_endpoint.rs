//! Per-endpoint values: a connection pool, a channel, a prepared client.

use std::collections::HashMap;
use std::fmt;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use crate::client::service::ServiceHandle;
use crate::engine::{EndpointObserver, Engine};
use crate::model::endpoint::Endpoint;

/// One value per endpoint of a service, such as a connection pool.
///
/// A value is created on first use, dropped when the endpoint is removed, and recreated when the
/// endpoint's address changes. Endpoints of several sources with one id have a value each; several
/// entries for one address and port share one. Clones are cheap and share the values.
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
/// A caller that holds a value keeps it alive: removing an endpoint drops only this collection's
/// reference. A call to an endpoint that has already been removed receives a value that is not
/// stored. A clone of the collection keeps the service's discovery running, like a handle.
pub struct PerEndpoint<T>(Arc<Values<T>>);

struct Values<T> {
    engine: Arc<Engine>,
    /// Keeps the service: without it, the service could be removed and return with other endpoints.
    _lease: Option<Arc<dyn Send + Sync>>,
    /// By the number of the endpoint's state, which stays while the endpoint stays at its place.
    by_state: Mutex<HashMap<u32, Stored<T>>>,
}

/// The value of an endpoint, and the endpoint when the value was stored.
struct Stored<T> {
    endpoint: Arc<Endpoint>,
    value: Arc<Value<T>>,
}

struct Value<T> {
    made: OnceLock<Arc<T>>,
    /// Held by the task that creates the value and has to wait.
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
    /// Returns the number of current endpoints that have a value.
    pub fn len(&self) -> usize {
        self.0.by_state().len()
    }

    /// Returns whether no current endpoint has a value.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl<T: Send + Sync + 'static> PerEndpoint<T> {
    /// Creates an empty collection for a service.
    pub fn new<C>(service: &ServiceHandle<C>) -> Self {
        let engine = Arc::clone(service.engine());
        let values = Arc::new(Values { engine, _lease: service.lease(), by_state: Mutex::default() });
        let observer: Arc<dyn EndpointObserver> = values.clone();
        values.engine.observe(&observer);
        Self(values)
    }

    /// Returns the endpoint's value, created by `make` on first use.
    ///
    /// Concurrent callers create it once; the others block meanwhile. If creating a value takes
    /// long, use [`get_or_try_init`](Self::get_or_try_init).
    ///
    /// # Panics
    ///
    /// Panics if `make` panics; the next use creates the value again.
    pub fn get_or_init(&self, endpoint: &Endpoint, make: impl FnOnce(&Endpoint) -> T) -> Arc<T> {
        let value = self.0.value(endpoint);
        Arc::clone(value.made.get_or_init(|| Arc::new(make(endpoint))))
    }

    /// Returns the endpoint's value, created by `make` on first use.
    ///
    /// Among concurrent callers, one creates the value and the others wait. If it fails, the next
    /// caller tries.
    ///
    /// # Errors
    ///
    /// Returns the error of `make`.
    ///
    /// # Cancel safety
    ///
    /// A dropped future leaves the value uncreated; the next use creates it.
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
        // Another caller may have created the value without waiting; all callers use the same one.
        Ok(Arc::clone(value.made.get_or_init(|| new)))
    }
}

impl<T> Values<T> {
    fn by_state(&self) -> MutexGuard<'_, HashMap<u32, Stored<T>>> {
        // No operation under the lock can leave the map half updated.
        self.by_state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn value(&self, endpoint: &Endpoint) -> Arc<Value<T>> {
        let mut by_state = self.by_state();
        // `retain` takes this lock after the snapshot has changed, so a removed endpoint is not
        // kept.
        let snapshot = self.engine.snapshot();
        let mut slots = snapshot.with_id(endpoint.id().as_str()).map(|index| snapshot.slot(index));
        let slot = slots.find(|slot| slot.endpoint.place() == endpoint.place());
        let stored = slot.and_then(|slot| by_state.get(&slot.state));
        if let Some(stored) = stored.filter(|stored| stored.endpoint.place() == endpoint.place()) {
            return Arc::clone(&stored.value);
        }
        let value = Arc::new(Value { made: OnceLock::new(), making: tokio::sync::Mutex::new(()) });
        let replaced = slot.and_then(|slot| {
            let stored = Stored { endpoint: Arc::clone(&slot.endpoint), value: Arc::clone(&value) };
            by_state.insert(slot.state, stored)
        });
        drop(by_state);
        // Dropping a value runs the caller's code, so it happens outside the lock.
        drop(replaced);
        value
    }
}

impl<T: Send + Sync> EndpointObserver for Values<T> {
    fn retain(&self) {
        let gone: Vec<_> = {
            let mut by_state = self.by_state();
            let snapshot = self.engine.snapshot();
            let places: HashMap<_, _> =
                snapshot.slots.iter().map(|slot| (slot.state, slot.endpoint.place())).collect();
            let stays = |state: &u32, stored: &Stored<T>| {
                places.get(state).is_some_and(|place| *place == stored.endpoint.place())
            };
            let gone: Vec<_> = by_state
                .iter()
                .filter(|(state, stored)| !stays(state, stored))
                .map(|(state, _)| *state)
                .collect();
            gone.iter().filter_map(|state| by_state.remove(state)).collect()
        };
        drop(gone);
    }
}

#[cfg(test)]
mod tests;
