//! The known state of the providers' configuration documents.

use std::collections::HashMap;
use std::sync::Arc;

use tokio::sync::watch;

use crate::config::FailoverConfig;
use crate::contract::provider::{ConfigKey, Revision};
use crate::model::endpoint::ServiceName;
use crate::runtime::task::Task;

/// The known state of the providers' configuration documents.
#[derive(Debug, Default)]
pub(super) struct Documents(HashMap<(Arc<str>, ConfigKey), Known>);

#[derive(Debug)]
pub(super) struct Known {
    /// The document's configuration, if there is a valid one.
    pub(super) config: Option<Arc<FailoverConfig>>,
    /// The revision that this process's last write replaced: an answer with it is outdated.
    pub(super) replaced: Option<Revision>,
    /// Whether the store's last answer was an error, so that it is reported once.
    pub(super) failing: bool,
    /// Whether the store has answered at all.
    pub(super) answered: watch::Sender<bool>,
    pub(super) watcher: Option<Task>,
    /// Held from before a write until it is applied here; answers of the watch wait for it.
    pub(super) writing: Arc<tokio::sync::Mutex<()>>,
}

impl Default for Known {
    fn default() -> Self {
        Self {
            config: None,
            replaced: None,
            failing: false,
            answered: watch::Sender::new(false),
            watcher: None,
            writing: Arc::default(),
        }
    }
}

impl Documents {
    pub(super) fn config(&self, provider: &Arc<str>, key: ConfigKey) -> Option<&Arc<FailoverConfig>> {
        self.0.get(&(Arc::clone(provider), key))?.config.as_ref()
    }

    pub(super) fn effective(
        &self,
        provider: &Arc<str>,
        service: &ServiceName,
        built: &Arc<FailoverConfig>,
    ) -> Arc<FailoverConfig> {
        let own = self.config(provider, ConfigKey::Service(service.clone()));
        Arc::clone(own.or_else(|| self.config(provider, ConfigKey::Default)).unwrap_or(built))
    }

    pub(super) fn known(&mut self, provider: &Arc<str>, key: &ConfigKey) -> &mut Known {
        self.0.entry((Arc::clone(provider), key.clone())).or_default()
    }

    /// Forgets the document of a service that is no longer followed; it is read again if the
    /// service returns.
    pub(super) fn forget(&mut self, provider: &Arc<str>, service: &ServiceName) {
        let key = (Arc::clone(provider), ConfigKey::Service(service.clone()));
        // Without a store, this is the only copy.
        if self.0.get(&key).is_some_and(|known| known.watcher.is_some()) {
            self.0.remove(&key);
        }
    }

    /// Ends all watches.
    pub(super) fn end(&mut self) {
        for known in self.0.values_mut() {
            known.watcher = None;
        }
    }
}
