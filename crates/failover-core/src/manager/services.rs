//! The services that a manager looks after, and what ends their discovery.

use std::collections::HashMap;
use std::sync::{Arc, MutexGuard, PoisonError, Weak};

use tokio::runtime::Handle;
use tokio::sync::watch;

use super::builder::no_runtime;
use super::configs::Documents;
use super::providers::Named;
use super::{Inner, closed_error, service_name};
use crate::clock::Time;
use crate::config::FailoverConfig;
use crate::discovery::{AddressPolicy, Driver, Pace};
use crate::endpoint::ServiceName;
use crate::engine::{Engine, EngineSource, SourceId};
use crate::error::{Error, ErrorKind};
use crate::probe::Scheduler;
use crate::service::ServiceHandle;
use crate::task::Task;

#[derive(Debug, Default)]
pub(super) struct Services {
    entries: HashMap<ServiceName, Entry>,
    pub(super) documents: Documents,
    /// Removes what nobody has asked for in a while.
    sweeper: Option<Task>,
}

#[derive(Debug)]
struct Entry {
    engine: Arc<Engine>,
    lease: Weak<Lease>,
    /// Since when it has had no handle.
    idle: Option<Time>,
    /// Whether it is discovered through whatever the manager's default is, rather than through named providers.
    by_default: bool,
    /// At least one; the first decides about the configuration.
    sources: Vec<Followed>,
    /// The configuration that the manager gave it last.
    applied: Arc<FailoverConfig>,
    /// Runs its probes, if the manager has any.
    prober: Option<Task>,
}

/// A source of a service.
#[derive(Debug)]
struct Followed {
    named: Named,
    tier: u32,
    id: SourceId,
    /// Ends with the entry.
    driver: Task,
}

/// Where a service's endpoints are to come from.
#[derive(Debug)]
pub(super) enum Route {
    /// The default provider, and those that stand in for it.
    Default,
    /// These, each with its tier.
    Through(Vec<(Named, u32)>),
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

    pub(super) fn engine(&self, service: &ServiceName) -> Option<&Arc<Engine>> {
        self.entries.get(service).map(|entry| &entry.engine)
    }

    /// The configuration that a service was given last.
    pub(super) fn applied(&self, service: &ServiceName) -> Option<Arc<FailoverConfig>> {
        self.entries.get(service).map(|entry| Arc::clone(&entry.applied))
    }

    /// The services whose configuration is another one now, with it.
    pub(super) fn changes(
        &mut self,
        provider: &Arc<str>,
        built: &Arc<FailoverConfig>,
    ) -> Vec<(ServiceName, Arc<Engine>, Arc<FailoverConfig>)> {
        let Self { entries, documents, .. } = self;
        let mut changes = Vec::new();
        for (name, entry) in entries.iter_mut().filter(|(_, entry)| entry.sources[0].named.name == *provider)
        {
            let config = documents.effective(provider, name, built);
            if *config != *entry.applied {
                entry.applied = Arc::clone(&config);
                changes.push((name.clone(), Arc::clone(&entry.engine), config));
            }
        }
        changes
    }

    fn remove(&mut self, service: &ServiceName) -> Option<Entry> {
        let entry = self.entries.remove(service)?;
        self.documents.forget(&entry.sources[0].named.name, service);
        Some(entry)
    }

    /// All discovery, out of the manager's hands.
    fn take(&mut self) -> Vec<Entry> {
        self.sweeper = None;
        self.documents.end();
        self.entries.drain().map(|(_, entry)| entry).collect()
    }
}

impl Entry {
    /// A service has one set of sources, whoever asks for it.
    fn ensure_same(
        &mut self,
        name: &ServiceName,
        route: &Route,
        wanted: &[(Named, u32)],
    ) -> Result<(), Error> {
        let same = self.sources.len() == wanted.len()
            && self
                .sources
                .iter()
                .zip(wanted)
                .all(|(is, (named, tier))| is.named.name == named.name && is.tier == *tier);
        if same || (self.by_default && matches!(route, Route::Default)) {
            self.by_default |= matches!(route, Route::Default);
            return Ok(());
        }
        let through = |names: Vec<&str>| names.join(", ");
        let message = format!(
            "service {name} is discovered through provider {} already, not through {}",
            through(self.sources.iter().map(|source| &*source.named.name).collect()),
            through(wanted.iter().map(|(named, _)| &*named.name).collect()),
        );
        Err(Error::new(ErrorKind::Conflict, message))
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

    pub(super) async fn service(self: &Arc<Self>, name: &str, route: Route) -> Result<ServiceHandle, Error> {
        let name = service_name(name)?;
        let runtime = Handle::try_current().map_err(|_| no_runtime("service"))?;
        let (handle, configs) = self.handle(name, &route, &runtime)?;
        let begun = async {
            // Before the endpoints, so that no call is made with a configuration that is about to be replaced.
            for mut answered in configs {
                let _ = answered.wait_for(|answered| *answered).await;
            }
            handle.ready().await
        };
        // The handle is good either way; what it waits for is said by `ready`.
        let _ = tokio::time::timeout(self.settings.start_timeout(), begun).await;
        Ok(handle)
    }

    fn handle(
        self: &Arc<Self>,
        name: ServiceName,
        route: &Route,
        runtime: &Handle,
    ) -> Result<(ServiceHandle, Vec<watch::Receiver<bool>>), Error> {
        let wanted = self.resolve(route)?;
        let mut services = self.services();
        // Under the lock that closing takes: nothing begins after it.
        self.ensure_open()?;
        if services.sweeper.as_ref().is_none_or(Task::is_finished) {
            services.sweeper = Some(Task::spawn(runtime, sweep(Arc::downgrade(self))));
        }
        let configs = self.watch_configs(&mut services, runtime, &wanted[0].0, &name);
        if let Some(entry) = services.entries.get_mut(&name) {
            entry.ensure_same(&name, route, &wanted)?;
            let lease = entry.lease.upgrade().unwrap_or_else(|| self.lease(&name));
            entry.lease = Arc::downgrade(&lease);
            entry.idle = None;
            for source in entry.sources.iter_mut().filter(|source| source.driver.is_finished()) {
                // Its runtime is gone; this one goes on where it was.
                entry.engine.source_resumed(source.id);
                source.driver = self.drive(runtime, &entry.engine, source.id, &source.named);
            }
            if entry.prober.as_ref().is_some_and(Task::is_finished) {
                entry.prober = self.probe(runtime, &entry.engine);
            }
            return Ok((ServiceHandle::new(Arc::clone(&entry.engine), Some(lease)), configs));
        }
        let config = services.documents.effective(&wanted[0].0.name, &name, &self.config);
        let engine = Arc::new(Engine::new(
            name.clone(),
            Arc::clone(&config),
            self.clock.clone(),
            self.random.clone(),
            Some(Arc::clone(&self.events)),
        )?);
        let sources =
            wanted.into_iter().map(|(named, tier)| self.follow(runtime, &engine, named, tier)).collect();
        let lease = self.lease(&name);
        let entry = Entry {
            engine: Arc::clone(&engine),
            lease: Arc::downgrade(&lease),
            idle: None,
            by_default: matches!(route, Route::Default),
            sources,
            applied: config,
            prober: self.probe(runtime, &engine),
        };
        services.entries.insert(name, entry);
        Ok((ServiceHandle::new(engine, Some(lease)), configs))
    }

    /// The providers that a route means now, at least one, each with its tier.
    fn resolve(&self, route: &Route) -> Result<Vec<(Named, u32)>, Error> {
        match route {
            Route::Through(sources) => Ok(sources.clone()),
            Route::Default => {
                let providers = self.providers();
                let default = providers.by_default(self.settings.default_provider())?;
                let others = providers.iter().filter(|named| named.name != default.name);
                let fallback = if self.settings.fallback_enabled() { usize::MAX } else { 0 };
                Ok(std::iter::once(default).chain(others.take(fallback)).cloned().zip(0..).collect())
            }
        }
    }

    /// A provider that is new stands in for the default one from now on, too.
    pub(super) fn follow_also(&self, named: &Named, runtime: &Handle) {
        if !self.settings.fallback_enabled() {
            return;
        }
        let mut services = self.services();
        if self.ensure_open().is_err() {
            return;
        }
        for entry in services.entries.values_mut().filter(|entry| entry.by_default) {
            if entry.sources.iter().all(|source| source.named.name != named.name) {
                let tier = entry.sources.len() as u32;
                entry.sources.push(self.follow(runtime, &entry.engine, named.clone(), tier));
            }
        }
    }

    fn follow(&self, runtime: &Handle, engine: &Arc<Engine>, named: Named, tier: u32) -> Followed {
        let id = engine.add_source(Arc::clone(&named.name), tier);
        engine.describe_source(id, self.addresses(&named), named.checks_health);
        let driver = self.drive(runtime, engine, id, &named);
        Followed { named, tier, id, driver }
    }

    fn drive(&self, runtime: &Handle, engine: &Arc<Engine>, source: SourceId, named: &Named) -> Task {
        let pace = Pace { poll: self.settings.poll_interval(), answer: self.settings.timeout() };
        let addresses = self.addresses(named);
        let sink = Box::new(EngineSource { engine: Arc::clone(engine), id: source });
        let driver = Driver { sink, pace, addresses, provider: Arc::clone(&named.provider) };
        Task::spawn(runtime, async move { match driver.run().await {} })
    }

    pub(super) fn addresses(&self, named: &Named) -> AddressPolicy {
        AddressPolicy::new(named.trust, self.settings.allow_loopback())
    }

    fn probe(&self, runtime: &Handle, engine: &Arc<Engine>) -> Option<Task> {
        let scheduler = Scheduler { engine: Arc::clone(engine), probes: Arc::clone(&self.probes) };
        let run = async move { match scheduler.run().await {} };
        (!self.probes.is_empty()).then(|| Task::spawn(runtime, run))
    }

    fn lease(self: &Arc<Self>, name: &ServiceName) -> Arc<Lease> {
        Arc::new(Lease { manager: Arc::downgrade(self), service: name.clone() })
    }
}

/// Removes services that have had no handle for as long as they are kept.
async fn sweep(manager: Weak<Inner>) {
    loop {
        let Some(pause) = manager.upgrade().map(|manager| manager.settings.keep_idle() / 4) else {
            return;
        };
        tokio::time::sleep(pause.max(std::time::Duration::from_millis(100))).await;
        let Some(manager) = manager.upgrade() else { return };
        let now = manager.clock.now();
        let keep = manager.settings.keep_idle();
        // What is removed is dropped after the lock is free.
        let removed: Vec<_> = {
            let mut services = manager.services();
            let idle = |entry: &Entry| entry.idle.is_some_and(|since| now.since(since) >= keep);
            let names: Vec<_> =
                services.entries.iter().filter(|(_, e)| idle(e)).map(|(name, _)| name.clone()).collect();
            names.iter().filter_map(|name| services.remove(name)).collect()
        };
        drop(removed);
    }
}
