//! The services that a manager discovers.

use std::collections::HashMap;
use std::sync::{Arc, Weak};

use crate::config::FailoverConfig;
use crate::contract::provider::{ConfigKey, Query};
use crate::engine::{Engine, SourceId};
use crate::error::{Error, ErrorKind};
use crate::manager::documents::Documents;
use crate::manager::sources::{Route, ServiceKey, Wanted};
use crate::model::endpoint::ServiceName;
use crate::runtime::clock::Time;
use crate::runtime::task::Task;

#[derive(Debug, Default)]
pub(super) struct Services {
    pub(super) entries: HashMap<ServiceKey, Entry>,
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
    /// The conditions of the query for it, which its fallbacks must meet as well.
    pub(super) conditions: Query,
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
pub(super) type Change = (ServiceKey, Arc<Engine>, Result<Arc<FailoverConfig>, Error>);

/// A source of a service.
#[derive(Debug)]
pub(super) struct Followed {
    pub(super) wanted: Wanted,
    pub(super) id: SourceId,
    /// Ends with the entry.
    pub(super) driver: Task,
}

/// Held by every handle of a service; signals the manager when the last handle is dropped.
pub(super) struct Lease {
    pub(super) owner: Weak<dyn Released>,
    pub(super) service: ServiceKey,
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
    fn released(&self, service: &ServiceKey);
}

impl Services {
    pub(super) fn engines(&self) -> impl Iterator<Item = &Arc<Engine>> {
        self.entries.values().map(|entry| &entry.engine)
    }

    /// Returns the engines of this name, one for each query for it.
    pub(super) fn engines_of(&self, service: &ServiceName) -> Vec<Arc<Engine>> {
        let of_name = self.entries.iter().filter(|(key, _)| key.name == *service);
        of_name.map(|(_, entry)| Arc::clone(&entry.engine)).collect()
    }

    /// Returns each engine that asks a provider for a service, with the name of that source.
    pub(super) fn asking(&self, provider: &str, service: &ServiceName) -> Vec<(Arc<Engine>, Arc<str>)> {
        let asks = |source: &&Followed| {
            *source.wanted.named.name == *provider && source.wanted.query.service_name() == Some(service)
        };
        let sources = |entry: &Entry| {
            let asking = entry.sources.iter().filter(asks);
            asking
                .map(|source| (Arc::clone(&entry.engine), Arc::clone(&source.wanted.label)))
                .collect::<Vec<_>>()
        };
        self.entries.values().flat_map(sources).collect()
    }

    /// Returns the last configuration that was applied to a service.
    pub(super) fn applied(&self, service: &ServiceKey) -> Option<Arc<FailoverConfig>> {
        self.entries.get(service).map(|entry| Arc::clone(&entry.applied))
    }

    /// Returns the services whose configuration has changed.
    pub(super) fn changes(&mut self, provider: &Arc<str>, built: &Arc<FailoverConfig>) -> Vec<Change> {
        let Self { entries, documents, .. } = self;
        let mut changes = Vec::new();
        for (key, entry) in entries.iter_mut().filter(|(_, entry)| *entry.provider() == *provider) {
            let config = documents.effective(provider, &ConfigKey::Service(key.name.clone()), built);
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
                changes.push((key.clone(), Arc::clone(&entry.engine), config));
            }
        }
        changes
    }

    pub(super) fn remove(&mut self, service: &ServiceKey) -> Option<Entry> {
        let entry = self.entries.remove(service)?;
        let is_left = |(key, other): (&ServiceKey, &Entry)| {
            key.name == service.name && other.provider() == entry.provider()
        };
        if !self.entries.iter().any(is_left) {
            self.documents.forget(entry.provider(), &service.name);
        }
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
    /// Returns the name of the provider that determines the configuration.
    pub(super) fn provider(&self) -> &Arc<str> {
        &self.sources[0].wanted.named.name
    }

    /// Ensures that a service is always requested with the same sources.
    pub(super) fn ensure_same(
        &mut self,
        name: &ServiceName,
        route: &Route,
        wanted: &[Wanted],
    ) -> Result<(), Error> {
        let is_same = |(is, wanted): (&Followed, &Wanted)| {
            let is = &is.wanted;
            is.named.name == wanted.named.name && is.tier == wanted.tier && is.query == wanted.query
        };
        let same = self.sources.len() == wanted.len() && self.sources.iter().zip(wanted).all(is_same);
        let by_default = matches!(route, Route::Default(_));
        if same || (self.by_default && by_default) {
            self.by_default |= by_default;
            return Ok(());
        }
        let message = format!(
            "service {name} is already discovered through provider {}, not through {}; give one of them another name",
            through(self.sources.iter().map(|source| &source.wanted)),
            through(wanted),
        );
        Err(Error::new(ErrorKind::Conflict, message))
    }
}

/// Lists sources, for messages.
fn through<'a>(sources: impl IntoIterator<Item = &'a Wanted>) -> String {
    let shown = |of: &Wanted| match &of.shown {
        Some(query) => format!("{} ({query})", of.named.name),
        None => of.named.name.to_string(),
    };
    sources.into_iter().map(shown).collect::<Vec<_>>().join(", ")
}
