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
    #[serde(skip_serializing_if = "Option::is_none")]
    failure_rate: Option<f64>,
    #[serde(serialize_with = "duration::write")]
    failure_rate_window: Duration,
    failure_rate_attempts: u32,
    #[serde(serialize_with = "duration::write")]
    recovery_timeout: Duration,
    #[serde(serialize_with = "duration::write_option", skip_serializing_if = "Option::is_none")]
    max_recovery_timeout: Option<Duration>,
    jitter: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    half_open_max_calls: Option<u32>,
    #[serde(serialize_with = "duration::write_option", skip_serializing_if = "Option::is_none")]
    half_open_max_wait: Option<Duration>,
    #[serde(skip_serializing_if = "Option::is_none")]
    success_threshold: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    min_available: Option<u32>,
    max_ejected: f64,
    #[serde(serialize_with = "duration::write")]
    freeze_time: Duration,
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

    /// Returns the number of failures in a row that make an endpoint suspect, 1 to 10 000. Default:
    /// 5.
    ///
    /// A failure adds 3 to a score, a success subtracts 1, and an endpoint with a score of three
    /// times this number is suspect: failures mixed with successes count as well.
    pub fn failure_threshold(&self) -> u32 {
        self.failure_threshold
    }

    /// Returns the share of failures among the attempts of a sliding window that makes an endpoint
    /// suspect, 0.01 to 1, if configured. Default: the failure rate does not count.
    ///
    /// The rule works beside [`failure_threshold`](Self::failure_threshold), as in resilience4j. While
    /// it is on, a half-open breaker judges a round by the rate as well: it opens when that share of
    /// [`success_threshold`](Self::success_threshold) probe calls has failed, and not at the first one.
    pub fn failure_rate(&self) -> Option<f64> {
        self.failure_rate
    }

    /// Returns the length of the window of the failure rate, 1 s to 1 h. Default: 20 s.
    pub fn failure_rate_window(&self) -> Duration {
        self.failure_rate_window
    }

    /// Returns the number of attempts in the window below which the failure rate does not count, 1 to
    /// 10 000. Default: 20.
    pub fn failure_rate_attempts(&self) -> u32 {
        self.failure_rate_attempts
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

    /// Returns how many concurrent calls a half-open breaker admits, 1 to 10 000, if configured.
    ///
    /// Default: one at a time, at least 0.5 s apart.
    pub fn half_open_max_calls(&self) -> Option<u32> {
        self.half_open_max_calls
    }

    /// Returns how long a half-open breaker waits for its calls, 10 ms to 1 h, if configured.
    ///
    /// Default: 30 s, or as long as an attempt may take if that is longer.
    pub fn half_open_max_wait(&self) -> Option<Duration> {
        self.half_open_max_wait
    }

    /// Returns how many consecutive successes close a half-open breaker, 1 to 10 000, if configured.
    ///
    /// Default: 2, and 4 or 8 for an endpoint whose breaker has opened several times within minutes.
    pub fn success_threshold(&self) -> Option<u32> {
        self.success_threshold
    }

    /// Returns the floor, 0 to 10 000, if configured: the number of endpoints that stay in rotation
    /// whatever their breakers say.
    ///
    /// Default: 1, or 0 with `fail_fast`. If no breaker is closed, calls go to all endpoints in turn,
    /// unless `fail_fast` is set.
    pub fn min_available(&self) -> Option<u32> {
        self.min_available
    }

    /// Returns the share of a tier's endpoints that timeouts and overload answers may take out, above
    /// 0 to 1. Default: 0.5.
    ///
    /// Such failures do not tell an endpoint that is down from one that gets too many calls. One
    /// endpoint may always be taken out; endpoints that fail a probe call as well do not count.
    pub fn max_ejected(&self) -> f64 {
        self.max_ejected
    }

    /// Returns how long timeouts and overload answers take no endpoint out once an overload has been
    /// recognised, up to 1 h. Default: 30 s. 0 disables it.
    pub fn freeze_time(&self) -> Duration {
        self.freeze_time
    }

    pub(super) fn from_raw(raw: Raw) -> Result<Self, Error> {
        let mut fields = Document::open(raw, SECTION, "circuit breaker", KEYS)?;
        let mut builder = Self::builder();
        let draft = &mut builder.draft;
        if let Some(enabled) = fields.flag("enabled")? {
            draft.enabled = enabled;
        }
        draft.failure_rate = fields.number("failure_rate", &defaults::FAILURE_RATE_RANGE)?;
        if let Some(window) = fields.duration("failure_rate_window", &defaults::FAILURE_RATE_WINDOW_RANGE)? {
            draft.failure_rate_window = window;
        }
        if let Some(attempts) = fields.whole("failure_rate_attempts", &defaults::BREAKER_COUNT_RANGE)? {
            draft.failure_rate_attempts = attempts;
        }
        if let Some(time) = fields.duration("recovery_timeout", &defaults::RECOVERY_RANGE)? {
            draft.recovery_timeout = time;
        }
        draft.max_recovery_timeout = fields.duration("max_recovery_timeout", &defaults::RECOVERY_RANGE)?;
        if let Some(jitter) = fields.number("jitter", &defaults::JITTER_RANGE)? {
            draft.jitter = jitter;
        }
        draft.half_open_max_wait = fields.duration("half_open_max_wait", &defaults::RECOVERY_RANGE)?;
        draft.min_available = fields.whole("min_available", &defaults::MIN_AVAILABLE_RANGE)?;
        draft.half_open_max_calls = fields.whole("half_open_max_calls", &defaults::BREAKER_COUNT_RANGE)?;
        draft.success_threshold = fields.whole("success_threshold", &defaults::BREAKER_COUNT_RANGE)?;
        if let Some(count) = fields.whole("failure_threshold", &defaults::BREAKER_COUNT_RANGE)? {
            draft.failure_threshold = count;
        }
        if let Some(share) = fields.number("max_ejected", &defaults::MAX_EJECTED_RANGE)? {
            draft.max_ejected = share;
        }
        if let Some(time) = fields.duration("freeze_time", &defaults::FREEZE_RANGE)? {
            draft.freeze_time = time;
        }
        builder.build()
    }
}

impl Default for CircuitBreakerConfig {
    fn default() -> Self {
        Self {
            enabled: defaults::BREAKER_ENABLED,
            failure_threshold: defaults::FAILURE_THRESHOLD,
            failure_rate: None,
            failure_rate_window: defaults::FAILURE_RATE_WINDOW,
            failure_rate_attempts: defaults::FAILURE_RATE_ATTEMPTS,
            recovery_timeout: defaults::RECOVERY_TIMEOUT,
            max_recovery_timeout: None,
            jitter: defaults::JITTER,
            half_open_max_calls: None,
            half_open_max_wait: None,
            success_threshold: None,
            min_available: None,
            max_ejected: defaults::MAX_EJECTED,
            freeze_time: defaults::FREEZE,
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

    /// Sets the number of failures in a row that make an endpoint suspect, 1 to 10 000. Default: 5.
    ///
    /// Failures mixed with successes count as well: see [`CircuitBreakerConfig::failure_threshold`].
    pub fn failure_threshold(mut self, failures: u32) -> Self {
        self.draft.failure_threshold = failures;
        self
    }

    /// Sets the share of failures among the attempts of a sliding window that makes an endpoint
    /// suspect, 0.01 to 1. Default: the failure rate does not count.
    ///
    /// See [`CircuitBreakerConfig::failure_rate`].
    pub fn failure_rate(mut self, share: impl Into<Option<f64>>) -> Self {
        self.draft.failure_rate = share.into();
        self
    }

    /// Sets the length of the window of the failure rate, 1 s to 1 h, and not below the attempt
    /// timeout. Default: 20 s.
    pub fn failure_rate_window(mut self, window: Duration) -> Self {
        self.draft.failure_rate_window = window;
        self
    }

    /// Sets the number of attempts in the window below which the failure rate does not count, 1 to
    /// 10 000. Default: 20.
    pub fn failure_rate_attempts(mut self, attempts: u32) -> Self {
        self.draft.failure_rate_attempts = attempts;
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

    /// Sets how many concurrent calls a half-open breaker admits, 1 to 10 000.
    ///
    /// Default: one at a time, at least 0.5 s apart. With a number, calls are not spaced.
    pub fn half_open_max_calls(mut self, calls: impl Into<Option<u32>>) -> Self {
        self.draft.half_open_max_calls = calls.into();
        self
    }

    /// Sets how long a half-open breaker waits for its calls, 10 ms to 1 h.
    ///
    /// Default: 30 s, or as long as an attempt may take if that is longer.
    pub fn half_open_max_wait(mut self, time: impl Into<Option<Duration>>) -> Self {
        self.draft.half_open_max_wait = time.into();
        self
    }

    /// Sets how many consecutive successes close a half-open breaker, 1 to 10 000.
    ///
    /// Default: 2, and 4 or 8 for an endpoint whose breaker has opened several times within minutes.
    pub fn success_threshold(mut self, successes: impl Into<Option<u32>>) -> Self {
        self.draft.success_threshold = successes.into();
        self
    }

    /// Sets the floor, 0 to 10 000: the number of endpoints that stay in rotation whatever their
    /// breakers say.
    ///
    /// Default: 1, or 0 with `fail_fast`. If no breaker is closed, calls go to all endpoints in turn,
    /// unless `fail_fast` is set.
    pub fn min_available(mut self, endpoints: impl Into<Option<u32>>) -> Self {
        self.draft.min_available = endpoints.into();
        self
    }

    /// Sets the share of a tier's endpoints that timeouts and overload answers may take out, above 0
    /// to 1. Default: 0.5.
    ///
    /// A higher share removes dead endpoints sooner if many die at once and do not refuse
    /// connections; a lower one keeps more endpoints in use during an overload.
    pub fn max_ejected(mut self, share: f64) -> Self {
        self.draft.max_ejected = share;
        self
    }

    /// Sets how long timeouts and overload answers take no endpoint out once an overload has been
    /// recognised, up to 1 h. Default: 30 s. 0 disables it.
    pub fn freeze_time(mut self, time: Duration) -> Self {
        self.draft.freeze_time = time;
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
        for (name, count) in [
            ("half_open_max_calls", config.half_open_max_calls),
            ("success_threshold", config.success_threshold),
        ] {
            count.map_or(Ok(0), |count| range::whole(&field(name), count, counts))?;
        }
        if let Some(share) = config.failure_rate {
            range::number(&field("failure_rate"), share, &defaults::FAILURE_RATE_RANGE)?;
        }
        let window = config.failure_rate_window;
        range::duration(&field("failure_rate_window"), window, &defaults::FAILURE_RATE_WINDOW_RANGE)?;
        range::whole(&field("failure_rate_attempts"), config.failure_rate_attempts, counts)?;
        if let Some(time) = config.half_open_max_wait {
            range::duration(&field("half_open_max_wait"), time, &defaults::RECOVERY_RANGE)?;
        }
        if let Some(count) = config.min_available {
            range::whole(&field("min_available"), count, &defaults::MIN_AVAILABLE_RANGE)?;
        }
        range::number(&field("max_ejected"), config.max_ejected, &defaults::MAX_EJECTED_RANGE)?;
        range::duration(&field("freeze_time"), config.freeze_time, &defaults::FREEZE_RANGE)?;
        Ok(config)
    }
}

const SECTION: &str = "circuit_breaker";

const KEYS: &[&str] = &[
    "enabled",
    "failure_threshold",
    "failure_rate",
    "failure_rate_window",
    "failure_rate_attempts",
    "recovery_timeout",
    "max_recovery_timeout",
    "jitter",
    "half_open_max_calls",
    "half_open_max_wait",
    "success_threshold",
    "min_available",
    "max_ejected",
    "freeze_time",
];
