//! This process as an endpoint: registered as long as a guard lives.

use std::future::ready;
use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::codec::duration::rough;
use crate::config::defaults;
use crate::error::{Error, ErrorKind};
use crate::manager::FailoverManager;
use crate::manager::errors::closed_error;
use crate::manager::inner::Inner;
use crate::manager::provider_scope::ProviderScope;
use crate::manager::served::Place;
use crate::model::endpoint::{Endpoint, EndpointId, ServiceName};
use crate::runtime::clock::Clock;

/// What is left at least of a deadline that is not configured when the drain has ended.
const AFTER_DRAIN: Duration = Duration::from_secs(9);

/// Keeps an endpoint registered until it is closed or dropped.
///
/// [`close`](Self::close) and drop both drain the endpoint and then deregister it. Closing the
/// manager deregisters it, too.
///
/// ```
/// # use failover_core::{Endpoint, Error, FailoverManager};
/// # async fn example(manager: FailoverManager) -> Result<(), Error> {
/// let endpoint = Endpoint::builder("users-1", "user-service", "10.0.0.1", 8080).build()?;
/// let serving = manager.register_self(endpoint).await?;
/// // … answer requests until the process is asked to end …
/// serving.close().await?;
/// # Ok(()) }
/// ```
#[derive(Debug)]
#[must_use = "dropping it deregisters the endpoint"]
pub struct Registration {
    place: Place,
    manager: Weak<Inner>,
    number: u64,
    drain: Duration,
    close: Option<Duration>,
    clock: Clock,
    runtime: Handle,
    ended: bool,
}

impl FailoverManager {
    /// Registers an endpoint that this process serves with the default provider.
    ///
    /// The endpoint stays registered as long as the guard lives.
    ///
    /// # Errors
    ///
    /// See [`register_endpoint`](Self::register_endpoint).
    ///
    /// # Cancel safety
    ///
    /// A dropped future possibly leaves the endpoint registered; retrying is safe.
    pub async fn register_self(&self, endpoint: Endpoint) -> Result<Registration, Error> {
        self.default_provider()?.register_self(endpoint).await
    }
}

impl ProviderScope<'_> {
    /// See [`FailoverManager::register_self`].
    pub async fn register_self(&self, endpoint: Endpoint) -> Result<Registration, Error> {
        let (service, id) = (endpoint.service().clone(), endpoint.id().clone());
        self.register_endpoint(endpoint).await?;
        let (inner, named) = self.parts();
        let place = Place { named: named.clone(), service, id };
        let clock = inner.clock.clone();
        let Some(number) = inner.add_served(&place) else {
            // The manager was closed during the registration.
            let until = clock.now() + defaults::CLOSE;
            place.deregister(&clock, until).await?;
            return Err(closed_error());
        };
        let manager = Arc::downgrade(inner);
        // A successful registration implies that there is a runtime.
        let runtime = Handle::current();
        let drain = defaults::DRAIN;
        Ok(Registration { place, manager, number, drain, close: None, clock, runtime, ended: false })
    }
}

impl Registration {
    /// Sets the time between draining and deregistration. Default: 1 s.
    ///
    /// It gives every caller time to learn of the change. Calls in progress continue meanwhile.
    pub fn drain_for(mut self, drain: Duration) -> Self {
        self.drain = drain;
        self
    }

    /// Sets the deadline of [`close`](Self::close), and of what happens after a drop. Default: 10 s,
    /// or 9 s more than the time of [`drain_for`](Self::drain_for) if that is longer.
    ///
    /// The deadline covers all of it: the request that drains the endpoint, the wait, and the
    /// attempts to deregister. The first has a quarter of the deadline, and at most 2.5 s; the wait is
    /// shortened if it would leave less than that for the deregistration.
    pub fn close_within(mut self, deadline: Duration) -> Self {
        self.close = Some(deadline);
        self
    }

    /// Returns the service of the endpoint.
    pub fn service(&self) -> &ServiceName {
        &self.place.service
    }

    /// Returns the endpoint's id.
    pub fn id(&self) -> &EndpointId {
        &self.place.id
    }

    /// Drains the endpoint, waits for callers to learn of it, and deregisters it.
    ///
    /// Ends within 10 s, even if the registry does not answer: see
    /// [`close_within`](Self::close_within).
    ///
    /// # Errors
    ///
    /// Returns an error if the registry did not accept the deregistration in three attempts or by the
    /// deadline.
    ///
    /// # Cancel safety
    ///
    /// A dropped future continues in a task of the runtime in which the endpoint was registered.
    pub async fn close(mut self) -> Result<(), Error> {
        // In a separate task, so that a caller that stops waiting does not stop it.
        let leaving = self.leave();
        let ended = leaving.await;
        ended.unwrap_or_else(|_| {
            let message = "the runtime ended before the endpoint was deregistered";
            Err(Error::new(ErrorKind::Shutdown, message))
        })
    }

    fn leave(&mut self) -> tokio::task::JoinHandle<Result<(), Error>> {
        self.ended = true;
        if !is_served(&self.manager, self.number) {
            // The manager was closed and has deregistered the endpoint.
            return self.runtime.spawn(ready(Ok(())));
        }
        let (place, manager, number) = (self.place.clone(), self.manager.clone(), self.number);
        let (drain, clock) = (self.drain, self.clock.clone());
        let close = self.close.unwrap_or_else(|| defaults::CLOSE.max(drain.saturating_add(AFTER_DRAIN)));
        let until = clock.now() + close;
        let step = close.min(defaults::CLOSE) / 4;
        self.runtime.spawn(async move {
            // A registry that does not answer leaves most of the time for the deregistration.
            place.drain(step).await;
            sleep(drain.min(until.since(clock.now()).saturating_sub(step))).await;
            if !is_served(&manager, number) {
                return Ok(());
            }
            let left = place.deregister(&clock, until).await;
            // Not earlier: a manager that is closed meanwhile deregisters the endpoint at once.
            if let Some(manager) = manager.upgrade() {
                manager.served().entries.remove(&number);
            }
            left
        })
    }
}

fn is_served(manager: &Weak<Inner>, number: u64) -> bool {
    manager.upgrade().is_none_or(|manager| manager.served().entries.contains_key(&number))
}

impl Drop for Registration {
    fn drop(&mut self) {
        if !self.ended {
            drop(self.leave());
        }
    }
}

impl Inner {
    /// Notes what is served, unless the manager is closed.
    fn add_served(&self, place: &Place) -> Option<u64> {
        let mut served = self.served();
        // Under the lock that closing takes afterwards: it finds what was noted before.
        self.ensure_open().ok()?;
        served.next += 1;
        let number = served.next;
        served.entries.insert(number, place.clone());
        Some(number)
    }

    /// Deregisters all that this process serves, each within the limit. What could not be
    /// deregistered is left to its guard, and to another try.
    pub(super) async fn end_serving(&self, limit: Duration) -> Result<(), Error> {
        let mut leaving = JoinSet::new();
        let places: Vec<_> =
            self.served().entries.iter().map(|(number, place)| (*number, place.clone())).collect();
        for (number, place) in places {
            let clock = self.clock.clone();
            leaving.spawn(async move {
                let left = timeout(limit, place.deregister(&clock, clock.now() + limit)).await;
                let left = left.unwrap_or_else(|_| {
                    let message =
                        format!("{}/{}: not deregistered in {}", place.service, place.id, rough(limit));
                    Err(Error::new(ErrorKind::Timeout, message))
                });
                (number, left)
            });
        }
        let mut first = Ok(());
        while let Some(ended) = leaving.join_next().await {
            let Ok((number, left)) = ended else { continue };
            if left.is_ok() {
                self.served().entries.remove(&number);
            }
            first = first.and(left);
        }
        first
    }
}
