//! What a manager is made of.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, RwLock};
use std::time::Duration;

use crate::config::{FailoverConfig, ManagerConfig, ManagerConfigBuilder};
use crate::contract::probe::Probe;
use crate::contract::provider::Provider;
use crate::error::Error;
use crate::events::EventLog;
use crate::manager::FailoverManager;
use crate::manager::errors::no_runtime;
use crate::manager::inner::Inner;
use crate::manager::providers::{Named, Providers, connect};
use crate::probing::probes::Probes;
use crate::runtime::clock::Clock;
use crate::runtime::random::Random;

/// Builds a [`FailoverManager`].
///
/// Its settings are those of a [`ManagerConfig`], which can be given whole ([`config`](Self::config)) or one by one.
#[must_use = "a builder does nothing until it builds"]
pub struct ManagerBuilder {
    providers: Vec<(Option<String>, Arc<dyn Provider>)>,
    settings: ManagerConfigBuilder,
    probes: HashMap<String, Arc<dyn Probe>>,
    clock: Option<Clock>,
    random: Random,
}

impl Default for ManagerBuilder {
    fn default() -> Self {
        Self {
            providers: Vec::new(),
            settings: ManagerConfig::builder(),
            probes: HashMap::new(),
            clock: None,
            random: Random::system(),
        }
    }
}

impl fmt::Debug for ManagerBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ManagerBuilder")
            .field("providers", &self.providers.len())
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}

impl ManagerBuilder {
    /// Adds a provider under the name of its kind. The first one is the default, unless another is named.
    pub fn provider(mut self, provider: impl Provider) -> Self {
        self.providers.push((None, Arc::new(provider)));
        self
    }

    /// Adds a provider under a name of its own, as there may be several of one kind.
    pub fn provider_as(mut self, name: impl Into<String>, provider: impl Provider) -> Self {
        self.providers.push((Some(name.into()), Arc::new(provider)));
        self
    }

    /// Sets the whole configuration of the manager, such as one read from a file.
    pub fn config(mut self, config: &ManagerConfig) -> Self {
        self.settings = config.to_builder();
        self
    }

    /// Names the default provider. Default: the first one.
    pub fn default_provider(self, name: impl Into<String>) -> Self {
        self.set(|settings| settings.default_provider(name))
    }

    /// Sets the configuration of every service that has none of its own.
    pub fn service_config(self, config: FailoverConfig) -> Self {
        self.set(|settings| settings.service_config(config))
    }

    /// Sets whether the other providers stand in for the default one. Default: they do.
    pub fn fallback_enabled(self, enabled: bool) -> Self {
        self.set(|settings| settings.fallback_enabled(enabled))
    }

    /// Sets how long building and a new service wait for a provider's first answer, 0 to 5 min. Default: 5 s.
    pub fn start_timeout(self, timeout: Duration) -> Self {
        self.set(|settings| settings.start_timeout(timeout))
    }

    /// Sets how long an operation on a registry may take, 1 ms to 24 h. Default: 30 s.
    pub fn timeout(self, timeout: Duration) -> Self {
        self.set(|settings| settings.timeout(timeout))
    }

    /// Sets how long a service is kept after its last handle is gone, 0 to 24 h. Default: 5 min.
    pub fn keep_idle(self, keep: Duration) -> Self {
        self.set(|settings| settings.keep_idle(keep))
    }

    /// Sets how often a provider that cannot watch is asked, 10 ms to 1 h. Default: 10 s.
    pub fn poll_interval(self, interval: Duration) -> Self {
        self.set(|settings| settings.poll_interval(interval))
    }

    /// Lets registries on other machines name loopback addresses. Without it such an entry is left out: it would send
    /// calls to whatever listens on this machine.
    pub fn allow_loopback(self, allow: bool) -> Self {
        self.set(|settings| settings.allow_loopback(allow))
    }

    /// Adds a probe for the endpoints of a protocol, as in `"http"` or `"postgres"`: those that have a health check are
    /// probed where the configuration says `health_check`. A later probe for the same protocol replaces it.
    pub fn probe(self, protocol: impl Into<String>, probe: impl Probe) -> Self {
        self.probes([(protocol, Arc::new(probe) as Arc<dyn Probe>)])
    }

    /// Adds several probes, as `failover-probe` has them ready.
    pub fn probes<P: Into<String>>(mut self, probes: impl IntoIterator<Item = (P, Arc<dyn Probe>)>) -> Self {
        let lower = |(protocol, probe): (P, _)| (protocol.into().to_ascii_lowercase(), probe);
        self.probes.extend(probes.into_iter().map(lower));
        self
    }

    fn set(mut self, change: impl FnOnce(ManagerConfigBuilder) -> ManagerConfigBuilder) -> Self {
        self.settings = change(self.settings);
        self
    }

    /// Sets the clock; [`Clock::system`] unless set.
    pub fn clock(mut self, clock: Clock) -> Self {
        self.clock = Some(clock);
        self
    }

    /// Sets the source of randomness; [`Random::system`] unless set.
    pub fn random(mut self, random: Random) -> Self {
        self.random = random;
        self
    }

    /// Connects the providers and builds the manager.
    ///
    /// A provider that cannot be reached is no error: it is tried again, and what needs it says so. Building waits for
    /// it at most `start_timeout`.
    ///
    /// # Errors
    ///
    /// `Validation` when two providers have one name, the default is none of them, a setting is out of its range,
    /// or the strategy of the configuration lacks what it needs; `Internal` outside of a tokio
    /// runtime.
    ///
    /// # Cancel safety
    ///
    /// Safe: a dropped future drops the providers.
    pub async fn build(self) -> Result<FailoverManager, Error> {
        let settings = self.settings.build()?;
        crate::config::usable::supported(settings.service_config())?;
        tokio::runtime::Handle::try_current().map_err(|_| no_runtime("build"))?;
        let mut providers = Providers::default();
        for (name, provider) in self.providers {
            providers.add(Named::new(name, provider))?;
        }
        // Without any provider yet, the default one may be registered later.
        let missing = |name: &&str| providers.iter().next().is_some() && providers.get(name).is_none();
        if let Some(default) = settings.default_provider().filter(missing) {
            let known: Vec<_> = providers.iter().map(|named| &*named.name).collect();
            let wanted = format!("the name of one of its providers: {}", known.join(", "));
            return Err(Error::invalid("default_provider", format!("\"{default}\""), &wanted));
        }
        let probes = Arc::new(Probes::new(self.probes, settings.max_probes()));
        let clock = self.clock.unwrap_or_else(Clock::system);
        let events = Arc::new(EventLog::of_manager(clock.clone()));
        connect(providers.iter(), settings.start_timeout(), &events).await;
        Ok(FailoverManager(Arc::new(Inner {
            providers: RwLock::new(providers),
            config: Arc::new(settings.service_config().clone()),
            settings,
            clock,
            random: self.random,
            events,
            probes,
            services: Mutex::default(),
            served: Mutex::default(),
            closed: AtomicBool::new(false),
        })))
    }
}
