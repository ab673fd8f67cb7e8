//! What a manager is made of.

use std::fmt;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::{FailoverManager, Inner, Named, Settings};
use crate::clock::Clock;
use crate::config::FailoverConfig;
use crate::duration::rough;
use crate::error::{Error, ErrorKind};
use crate::events::{Event, EventKind, EventLog};
use crate::provider::Provider;
use crate::random::Random;

/// Builds a [`FailoverManager`].
///
/// | setting | default | range |
/// |---|---|---|
/// | `start_timeout` | 5 s | 0 to 5 min |
/// | `timeout` | 30 s | 1 ms to 24 h |
/// | `keep_idle` | 5 min | 0 to 24 h |
/// | `poll_interval` | 10 s | 10 ms to 1 h |
/// | `allow_loopback` | false | |
#[must_use = "a builder does nothing until it builds"]
pub struct ManagerBuilder {
    providers: Vec<(Option<String>, Arc<dyn Provider>)>,
    default: Option<String>,
    settings: Settings,
    config: FailoverConfig,
    clock: Option<Clock>,
    random: Random,
}

impl Default for ManagerBuilder {
    fn default() -> Self {
        Self {
            providers: Vec::new(),
            default: None,
            settings: Settings {
                start_timeout: Duration::from_secs(5),
                timeout: Duration::from_secs(30),
                keep_idle: Duration::from_secs(300),
                poll_interval: Duration::from_secs(10),
                allow_loopback: false,
            },
            config: FailoverConfig::default(),
            clock: None,
            random: Random::system(),
        }
    }
}

impl fmt::Debug for ManagerBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ManagerBuilder")
            .field("providers", &self.providers.len())
            .field("default", &self.default)
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

    /// Names the default provider.
    pub fn default_provider(mut self, name: impl Into<String>) -> Self {
        self.default = Some(name.into());
        self
    }

    /// Sets the configuration of every service that has none of its own.
    pub fn config(mut self, config: FailoverConfig) -> Self {
        self.config = config;
        self
    }

    /// Sets how long building and a new service wait for a provider's first answer.
    pub fn start_timeout(mut self, timeout: Duration) -> Self {
        self.settings.start_timeout = timeout;
        self
    }

    /// Sets how long an operation on a registry may take.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.settings.timeout = timeout;
        self
    }

    /// Sets how long a service is kept after its last handle is gone.
    pub fn keep_idle(mut self, keep: Duration) -> Self {
        self.settings.keep_idle = keep;
        self
    }

    /// Sets how often a provider that cannot watch is asked.
    pub fn poll_interval(mut self, interval: Duration) -> Self {
        self.settings.poll_interval = interval;
        self
    }

    /// Lets registries on other machines name loopback addresses. Without it such an entry is left out: it would send
    /// calls to whatever listens on this machine. Default: false.
    pub fn allow_loopback(mut self, allow: bool) -> Self {
        self.settings.allow_loopback = allow;
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
    /// `Validation` when two providers have one name, the default is none of them, or a setting is out of its range;
    /// `Unsupported` when the configuration asks for what this version cannot do; `Internal` outside of a tokio
    /// runtime.
    ///
    /// # Cancel safety
    ///
    /// Safe: a dropped future drops the providers.
    pub async fn build(self) -> Result<FailoverManager, Error> {
        self.check()?;
        let mut providers: Vec<Named> = Vec::new();
        for (name, provider) in self.providers {
            let name: Arc<str> = name.unwrap_or_else(|| provider.info().kind().to_owned()).into();
            if providers.iter().any(|named| named.name == name) {
                return Err(Error::invalid(
                    "provider",
                    format!("\"{name}\" twice"),
                    "each provider a name of its own, with provider_as",
                ));
            }
            providers.push(Named { name, provider });
        }
        let default = match self.default {
            Some(name) => match providers.iter().find(|named| *named.name == *name) {
                Some(named) => Some(Arc::clone(&named.name)),
                None => {
                    let known: Vec<_> = providers.iter().map(|named| &*named.name).collect();
                    let wanted = format!("the name of one of its providers: {}", known.join(", "));
                    return Err(Error::invalid("default_provider", format!("\"{name}\""), &wanted));
                }
            },
            None => providers.first().map(|named| Arc::clone(&named.name)),
        };
        let clock = self.clock.unwrap_or_else(Clock::system);
        let events = Arc::new(EventLog::of_manager(clock.clone()));
        connect(&providers, self.settings.start_timeout, &events).await;
        Ok(FailoverManager(Arc::new(Inner {
            providers,
            default,
            settings: self.settings,
            config: Arc::new(self.config),
            clock,
            random: self.random,
            events,
            services: Mutex::default(),
            closed: AtomicBool::new(false),
        })))
    }

    fn check(&self) -> Result<(), Error> {
        crate::select::supported(&self.config)?;
        let day = Duration::from_secs(86_400);
        let ranges = [
            ("start_timeout", self.settings.start_timeout, Duration::ZERO, Duration::from_secs(300)),
            ("timeout", self.settings.timeout, Duration::from_millis(1), day),
            ("keep_idle", self.settings.keep_idle, Duration::ZERO, day),
            (
                "poll_interval",
                self.settings.poll_interval,
                Duration::from_millis(10),
                Duration::from_secs(3600),
            ),
        ];
        for (field, value, least, most) in ranges {
            crate::range::duration(field, value, &(least..=most))?;
        }
        tokio::runtime::Handle::try_current().map(drop).map_err(|_| no_runtime("build"))
    }
}

pub(super) fn no_runtime(what: &str) -> Error {
    let message = format!("{what} needs a tokio runtime; call it inside one, as under #[tokio::main]");
    Error::new(ErrorKind::Internal, message).with_code("NO_RUNTIME")
}

/// Connects all at once; what fails is told, and tried again by those who need it.
async fn connect(providers: &[Named], limit: Duration, events: &Arc<EventLog>) {
    let mut connecting = tokio::task::JoinSet::new();
    for Named { name, provider } in providers {
        let (name, provider) = (Arc::clone(name), Arc::clone(provider));
        let events = Arc::clone(events);
        connecting.spawn(async move {
            let problem = match tokio::time::timeout(limit, provider.connect()).await {
                Ok(Ok(())) => return,
                Ok(Err(error)) => error.to_string(),
                Err(_) => format!("no connection in {}", rough(limit)),
            };
            let reason = format!("{problem}; it is tried again when it is needed");
            events.tell(Event::new(EventKind::SourceStale, reason).provider(&name));
        });
    }
    while let Some(ended) = connecting.join_next().await {
        if let Err(panic) = ended {
            let reason = format!("a provider panicked while connecting: {panic}");
            events.tell(Event::new(EventKind::ProviderPanicked, reason));
        }
    }
}
