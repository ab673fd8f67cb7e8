//! Keeps what was registered registered: heartbeats, and another registration when the agent has lost one.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use failover_core::{Error, ErrorKind, Health, Lifecycle};
use tokio::sync::{OwnedMutexGuard, oneshot};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::timeout;

use crate::backoff::{jittered, unit};
use crate::client::Client;
use crate::convert::{has_check, status_of};
use crate::wire::Registration;
use crate::{agent, error};

/// How often it is looked whether the agent still has what it checks itself.
const LOOK: Duration = Duration::from_secs(10);
/// Each so-many-th heartbeat it is looked whether the registration is still this provider's.
const LOOK_EACH: u32 = 3;

/// What is kept of one endpoint.
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
}

/// One endpoint: what is kept, under a lock that is held while it is written to the agent.
#[derive(Debug)]
struct Heartbeat {
    kept: Arc<tokio::sync::Mutex<Registered>>,
    has_ttl: bool,
    /// None for what was registered here and is not to be kept any more.
    task: Option<JoinHandle<()>>,
}

impl Heartbeat {
    fn is_at_work(&self) -> bool {
        self.task.as_ref().is_some_and(|task| !task.is_finished())
    }

    fn rest(&mut self) {
        if let Some(task) = self.task.take() {
            task.abort();
        }
    }
}

impl Drop for Heartbeat {
    fn drop(&mut self) {
        self.rest();
    }
}

/// What had its time to live from here, when all is closed.
#[derive(Debug)]
pub(crate) struct Lease {
    pub(crate) id: String,
    keeper: Heartbeat,
    turn: Arc<tokio::sync::Mutex<()>>,
}

impl Lease {
    /// Comes back when nothing of it is on its way to the agent, and never will be again as long as the answer is held.
    pub(crate) async fn settled(mut self) -> OwnedMutexGuard<()> {
        let turn = self.turn.lock_owned().await;
        let kept = Arc::clone(&self.keeper.kept);
        let _done = kept.lock().await;
        self.keeper.rest();
        turn
    }
}

#[derive(Debug, Default)]
struct All {
    heartbeats: HashMap<String, Heartbeat>,
    /// Nothing is kept any more: a registration that was under way must not leave a task behind.
    closed: bool,
}

/// The right to write to one id.
pub(crate) type Turn = Arc<OwnedMutexGuard<()>>;

/// All endpoints that this provider keeps, by their id in Consul.
#[derive(Debug, Default)]
pub(crate) struct Heartbeats {
    all: Mutex<All>,
    /// Writes to one id follow each other.
    turns: Mutex<HashMap<String, Arc<tokio::sync::Mutex<()>>>>,
    /// Writes that are under way, whoever waits for them.
    writes: Mutex<JoinSet<()>>,
}

impl Heartbeats {
    fn all(&self) -> MutexGuard<'_, All> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn turn_of(&self, id: &str) -> Arc<tokio::sync::Mutex<()>> {
        let mut turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
        // Those that nobody holds or waits for.
        turns.retain(|_, turn| Arc::strong_count(turn) > 1);
        Arc::clone(turns.entry(id.to_owned()).or_default())
    }

    /// Waits until nobody else of this provider writes to this id.
    pub(crate) async fn turn(&self, id: &str) -> Turn {
        Arc::new(self.turn_of(id).lock_owned().await)
    }

    /// Comes back when every write that is under way now has ended.
    pub(crate) async fn settled(&self) {
        let turns: Vec<_> = {
            let turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
            turns.values().map(Arc::clone).collect()
        };
        for turn in turns {
            drop(turn.lock().await);
        }
    }

    /// Does a write to its end, also when the caller is dropped: a request that was sent arrives in its own time, and whatever
    /// is written to the id next must not overtake it.
    pub(crate) async fn finish<T: Send + 'static>(
        &self,
        turn: &Turn,
        write: impl Future<Output = Result<T, Error>> + Send + 'static,
    ) -> Result<T, Error> {
        let turn = Arc::clone(turn);
        let (told, done) = oneshot::channel();
        {
            let mut writes = self.writes.lock().unwrap_or_else(PoisonError::into_inner);
            while writes.try_join_next().is_some() {}
            writes.spawn(async move {
                let _ = told.send(write.await);
                drop(turn);
            });
        }
        // Without a word it ends with its runtime alone.
        done.await.unwrap_or_else(|_| Err(error::closed()))
    }

    /// Keeps an endpoint from now on, instead of what was kept under its id; false if it was closed meanwhile.
    pub(crate) fn keep(&self, client: &Arc<Client>, owner: &str, kept: Registered) -> bool {
        let id = kept.registration.id.clone();
        let has_ttl = kept.has_ttl();
        let kept = Arc::new(tokio::sync::Mutex::new(kept));
        let mut all = self.all();
        if !all.closed {
            let task = Some(tokio::spawn(keep(Arc::clone(client), owner.to_owned(), Arc::clone(&kept))));
            all.heartbeats.insert(id, Heartbeat { kept, has_ttl, task });
        }
        !all.closed
    }

    /// Stops its heartbeats for as long as the answer is held; dropped, they go on as before.
    pub(crate) async fn hold(&self, id: &str) -> Option<OwnedMutexGuard<Registered>> {
        let kept = self.all().heartbeats.get(id).map(|keeper| Arc::clone(&keeper.kept))?;
        Some(kept.lock_owned().await)
    }

    /// Keeps it no longer, and remembers that it was registered here. Whoever holds it knows that nothing of it is on its way.
    pub(crate) fn rest(&self, id: &str) {
        if let Some(keeper) = self.all().heartbeats.get_mut(id) {
            keeper.rest();
        }
    }

    /// As [`rest`](Self::rest), and forgets it.
    pub(crate) fn let_go(&self, id: &str) {
        drop(self.all().heartbeats.remove(id));
    }

    /// Ends them all, and says which had their time to live from here.
    pub(crate) fn close(&self) -> Vec<Lease> {
        let closed = All { heartbeats: HashMap::new(), closed: true };
        let all = std::mem::replace(&mut *self.all(), closed).heartbeats;
        // Those that were taken over are somebody else's.
        let leases = all.into_iter().filter(|(_, keeper)| keeper.has_ttl && keeper.is_at_work());
        leases.map(|(id, keeper)| Lease { turn: self.turn_of(&id), id, keeper }).collect()
    }

    /// Keeps again what is registered from now on.
    pub(crate) fn open(&self) {
        self.all().closed = false;
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.all().closed
    }

    /// Whether it is kept now.
    pub(crate) fn keeps(&self, id: &str) -> bool {
        self.all().heartbeats.get(id).is_some_and(Heartbeat::is_at_work)
    }

    /// Those that are still this provider's.
    pub(crate) fn count(&self) -> usize {
        self.all().heartbeats.values().filter(|keeper| keeper.is_at_work()).count()
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

async fn keep(client: Arc<Client>, owner: String, kept: Arc<tokio::sync::Mutex<Registered>>) {
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
        // Without an answer there has to be time for another one before the time to live is over.
        let limit = if has_ttl { client.settings.ttl / 2 } else { client.settings.deadline };
        let beating = timeout(limit, beat(&client, &owner, &kept, looks));
        match beating.await.unwrap_or_else(|_| Err(error::of_time("saying that it lives", limit))) {
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

async fn beat(client: &Client, owner: &str, kept: &Registered, looks: bool) -> Result<Beat, Error> {
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

/// Registers it as it was, for an agent that has lost it.
pub(crate) async fn again(client: &Client, kept: &Registered) -> Result<(), Error> {
    let mut registration = kept.registration.clone();
    if let Some(status) = status_of(kept.health) {
        status.clone_into(&mut registration.check.status);
    }
    agent::write(client, &mut registration, true).await?;
    agent::set_lifecycle(client, &registration.id, kept.lifecycle).await
}
