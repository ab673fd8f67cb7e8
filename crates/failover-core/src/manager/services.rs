//! The services that a manager looks after, and what ends their discovery.

use std::collections::HashMap;
use std::sync::{Arc, MutexGuard, PoisonError, Weak};

use tokio::runtime::Handle;

use super::builder::no_runtime;
use super::task::Task;
use super::{Inner, Named, closed_error, service_name};
use crate::clock::Time;
use crate::discovery::{AddressPolicy, Driver, Pace};
use crate::endpoint::ServiceName;
use crate::engine::{Engine, EngineSource, SourceId};
use crate::error::{Error, ErrorKind};
use crate::service::ServiceHandle;

#[derive(Debug, Default)]
pub(super) struct Services {
    entries: HashMap<ServiceName, Entry>,
    /// Removes what nobody has asked for in a while.
    sweeper: Option<Task>,
}

#[derive(Debug)]
struct Entry {
    engine: Arc<Engine>,
    provider: Arc<str>,
    lease: Weak<Lease>,
    /// Since when it has had no handle.
    idle: Option<Time>,
    source: SourceId,
    /// Ends with the entry.
    driver: Task,
}

/// Held by every handle of a service; tells the manager when the last of them is gone.
struct Lease {
    manager: Weak<Inner>,
    service: ServiceName,
}

impl Drop for Lease {
    fn drop(&mut self) {
        let Some(manager) = self.manager.upgrade() else {
            return;
        };
        let now = manager.clock.now();
        if let Some(entry) = manager.services().entries.get_mut(&self.service) {
            // Another handle may have been made since this lease was let go.
            if entry.lease.strong_count() == 0 {
                entry.idle = Some(now);
            }
        }
    }
}

impl Services {
    pub(super) fn engines(&self) -> impl Iterator<Item = &Arc<Engine>> {
        self.entries.values().map(|entry| &entry.engine)
    }

    /// All discovery, out of the manager's hands.
    fn take(&mut self) -> Vec<Entry> {
        self.sweeper = None;
        self.entries.drain().map(|(_, entry)| entry).collect()
    }
}

impl Inner {
    pub(super) fn services(&self) -> MutexGuard<'_, Services> {
        // Nothing that is done under the lock can leave it half done.
        self.services.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends all discovery. Handles keep what they know.
    pub(super) fn end_discovery(&self) {
        // The lock is free again when it is told: who listens may ask the manager something.
        let ended = self.services().take();
        for entry in ended {
            entry.engine.discovery_ended(&closed_error());
        }
    }

    pub(super) async fn service(self: &Arc<Self>, name: &str, named: Named) -> Result<ServiceHandle, Error> {
        let name = service_name(name)?;
        let runtime = Handle::try_current().map_err(|_| no_runtime("service"))?;
        let handle = self.handle(name, named, &runtime)?;
        // The handle is good either way; what it waits for is said by `ready`.
        let _ = tokio::time::timeout(self.settings.start_timeout, handle.ready()).await;
        Ok(handle)
    }

    fn handle(
        self: &Arc<Self>,
        name: ServiceName,
        named: Named,
        runtime: &Handle,
    ) -> Result<ServiceHandle, Error> {
        let mut services = self.services();
        // Under the lock that closing takes: nothing begins after it.
        self.ensure_open()?;
        if services.sweeper.as_ref().is_none_or(Task::is_finished) {
            services.sweeper = Some(Task::spawn(runtime, sweep(Arc::downgrade(self))));
        }
        if let Some(entry) = services.entries.get_mut(&name) {
            if entry.provider != named.name {
                let message = format!(
                    "service {name} is discovered through provider {} already, not through {}",
                    entry.provider, named.name
                );
                return Err(Error::new(ErrorKind::Conflict, message));
            }
            let lease = entry.lease.upgrade().unwrap_or_else(|| self.lease(&name));
            entry.lease = Arc::downgrade(&lease);
            entry.idle = None;
            if entry.driver.is_finished() {
                // Its runtime is gone; this one goes on where it was.
                entry.engine.discovery_resumed();
                entry.driver = self.drive(runtime, &entry.engine, entry.source, named);
            }
            return Ok(ServiceHandle::new(Arc::clone(&entry.engine), Some(lease)));
        }
        let engine = Arc::new(Engine::new(
            name.clone(),
            Arc::clone(&self.config),
            self.clock.clone(),
            self.random.clone(),
            Some(Arc::clone(&self.events)),
        )?);
        let source = engine.add_source(Arc::clone(&named.name), 0);
        let lease = self.lease(&name);
        let entry = Entry {
            engine: Arc::clone(&engine),
            provider: Arc::clone(&named.name),
            lease: Arc::downgrade(&lease),
            idle: None,
            source,
            driver: self.drive(runtime, &engine, source, named),
        };
        services.entries.insert(name, entry);
        Ok(ServiceHandle::new(engine, Some(lease)))
    }

    fn drive(&self, runtime: &Handle, engine: &Arc<Engine>, source: SourceId, named: Named) -> Task {
        let pace = Pace { poll: self.settings.poll_interval, answer: self.settings.timeout };
        let addresses = AddressPolicy::new(named.provider.info().trust(), self.settings.allow_loopback);
        let sink = Box::new(EngineSource { engine: Arc::clone(engine), id: source });
        let driver = Driver { sink, pace, addresses, provider: named.provider };
        Task::spawn(runtime, async move { match driver.run().await {} })
    }

    fn lease(self: &Arc<Self>, name: &ServiceName) -> Arc<Lease> {
        Arc::new(Lease { manager: Arc::downgrade(self), service: name.clone() })
    }
}

/// Removes services that have had no handle for as long as they are kept.
async fn sweep(manager: Weak<Inner>) {
    loop {
        let Some(pause) = manager.upgrade().map(|manager| manager.settings.keep_idle / 4) else {
            return;
        };
        tokio::time::sleep(pause.max(std::time::Duration::from_millis(100))).await;
        let Some(manager) = manager.upgrade() else { return };
        let now = manager.clock.now();
        let keep = manager.settings.keep_idle;
        // What is removed is dropped after the lock is free.
        let removed: Vec<_> = {
            let mut services = manager.services();
            let idle = |entry: &Entry| entry.idle.is_some_and(|since| now.since(since) >= keep);
            let names: Vec<_> =
                services.entries.iter().filter(|(_, e)| idle(e)).map(|(name, _)| name.clone()).collect();
            names.iter().filter_map(|name| services.entries.remove(name)).collect()
        };
        drop(removed);
    }
}
