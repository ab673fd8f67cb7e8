//! Keeps registrations alive: heartbeats, and another registration when the agent has lost one.

mod fate;
mod guard;

use std::collections::HashMap;
use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use failover_core::provider::RegistrationStatus;
use failover_core::{Error, ErrorKind, Health, Lifecycle};
use failover_provider_kit::{AbortOnDrop, SerialWrites, WritePermit};
use tokio::sync::{Notify, OwnedMutexGuard};
use tokio::time::timeout;

use crate::client::Client;
use crate::convert::{has_check, status_of};
use crate::wire::Registration;
use crate::{agent, error};

pub(crate) use fate::Fate;

/// Interval at which agent-checked registrations are verified.
const VERIFY_INTERVAL: Duration = Duration::from_secs(10);
/// One in this many heartbeats verifies that the registration still belongs to this provider.
const VERIFY_EVERY: u32 = 3;

/// After the agent's return, endpoints are looked at within twice this time.
const SPREAD: Duration = Duration::from_millis(50);

/// The registration of one endpoint by this provider.
#[derive(Clone, Debug)]
pub(crate) struct Registered {
    pub(crate) registration: Registration,
    pub(crate) health: Health,
    pub(crate) lifecycle: Lifecycle,
}

impl Registered {
    fn has_ttl(&self) -> bool {
        self.registration.check.ttl.is_some()
    }

    /// Returns whether this is the same registration, whatever the health of the endpoint. An older
    /// agent has the check without `TLSServerName`.
    pub(crate) fn is(&self, registration: &Registration) -> bool {
        let mut own = self.registration.clone();
        own.check.status.clone_from(&registration.check.status);
        own.check.tls_server_name.clone_from(&registration.check.tls_server_name);
        own == *registration
    }
}

/// One endpoint, under a lock that is held while it is written to the agent.
#[derive(Debug)]
struct Heartbeat {
    registered: Arc<tokio::sync::Mutex<Registered>>,
    has_ttl: bool,
    fate: Arc<Mutex<Fate>>,
    /// `None` once the endpoint is no longer kept alive.
    task: Option<AbortOnDrop>,
}

impl Heartbeat {
    fn is_running(&self) -> bool {
        self.task.as_ref().is_some_and(AbortOnDrop::is_running)
    }
}

/// An endpoint whose time to live was renewed from here until the provider closed.
pub(crate) struct Lease {
    pub(crate) id: String,
    heartbeat: Heartbeat,
    permit: Pin<Box<dyn Future<Output = Permit> + Send>>,
}

impl Lease {
    /// Resolves once no write for this id is in flight; none starts while the returned permit is
    /// held.
    pub(crate) async fn settled(self) -> Permit {
        let permit = self.permit.await;
        let Heartbeat { registered, task, .. } = self.heartbeat;
        let _idle = registered.lock().await;
        drop(task);
        permit
    }
}

impl fmt::Debug for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lease").field("id", &self.id).finish_non_exhaustive()
    }
}

#[derive(Debug, Default)]
struct All {
    heartbeats: HashMap<String, Heartbeat>,
    /// Set while the provider is closed: a registration in progress must not leave a task behind.
    closed: bool,
}

/// The right to write to one id.
pub(crate) type Permit = WritePermit<String>;

/// All endpoints that this provider keeps alive, by their id in Consul.
#[derive(Debug, Default)]
pub(crate) struct Heartbeats {
    all: Mutex<All>,
    writes: SerialWrites<String>,
}

impl Heartbeats {
    fn all(&self) -> MutexGuard<'_, All> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until no other operation of this provider writes to this id.
    pub(crate) async fn permit(&self, id: &str) -> Permit {
        self.writes.acquire(id.to_owned()).await
    }

    /// Waits until every write in progress has ended.
    pub(crate) async fn settled(&self) {
        self.writes.settled().await;
    }

    /// Runs a write to its end, even if the caller is dropped.
    pub(crate) async fn finish<T: Send + 'static>(
        &self,
        permit: &Permit,
        write: impl Future<Output = Result<T, Error>> + Send + 'static,
    ) -> Result<T, Error> {
        // It is cut off only by the end of its runtime.
        self.writes.finish(permit, write).await.unwrap_or_else(|| Err(error::closed()))
    }

    /// Keeps an endpoint alive from now on, replacing the one of the same id. Returns false if the
    /// provider was closed meanwhile.
    pub(crate) fn keep(&self, client: &Arc<Client>, owner: &str, registered: Registered) -> bool {
        let id = registered.registration.id.clone();
        let has_ttl = registered.has_ttl();
        let registered = Arc::new(tokio::sync::Mutex::new(registered));
        let mut all = self.all();
        if !all.closed {
            let fate = Arc::<Mutex<Fate>>::default();
            let (to, owner, of) = (Arc::clone(client), owner.to_owned(), id.clone());
            let (kept, its) = (Arc::clone(&registered), Arc::clone(&fate));
            let task = Some(AbortOnDrop::spawn(async move {
                let changed = Notify::new();
                tokio::select! {
                    () = keep(&to, &owner, &kept, &its, &changed) => {}
                    () = guard::guard(&to, &of, &changed) => {}
                }
            }));
            all.heartbeats.insert(id, Heartbeat { registered, has_ttl, fate, task });
        }
        !all.closed
    }

    /// Pauses the heartbeats of an id while the returned guard is held.
    pub(crate) async fn hold(&self, id: &str) -> Option<OwnedMutexGuard<Registered>> {
        let registered = self.all().heartbeats.get(id).map(|heartbeat| Arc::clone(&heartbeat.registered))?;
        Some(registered.lock_owned().await)
    }

    /// Stops the heartbeats of an id, and remembers that it was registered here. While the caller
    /// holds it, no write of it is in flight.
    pub(crate) fn stop(&self, id: &str) {
        if let Some(heartbeat) = self.all().heartbeats.get_mut(id) {
            heartbeat.task = None;
        }
    }

    /// Stops the heartbeats of an id, and forgets it.
    pub(crate) fn forget(&self, id: &str) {
        drop(self.all().heartbeats.remove(id));
    }

    /// Stops all heartbeats, and returns the endpoints whose time to live was renewed from here.
    pub(crate) fn close(&self) -> Vec<Lease> {
        let closed = All { heartbeats: HashMap::new(), closed: true };
        let all = std::mem::replace(&mut *self.all(), closed).heartbeats;
        // Those that were taken over belong to another process.
        let own = all.into_iter().filter(|(_, heartbeat)| heartbeat.has_ttl && heartbeat.is_running());
        own.map(|(id, heartbeat)| {
            let permit = Box::pin(self.writes.acquire(id.clone()));
            Lease { id, heartbeat, permit }
        })
        .collect()
    }

    /// Accepts registrations again.
    pub(crate) fn open(&self) {
        self.all().closed = false;
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.all().closed
    }

    /// Returns whether the heartbeats of this id run.
    pub(crate) fn keeps(&self, id: &str) -> bool {
        self.all().heartbeats.get(id).is_some_and(Heartbeat::is_running)
    }

    /// Returns what the heartbeats of this id know of it; `None` if there are none.
    pub(crate) fn status(&self, id: &str) -> Option<Result<RegistrationStatus, Error>> {
        let all = self.all();
        let heartbeat = all.heartbeats.get(id)?;
        let mut fate = lock(&heartbeat.fate);
        // Heartbeats end by themselves for an id that was taken over.
        let knows = heartbeat.is_running() || matches!(*fate, Fate::TakenOver { .. });
        knows.then(|| fate.tell())
    }

    /// Returns whether the agent has lost what the heartbeats of this id keep, and registering it as it
    /// was is the answer to that.
    pub(crate) fn is_lost(&self, id: &str) -> bool {
        let all = self.all();
        let heartbeat = all.heartbeats.get(id).filter(|heartbeat| heartbeat.is_running());
        heartbeat.is_some_and(|heartbeat| lock(&heartbeat.fate).is_repaired_by_registering())
    }

    /// Records that the agent has it again as it was.
    pub(crate) fn is_repaired(&self, id: &str) {
        if let Some(heartbeat) = self.all().heartbeats.get(id) {
            *lock(&heartbeat.fate) = Fate::Kept;
        }
    }

    /// Returns the number of endpoints that are kept alive.
    pub(crate) fn count(&self) -> usize {
        self.all().heartbeats.values().filter(|heartbeat| heartbeat.is_running()).count()
    }
}

/// The outcome of a heartbeat.
enum Beat {
    Alive,
    /// The agent no longer knows the endpoint.
    Lost,
    /// Another process has registered the id.
    Taken {
        by: String,
    },
}

fn lock(fate: &Mutex<Fate>) -> MutexGuard<'_, Fate> {
    fate.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn keep(
    client: &Arc<Client>,
    owner: &str,
    kept: &tokio::sync::Mutex<Registered>,
    fate: &Mutex<Fate>,
    changed: &Notify,
) {
    let (id, has_ttl) = {
        let kept = kept.lock().await;
        (kept.registration.id.clone(), kept.has_ttl())
    };
    let every = if has_ttl { client.settings.ttl / 3 } else { VERIFY_INTERVAL };
    let mut failures = 0_u32;
    for count in 1_u32.. {
        let pause = if failures == 0 {
            client.timing.jittered(every, 0.1)
        } else {
            // Often enough that a time to live outlasts a restart of the agent.
            (every / 8)
                .min(Duration::from_secs(2))
                .max(Duration::from_millis(250))
                .mul_f64(0.5 + 0.5 * client.timing.unit())
                * failures.min(8)
        };
        let is_early = waits(client, pause.min(every), failures > 0, changed).await;
        // Held from the check to the write, so that an endpoint that is released meanwhile is not
        // written again.
        let kept = kept.lock().await;
        let verifies = !has_ttl || is_early || count % VERIFY_EVERY == 0;
        // A heartbeat without an answer must leave time for another one within the time to live.
        let limit = if has_ttl { client.settings.ttl / 2 } else { client.settings.deadline };
        let beating = timeout(limit, beat(client, owner, &kept, verifies));
        match beating.await.unwrap_or_else(|_| Err(client.timed_out("heartbeat", limit))) {
            Ok(Beat::Alive) => {
                failures = 0;
                lock(fate).alive();
            }
            Ok(Beat::Lost) => {
                lock(fate).lost();
                tracing::info!(target: "failover::consul",
                    id,
                    "the agent has lost the endpoint; registering it again"
                );
                match restore(client, &kept).await {
                    Ok(()) => {
                        failures = 0;
                        lock(fate).alive();
                    }
                    Err(error) => {
                        failures += 1;
                        tracing::warn!(target: "failover::consul", id, %error, "cannot register the endpoint again");
                    }
                }
            }
            Ok(Beat::Taken { by }) => {
                *lock(fate) = Fate::TakenOver { by };
                tracing::warn!(target: "failover::consul",
                    id,
                    "another process has registered this id on the agent; heartbeats stop"
                );
                return;
            }
            Err(error) => {
                failures += 1;
                if failures == 1 {
                    tracing::warn!(target: "failover::consul", id, %error, "heartbeat failed");
                }
                lock(fate).failing(error);
            }
        }
    }
}

/// Waits for a pause, or until the agent may have lost or changed what is registered: its guard says so,
/// or the agent has returned. Returns whether it did. After a failure, any answer of the agent ends it.
async fn waits(client: &Client, pause: Duration, has_failed: bool, changed: &Notify) -> bool {
    let pausing = async {
        if has_failed {
            client.pause(pause).await;
        } else {
            tokio::time::sleep(pause).await;
        }
    };
    tokio::select! {
        () = changed.notified() => true,
        () = client.returned.notified() => {
            tokio::time::sleep(client.timing.jittered(SPREAD, 1.0)).await;
            true
        }
        () = pausing => false,
    }
}

async fn beat(client: &Client, owner: &str, kept: &Registered, verifies: bool) -> Result<Beat, Error> {
    let registration = &kept.registration;
    if verifies {
        match agent::local(client, &registration.id).await? {
            None => return Ok(Beat::Lost),
            Some(local) if local.owner.as_deref() != Some(owner) => {
                return Ok(Beat::Taken { by: local.place() });
            }
            Some(_) => {}
        }
    }
    if !kept.has_ttl() {
        return Ok(Beat::Alive);
    }
    let status = status_of(kept.health).unwrap_or("passing");
    match report(client, &registration.id, status).await {
        Ok(()) => Ok(Beat::Alive),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            match agent::local(client, &registration.id).await? {
                // It exists without such a check: another process registered it.
                Some(local) if local.owner.as_deref() != Some(owner) => Ok(Beat::Taken { by: local.place() }),
                _ => Ok(Beat::Lost),
            }
        }
        Err(error) => Err(error),
    }
}

/// Reports the status of an endpoint with a time to live.
///
/// # Errors
///
/// Returns `NotFound` if it has no such check; older agents answer 500 then.
pub(crate) async fn report(client: &Client, id: &str, status: &str) -> Result<(), Error> {
    match client.done(client.settings.beat(&has_check(id), status)?).await {
        Ok(_) => Ok(()),
        Err(error) if error.to_string().contains("does not have associated TTL") => {
            Err(Error::new(ErrorKind::NotFound, error.to_string()))
        }
        Err(error) => Err(error),
    }
}

/// Registers an endpoint as it was, after the agent has lost it.
pub(crate) async fn restore(client: &Client, kept: &Registered) -> Result<(), Error> {
    let mut registration = kept.registration.clone();
    if let Some(status) = status_of(kept.health) {
        status.clone_into(&mut registration.check.status);
    }
    agent::write(client, &mut registration, true).await?;
    agent::set_lifecycle(client, &registration.id, kept.lifecycle).await
}
