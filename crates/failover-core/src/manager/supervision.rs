//! Looks after a registration: finds out what became of it, registers it again, gives it up.

use std::sync::Weak;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use crate::codec::duration::rough;
use crate::contract::provider::RegistrationStatus;
use crate::error::{Error, ErrorKind};
use crate::events::Event;
use crate::manager::inner::Inner;
use crate::manager::registration_state::{RegistrationState, after};
use crate::manager::served::Place;
use crate::runtime::backoff::Backoff;

/// The mean time between two looks at a registration that is as it should be.
const LOOK: Duration = Duration::from_secs(10);
/// The wait after a failure.
const AGAIN: Backoff = Backoff::new(Duration::from_secs(1), LOOK, 2.0);
/// The longest time that the registry has for an answer.
const ANSWER: Duration = Duration::from_secs(10);

/// The registration with this number, of a manager.
pub(super) struct Supervision {
    pub(super) manager: Weak<Inner>,
    pub(super) number: u64,
    pub(super) state: watch::Sender<RegistrationState>,
}

impl Supervision {
    /// Runs until the registration is taken over, or no longer served.
    pub(super) async fn run(self) {
        let mut failures = 0;
        // An endpoint that was never registered cannot have been lost or taken over.
        let mut registered = !matches!(*self.state.borrow(), RegistrationState::Registering);
        let mut first = !registered;
        loop {
            if !first {
                let Some(unit) = self.manager.upgrade().map(|manager| manager.random.unit()) else { return };
                sleep(match failures {
                    0 => LOOK.mul_f64(0.9 + 0.2 * unit),
                    _ => AGAIN.delay(failures, 0.5 + 0.5 * unit),
                })
                .await;
            }
            first = false;
            let Some(place) = self.place() else { return };
            let (mut failed, mut is_due) = (false, !registered);
            if registered {
                let found = look(&place).await;
                failed = found.is_err();
                is_due = self.proceed(&place, found);
            }
            if is_due {
                let done = register(&place).await;
                failed = done.is_err();
                registered |= !failed;
                self.proceed(&place, done.map(|()| RegistrationStatus::Registered));
            }
            failures = if failed { failures.saturating_add(1) } else { 0 };
        }
    }

    /// Returns what is served, unless it has been closed or taken over.
    fn place(&self) -> Option<Place> {
        self.manager.upgrade().and_then(|manager| manager.served().place(self.number))
    }

    fn proceed(&self, place: &Place, found: Result<RegistrationStatus, Error>) -> bool {
        proceed(self.manager.upgrade().as_deref(), &self.state, place, found)
    }
}

/// Moves to the next state, with its event. Returns whether to register.
pub(super) fn proceed(
    manager: Option<&Inner>,
    state: &watch::Sender<RegistrationState>,
    place: &Place,
    found: Result<RegistrationStatus, Error>,
) -> bool {
    let step = after(&state.borrow(), found);
    if let Some(new) = step.state {
        state.send_replace(new);
    }
    if let (Some((kind, reason)), Some(manager)) = (step.event, manager) {
        manager.events.emit(place.about(Event::new(kind, reason)));
    }
    step.register
}

/// Asks the registry what became of the registration.
pub(super) async fn look(place: &Place) -> Result<RegistrationStatus, Error> {
    let Some(registry) = place.named.provider.registry() else { return Ok(RegistrationStatus::Registered) };
    let found = within(registry.registration(&place.endpoint)).await;
    match (&found, &place.update) {
        (Ok(RegistrationStatus::TakenOver { .. }), Some(update)) => {
            within(registry.registration(update)).await
        }
        _ => found,
    }
}

async fn register(place: &Place) -> Result<(), Error> {
    let Some(registry) = place.named.provider.registry() else { return Ok(()) };
    within(registry.register(&place.endpoint)).await
}

async fn within<T>(operation: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    timeout(ANSWER, operation).await.unwrap_or_else(|_| {
        Err(Error::new(ErrorKind::Timeout, format!("no answer of the registry in {}", rough(ANSWER))))
    })
}

/// A watch of the state of a registration.
#[derive(Clone, Debug)]
pub struct RegistrationWatch {
    pub(super) states: watch::Receiver<RegistrationState>,
    /// Kept, so that a wait never ends without a change.
    pub(super) _sender: watch::Sender<RegistrationState>,
}

impl RegistrationWatch {
    /// Returns the current state.
    pub fn current(&mut self) -> RegistrationState {
        self.states.borrow_and_update().clone()
    }

    /// Waits for another state than the one returned last, and returns it. States in between may be
    /// missed. After [`RegistrationState::Closed`] and [`RegistrationState::TakenOver`] there is no
    /// other.
    ///
    /// # Cancel safety
    ///
    /// Safe: a dropped future misses nothing.
    pub async fn changed(&mut self) -> RegistrationState {
        // The sender lives as long as this watch.
        let _ = self.states.changed().await;
        self.current()
    }
}
