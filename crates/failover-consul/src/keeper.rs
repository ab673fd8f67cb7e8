//! Keeps what was registered registered: heartbeats, and another registration when the agent has lost one.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use failover_core::{Error, ErrorKind, Health, Lifecycle};
use tokio::sync::OwnedMutexGuard;
use tokio::task::JoinHandle;

use crate::agent;
use crate::client::Client;
use crate::convert::{has_check, status_of};
use crate::pace::{jittered, unit};
use crate::wire::Registration;

/// How often it is looked whether the agent still has what it checks itself.
const LOOK: Duration = Duration::from_secs(10);
/// Each so-many-th heartbeat it is looked whether the registration is still this provider's.
const LOOK_EACH: u32 = 3;

/// What is kept of one endpoint.
#[derive(Debug)]
pub(crate) struct Kept {
    pub(crate) registration: Registration,
    pub(crate) health: Health,
    pub(crate) lifecycle: Lifecycle,
}

impl Kept {
    fn has_ttl(&self) -> bool {
        self.registration.check.ttl.is_some()
    }
}

/// One endpoint: what is kept, under a lock that is held while it is written to the agent.
#[derive(Debug)]
struct Keeper {
    kept: Arc<tokio::sync::Mutex<Kept>>,
    has_ttl: bool,
    task: JoinHandle<()>,
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.task.abort();
    }
}

#[derive(Debug, Default)]
struct All {
    keepers: HashMap<String, Keeper>,
    /// Nothing is kept any more: a registration that was under way must not leave a task behind.
    closed: bool,
}

/// All endpoints that this provider keeps, by their id in Consul.
#[derive(Debug, Default)]
pub(crate) struct Keepers {
    all: Mutex<All>,
    /// Writes to one id follow each other.
    turns: Mutex<HashMap<String, Arc<tokio::sync::Mutex<()>>>>,
}

impl Keepers {
    fn all(&self) -> MutexGuard<'_, All> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until nobody else of this provider writes to this id.
    pub(crate) async fn turn(&self, id: &str) -> OwnedMutexGuard<()> {
        let turn = {
            let mut turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
            // Those that nobody holds or waits for.
            turns.retain(|_, turn| Arc::strong_count(turn) > 1);
            Arc::clone(turns.entry(id.to_owned()).or_default())
        };
        turn.lock_owned().await
    }

    /// Keeps an endpoint from now on, instead of what was kept under its id; false if it was closed meanwhile.
    pub(crate) fn keep(&self, client: &Arc<Client>, owner: &str, kept: Kept) -> bool {
        let id = kept.registration.id.clone();
        let has_ttl = kept.has_ttl();
        let kept = Arc::new(tokio::sync::Mutex::new(kept));
        let mut all = self.all();
        if !all.closed {
            let task = tokio::spawn(keep(Arc::clone(client), owner.to_owned(), Arc::clone(&kept)));
            all.keepers.insert(id, Keeper { kept, has_ttl, task });
        }
        !all.closed
    }

    /// What is kept, to be changed.
    pub(crate) fn kept(&self, id: &str) -> Option<Arc<tokio::sync::Mutex<Kept>>> {
        self.all().keepers.get(id).map(|keeper| Arc::clone(&keeper.kept))
    }

    /// Stops its heartbeats for as long as the answer is held; dropped, they go on as before.
    pub(crate) async fn hold(&self, id: &str) -> Option<OwnedMutexGuard<Kept>> {
        let kept = self.kept(id)?;
        Some(kept.lock_owned().await)
    }

    /// Keeps it no longer; comes back when nothing of it is on its way to the agent.
    pub(crate) async fn let_go(&self, id: &str) {
        let Some(keeper) = self.all().keepers.remove(id) else { return };
        let kept = Arc::clone(&keeper.kept);
        // A write that is under way must not arrive after what follows.
        let _done = kept.lock().await;
        drop(keeper);
    }

    /// Ends them all, and says which had their time to live from here.
    pub(crate) fn close(&self) -> Vec<String> {
        let closed = All { keepers: HashMap::new(), closed: true };
        let all = std::mem::replace(&mut *self.all(), closed).keepers;
        // Those that were taken over are somebody else's.
        let is_lease = |keeper: &Keeper| keeper.has_ttl && !keeper.task.is_finished();
        all.into_iter().filter(|(_, keeper)| is_lease(keeper)).map(|(id, _)| id).collect()
    }

    /// Keeps again what is registered from now on.
    pub(crate) fn open(&self) {
        self.all().closed = false;
    }

    /// Whether this provider has registered it and not let go of it.
    pub(crate) fn has(&self, id: &str) -> bool {
        self.all().keepers.contains_key(id)
    }

    /// Those that are still this provider's.
    pub(crate) fn count(&self) -> usize {
        self.all().keepers.values().filter(|keeper| !keeper.task.is_finished()).count()
    }
}

/// What a heartbeat found.
enum Beat {
    Alive,
    /// The agent does not have it any more.
    Lost,
    /// Another one has taken it over.
    Taken,
}

async fn keep(client: Arc<Client>, owner: String, kept: Arc<tokio::sync::Mutex<Kept>>) {
    let (id, has_ttl) = {
        let kept = kept.lock().await;
        (kept.registration.id.clone(), kept.has_ttl())
    };
    let every = if has_ttl { client.settings.ttl / 3 } else { LOOK };
    let mut failures = 0_u32;
    for count in 1_u32.. {
        let pause = if failures == 0 {
            jittered(every)
        } else {
            // Often enough that a time to live survives an agent that restarts.
            (every / 8)
                .min(Duration::from_secs(2))
                .max(Duration::from_millis(250))
                .mul_f64(0.5 + 0.5 * unit())
                * failures.min(8)
        };
        client.pause(pause.min(every)).await;
        // Held from the look to the write: what is let go meanwhile is not written after that.
        let kept = kept.lock().await;
        let looks = !has_ttl || count % LOOK_EACH == 0;
        match beat(&client, &owner, &kept, looks).await {
            Ok(Beat::Alive) => failures = 0,
            Ok(Beat::Lost) => {
                tracing::info!(
                    id,
                    "the agent has lost an endpoint that this process keeps; it is registered again"
                );
                match again(&client, &kept).await {
                    Ok(()) => failures = 0,
                    Err(error) => {
                        failures += 1;
                        tracing::warn!(id, %error, "the endpoint cannot be registered again");
                    }
                }
            }
            Ok(Beat::Taken) => {
                tracing::warn!(
                    id,
                    "another process has registered this id on the agent; it is not kept here any more"
                );
                return;
            }
            Err(error) => {
                failures += 1;
                if failures == 1 {
                    tracing::warn!(id, %error, "the agent was not told that the endpoint lives");
                }
            }
        }
    }
}

async fn beat(client: &Client, owner: &str, kept: &Kept, looks: bool) -> Result<Beat, Error> {
    let registration = &kept.registration;
    if looks {
        match agent::local(client, &registration.id).await? {
            None => return Ok(Beat::Lost),
            Some(local) if local.owner.as_deref() != Some(owner) => return Ok(Beat::Taken),
            Some(_) => {}
        }
    }
    if !kept.has_ttl() {
        return Ok(Beat::Alive);
    }
    let status = status_of(kept.health).unwrap_or("passing");
    match tell(client, &registration.id, status).await {
        Ok(()) => Ok(Beat::Alive),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            match agent::local(client, &registration.id).await? {
                // It is there and has no such check: somebody else's.
                Some(local) if local.owner.as_deref() != Some(owner) => Ok(Beat::Taken),
                _ => Ok(Beat::Lost),
            }
        }
        Err(error) => Err(error),
    }
}

/// Says how an endpoint with a time to live is.
///
/// # Errors
///
/// `NotFound` if it has no such check. Older agents say that with 500.
pub(crate) async fn tell(client: &Client, id: &str, status: &str) -> Result<(), Error> {
    match client.done(client.settings.beat(&has_check(id), status)?).await {
        Ok(_) => Ok(()),
        Err(error) if error.to_string().contains("does not have associated TTL") => {
            Err(Error::new(ErrorKind::NotFound, error.to_string()))
        }
        Err(error) => Err(error),
    }
}

async fn again(client: &Client, kept: &Kept) -> Result<(), Error> {
    let mut registration = kept.registration.clone();
    if let Some(status) = status_of(kept.health) {
        status.clone_into(&mut registration.check.status);
    }
    agent::write(client, &mut registration, true).await?;
    agent::set_lifecycle(client, &registration.id, kept.lifecycle).await
}
