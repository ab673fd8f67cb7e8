//! Starts, shares and ends the discovery of services.

use std::sync::{Arc, Weak};

use tokio::runtime::Handle;

use crate::client::service::{Origin, ServiceHandle};
use crate::contract::address_policy::AddressPolicy;
use crate::contract::provider::{ConfigKey, Query};
use crate::discovery::{Driver, Pace};
use crate::engine::{Engine, EngineSink, SourceDescription, SourceId};
use crate::error::Error;
use crate::manager::config_watch::Awaited;
use crate::manager::errors::{closed_error, service_name};
use crate::manager::inner::Inner;
use crate::manager::providers::Named;
use crate::manager::services::{Entry, Followed, Lease, Released};
use crate::manager::sources::{Request, Route, ServiceKey, Wanted};
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
        self.requested(Request::named(service_name(name)?, route)).await
    }

    pub(super) async fn requested(self: &Arc<Self>, request: Request) -> Result<ServiceHandle, Error> {
        let runtime = current_runtime("service")?;
        let (handle, configs) = self.handle(request, &runtime)?;
        let begun = async {
            // Before the endpoints, so that no call uses a configuration that is about to be
            // replaced.
            if let Some(awaited) = configs {
                self.configs_answered(awaited).await;
            }
            handle.ready().await
        };
        // The handle is valid either way; `ready` waits for what is still missing.
        let _ = tokio::time::timeout(self.settings.start_timeout(), begun).await;
        Ok(handle)
    }

    fn handle(
        self: &Arc<Self>,
        request: Request,
        runtime: &Handle,
    ) -> Result<(ServiceHandle, Option<Awaited>), Error> {
        let wanted = request.resolve(&self.providers(), &self.settings)?;
        let Request { key, route } = request;
        let mut services = self.services();
        // Under the lock that closing takes: nothing starts after it.
        self.ensure_open()?;
        if services.sweeper.as_ref().is_none_or(Task::is_finished) {
            services.sweeper = Some(Task::spawn(runtime, sweep(Arc::downgrade(self))));
        }
        let configs = self.watch_configs(&mut services, runtime, &wanted[0].named, &key.name);
        if let Some(entry) = services.entries.get_mut(&key) {
            entry.ensure_same(&key.name, &route, &wanted)?;
            let lease = entry.lease.upgrade().unwrap_or_else(|| self.lease(&key));
            entry.lease = Arc::downgrade(&lease);
            entry.idle = None;
            for source in entry.sources.iter_mut().filter(|source| source.driver.is_finished()) {
                // Its runtime has ended; this one continues from the last known endpoints.
                entry.engine.source_resumed(source.id);
                source.driver = self.drive(runtime, &entry.engine, source.id, &source.wanted);
            }
            if entry.prober.as_ref().is_some_and(Task::is_finished) {
                entry.prober = self.probe(runtime, &entry.engine);
            }
            return Ok((
                ServiceHandle::new(Arc::clone(&entry.engine), Origin::Manager { _lease: lease }),
                configs,
            ));
        }
        let of = ConfigKey::Service(key.name.clone());
        let effective = services.documents.effective(&wanted[0].named.name, &of, &self.config);
        let (config, rejected) = match effective {
            Ok(config) => (config, None),
            Err(error) => (Arc::clone(&self.config), Some(error)),
        };
        let engine = Engine::new(
            key.name.clone(),
            Arc::clone(&config),
            self.clock.clone(),
            self.random.clone(),
            Some(Arc::clone(&self.events)),
        )?;
        let engine = Arc::new(engine.of_query(key.query.clone()));
        let sources = wanted.into_iter().map(|wanted| self.follow(runtime, &engine, wanted)).collect();
        let lease = self.lease(&key);
        let (by_default, conditions) = match route {
            Route::Default(conditions) => (true, conditions),
            Route::Through(_) => (false, Query::all()),
        };
        let entry = Entry {
            engine: Arc::clone(&engine),
            lease: Arc::downgrade(&lease),
            idle: None,
            by_default,
            conditions,
            sources,
            applied: config,
            rejected: rejected.as_ref().map(ToString::to_string),
            prober: self.probe(runtime, &engine),
        };
        services.entries.insert(key, entry);
        if let Some(error) = rejected {
            engine.config_rejected(&error);
        }
        Ok((ServiceHandle::new(engine, Origin::Manager { _lease: lease }), configs))
    }

    /// Adds a new provider as a fallback to the services of the default one.
    pub(super) fn follow_also(&self, named: &Named, runtime: &Handle) {
        if !self.settings.fallback_enabled() {
            return;
        }
        let by_default: Vec<_> = {
            let services = self.services();
            let entries = services.entries.iter().filter(|(_, entry)| entry.by_default);
            entries.map(|(key, entry)| (key.clone(), entry.conditions.clone())).collect()
        };
        // A provider is foreign code: it is called while no lock is held.
        let fallbacks: Vec<_> = by_default
            .into_iter()
            .filter_map(|(key, conditions)| Some((Wanted::fallback(&key.name, named, &conditions, 0)?, key)))
            .collect();
        let mut services = self.services();
        if self.ensure_open().is_err() {
            return;
        }
        for (mut wanted, key) in fallbacks {
            let Some(entry) = services.entries.get_mut(&key).filter(|entry| entry.by_default) else {
                continue;
            };
            if entry.sources.iter().all(|source| source.wanted.named.name != named.name) {
                wanted.tier = entry.sources.len() as u32;
                entry.sources.push(self.follow(runtime, &entry.engine, wanted));
            }
        }
    }

    fn follow(&self, runtime: &Handle, engine: &Arc<Engine>, wanted: Wanted) -> Followed {
        let Wanted { named, tier, label, shown, .. } = &wanted;
        let id = engine.add_source(Arc::clone(label), *tier);
        engine.describe_source(
            id,
            SourceDescription {
                provider: Arc::clone(&named.name),
                query: shown.clone(),
                addresses: self.addresses(named),
                checks_health: named.checks_health(),
            },
        );
        let driver = self.drive(runtime, engine, id, &wanted);
        Followed { wanted, id, driver }
    }

    fn drive(&self, runtime: &Handle, engine: &Arc<Engine>, source: SourceId, wanted: &Wanted) -> Task {
        let pace = Pace { poll: self.settings.poll_interval(), answer: self.settings.timeout() };
        let Wanted { named, query, .. } = wanted;
        let addresses = self.addresses(named);
        let sink = Box::new(EngineSink { engine: Arc::clone(engine), id: source });
        let known = engine.source_entries(source);
        let (provider, query) = (Arc::clone(&named.provider), query.clone());
        let driver = Driver { sink, pace, addresses, provider, query, known };
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

    fn lease(self: &Arc<Self>, key: &ServiceKey) -> Arc<Lease> {
        let owner: Arc<dyn Released> = Arc::clone(self) as Arc<dyn Released>;
        Arc::new(Lease { owner: Arc::downgrade(&owner), service: key.clone() })
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
            let keys: Vec<_> =
                services.entries.iter().filter(|(_, e)| idle(e)).map(|(key, _)| key.clone()).collect();
            keys.iter().filter_map(|key| services.remove(key)).collect()
        };
        drop(removed);
    }
}

impl Released for Inner {
    fn released(&self, service: &ServiceKey) {
        let now = self.clock.now();
        if let Some(entry) = self.services().entries.get_mut(service) {
            // Another handle may have been created since this lease was dropped.
            if entry.lease.strong_count() == 0 {
                entry.idle = Some(now);
            }
        }
    }
}
