//! Circuit breaker settings.

use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize};

use crate::codec::document;
use crate::codec::document::{Document, Raw};
use crate::codec::{duration, range};
use crate::config::defaults;
use crate::error::Error;

/// The circuit breaker of each endpoint.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct CircuitBreakerConfig {
    enabled: bool,
    failure_threshold: u32,
    #[serde(serialize_with = "duration::write")]
    recovery_timeout: Duration,
    #[serde(serialize_with = "duration::write_option", skip_serializing_if = "Option::is_none")]
    max_recovery_timeout: Option<Duration>,
    jitter: f64,
    half_open_max_calls: u32,
    #[serde(serialize_with = "duration::write")]
    half_open_max_wait: Duration,
    success_threshold: u32,
    min_available: u32,
}

impl CircuitBreakerConfig {
    /// Returns a builder with the defaults.
    pub fn builder() -> CircuitBreakerConfigBuilder {
        CircuitBreakerConfigBuilder { draft: Self::default() }
    }

    /// Returns a builder with these values.
    pub fn to_builder(&self) -> CircuitBreakerConfigBuilder {
        CircuitBreakerConfigBuilder { draft: self.clone() }
    }

    /// Returns whether endpoints have a breaker. Default: `true`.
    pub fn enabled(&self) -> bool {
        self.enabled
    }

    /// Returns the number of consecutive failures that open it, 1 to 10 000. Default: 5.
    pub fn failure_threshold(&self) -> u32 {
        self.failure_threshold
    }

    /// Returns how long it stays open the first time, 10 ms to 1 h. Default: 5 s.
    ///
    /// Each further time doubles it.
    pub fn recovery_timeout(&self) -> Duration {
        self.recovery_timeout
    }

    /// Returns the longest time it stays open, up to 1 h.
    ///
    /// Default: 60 s, or the recovery timeout if that is longer.
    pub fn max_recovery_timeout(&self) -> Duration {
        self.max_recovery_timeout.unwrap_or(defaults::MAX_RECOVERY_TIMEOUT.max(self.recovery_timeout))
    }

    /// Returns the random share of the open time, 0 to 1. Default: 0.2.
    pub fn jitter(&self) -> f64 {
        self.jitter
    }

    /// Returns how many concurrent calls a half-open breaker admits, 1 to 10 000. Default: 3.
    pub fn half_open_max_calls(&self) -> u32 {
        self.half_open_max_calls
    }

    /// Returns how long a half-open breaker waits for its calls, 10 ms to 1 h. Default: 30 s.
    pub fn half_open_max_wait(&self) -> Duration {
        self.half_open_max_wait
    }

    /// Returns how many consecutive successes close a half-open breaker.
    ///
    /// 1 to 10 000. Default: 2.
    pub fn success_threshold(&self) -> u32 {
        self.success_threshold
    }

    /// Returns the floor: the number of endpoints that breakers never remove.
    ///
    /// 0 to 10 000. Default: 1. 0 disables the floor.
    pub fn min_available(&self) -> u32 {
        self.min_available
    }

    pub(super) fn from_raw(raw: Raw) -> Result<Self, Error> {
        let mut fields = Document::open(raw, SECTION, "circuit breaker", KEYS)?;
        let mut builder = Self::builder();
        let draft = &mut builder.draft;
        if let Some(enabled) = fields.flag("enabled")? {
            draft.enabled = enabled;
        }
        if let Some(time) = fields.duration("recovery_timeout", &defaults::RECOVERY_RANGE)? {
            draft.recovery_timeout = time;
        }
        draft.max_recovery_timeout = fields.duration("max_recovery_timeout", &defaults::RECOVERY_RANGE)?;
        if let Some(jitter) = fields.number("jitter", &defaults::JITTER_RANGE)? {
            draft.jitter = jitter;
        }
        if let Some(time) = fields.duration("half_open_max_wait", &defaults::RECOVERY_RANGE)? {
            draft.half_open_max_wait = time;
        }
        if let Some(count) = fields.whole("min_available", &defaults::MIN_AVAILABLE_RANGE)? {
            draft.min_available = count;
        }
        for (name, target) in [
            ("failure_threshold", &mut draft.failure_threshold),
            ("half_open_max_calls", &mut draft.half_open_max_calls),
            ("success_threshold", &mut draft.success_threshold),
        ] {
            if let Some(count) = fields.whole(name, &defaults::BREAKER_COUNT_RANGE)? {
                *target = count;
            }
        }
        builder.build()
    }
}

impl Default for CircuitBreakerConfig {
    fn default() -> Self {
        Self {
            enabled: defaults::BREAKER_ENABLED,
            failure_threshold: defaults::FAILURE_THRESHOLD,
            recovery_timeout: defaults::RECOVERY_TIMEOUT,
            max_recovery_timeout: None,
            jitter: defaults::JITTER,
            half_open_max_calls: defaults::HALF_OPEN_MAX_CALLS,
            half_open_max_wait: defaults::HALF_OPEN_MAX_WAIT,
            success_threshold: defaults::SUCCESS_THRESHOLD,
            min_available: defaults::MIN_AVAILABLE,
        }
    }
}

impl<'de> Deserialize<'de> for CircuitBreakerConfig {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        document::deserialize(deserializer, Self::from_raw)
    }
}

/// Builds a [`CircuitBreakerConfig`]. Values that are not set have their defaults.
#[derive(Clone, Debug)]
#[must_use = "a builder does nothing until `build` is called"]
pub struct CircuitBreakerConfigBuilder {
    draft: CircuitBreakerConfig,
}

impl CircuitBreakerConfigBuilder {
    /// Sets whether endpoints have a breaker. Default: `true`.
    pub fn enabled(mut self, enabled: bool) -> Self {
        self.draft.enabled = enabled;
        self
    }

    /// Sets the number of consecutive failures that open it, 1 to 10 000. Default: 5.
    pub fn failure_threshold(mut self, failures: u32) -> Self {
        self.draft.failure_threshold = failures;
        self
    }

    /// Sets how long it stays open the first time, 10 ms to 1 h. Default: 5 s.
    pub fn recovery_timeout(mut self, time: Duration) -> Self {
        self.draft.recovery_timeout = time;
        self
    }

    /// Sets the longest time it stays open, from the recovery timeout to 1 h.
    ///
    /// Default: 60 s, or the recovery timeout if that is longer.
    pub fn max_recovery_timeout(mut self, time: impl Into<Option<Duration>>) -> Self {
        self.draft.max_recovery_timeout = time.into();
        self
    }

    /// Sets the random share of the open time, 0 to 1. Default: 0.2.
    pub fn jitter(mut self, share: f64) -> Self {
        self.draft.jitter = share;
        self
    }

    /// Sets how many concurrent calls a half-open breaker admits, 1 to 10 000. Default: 3.
    pub fn half_open_max_calls(mut self, calls: u32) -> Self {
        self.draft.half_open_max_calls = calls;
        self
    }

    /// Sets how long a half-open breaker waits for its calls, 10 ms to 1 h. Default: 30 s.
    pub fn half_open_max_wait(mut self, time: Duration) -> Self {
        self.draft.half_open_max_wait = time;
        self
    }

    /// Sets how many consecutive successes close a half-open breaker.
    ///
    /// 1 to 10 000. Default: 2.
    pub fn success_threshold(mut self, successes: u32) -> Self {
        self.draft.success_threshold = successes;
        self
    }

    /// Sets the floor: the number of endpoints that breakers never remove.
    ///
    /// 0 to 10 000. Default: 1. 0 disables the floor.
    pub fn min_available(mut self, endpoints: u32) -> Self {
        self.draft.min_available = endpoints;
        self
    }

    /// Validates the values.
    pub fn build(self) -> Result<CircuitBreakerConfig, Error> {
        let config = self.draft;
        let field = |name| document::path(SECTION, name);
        let counts = &defaults::BREAKER_COUNT_RANGE;
        range::whole(&field("failure_threshold"), config.failure_threshold, counts)?;
        range::duration(&field("recovery_timeout"), config.recovery_timeout, &defaults::RECOVERY_RANGE)?;
        if let Some(longest) = config.max_recovery_timeout {
            let name = field("max_recovery_timeout");
            range::duration(&name, longest, &defaults::RECOVERY_RANGE)?;
            if longest < config.recovery_timeout {
                let least = duration::short(config.recovery_timeout);
                let wanted = format!("at least the recovery_timeout, {least}");
                return Err(Error::invalid(&name, duration::short(longest), &wanted));
            }
        }
        range::number(&field("jitter"), config.jitter, &defaults::JITTER_RANGE)?;
        range::whole(&field("half_open_max_calls"), config.half_open_max_calls, counts)?;
        range::duration(&field("half_open_max_wait"), config.half_open_max_wait, &defaults::RECOVERY_RANGE)?;
        range::whole(&field("success_threshold"), config.success_threshold, counts)?;
        range::whole(&field("min_available"), config.min_available, &defaults::MIN_AVAILABLE_RANGE)?;
        Ok(config)
    }
}

const SECTION: &str = "circuit_breaker";

const KEYS: &[&str] = &[
    "enabled",
    "failure_threshold",
    "recovery_timeout",
    "max_recovery_timeout",
    "jitter",
    "half_open_max_calls",
    "half_open_max_wait",
    "success_threshold",
    "min_available",
];
