//! The state that the clones of a manager share.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use crate::codec::duration::rough;
use crate::config::{FailoverConfig, ManagerConfig};
use crate::contract::provider::{Feature, Provider, ProviderInfo};
use crate::error::{Error, ErrorKind};
use crate::events::EventLog;
use crate::manager::errors::closed_error;
use crate::manager::providers::{Named, Providers};
use crate::manager::served::Served;
use crate::manager::services::Services;
use crate::probing::probes::Probes;
use crate::runtime::clock::Clock;
use crate::runtime::random::Random;
use crate::runtime::require::current_runtime;
use crate::runtime::task::Task;

#[derive(Debug)]
pub(crate) struct Inner {
    pub(super) providers: RwLock<Providers>,
    pub(super) settings: ManagerConfig,
    /// The configuration of services without one of their own.
    pub(super) config: Arc<FailoverConfig>,
    pub(super) clock: Clock,
    pub(super) random: Random,
    pub(super) events: Arc<EventLog>,
    pub(super) probes: Arc<Probes>,
    pub(super) services: Mutex<Services>,
    pub(super) served: Mutex<Served>,
    /// The tasks that connect the providers.
    pub(super) connecting: Mutex<Vec<Task>>,
    pub(super) closed: AtomicBool,
}

impl Inner {
    pub(super) fn services(&self) -> MutexGuard<'_, Services> {
        // No operation under the lock can leave it half updated.
        self.services.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn served(&self) -> MutexGuard<'_, Served> {
        // No operation under the lock can leave it half updated.
        self.served.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn connecting(&self) -> MutexGuard<'_, Vec<Task>> {
        // No operation under the lock can leave it half updated.
        self.connecting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the current providers.
    pub(super) fn providers(&self) -> Providers {
        // No operation under the lock can leave it half updated.
        self.providers.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn default_provider(&self) -> Result<Named, Error> {
        self.providers().by_default(self.settings.default_provider()).cloned()
    }

    pub(super) fn named(&self, name: &str) -> Result<Named, Error> {
        self.providers().named(name).cloned()
    }

    pub(super) fn infos(&self) -> BTreeMap<Arc<str>, ProviderInfo> {
        self.providers().iter().map(|named| (Arc::clone(&named.name), self.info(named))).collect()
    }

    /// Describes a provider: its own features, and those that the engine and the probes add.
    pub(super) fn info(&self, named: &Named) -> ProviderInfo {
        let probes = (!self.probes.is_empty()).then_some(Feature::HealthCheck);
        named.provider.info().and_features(Feature::OF_ENGINE.into_iter().chain(probes))
    }

    pub(super) async fn register_provider(
        self: &Arc<Self>,
        name: Option<String>,
        provider: Arc<dyn Provider>,
    ) -> Result<(), Error> {
        let runtime = current_runtime("register_provider")?;
        let named = Named::new(name, provider);
        {
            let mut providers = self.providers.write().unwrap_or_else(PoisonError::into_inner);
            self.ensure_open()?;
            providers.add(named.clone())?;
        }
        // Added before connecting, so that a caller that stops waiting leaves nothing out.
        self.follow_also(&named, &runtime);
        self.connect(&runtime, [named.clone()]).await;
        if let Err(closed) = self.ensure_open() {
            // The manager may have been closed before the connection was made.
            let _ = tokio::time::timeout(self.settings.start_timeout(), named.provider.close()).await;
            return Err(closed);
        }
        Ok(())
    }

    pub(super) fn ensure_open(&self) -> Result<(), Error> {
        if self.closed.load(Ordering::Acquire) { Err(closed_error()) } else { Ok(()) }
    }

    pub(super) async fn close(&self) -> Result<(), Error> {
        const LIMIT: Duration = Duration::from_millis(900);
        /// The part of that second for the registrations of this process.
        const LEAVE: Duration = Duration::from_millis(400);
        /// The time for the tasks to end at their next wait.
        const ABORT: Duration = Duration::from_millis(50);
        let runtime = current_runtime("closing the providers");
        self.closed.store(true, Ordering::Release);
        self.end_discovery();
        // Ended first, so that no provider is connected after it was closed.
        let connecting = std::mem::take(&mut *self.connecting());
        runtime?;
        let ended = async {
            for task in connecting {
                task.end().await;
            }
        };
        let _ = tokio::time::timeout(ABORT, ended).await;
        let left = self.end_serving(LEAVE).await;
        let limit = if left.is_ok() { LIMIT } else { LIMIT.saturating_sub(LEAVE) };
        let mut closing = tokio::task::JoinSet::new();
        for Named { name, provider, .. } in self.providers().all() {
            closing.spawn(async move {
                match tokio::time::timeout(limit, provider.close()).await {
                    Ok(result) => result.map_err(|error| error.context(format!("provider {name}"))),
                    Err(_) => {
                        let message = format!("provider {name}: it did not close in {}", rough(limit));
                        Err(Error::new(ErrorKind::Timeout, message))
                    }
                }
            });
        }
        let mut first = left;
        while let Some(ended) = closing.join_next().await {
            let result = ended.unwrap_or_else(|panic| {
                Err(Error::new(ErrorKind::Internal, format!("a provider panicked while closing: {panic}")))
            });
            first = first.and(result);
        }
        first
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.end_discovery();
    }
}
