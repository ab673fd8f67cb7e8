//! Live configuration: kept in a provider's store, watched, and applied while calls run.
//!
//! A value of a service comes from its own document, else from the document for all services, else
//! from the manager's configuration. The documents are those of the first provider of its endpoints.

use std::sync::Arc;

use crate::config::{FailoverConfig, StoredDocument, Unknown};
use crate::contract::provider::{ConfigKey, ConfigStore, Revision, StoredConfig};
use crate::error::{Error, ErrorKind};
use crate::events::{Event, EventKind};
use crate::manager::documents::{Given, Newest, Seen, merged, what};
use crate::manager::inner::Inner;
use crate::manager::providers::Named;

/// The maximum number of attempts to write a document that others change concurrently.
const WRITES: usize = 8;

impl Inner {
    /// Returns the provider's store, if stored configuration is used.
    fn config_store<'a>(&self, named: &'a Named) -> Option<&'a dyn ConfigStore> {
        named.provider.config_store().filter(|_| self.settings.stored_config())
    }

    /// Reads the newest document of a key, unless it was read. It takes effect with [`apply`](Self::apply).
    pub(super) fn document(&self, named: &Named, key: &ConfigKey) {
        let mut events = Vec::new();
        {
            let mut services = self.services();
            let Some(Newest { stored }) = services.documents.unread(&named.name, key) else { return };
            let known = services.documents.known(&named.name, key);
            known.read = Seen::of(stored.as_ref());
            match stored.map(|stored| read(&stored, &self.config)).transpose() {
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
    }

    pub(super) fn writing(&self, named: &Named, key: &ConfigKey) -> Arc<tokio::sync::Mutex<()>> {
        Arc::clone(&self.services().documents.known(&named.name, key).writing)
    }

    fn emit(&self, named: &Named, key: &ConfigKey, events: Vec<Event>) {
        for event in events {
            let event = event.provider(&named.name);
            let engines = match key {
                ConfigKey::Service(service) => self.services().engines_of(service),
                ConfigKey::Default => Vec::new(),
            };
            match engines.first() {
                Some(engine) => engine.events().emit(event),
                None => self.events.emit(event),
            }
        }
    }

    /// Applies the current configuration to each service of a provider.
    pub(super) fn apply(&self, provider: &Arc<str>) {
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
        let replaced = match self.config_store(named) {
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
        let Some(store) = self.config_store(named) else {
            let config = self.services().documents.effective(&named.name, &key, &self.config)?;
            return Ok((*config).clone());
        };
        let mut documents = Vec::new();
        for key in [Some(ConfigKey::Default), Some(key).filter(|key| *key != ConfigKey::Default)] {
            let Some(key) = key else { continue };
            let action = format!("reading {}", what(&key));
            if let Some(stored) = self.within(&action, || store.load(&key)).await? {
                let read = read(&stored, &self.config);
                let given = Given(read.map_err(|error| error.context(&action))?.given);
                documents.push((format!("{} in {}", what(&key), named.name), Arc::new(given)));
            }
        }
        Ok((*merged(&self.config, &documents)?).clone())
    }
}

fn read(stored: &StoredConfig, base: &FailoverConfig) -> Result<StoredDocument, Error> {
    StoredDocument::read(stored.text()?, base)
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
        let previous = current.as_ref().and_then(|stored| read(stored, base).ok());
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
