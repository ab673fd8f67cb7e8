//! The builder of a manager.

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
use crate::manager::inner::Inner;
use crate::manager::providers::{Named, Providers};
use crate::probing::probes::{Probes, ProbesByProtocol};
use crate::runtime::clock::Clock;
use crate::runtime::random::Random;
use crate::runtime::require::{current_runtime, ensure_timers};

/// Builds a [`FailoverManager`].
///
/// Set a whole [`ManagerConfig`] with [`config`](Self::config), or single settings.
#[must_use = "a builder does nothing until it builds"]
pub struct ManagerBuilder {
    providers: Vec<(Option<String>, Arc<dyn Provider>)>,
    settings: ManagerConfigBuilder,
    probes: ProbesByProtocol,
    clock: Option<Clock>,
    random: Random,
}

impl Default for ManagerBuilder {
    fn default() -> Self {
        Self {
            providers: Vec::new(),
            settings: ManagerConfig::builder(),
            probes: ProbesByProtocol::default(),
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
    /// Adds a provider under the name of its kind.
    ///
    /// The first provider is the default, unless another one is named.
    pub fn provider(mut self, provider: impl Provider) -> Self {
        self.providers.push((None, Arc::new(provider)));
        self
    }

    /// Adds a provider under the given name, for several providers of one kind.
    ///
    /// The name contains no `@`, because `id@source` names an endpoint.
    pub fn provider_as(mut self, name: impl Into<String>, provider: impl Provider) -> Self {
        self.providers.push((Some(name.into()), Arc::new(provider)));
        self
    }

    /// Sets the whole configuration of the manager, for example one read from a file.
    pub fn config(mut self, config: &ManagerConfig) -> Self {
        self.settings = config.to_builder();
        self
    }

    /// Names the default provider. Default: the first one.
    pub fn default_provider(self, name: impl Into<String>) -> Self {
        self.set(|settings| settings.default_provider(name))
    }

    /// Sets the configuration of all services without one of their own.
    pub fn service_config(self, config: FailoverConfig) -> Self {
        self.set(|settings| settings.service_config(config))
    }

    /// Sets whether the other providers are fallbacks of the default one. Default: `true`.
    pub fn fallback_enabled(self, enabled: bool) -> Self {
        self.set(|settings| settings.fallback_enabled(enabled))
    }

    /// Sets whether configuration that a provider stores is watched, applied and written. Without it, a
    /// provider's store is not asked, and configuring applies to this process alone. Default: `true`.
    pub fn stored_config(self, enabled: bool) -> Self {
        self.set(|settings| settings.stored_config(enabled))
    }

    /// Sets how long to wait for a provider's first answer, 0 to 5 min. Default: 5 s.
    ///
    /// Applies to building the manager and to the first request for a service.
    pub fn start_timeout(self, timeout: Duration) -> Self {
        self.set(|settings| settings.start_timeout(timeout))
    }

    /// Sets the timeout of a registry operation, 1 ms to 24 h. Default: 30 s.
    pub fn timeout(self, timeout: Duration) -> Self {
        self.set(|settings| settings.timeout(timeout))
    }

    /// Sets how long a service is kept without a handle, 0 to 24 h. Default: 5 min.
    pub fn keep_idle(self, keep: Duration) -> Self {
        self.set(|settings| settings.keep_idle(keep))
    }

    /// Sets the poll interval of providers that cannot watch, 10 ms to 1 h. Default: 10 s.
    pub fn poll_interval(self, interval: Duration) -> Self {
        self.set(|settings| settings.poll_interval(interval))
    }

    /// Allows registries on other machines to list loopback addresses.
    ///
    /// By default such an entry is rejected: it would send calls to whatever listens on this
    /// machine.
    pub fn allow_loopback(self, allow: bool) -> Self {
        self.set(|settings| settings.allow_loopback(allow))
    }

    /// Adds a probe for the endpoints of a protocol, such as `"http"` or `"postgres"`.
    ///
    /// Endpoints with a health check are probed if the configuration enables `health_check`. A
    /// later probe for the same protocol replaces this one.
    pub fn probe(self, protocol: impl Into<String>, probe: impl Probe) -> Self {
        self.probes([(protocol, Arc::new(probe) as Arc<dyn Probe>)])
    }

    /// Adds several probes, such as the ready-made ones of `failover-probe`.
    pub fn probes<P: Into<String>>(mut self, probes: impl IntoIterator<Item = (P, Arc<dyn Probe>)>) -> Self {
        self.probes.add(probes);
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
    /// An unreachable provider is not an error: it is connected again in the background, with a
    /// back-off of up to 30 s, and operations that need it report the failure meanwhile. Building waits
    /// for it at most `start_timeout`.
    ///
    /// # Errors
    ///
    /// Returns `Validation` if two providers have the same name, a name is empty or contains `@`, the
    /// default is not among them, a setting is out of its range, or the strategy of the configuration
    /// lacks a required part; returns `Internal` outside of a tokio runtime (code `NO_RUNTIME`), and in
    /// one without timers (code `NO_TIMER`; with `panic = "abort"`, the latter aborts, because tokio
    /// panics).
    ///
    /// # Cancel safety
    ///
    /// Safe: a dropped future drops the providers.
    pub async fn build(self) -> Result<FailoverManager, Error> {
        let settings = self.settings.build()?;
        crate::config::usable::supported(settings.service_config())?;
        let runtime = current_runtime("build")?;
        ensure_timers()?;
        let mut providers = Providers::default();
        for (name, provider) in self.providers {
            providers.add(Named::new(name, provider))?;
        }
        // Without any provider yet, the default one can be registered later.
        let missing = |name: &&str| providers.iter().next().is_some() && providers.get(name).is_none();
        if let Some(default) = settings.default_provider().filter(missing) {
            let known: Vec<_> = providers.iter().map(|named| &*named.name).collect();
            let wanted = format!("the name of one of its providers: {}", known.join(", "));
            return Err(Error::invalid("default_provider", format!("\"{default}\""), &wanted));
        }
        let probes = Arc::new(Probes::new(self.probes, settings.max_probes()));
        let clock = self.clock.unwrap_or_else(Clock::system);
        let events = Arc::new(EventLog::of_manager(clock.clone()));
        let added: Vec<_> = providers.iter().cloned().collect();
        let inner = Arc::new(Inner {
            providers: RwLock::new(providers),
            config: Arc::new(settings.service_config().clone()),
            settings,
            clock,
            random: self.random,
            events,
            probes,
            services: Mutex::default(),
            served: Mutex::default(),
            connecting: Mutex::default(),
            closed: AtomicBool::new(false),
        });
        inner.connect(&runtime, added).await;
        Ok(FailoverManager(inner))
    }
}
