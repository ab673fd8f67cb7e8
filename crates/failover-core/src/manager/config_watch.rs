//! The watch of a provider's store: one task, whose answers are applied to all services.

use std::future::poll_fn;
use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::watch;

use crate::contract::provider::{ConfigKey, ConfigSet, ConfigStream};
use crate::error::{Error, ErrorKind};
use crate::events::{Event, EventKind};
use crate::manager::inner::Inner;
use crate::manager::providers::Named;
use crate::manager::services::Services;
use crate::model::endpoint::ServiceName;
use crate::runtime::backoff::Backoff;
use crate::runtime::catch_panic::catch_panic;
use crate::runtime::clock::Time;
use crate::runtime::task::Task;

/// The back-off before a watch that ended or panicked is restarted.
const RESTART: Backoff = Backoff::new(Duration::from_millis(250), Duration::from_secs(30), 2.0);
/// How long a store must have failed before that is reported: an election of a leader and a restart of
/// the registry take seconds.
const STALE_AFTER: Duration = Duration::from_secs(10);

/// The documents of a service that are waited for.
#[derive(Debug)]
pub(super) struct Awaited {
    named: Named,
    keys: [ConfigKey; 2],
    answered: watch::Receiver<bool>,
}

impl Inner {
    /// Watches the documents that apply to a service, if its provider has a store. One watch serves
    /// all services of a provider.
    pub(super) fn watch_configs(
        self: &Arc<Self>,
        services: &mut Services,
        runtime: &Handle,
        named: &Named,
        service: &ServiceName,
    ) -> Option<Awaited> {
        if !named.keeps_config || !self.settings.stored_config() {
            return None;
        }
        let keys = [ConfigKey::Default, ConfigKey::Service(service.clone())];
        for key in &keys {
            services.documents.known(&named.name, key);
        }
        let store = services.documents.store(&named.name);
        if store.watcher.as_ref().is_none_or(Task::is_finished) {
            let task = follow(Arc::downgrade(self), named.clone());
            store.watcher = Some(Task::spawn(runtime, task));
        }
        Some(Awaited { named: named.clone(), keys, answered: store.answered.subscribe() })
    }

    /// Waits for the first answer of a store, and applies the documents of a service that joined after
    /// it.
    pub(super) async fn configs_answered(&self, mut awaited: Awaited) {
        let _ = awaited.answered.wait_for(|answered| *answered).await;
        for key in &awaited.keys {
            if self.services().documents.unread(&awaited.named.name, key).is_some() {
                let writing = self.writing(&awaited.named, key);
                let _turn = writing.lock().await;
                self.document(&awaited.named, key);
                self.apply(&awaited.named.name);
            }
        }
    }

    /// Applies an answer of a store. Returns the keys of documents that this process is writing.
    fn documents(&self, named: &Named, set: ConfigSet) -> Vec<ConfigKey> {
        let (mut keys, was_stale) = {
            let mut services = self.services();
            let store = services.documents.store(&named.name);
            store.newest = Some(set);
            let was_stale = std::mem::take(&mut store.stale);
            (services.documents.keys(&named.name), was_stale)
        };
        if was_stale {
            let reason = "stored configuration can be read again";
            self.events.emit(Event::new(EventKind::ConfigFresh, reason).provider(&named.name));
        }
        keys.retain(|key| {
            let writing = self.writing(named, key);
            let Ok(_turn) = writing.try_lock() else { return true };
            self.document(named, key);
            false
        });
        self.apply(&named.name);
        keys
    }

    fn store_answered(&self, named: &Named) {
        self.services().documents.store(&named.name).answered.send_replace(true);
    }

    /// Reports a store that has failed for a while. A store that this process may not read, and has
    /// never read, is no outage.
    fn store_failed(&self, named: &Named, error: &Error) {
        {
            let mut services = self.services();
            let store = services.documents.store(&named.name);
            if store.newest.is_none() && error.kind() == ErrorKind::Permission {
                tracing::info!(target: "failover", "{}: no right to read stored configuration: {error}", named.name);
                return;
            }
            if std::mem::replace(&mut store.stale, true) {
                return;
            }
        }
        let reason = format!("stored configuration cannot be read: {error}; keeping the last one");
        let event = Event::new(EventKind::ConfigStale, reason).detail("code", error.code());
        self.events.emit(event.provider(&named.name));
    }
}

/// Since when a store has failed, and how.
#[derive(Debug)]
struct Failing {
    since: Time,
    error: Error,
    reported: bool,
}

impl Failing {
    fn again(failing: &mut Option<Self>, error: Error, now: Time) {
        let since = failing.as_ref().map_or(now, |failing| failing.since);
        let reported = failing.as_ref().is_some_and(|failing| failing.reported);
        *failing = Some(Self { since, error, reported });
    }

    /// Waits until the failure has lasted so long that it is reported.
    async fn is_due(failing: Option<&Self>, now: Time) {
        match failing {
            Some(Self { since, reported: false, .. }) => {
                tokio::time::sleep((*since + STALE_AFTER).since(now)).await;
            }
            _ => std::future::pending().await,
        }
    }
}

/// Watches a provider's documents until the task is aborted or the manager is dropped.
async fn follow(manager: Weak<Inner>, named: Named) {
    let mut failures = 0_u32;
    let mut failing = None;
    loop {
        let ended = catch_panic(watch_store(&manager, &named, &mut failing)).await;
        let Some(manager) = manager.upgrade() else { return };
        let error = match ended {
            Ok(None) => return,
            Ok(Some(())) => Error::new(ErrorKind::Connection, "the watch ended and restarts"),
            Err(panic) => {
                let reason = format!("the provider panicked: {panic}; restarting it");
                let event = Event::new(EventKind::ProviderPanicked, reason.clone());
                manager.events.emit(event.provider(&named.name));
                Error::new(ErrorKind::Internal, reason)
            }
        };
        manager.store_answered(&named);
        // The error says more than the end that followed it.
        let error = failing.as_ref().map_or(error, |failing: &Failing| failing.error.clone());
        Failing::again(&mut failing, error, manager.clock.now());
        failures = failures.saturating_add(1);
        let wait = RESTART.delay(failures, 0.5 + 0.5 * manager.random.unit());
        drop(manager);
        tokio::time::sleep(wait).await;
    }
}

/// Applies the answers of one watch until it ends. Returns `None` if the manager is gone.
async fn watch_store(manager: &Weak<Inner>, named: &Named, failing: &mut Option<Failing>) -> Option<()> {
    let mut stream = named.provider.config_store()?.watch();
    // The documents that this process was writing when an answer arrived.
    let mut written: Vec<ConfigKey> = Vec::new();
    loop {
        let turn = async {
            match written.first() {
                Some(key) => Some(manager.upgrade()?.writing(named, key).lock_owned().await),
                None => std::future::pending().await,
            }
        };
        let now = manager.upgrade()?.clock.now();
        tokio::select! {
            answer = next(&mut stream) => {
                let Some(answer) = answer else { return Some(()) };
                let manager = manager.upgrade()?;
                match answer {
                    Ok(set) => {
                        *failing = None;
                        written = manager.documents(named, set);
                    }
                    Err(error) => Failing::again(failing, error, manager.clock.now()),
                }
                manager.store_answered(named);
            }
            turn = turn => {
                let (_turn, manager) = (turn?, manager.upgrade()?);
                manager.document(named, &written.remove(0));
                manager.apply(&named.name);
            }
            () = Failing::is_due(failing.as_ref(), now) => {
                if let Some(failing) = failing {
                    failing.reported = true;
                    manager.upgrade()?.store_failed(named, &failing.error);
                }
            }
        }
    }
}

async fn next(stream: &mut ConfigStream<'_>) -> Option<Result<ConfigSet, Error>> {
    poll_fn(|context| stream.as_mut().poll_next(context)).await
}
