//! Live configuration: kept in a provider's store, watched, and applied while calls run.
//!
//! A value of a service comes from its own document, else from the document for all services, else
//! from the manager's configuration. The documents are those of the first provider of its endpoints.

use std::future::poll_fn;
use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::watch;

use crate::config::{FailoverConfig, StoredDocument, Unknown};
use crate::contract::provider::{ConfigKey, ConfigStore, ConfigStream, Revision, StoredConfig};
use crate::error::{Error, ErrorKind};
use crate::events::{Event, EventKind};
use crate::manager::documents::{Given, merged, what};
use crate::manager::inner::Inner;
use crate::manager::providers::Named;
use crate::manager::services::Services;
use crate::model::endpoint::ServiceName;
use crate::runtime::backoff::Backoff;
use crate::runtime::catch_panic::catch_panic;
use crate::runtime::task::Task;

/// The back-off before a watch that ended or panicked is restarted.
const RESTART: Backoff = Backoff::new(Duration::from_millis(250), Duration::from_secs(30), 2.0);
/// The maximum number of attempts to write a document that others change concurrently.
const WRITES: usize = 8;

impl Inner {
    /// Watches the documents that apply to a service, if its provider has a store. Returns one
    /// receiver per document, which signals its first answer.
    pub(super) fn watch_configs(
        self: &Arc<Self>,
        services: &mut Services,
        runtime: &Handle,
        named: &Named,
        service: &ServiceName,
    ) -> Vec<watch::Receiver<bool>> {
        if !named.keeps_config {
            return Vec::new();
        }
        [ConfigKey::Service(service.clone()), ConfigKey::Default]
            .into_iter()
            .map(|key| {
                let known = services.documents.known(&named.name, &key);
                if known.watcher.as_ref().is_none_or(Task::is_finished) {
                    let task = follow(Arc::downgrade(self), named.clone(), key);
                    known.watcher = Some(Task::spawn(runtime, task));
                }
                known.answered.subscribe()
            })
            .collect()
    }

    /// Applies an answer of the store.
    fn document(&self, named: &Named, key: &ConfigKey, stored: Option<StoredConfig>) {
        let mut events = Vec::new();
        {
            let mut services = self.services();
            let known = services.documents.known(&named.name, key);
            if std::mem::take(&mut known.failing) {
                let reason = format!("{} can be read again", what(key));
                events.push(Event::new(EventKind::ConfigFresh, reason));
            }
            known.answered.send_replace(true);
            let revision = stored.as_ref().map(StoredConfig::revision);
            if known.replaced.is_some() && known.replaced.as_ref() == revision {
                drop(services);
                return self.emit(named, key, events);
            }
            match stored.map(|stored| StoredDocument::read(stored.document(), &self.config)).transpose() {
                Ok(document) => {
                    if let Some(document) = &document {
                        let unknown: Vec<_> = document.unknown.iter().map(Unknown::name).collect();
                        let reported = known.unknown.iter().eq(&unknown);
                        if !unknown.is_empty() && !reported {
                            let reason = format!(
                                "{} has a newer version; applied without {}",
                                what(key),
                                unknown.join(", ")
                            );
                            events.push(
                                Event::new(EventKind::ConfigApplied, reason).detail("unknown", unknown),
                            );
                        }
                    }
                    known.unknown =
                        document.iter().flat_map(|document| &document.unknown).map(Unknown::name).collect();
                    known.given = document.map(|document| Arc::new(Given(document.given)));
                }
                Err(error) => {
                    let reason =
                        format!("{} cannot be used: {error}; keeping the last configuration", what(key));
                    events.push(Event::new(EventKind::ConfigRejected, reason).detail("code", error.code()));
                }
            }
        }
        self.emit(named, key, events);
        self.apply(&named.name);
    }

    fn writing(&self, named: &Named, key: &ConfigKey) -> Arc<tokio::sync::Mutex<()>> {
        Arc::clone(&self.services().documents.known(&named.name, key).writing)
    }

    fn store_failed(&self, named: &Named, key: &ConfigKey, error: &Error) {
        {
            let mut services = self.services();
            let known = services.documents.known(&named.name, key);
            known.answered.send_replace(true);
            if std::mem::replace(&mut known.failing, true) {
                return;
            }
        }
        if error.kind() != ErrorKind::Shutdown {
            let reason = format!("{} cannot be read: {error}; keeping the last configuration", what(key));
            let event = Event::new(EventKind::ConfigStale, reason).detail("code", error.code());
            self.emit(named, key, vec![event]);
        }
    }

    fn emit(&self, named: &Named, key: &ConfigKey, events: Vec<Event>) {
        for event in events {
            let event = event.provider(&named.name);
            let engine = match key {
                ConfigKey::Service(service) => self.services().engine(service).cloned(),
                ConfigKey::Default => None,
            };
            match engine {
                Some(engine) => engine.events().emit(event),
                None => self.events.emit(event),
            }
        }
    }

    /// Applies the current configuration to each service of a provider.
    fn apply(&self, provider: &Arc<str>) {
        let changes = self.services().changes(provider, &self.config);
        for (service, engine, config) in changes {
            let mut config = match config {
                Ok(config) => config,
                Err(error) => {
                    engine.config_rejected(&error);
                    continue;
                }
            };
            loop {
                // The engine reports a configuration that it cannot use, and keeps the previous
                // one.
                let _ = engine.configure(Arc::clone(&config));
                // A concurrent change may have been applied first.
                match self.services().applied(&service) {
                    Some(newest) if !Arc::ptr_eq(&newest, &config) => config = newest,
                    _ => break,
                }
            }
        }
    }

    /// Stores a configuration, if the provider has a store, and applies it.
    pub(super) async fn configure(
        &self,
        named: &Named,
        key: ConfigKey,
        config: FailoverConfig,
    ) -> Result<(), Error> {
        self.ensure_open()?;
        crate::config::usable::supported(&config)?;
        let writing = self.writing(named, &key);
        let _turn = writing.lock().await;
        let replaced = match named.provider.config_store() {
            Some(_) if config.custom().is_some() => {
                let message = "a custom strategy cannot be stored; pass it to the builder of the manager";
                return Err(Error::new(ErrorKind::Unsupported, message));
            }
            Some(store) => {
                let action = format!("storing {}", what(&key));
                self.within(&action, || write(store, &key, &config, &self.config)).await?
            }
            None => None,
        };
        {
            let mut services = self.services();
            let known = services.documents.known(&named.name, &key);
            known.replaced = replaced;
            known.given = Some(Arc::new(Given(StoredDocument::replacing(None, &config).given)));
        }
        self.apply(&named.name);
        Ok(())
    }

    /// Returns the configuration that applies to all services, or to one.
    pub(super) async fn get_config(&self, named: &Named, key: ConfigKey) -> Result<FailoverConfig, Error> {
        self.ensure_open()?;
        let Some(store) = named.provider.config_store() else {
            let config = self.services().documents.effective(&named.name, &key, &self.config)?;
            return Ok((*config).clone());
        };
        let mut documents = Vec::new();
        for key in [Some(ConfigKey::Default), Some(key).filter(|key| *key != ConfigKey::Default)] {
            let Some(key) = key else { continue };
            let action = format!("reading {}", what(&key));
            if let Some(stored) = self.within(&action, || store.load(&key)).await? {
                let read = StoredDocument::read(stored.document(), &self.config);
                let given = Given(read.map_err(|error| error.context(&action))?.given);
                documents.push((format!("{} in {}", what(&key), named.name), Arc::new(given)));
            }
        }
        Ok((*merged(&self.config, &documents)?).clone())
    }
}

/// Overwrites a document, keeping the fields that a newer version has added to it. Returns the
/// revision of the replaced document.
async fn write(
    store: &dyn ConfigStore,
    key: &ConfigKey,
    config: &FailoverConfig,
    base: &FailoverConfig,
) -> Result<Option<Revision>, Error> {
    let mut conflict = None;
    for _ in 0..WRITES {
        let current = store.load(key).await?;
        // An unreadable document is replaced, which repairs it.
        let previous = current.as_ref().and_then(|stored| StoredDocument::read(stored.document(), base).ok());
        let before = previous.as_ref().map(StoredDocument::write);
        let document = StoredDocument::replacing(previous, config).write();
        if before.as_ref() == Some(&document) {
            return Ok(None);
        }
        let expected = current.map(|stored| stored.revision().clone());
        match store.store(key, &document, expected.as_ref()).await {
            Ok(_) => return Ok(expected),
            Err(error) if error.kind() == ErrorKind::Conflict => conflict = Some(error),
            Err(error) => return Err(error),
        }
    }
    Err(conflict.unwrap_or_else(|| Error::new(ErrorKind::Conflict, "concurrent changes kept replacing it")))
}

/// Watches one document until the task is aborted or the manager is dropped.
async fn follow(manager: Weak<Inner>, named: Named, key: ConfigKey) {
    let mut failures = 0_u32;
    loop {
        let watching = async {
            let store = named.provider.config_store()?;
            let mut stream = store.watch(&key);
            while let Some(answer) = next(&mut stream).await {
                let writing = manager.upgrade()?.writing(&named, &key);
                let _turn = writing.lock().await;
                let manager = manager.upgrade()?;
                match answer {
                    Ok(stored) => manager.document(&named, &key, stored),
                    Err(error) => manager.store_failed(&named, &key, &error),
                }
            }
            Some(())
        };
        let ended = catch_panic(watching).await;
        let Some(manager) = manager.upgrade() else { return };
        let error = match ended {
            Ok(None) => return,
            Ok(Some(())) => Error::new(ErrorKind::Connection, "the watch ended and restarts"),
            Err(panic) => {
                let reason = format!("the provider panicked: {panic}; restarting it");
                manager.emit(&named, &key, vec![Event::new(EventKind::ProviderPanicked, reason.clone())]);
                Error::new(ErrorKind::Internal, reason)
            }
        };
        manager.store_failed(&named, &key, &error);
        failures = failures.saturating_add(1);
        let wait = RESTART.delay(failures, 0.5 + 0.5 * manager.random.unit());
        drop(manager);
        tokio::time::sleep(wait).await;
    }
}

async fn next(stream: &mut ConfigStream<'_>) -> Option<Result<Option<StoredConfig>, Error>> {
    poll_fn(|context| stream.as_mut().poll_next(context)).await
}
