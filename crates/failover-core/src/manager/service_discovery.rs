//! Starts, shares and ends the discovery of services.

use std::sync::{Arc, Weak};

use tokio::runtime::Handle;
use tokio::sync::watch;

use crate::client::service::{Origin, ServiceHandle};
use crate::contract::address_policy::AddressPolicy;
use crate::contract::provider::ConfigKey;
use crate::discovery::{Driver, Pace};
use crate::engine::{Engine, EngineSink, SourceId};
use crate::error::Error;
use crate::manager::errors::{closed_error, service_name};
use crate::manager::inner::Inner;
use crate::manager::providers::Named;
use crate::manager::services::{Entry, Followed, Lease, Released, Route};
use crate::model::endpoint::ServiceName;
use crate::probing::scheduler::Scheduler;
use crate::runtime::require::current_runtime;
use crate::runtime::task::Task;

impl Inner {
    /// Ends all discovery. Handles keep the last known endpoints.
    pub(super) fn end_discovery(&self) {
        // Signalled after the lock is released: a listener may call the manager.
        let ended = self.services().take();
        for entry in ended {
            entry.engine.discovery_ended(&closed_error());
        }
    }

    pub(super) async fn service(self: &Arc<Self>, name: &str, route: Route) -> Result<ServiceHandle, Error> {
        let name = service_name(name)?;
        let runtime = current_runtime("service")?;
        let (handle, configs) = self.handle(name, &route, &runtime)?;
        let begun = async {
            // Before the endpoints, so that no call uses a configuration that is about to be
            // replaced.
            for mut answered in configs {
                let _ = answered.wait_for(|answered| *answered).await;
            }
            handle.ready().await
        };
        // The handle is valid either way; `ready` waits for what is still missing.
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
        // Under the lock that closing takes: nothing starts after it.
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
                // Its runtime has ended; this one continues from the last known endpoints.
                entry.engine.source_resumed(source.id);
                source.driver = self.drive(runtime, &entry.engine, source.id, &source.named);
            }
            if entry.prober.as_ref().is_some_and(Task::is_finished) {
                entry.prober = self.probe(runtime, &entry.engine);
            }
            return Ok((
                ServiceHandle::new(Arc::clone(&entry.engine), Origin::Manager { _lease: lease }),
                configs,
            ));
        }
        let key = ConfigKey::Service(name.clone());
        let effective = services.documents.effective(&wanted[0].0.name, &key, &self.config);
        let (config, rejected) = match effective {
            Ok(config) => (config, None),
            Err(error) => (Arc::clone(&self.config), Some(error)),
        };
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
            rejected: rejected.as_ref().map(ToString::to_string),
            prober: self.probe(runtime, &engine),
        };
        services.entries.insert(name, entry);
        if let Some(error) = rejected {
            engine.config_rejected(&error);
        }
        Ok((ServiceHandle::new(engine, Origin::Manager { _lease: lease }), configs))
    }

    /// Resolves a route to its current providers, at least one, each with its tier.
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

    /// Adds a new provider as a fallback to the services of the default one.
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
        let sink = Box::new(EngineSink { engine: Arc::clone(engine), id: source });
        let known = engine.source_entries(source);
        let driver = Driver { sink, pace, addresses, provider: Arc::clone(&named.provider), known };
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
        let owner: Arc<dyn Released> = Arc::clone(self) as Arc<dyn Released>;
        Arc::new(Lease { owner: Arc::downgrade(&owner), service: name.clone() })
    }
}

/// Removes services that have had no handle for `keep_idle`.
async fn sweep(manager: Weak<Inner>) {
    loop {
        let Some(pause) = manager.upgrade().map(|manager| manager.settings.keep_idle() / 4) else {
            return;
        };
        tokio::time::sleep(pause.max(std::time::Duration::from_millis(100))).await;
        let Some(manager) = manager.upgrade() else { return };
        let now = manager.clock.now();
        let keep = manager.settings.keep_idle();
        // Removed services are dropped after the lock is released.
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

impl Released for Inner {
    fn released(&self, service: &ServiceName) {
        let now = self.clock.now();
        if let Some(entry) = self.services().entries.get_mut(service) {
            // Another handle may have been created since this lease was dropped.
            if entry.lease.strong_count() == 0 {
                entry.idle = Some(now);
            }
        }
    }
}
