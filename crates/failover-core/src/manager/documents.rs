//! The known state of the providers' configuration documents.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use tokio::sync::watch;

use crate::codec::document::Raw;
use crate::config::{FailoverConfig, Layer, layered};
use crate::contract::provider::{ConfigKey, ConfigSet, Revision, StoredConfig};
use crate::error::Error;
use crate::model::endpoint::ServiceName;
use crate::runtime::task::Task;

/// The known state of the providers' configuration documents.
#[derive(Debug, Default)]
pub(super) struct Documents {
    known: HashMap<(Arc<str>, ConfigKey), Known>,
    stores: HashMap<Arc<str>, Store>,
}

/// What is known of one document.
#[derive(Debug, Default)]
pub(super) struct Known {
    /// The values of the document, if there is a valid one.
    pub(super) given: Option<Arc<Given>>,
    /// The keys of a newer version that were reported.
    pub(super) unknown: Vec<String>,
    /// The revision that this process's last write replaced: an answer with it is outdated.
    pub(super) replaced: Option<Revision>,
    /// What the last answer that was read said of it.
    pub(super) read: Seen,
    /// Held from before a write until it is applied here; answers of the watch wait for it.
    pub(super) writing: Arc<tokio::sync::Mutex<()>>,
}

/// What an answer says of a document.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) enum Seen {
    /// There was no answer yet.
    #[default]
    Nothing,
    Absent,
    At(Revision),
}

impl Seen {
    pub(super) fn of(stored: Option<&StoredConfig>) -> Self {
        stored.map_or(Self::Absent, |stored| Self::At(stored.revision().clone()))
    }
}

/// The newest answer about a document.
pub(super) struct Newest {
    pub(super) stored: Option<StoredConfig>,
}

/// What is known of the store of one provider.
#[derive(Debug, Default)]
pub(super) struct Store {
    /// Whether its failure was reported.
    pub(super) stale: bool,
    /// Whether the store has answered at all.
    pub(super) answered: watch::Sender<bool>,
    pub(super) newest: Option<ConfigSet>,
    pub(super) watcher: Option<Task>,
}

/// The values that a document gives. No `Debug` shows them, because one can be a secret.
pub(super) struct Given(pub(super) Raw);

impl fmt::Debug for Given {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.kind())
    }
}

/// Puts documents on a configuration, the nearest one last.
pub(super) fn merged(
    built: &Arc<FailoverConfig>,
    documents: &[(String, Arc<Given>)],
) -> Result<Arc<FailoverConfig>, Error> {
    if documents.is_empty() {
        return Ok(Arc::clone(built));
    }
    let layers: Vec<_> = documents.iter().map(|(origin, given)| Layer { origin, given: &given.0 }).collect();
    let config = layered(built, &layers)?;
    crate::config::usable::supported(&config)?;
    Ok(Arc::new(config))
}

/// Names a document, for messages.
pub(super) fn what(key: &ConfigKey) -> String {
    match key {
        ConfigKey::Default => "the configuration of all services".to_owned(),
        ConfigKey::Service(service) => format!("the configuration of {service}"),
    }
}

impl Documents {
    fn given(&self, provider: &Arc<str>, key: ConfigKey) -> Option<&Arc<Given>> {
        self.known.get(&(Arc::clone(provider), key))?.given.as_ref()
    }

    /// Returns the configuration of a service or, for the default key, of a service without a document
    /// of its own.
    ///
    /// # Errors
    ///
    /// Returns `Validation` if the document contradicts itself or lacks what its strategy requires.
    pub(super) fn effective(
        &self,
        provider: &Arc<str>,
        key: &ConfigKey,
        built: &Arc<FailoverConfig>,
    ) -> Result<Arc<FailoverConfig>, Error> {
        let keys = [Some(ConfigKey::Default), Some(key.clone()).filter(|key| *key != ConfigKey::Default)];
        let layers = keys.into_iter().flatten().filter_map(|key| {
            let origin = format!("{} in {provider}", what(&key));
            self.given(provider, key).map(|given| (origin, Arc::clone(given)))
        });
        merged(built, &layers.collect::<Vec<_>>())
    }

    pub(super) fn known(&mut self, provider: &Arc<str>, key: &ConfigKey) -> &mut Known {
        self.known.entry((Arc::clone(provider), key.clone())).or_default()
    }

    /// Returns the keys of a provider's documents of which something is known.
    pub(super) fn keys(&self, provider: &Arc<str>) -> Vec<ConfigKey> {
        self.known.keys().filter(|(of, _)| of == provider).map(|(_, key)| key.clone()).collect()
    }

    pub(super) fn store(&mut self, provider: &Arc<str>) -> &mut Store {
        self.stores.entry(Arc::clone(provider)).or_default()
    }

    /// Returns the newest answer with a key's document, unless it was read already. It is read again if
    /// a write has replaced it.
    pub(super) fn unread(&self, provider: &Arc<str>, key: &ConfigKey) -> Option<Newest> {
        let stored = self.stores.get(provider)?.newest.as_ref()?.get(key);
        let known = self.known.get(&(Arc::clone(provider), key.clone()));
        let is_read = known.is_some_and(|known| {
            let is_replaced = stored.is_some_and(|stored| known.replaced.as_ref() == Some(stored.revision()));
            is_replaced || known.read == Seen::of(stored)
        });
        (!is_read).then(|| Newest { stored: stored.cloned() })
    }

    /// Forgets the document of a service that is no longer followed; it is read again if the
    /// service returns.
    pub(super) fn forget(&mut self, provider: &Arc<str>, service: &ServiceName) {
        let key = (Arc::clone(provider), ConfigKey::Service(service.clone()));
        // Without a store, this is the only copy.
        if self.stores.contains_key(provider) {
            self.known.remove(&key);
        }
    }

    /// Ends all watches.
    pub(super) fn end(&mut self) {
        for store in self.stores.values_mut() {
            store.watcher = None;
        }
    }
}
