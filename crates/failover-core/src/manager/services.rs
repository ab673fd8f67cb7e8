//! The services that a manager discovers.

use std::collections::HashMap;
use std::sync::{Arc, Weak};

use crate::config::FailoverConfig;
use crate::contract::provider::ConfigKey;
use crate::engine::{Engine, SourceId};
use crate::error::{Error, ErrorKind};
use crate::manager::documents::Documents;
use crate::manager::providers::Named;
use crate::model::endpoint::ServiceName;
use crate::runtime::clock::Time;
use crate::runtime::task::Task;

#[derive(Debug, Default)]
pub(super) struct Services {
    pub(super) entries: HashMap<ServiceName, Entry>,
    pub(super) documents: Documents,
    /// Removes services that have had no handle for a while.
    pub(super) sweeper: Option<Task>,
}

#[derive(Debug)]
pub(super) struct Entry {
    pub(super) engine: Arc<Engine>,
    pub(super) lease: Weak<Lease>,
    /// When the last handle was dropped; `None` while there is one.
    pub(super) idle: Option<Time>,
    /// Whether it is discovered through the default provider rather than through named ones.
    pub(super) by_default: bool,
    /// At least one; the first one determines the configuration.
    pub(super) sources: Vec<Followed>,
    /// The last configuration that the manager applied.
    pub(super) applied: Arc<FailoverConfig>,
    /// Why the newest documents give no valid configuration, so that it is reported once.
    pub(super) rejected: Option<String>,
    /// Runs its probes, if the manager has any.
    pub(super) prober: Option<Task>,
}

/// A service whose configuration has changed, with the new one, or with the error because of which it
/// keeps the last one.
pub(super) type Change = (ServiceName, Arc<Engine>, Result<Arc<FailoverConfig>, Error>);

/// A source of a service.
#[derive(Debug)]
pub(super) struct Followed {
    pub(super) named: Named,
    pub(super) tier: u32,
    pub(super) id: SourceId,
    /// Ends with the entry.
    pub(super) driver: Task,
}

/// Where a service's endpoints come from.
#[derive(Debug)]
pub(super) enum Route {
    /// The default provider and its fallbacks.
    Default,
    /// The named providers, each with its tier.
    Through(Vec<(Named, u32)>),
}

/// Held by every handle of a service; signals the manager when the last handle is dropped.
pub(super) struct Lease {
    pub(super) owner: Weak<dyn Released>,
    pub(super) service: ServiceName,
}

impl Drop for Lease {
    fn drop(&mut self) {
        if let Some(owner) = self.owner.upgrade() {
            owner.released(&self.service);
        }
    }
}

/// Receives the signal that the last handle of a service was dropped.
pub(super) trait Released: Send + Sync {
    fn released(&self, service: &ServiceName);
}

impl Services {
    pub(super) fn engines(&self) -> impl Iterator<Item = &Arc<Engine>> {
        self.entries.values().map(|entry| &entry.engine)
    }

    pub(super) fn engine(&self, service: &ServiceName) -> Option<&Arc<Engine>> {
        self.entries.get(service).map(|entry| &entry.engine)
    }

    /// Returns the last configuration that was applied to a service.
    pub(super) fn applied(&self, service: &ServiceName) -> Option<Arc<FailoverConfig>> {
        self.entries.get(service).map(|entry| Arc::clone(&entry.applied))
    }

    /// Returns the services whose configuration has changed.
    pub(super) fn changes(&mut self, provider: &Arc<str>, built: &Arc<FailoverConfig>) -> Vec<Change> {
        let Self { entries, documents, .. } = self;
        let mut changes = Vec::new();
        for (name, entry) in entries.iter_mut().filter(|(_, entry)| entry.sources[0].named.name == *provider)
        {
            let config = documents.effective(provider, &ConfigKey::Service(name.clone()), built);
            let is_news = match &config {
                Ok(config) => {
                    entry.rejected = None;
                    let changed = **config != *entry.applied;
                    entry.applied = Arc::clone(config);
                    changed
                }
                Err(error) => {
                    let message = error.to_string();
                    entry.rejected.replace(message.clone()) != Some(message)
                }
            };
            if is_news {
                changes.push((name.clone(), Arc::clone(&entry.engine), config));
            }
        }
        changes
    }

    pub(super) fn remove(&mut self, service: &ServiceName) -> Option<Entry> {
        let entry = self.entries.remove(service)?;
        self.documents.forget(&entry.sources[0].named.name, service);
        Some(entry)
    }

    /// Removes and returns all discovery.
    pub(super) fn take(&mut self) -> Vec<Entry> {
        self.sweeper = None;
        self.documents.end();
        self.entries.drain().map(|(_, entry)| entry).collect()
    }
}

impl Entry {
    /// Ensures that a service is always requested with the same sources.
    pub(super) fn ensure_same(
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
            "service {name} is already discovered through provider {}, not through {}",
            through(self.sources.iter().map(|source| &*source.named.name).collect()),
            through(wanted.iter().map(|(named, _)| &*named.name).collect()),
        );
        Err(Error::new(ErrorKind::Conflict, message))
    }
}
