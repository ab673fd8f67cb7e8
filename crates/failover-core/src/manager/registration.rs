//! This process as an endpoint: registered as long as a guard lives.

use std::future::ready;
use std::sync::{Arc, Weak};
use std::time::{Duration, SystemTime};

use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::codec::duration::rough;
use crate::config::defaults;
use crate::contract::provider::RegistrationStatus;
use crate::error::{Error, ErrorKind};
use crate::manager::FailoverManager;
use crate::manager::inner::Inner;
use crate::manager::provider_scope::ProviderScope;
use crate::manager::registration_state::RegistrationState;
use crate::manager::served::{Place, Serving};
use crate::manager::supervision::{RegistrationWatch, Supervision, look, proceed};
use crate::model::endpoint::{Endpoint, EndpointId, ServiceName};
use crate::runtime::clock::Clock;
use crate::runtime::require::current_runtime;
use crate::runtime::task::Task;

/// What is left at least of a deadline that is not configured when the drain has ended.
const AFTER_DRAIN: Duration = Duration::from_secs(9);

/// Keeps an endpoint registered until it is closed or dropped.
///
/// [`close`](Self::close) and drop both drain the endpoint and then deregister it. Closing the
/// manager deregisters it, too. A process that ends by a signal drops nothing: await the signal, and
/// close the guard before the server stops.
///
/// About every 10 s the manager, while it exists, looks at what became of the registration. One that the registry has
/// lost is made again. One that a newer process has taken over, by registering the same id, is given
/// up: closing the guard, and the manager's operations on that id, then leave the other process's
/// endpoint alone. Each change is an event, and [`state`](Self::state) and [`watch`](Self::watch) show
/// it. An endpoint without `created_at` gets the time of its registration as such, which tells two
/// processes at one address apart.
///
/// ```
/// # use failover_core::{Endpoint, Error, FailoverManager};
/// # async fn example(manager: FailoverManager) -> Result<(), Error> {
/// let endpoint = Endpoint::builder("users-1", "user-service", "10.0.0.1", 8080).build()?;
/// let serving = manager.register_self(endpoint).await?;
/// // … answer requests until the process is asked to end …
/// # async fn terminated() {}
/// terminated().await; // on Unix: tokio::signal::unix::signal(SignalKind::terminate())
/// serving.close().await?;
/// # Ok(()) }
/// ```
#[derive(Debug)]
#[must_use = "dropping it deregisters the endpoint"]
pub struct Registration {
    place: Place,
    manager: Weak<Inner>,
    number: u64,
    state: watch::Sender<RegistrationState>,
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

    /// Registers an endpoint that this process serves with the default provider, in the background.
    ///
    /// Returns at once, for a process that starts while the registry is down. It is tried until it
    /// succeeds, with a back-off of up to 10 s; [`Registration::watch`] tells when.
    ///
    /// # Errors
    ///
    /// Returns `Validation` (code `ADDRESS_REFUSED`) for an address that no caller could use,
    /// `Unsupported` if the provider is read-only, `Shutdown` if the manager is closed, and `Internal`
    /// (code `NO_RUNTIME`) outside of a tokio runtime.
    pub fn register_in_background(&self, endpoint: Endpoint) -> Result<Registration, Error> {
        self.default_provider()?.register_in_background(endpoint)
    }
}

impl ProviderScope<'_> {
    /// See [`FailoverManager::register_self`].
    pub async fn register_self(&self, endpoint: Endpoint) -> Result<Registration, Error> {
        let endpoint = self.stamped(endpoint)?;
        self.register_endpoint(endpoint.clone()).await?;
        let (inner, named) = self.parts();
        let place = Place { named: named.clone(), endpoint: Arc::new(endpoint), update: None };
        let serving = inner.serve(&place, RegistrationState::Registered);
        if serving.is_err() {
            // The manager was closed during the registration.
            let clock = &inner.clock;
            place.deregister(clock, clock.now() + defaults::CLOSE).await?;
        }
        serving
    }

    /// See [`FailoverManager::register_in_background`].
    pub fn register_in_background(&self, endpoint: Endpoint) -> Result<Registration, Error> {
        let (inner, named) = self.parts();
        self.ensure_registrable(&endpoint)?;
        let place = Place { named: named.clone(), endpoint: Arc::new(self.stamped(endpoint)?), update: None };
        inner.serve(&place, RegistrationState::Registering)
    }

    /// Returns the endpoint with the time of its registration, which tells it from another process's.
    fn stamped(&self, endpoint: Endpoint) -> Result<Endpoint, Error> {
        if endpoint.created_at().is_some() {
            return Ok(endpoint);
        }
        // Whole milliseconds, which every registry preserves.
        let since = self.parts().0.clock.wall().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let now = SystemTime::UNIX_EPOCH + Duration::from_millis(since.as_millis() as u64);
        endpoint.to_builder().created_at(now).build()
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
        self.place.service()
    }

    /// Returns the endpoint's id.
    pub fn id(&self) -> &EndpointId {
        self.place.id()
    }

    /// Returns the state of the registration.
    pub fn state(&self) -> RegistrationState {
        self.state.borrow().clone()
    }

    /// Watches the state of the registration from now on.
    ///
    /// ```
    /// # use failover_core::{Registration, RegistrationState};
    /// # async fn example(serving: Registration) {
    /// let mut states = serving.watch();
    /// while !matches!(states.current(), RegistrationState::Registered) {
    ///     println!("{}", states.changed().await);
    /// }
    /// # }
    /// ```
    pub fn watch(&self) -> RegistrationWatch {
        let mut states = self.state.subscribe();
        states.mark_unchanged();
        RegistrationWatch { states, _sender: self.state.clone() }
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
        let (manager, number) = (self.manager.clone(), self.number);
        let Some((place, supervisor)) = take_over(&manager, number, &self.place) else {
            // The manager was closed and has deregistered the endpoint, or another process has it.
            if let Some(manager) = manager.upgrade() {
                manager.served().close(number);
            }
            return self.runtime.spawn(ready(Ok(())));
        };
        let (drain, clock, state) = (self.drain, self.clock.clone(), self.state.clone());
        let close = self.close.unwrap_or_else(|| defaults::CLOSE.max(drain.saturating_add(AFTER_DRAIN)));
        let until = clock.now() + close;
        let step = close.min(defaults::CLOSE) / 4;
        self.runtime.spawn(async move {
            if let Some(supervisor) = supervisor {
                supervisor.end().await;
            }
            // A registry that does not answer leaves most of the time for the deregistration.
            let begun = async {
                let found = look(&place).await;
                if !matches!(found, Ok(RegistrationStatus::TakenOver { .. })) {
                    place.drain().await;
                }
                found
            };
            let found = timeout(step, begun).await;
            if let Ok(Ok(found @ RegistrationStatus::TakenOver { .. })) = found {
                let inner = manager.upgrade();
                proceed(inner.as_deref(), &state, &place, Ok(found));
                inner.inspect(|inner| inner.served().close(number));
                return Ok(());
            }
            sleep(drain.min(until.since(clock.now()).saturating_sub(step))).await;
            if manager.upgrade().is_some_and(|manager| manager.served().place(number).is_none()) {
                return Ok(());
            }
            let left = place.deregister(&clock, until).await;
            // Not earlier: a manager that is closed meanwhile deregisters the endpoint at once.
            if let Some(manager) = manager.upgrade() {
                manager.served().close(number);
            } else {
                state.send_replace(RegistrationState::Closed);
            }
            left
        })
    }
}

/// Returns what is still served under a number, and what looks after it. A manager that is gone has
/// left it to its guard.
fn take_over(manager: &Weak<Inner>, number: u64, place: &Place) -> Option<(Place, Option<Task>)> {
    let Some(manager) = manager.upgrade() else { return Some((place.clone(), None)) };
    let mut served = manager.served();
    let place = served.place(number)?;
    Some((place, served.entries.get_mut(&number)?.supervisor.take()))
}

impl Drop for Registration {
    fn drop(&mut self) {
        if !self.ended {
            drop(self.leave());
        }
    }
}

impl Inner {
    /// Notes what is served and looks after it, unless the manager is closed.
    fn serve(self: &Arc<Self>, place: &Place, state: RegistrationState) -> Result<Registration, Error> {
        let runtime = current_runtime("registering this process")?;
        let mut served = self.served();
        // Under the lock that closing takes afterwards: it finds what was noted before.
        self.ensure_open()?;
        served.next += 1;
        let (number, state, manager) = (served.next, watch::Sender::new(state), Arc::downgrade(self));
        let supervision = Supervision { manager: manager.clone(), number, state: state.clone() };
        let supervisor = Some(Task::spawn(&runtime, supervision.run()));
        let serving = Serving { place: place.clone(), state: state.clone(), supervisor };
        served.entries.insert(number, serving);
        let (clock, drain) = (self.clock.clone(), defaults::DRAIN);
        let place = place.clone();
        Ok(Registration { place, manager, number, state, drain, close: None, clock, runtime, ended: false })
    }

    /// Deregisters all that this process serves, each within the limit. What could not be
    /// deregistered is left to its guard, and to another try. What another process has taken over is
    /// left alone.
    pub(super) async fn end_serving(&self, limit: Duration) -> Result<(), Error> {
        let mut leaving = JoinSet::new();
        let numbers: Vec<_> = self.served().entries.keys().copied().collect();
        for number in numbers {
            let (place, supervisor) = {
                let mut served = self.served();
                let Some(place) = served.place(number) else { continue };
                (place, served.entries.get_mut(&number).and_then(|serving| serving.supervisor.take()))
            };
            let clock = self.clock.clone();
            leaving.spawn(async move {
                let until = clock.now() + limit;
                let left = timeout(limit, async {
                    if let Some(supervisor) = supervisor {
                        supervisor.end().await;
                    }
                    // A registry that does not answer this leaves time for the deregistration.
                    match timeout(limit / 4, look(&place)).await {
                        Ok(Ok(RegistrationStatus::TakenOver { .. })) => Ok(()),
                        _ => place.deregister(&clock, until).await,
                    }
                });
                let left = left.await.unwrap_or_else(|_| {
                    let (service, id) = (place.service(), place.id());
                    let message = format!("{service}/{id}: not deregistered in {}", rough(limit));
                    Err(Error::new(ErrorKind::Timeout, message))
                });
                (number, left)
            });
        }
        let mut first = Ok(());
        while let Some(ended) = leaving.join_next().await {
            let Ok((number, left)) = ended else { continue };
            if left.is_ok() {
                self.served().close(number);
            }
            first = first.and(left);
        }
        first
    }
}
