//! Per-endpoint values: a connection pool, a channel, a prepared client.

use std::collections::HashMap;
use std::fmt;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use crate::client::service::{Origin, ServiceHandle};
use crate::engine::{EndpointObserver, Engine};
use crate::model::endpoint::Endpoint;

/// One value per endpoint of a service, such as a connection pool.
///
/// A value is created on first use, dropped when the endpoint is removed, and recreated when the
/// endpoint changes: its address, port, protocol, server name, metadata, tags, region or zone. A
/// change of its weight, priority, health check or times keeps the value;
/// [`with_identity`](Self::with_identity) chooses otherwise. Endpoints of several sources with one id
/// have a value each; several entries for one address and port share one. Clones are cheap and share
/// the values.
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
/// reference. A call to an endpoint that has been removed or changed in the meantime receives a value
/// that is not stored. A value that no longer works, such as a closed connection, is removed by
/// [`remove_if_same`](Self::remove_if_same), and the next use creates it again. A clone of the collection keeps the service's discovery running, like a handle.
pub struct PerEndpoint<T>(Arc<Values<T>>);

struct Values<T> {
    engine: Arc<Engine>,
    /// Whether a value made for the first endpoint serves the second, at the same place.
    is_same: Box<IsSame>,
    /// Keeps the service: without it, the service could be removed and return with other endpoints.
    _origin: Origin,
    /// By the number of the endpoint's state, which stays while the endpoint stays at its place.
    by_state: Mutex<HashMap<u32, Stored<T>>>,
}

type IsSame = dyn Fn(&Endpoint, &Endpoint) -> bool + Send + Sync;

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
        Self::with_identity(service, is_same_for_clients)
    }

    /// Creates an empty collection for a service, with a choice of which changes of an endpoint keep
    /// its value.
    ///
    /// `is_same` receives the endpoint that the value was made for, and the endpoint as it is now. It
    /// decides only while address and port stay: at another place the value is always new. It is
    /// called under a lock, and a panic of it counts as `false`.
    ///
    /// ```
    /// use failover_core::{PerEndpoint, ServiceHandle};
    ///
    /// let users = ServiceHandle::fixed("users", ["10.0.0.1:5432"])?;
    /// // Metadata is for people here: only what a connection is made of counts.
    /// let pools = PerEndpoint::<String>::with_identity(&users, |before, now| {
    ///     before.protocol() == now.protocol() && before.server_name() == now.server_name()
    /// });
    /// # Ok::<(), failover_core::Error>(())
    /// ```
    pub fn with_identity<C>(
        service: &ServiceHandle<C>,
        is_same: impl Fn(&Endpoint, &Endpoint) -> bool + Send + Sync + 'static,
    ) -> Self {
        let values = Arc::new(Values {
            engine: Arc::clone(service.engine()),
            is_same: Box::new(is_same),
            _origin: service.origin(),
            by_state: Mutex::default(),
        });
        let observer: Arc<dyn EndpointObserver> = values.clone();
        values.engine.observe(&observer);
        Self(values)
    }

    /// Returns the endpoint's value, if it has one.
    pub fn get(&self, endpoint: &Endpoint) -> Option<Arc<T>> {
        let by_state = self.0.by_state();
        let state = self.0.state_of(endpoint)?;
        self.0.stored(&by_state, state, endpoint)?.value.made.get().cloned()
    }

    /// Removes and returns the endpoint's value. The next use creates it again.
    ///
    /// Several callers that find one value broken would each remove the value that another has just
    /// made; [`remove_if_same`](Self::remove_if_same) does not. A value that is being created is
    /// received by those who wait for it, and is not stored.
    pub fn remove(&self, endpoint: &Endpoint) -> Option<Arc<T>> {
        self.0.take(endpoint, |_| true)
    }

    /// Removes the endpoint's value if it is this one, and returns whether it was.
    ///
    /// ```
    /// use std::sync::Arc;
    ///
    /// use failover_core::{PerEndpoint, ServiceHandle};
    ///
    /// let users = ServiceHandle::fixed("users", ["10.0.0.1:80"])?;
    /// let (connections, endpoint) = (PerEndpoint::new(&users), users.endpoints()[0].endpoint().clone());
    /// let broken = connections.get_or_init(&endpoint, |_| String::from("a connection"));
    /// assert!(connections.remove_if_same(&endpoint, &broken));
    /// let new = connections.get_or_init(&endpoint, |_| String::from("another"));
    /// // A second caller that found the same one broken leaves the new one alone.
    /// assert!(!connections.remove_if_same(&endpoint, &broken));
    /// # assert!(Arc::ptr_eq(&new, &connections.get(&endpoint).expect("stays")));
    /// # Ok::<(), failover_core::Error>(())
    /// ```
    pub fn remove_if_same(&self, endpoint: &Endpoint, value: &Arc<T>) -> bool {
        self.0.take(endpoint, |stored| Arc::ptr_eq(stored, value)).is_some()
    }

    /// Stores a value for the endpoint, and returns the previous one.
    ///
    /// A value for an endpoint that has been removed or changed in the meantime is dropped.
    pub fn replace(&self, endpoint: &Endpoint, value: T) -> Option<Arc<T>> {
        let value = Value::new(OnceLock::from(Arc::new(value)));
        let mut by_state = self.0.by_state();
        let state = self.0.state_of(endpoint)?;
        let stored = Stored { endpoint: self.0.current(endpoint), value };
        let replaced = by_state.insert(state, stored);
        drop(by_state);
        replaced?.value.made.get().cloned()
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
        let state = self.state_of(endpoint);
        if let Some(stored) = state.and_then(|state| self.stored(&by_state, state, endpoint)) {
            return Arc::clone(&stored.value);
        }
        let value = Value::new(OnceLock::new());
        let replaced = state.and_then(|state| {
            let stored = Stored { endpoint: self.current(endpoint), value: Arc::clone(&value) };
            by_state.insert(state, stored)
        });
        drop(by_state);
        // Dropping a value runs the caller's code, so it happens outside the lock.
        drop(replaced);
        value
    }

    fn take(&self, endpoint: &Endpoint, which: impl FnOnce(&Arc<T>) -> bool) -> Option<Arc<T>> {
        let mut by_state = self.by_state();
        let state = self.state_of(endpoint)?;
        self.stored(&by_state, state, endpoint)?.value.made.get().filter(|value| which(value))?;
        let taken = by_state.remove(&state);
        drop(by_state);
        taken?.value.made.get().cloned()
    }

    /// Returns the number of the endpoint's state if the service has that endpoint now. The caller
    /// holds the lock, which `retain` takes after the snapshot has changed: no value is stored for an
    /// endpoint that is gone.
    fn state_of(&self, endpoint: &Endpoint) -> Option<u32> {
        let snapshot = self.engine.snapshot();
        snapshot.slot_of(endpoint, |found| self.serves(endpoint, found)).map(|slot| slot.state)
    }

    /// Returns the service's own reference to an endpoint that was found in it, or one to a copy of another
    /// value of that endpoint.
    fn current(&self, endpoint: &Endpoint) -> Arc<Endpoint> {
        let snapshot = self.engine.snapshot();
        let slot = snapshot.slot_of(endpoint, |_| false);
        slot.map_or_else(|| Arc::new(endpoint.clone()), |slot| Arc::clone(&slot.endpoint))
    }

    /// Returns what is stored for the endpoint, unless it was made for what the endpoint was before.
    fn stored<'v>(
        &self,
        by_state: &'v HashMap<u32, Stored<T>>,
        state: u32,
        endpoint: &Endpoint,
    ) -> Option<&'v Stored<T>> {
        by_state.get(&state).filter(|stored| self.serves(&stored.endpoint, endpoint))
    }

    fn serves(&self, before: &Endpoint, now: &Endpoint) -> bool {
        // Nearly always: a call has the reference that is in the snapshot, and that was stored.
        if std::ptr::eq(before, now) {
            return true;
        }
        let is_same = || before.place() == now.place() && (self.is_same)(before, now);
        catch_unwind(AssertUnwindSafe(is_same)).unwrap_or(false)
    }
}

impl<T> Value<T> {
    fn new(made: OnceLock<Arc<T>>) -> Arc<Self> {
        Arc::new(Self { made, making: tokio::sync::Mutex::new(()) })
    }
}

/// Whether a client made for one endpoint serves the other: everything counts except what only says
/// how many calls the endpoint receives, and when.
fn is_same_for_clients(before: &Endpoint, now: &Endpoint) -> bool {
    before.protocol() == now.protocol()
        && before.server_name() == now.server_name()
        && before.metadata() == now.metadata()
        && before.tags() == now.tags()
        && (before.region(), before.zone()) == (now.region(), now.zone())
}

impl<T: Send + Sync> EndpointObserver for Values<T> {
    fn retain(&self) {
        let gone: Vec<_> = {
            let mut by_state = self.by_state();
            let snapshot = self.engine.snapshot();
            let endpoints: HashMap<_, _> =
                snapshot.slots.iter().map(|slot| (slot.state, &slot.endpoint)).collect();
            let stays = |state: &u32, stored: &Stored<T>| {
                endpoints.get(state).is_some_and(|now| self.serves(&stored.endpoint, now))
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
