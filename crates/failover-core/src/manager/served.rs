//! The endpoints that this process serves, and where each is registered.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use crate::codec::duration::rough;
use crate::error::{Error, ErrorKind, RetryAdvice};
use crate::events::Event;
use crate::manager::providers::Named;
use crate::manager::registration_state::RegistrationState;
use crate::model::endpoint::{Endpoint, EndpointId, ServiceName};
use crate::model::health::Lifecycle;
use crate::runtime::clock::{Clock, Time};
use crate::runtime::task::Task;

/// The number of attempts to deregister an endpoint that ends.
const TRIES: u32 = 3;
/// The time that an attempt has at least, as far as it is left.
const ATTEMPT: Duration = Duration::from_millis(2500);
/// The wait between two attempts.
const PAUSE: Duration = Duration::from_millis(250);

/// The endpoints that this process serves, by number.
#[derive(Debug, Default)]
pub(super) struct Served {
    pub(super) entries: HashMap<u64, Serving>,
    pub(super) next: u64,
}

/// An endpoint that this process serves, while its guard lives.
#[derive(Debug)]
pub(super) struct Serving {
    pub(super) place: Place,
    pub(super) state: watch::Sender<RegistrationState>,
    /// Looks after the registration until the endpoint is drained.
    pub(super) supervisor: Option<Task>,
}

impl Serving {
    fn is_ours(&self) -> bool {
        !matches!(*self.state.borrow(), RegistrationState::TakenOver { .. } | RegistrationState::Closed)
    }
}

impl Served {
    /// Returns what is served under a number, unless another process has taken it over.
    pub(super) fn place(&self, number: u64) -> Option<Place> {
        self.entries.get(&number).filter(|serving| serving.is_ours()).map(|serving| serving.place.clone())
    }

    /// Returns the number of the newest registration of an endpoint by this process.
    pub(super) fn number_of(&self, named: &Named, service: &ServiceName, id: &EndpointId) -> Option<u64> {
        let is_it = |serving: &Serving| {
            let Place { named: of, endpoint, .. } = &serving.place;
            of.name == named.name && endpoint.service() == service && endpoint.id() == id
        };
        self.entries.iter().filter(|(_, serving)| is_it(serving)).map(|(number, _)| *number).max()
    }

    /// Notes that an endpoint is about to be replaced. An update that fails or is dropped may have
    /// reached the registry all the same.
    pub(super) fn begin_update(&mut self, number: u64, endpoint: &Arc<Endpoint>) {
        if let Some(serving) = self.entries.get_mut(&number) {
            serving.place.update = Some(Arc::clone(endpoint));
        }
    }

    pub(super) fn end_update(&mut self, number: u64, endpoint: Arc<Endpoint>) {
        if let Some(serving) = self.entries.get_mut(&number) {
            (serving.place.endpoint, serving.place.update) = (endpoint, None);
        }
    }

    /// Removes a registration that has ended.
    pub(super) fn close(&mut self, number: u64) {
        if let Some(serving) = self.entries.remove(&number) {
            if serving.is_ours() {
                serving.state.send_replace(RegistrationState::Closed);
            }
        }
    }
}

/// An endpoint, and where it is registered.
#[derive(Clone, Debug)]
pub(super) struct Place {
    pub(super) named: Named,
    pub(super) endpoint: Arc<Endpoint>,
    /// What replaces it, if an update has begun and not succeeded.
    pub(super) update: Option<Arc<Endpoint>>,
}

impl Place {
    pub(super) fn service(&self) -> &ServiceName {
        self.endpoint.service()
    }

    pub(super) fn id(&self) -> &EndpointId {
        self.endpoint.id()
    }

    /// Adds to an event which registration it is about.
    pub(super) fn about(&self, mut event: Event) -> Event {
        event.service = Some(self.service().clone());
        event.endpoint(self.id()).provider(&self.named.name)
    }

    /// Marks the endpoint as draining, if the registry supports that.
    pub(super) async fn drain(&self) {
        if let Some(registry) = self.named.provider.registry() {
            let _ = registry.set_lifecycle(self.service(), self.id(), Lifecycle::Draining).await;
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
            let error = match timeout(limit, registry.deregister(self.service(), self.id())).await {
                Ok(Ok(_)) => return Ok(()),
                Ok(Err(error)) => error,
                Err(_) => Error::new(ErrorKind::Timeout, format!("no answer in {}", rough(limit))),
            };
            if tries == TRIES || error.retry() == RetryAdvice::Never || until.since(clock.now()) <= PAUSE {
                return Err(error.context(format!("deregistering {}/{}", self.service(), self.id())));
            }
            tries += 1;
            sleep(PAUSE).await;
        }
    }
}
