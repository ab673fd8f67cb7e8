//! The configuration of a manager.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize};

use crate::codec::document;
use crate::codec::document::{Document, Raw};
use crate::codec::{duration, range};
use crate::config::{FailoverConfig, defaults};
use crate::error::Error;

/// The configuration of a manager.
///
/// Every value has a default, and all values are validated when they are built or read.
///
/// serde reads and writes the JSON names of the Go package, and additional ones. Durations are
/// written as `"30s"`; an integer is nanoseconds; the values that Go writes for unset fields (`0`,
/// `""`, `null`) read as absent.
///
/// ```
/// # use failover_core::ManagerConfig;
/// let config = ManagerConfig::from_json(
///     r#"{"default_provider": "consul", "retry_attempts": 3, "retry_delay": "1s", "timeout": "30s",
///         "fallback_enabled": true, "failover": {"strategy": "least_connections"}}"#,
/// )?;
/// assert_eq!(config.default_provider(), Some("consul"));
/// # Ok::<(), failover_core::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ManagerConfig {
    #[serde(skip_serializing_if = "Option::is_none")]
    default_provider: Option<String>,
    retry_attempts: u32,
    #[serde(serialize_with = "duration::write")]
    retry_delay: Duration,
    #[serde(serialize_with = "duration::write")]
    timeout: Duration,
    fallback_enabled: bool,
    stored_config: bool,
    #[serde(serialize_with = "duration::write")]
    start_timeout: Duration,
    #[serde(serialize_with = "duration::write")]
    keep_idle: Duration,
    #[serde(serialize_with = "duration::write")]
    poll_interval: Duration,
    max_probes: u32,
    allow_loopback: bool,
    failover: FailoverConfig,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    metadata: BTreeMap<String, String>,
}

impl ManagerConfig {
    /// Returns a builder with the defaults.
    pub fn builder() -> ManagerConfigBuilder {
        ManagerConfigBuilder { draft: Self::default() }
    }

    /// Returns a builder with these values.
    pub fn to_builder(&self) -> ManagerConfigBuilder {
        ManagerConfigBuilder { draft: self.clone() }
    }

    /// Reads a JSON document.
    ///
    /// # Errors
    ///
    /// Returns `Validation` for text that is not JSON, with line and column, and for the first
    /// unknown or invalid field, with its full name.
    pub fn from_json(json: &str) -> Result<Self, Error> {
        document::from_json(json, "manager configuration").and_then(Self::from_raw)
    }

    /// Reads a TOML document.
    ///
    /// ```
    /// # use failover_core::ManagerConfig;
    /// let config = ManagerConfig::from_toml(
    ///     r#"
    /// default_provider = "consul"
    ///
    /// [failover]
    /// max_retries = 1
    /// "#,
    /// )?;
    /// assert_eq!(config.service_config().max_retries(), 1);
    /// # Ok::<(), failover_core::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// See [`from_json`](Self::from_json).
    #[cfg(feature = "toml")]
    pub fn from_toml(text: &str) -> Result<Self, Error> {
        document::from_toml(text, "manager configuration").and_then(Self::from_raw)
    }

    /// Reads a YAML document.
    ///
    /// ```
    /// # use failover_core::ManagerConfig;
    /// let config = ManagerConfig::from_yaml(
    ///     r#"
    /// default_provider: consul
    /// failover:
    ///   max_retries: 1
    /// "#,
    /// )?;
    /// assert_eq!(config.service_config().max_retries(), 1);
    /// # Ok::<(), failover_core::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// See [`from_json`](Self::from_json).
    #[cfg(feature = "yaml")]
    pub fn from_yaml(text: &str) -> Result<Self, Error> {
        document::from_yaml(text, "manager configuration").and_then(Self::from_raw)
    }

    /// Returns the name of the default provider. Default: the first one added.
    pub fn default_provider(&self) -> Option<&str> {
        self.default_provider.as_deref()
    }

    /// Returns the maximum number of attempts of a registry operation, 1 to 20. Default: 3.
    ///
    /// Only retryable errors are retried.
    pub fn retry_attempts(&self) -> u32 {
        self.retry_attempts
    }

    /// Returns the first wait before a registry operation is retried.
    ///
    /// 0 to 5 min. Default: 250 ms. It doubles each time.
    pub fn retry_delay(&self) -> Duration {
        self.retry_delay
    }

    /// Returns the timeout of a registry operation with all attempts.
    ///
    /// 1 ms to 24 h. Default: 30 s.
    pub fn timeout(&self) -> Duration {
        self.timeout
    }

    /// Returns whether the other providers are fallbacks, in their order. Default: `true`.
    pub fn fallback_enabled(&self) -> bool {
        self.fallback_enabled
    }

    /// Returns whether configuration that a provider stores is watched, applied and written. Default:
    /// `true`.
    pub fn stored_config(&self) -> bool {
        self.stored_config
    }

    /// Returns how long to wait for a provider's first answer, 0 to 5 min. Default: 5 s.
    ///
    /// Applies to building the manager and to the first request for a service.
    pub fn start_timeout(&self) -> Duration {
        self.start_timeout
    }

    /// Returns how long a service is kept without a handle, 0 to 24 h. Default: 5 min.
    pub fn keep_idle(&self) -> Duration {
        self.keep_idle
    }

    /// Returns the poll interval of providers that cannot watch, 10 ms to 1 h. Default: 10 s.
    pub fn poll_interval(&self) -> Duration {
        self.poll_interval
    }

    /// Returns the maximum number of concurrent probes, 1 to 10 000. Default: 32.
    ///
    /// The maximum applies to all services together.
    pub fn max_probes(&self) -> u32 {
        self.max_probes
    }

    /// Returns whether registries on other machines may list loopback addresses.
    ///
    /// Default: `false`.
    pub fn allow_loopback(&self) -> bool {
        self.allow_loopback
    }

    /// Returns the configuration of all services without one of their own.
    pub fn service_config(&self) -> &FailoverConfig {
        &self.failover
    }

    /// Returns the owner's own entries, which this crate does not interpret.
    pub fn metadata(&self) -> &BTreeMap<String, String> {
        &self.metadata
    }

    pub(crate) fn from_raw(raw: Raw) -> Result<Self, Error> {
        let mut fields = Document::open(raw, "", "manager configuration", KEYS)?;
        let mut builder = Self::builder();
        let draft = &mut builder.draft;
        draft.default_provider = fields.text("default_provider")?;
        if let Some(attempts) = fields.whole("retry_attempts", &defaults::REGISTRY_ATTEMPTS_RANGE)? {
            draft.retry_attempts = attempts;
        }
        let durations = [
            ("retry_delay", &mut draft.retry_delay, &defaults::REGISTRY_DELAY_RANGE),
            ("timeout", &mut draft.timeout, &defaults::REGISTRY_TIMEOUT_RANGE),
            ("start_timeout", &mut draft.start_timeout, &defaults::START_TIMEOUT_RANGE),
            ("keep_idle", &mut draft.keep_idle, &defaults::KEEP_IDLE_RANGE),
            ("poll_interval", &mut draft.poll_interval, &defaults::POLL_INTERVAL_RANGE),
        ];
        for (name, to, range) in durations {
            if let Some(value) = fields.duration(name, range)? {
                *to = value;
            }
        }
        if let Some(fallback) = fields.flag("fallback_enabled")? {
            draft.fallback_enabled = fallback;
        }
        if let Some(stored) = fields.flag("stored_config")? {
            draft.stored_config = stored;
        }
        if let Some(probes) = fields.whole("max_probes", &defaults::MAX_PROBES_RANGE)? {
            draft.max_probes = probes;
        }
        if let Some(allowed) = fields.flag("allow_loopback")? {
            draft.allow_loopback = allowed;
        }
        if let Some(raw) = fields.take("failover") {
            draft.failover = FailoverConfig::from_raw(raw).map_err(|error| error.context("failover"))?;
        }
        for (key, value) in fields.object("metadata")? {
            let Raw::Text(value) = value else {
                return Err(Error::invalid(&document::path("metadata", &key), value.kind(), "text"));
            };
            draft.metadata.insert(key, value);
        }
        builder.build()
    }
}

impl Default for ManagerConfig {
    fn default() -> Self {
        Self {
            default_provider: None,
            retry_attempts: defaults::REGISTRY_ATTEMPTS,
            retry_delay: defaults::REGISTRY_DELAY,
            timeout: defaults::REGISTRY_TIMEOUT,
            fallback_enabled: defaults::FALLBACK_ENABLED,
            stored_config: defaults::STORED_CONFIG,
            start_timeout: defaults::START_TIMEOUT,
            keep_idle: defaults::KEEP_IDLE,
            poll_interval: defaults::POLL_INTERVAL,
            max_probes: defaults::MAX_PROBES,
            allow_loopback: defaults::ALLOW_LOOPBACK,
            failover: FailoverConfig::default(),
            metadata: BTreeMap::new(),
        }
    }
}

impl<'de> Deserialize<'de> for ManagerConfig {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        document::deserialize(deserializer, Self::from_raw)
    }
}

/// Builds a [`ManagerConfig`]. Values that are not set have their defaults.
#[derive(Clone, Debug)]
#[must_use = "a builder does nothing until `build` is called"]
pub struct ManagerConfigBuilder {
    pub(crate) draft: ManagerConfig,
}

impl ManagerConfigBuilder {
    /// Sets the name of the default provider. Default: the first one added.
    pub fn default_provider(mut self, name: impl Into<String>) -> Self {
        self.draft.default_provider = Some(name.into());
        self
    }

    /// Sets the maximum number of attempts of a registry operation, 1 to 20. Default: 3.
    pub fn retry_attempts(mut self, attempts: u32) -> Self {
        self.draft.retry_attempts = attempts;
        self
    }

    /// Sets the first wait before a registry operation is retried.
    ///
    /// 0 to 5 min. Default: 250 ms.
    pub fn retry_delay(mut self, delay: Duration) -> Self {
        self.draft.retry_delay = delay;
        self
    }

    /// Sets the timeout of a registry operation with all attempts.
    ///
    /// 1 ms to 24 h. Default: 30 s.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.draft.timeout = timeout;
        self
    }

    /// Sets whether the other providers are fallbacks, in their order. Default: `true`.
    pub fn fallback_enabled(mut self, enabled: bool) -> Self {
        self.draft.fallback_enabled = enabled;
        self
    }

    /// Sets whether configuration that a provider stores is watched, applied and written. Without it, a
    /// provider's store is not asked, and configuring applies to this process alone. Default: `true`.
    pub fn stored_config(mut self, enabled: bool) -> Self {
        self.draft.stored_config = enabled;
        self
    }

    /// Sets how long to wait for a provider's first answer, 0 to 5 min. Default: 5 s.
    ///
    /// Applies to building the manager and to the first request for a service.
    pub fn start_timeout(mut self, timeout: Duration) -> Self {
        self.draft.start_timeout = timeout;
        self
    }

    /// Sets how long a service is kept without a handle, 0 to 24 h. Default: 5 min.
    pub fn keep_idle(mut self, keep: Duration) -> Self {
        self.draft.keep_idle = keep;
        self
    }

    /// Sets the poll interval of providers that cannot watch, 10 ms to 1 h. Default: 10 s.
    pub fn poll_interval(mut self, interval: Duration) -> Self {
        self.draft.poll_interval = interval;
        self
    }

    /// Sets the maximum number of concurrent probes, 1 to 10 000. Default: 32.
    ///
    /// The maximum applies to all services together.
    pub fn max_probes(mut self, probes: u32) -> Self {
        self.draft.max_probes = probes;
        self
    }

    /// Sets whether registries on other machines may list loopback addresses.
    ///
    /// Default: `false`, which rejects such an entry: it would send calls to whatever listens on
    /// this machine.
    pub fn allow_loopback(mut self, allow: bool) -> Self {
        self.draft.allow_loopback = allow;
        self
    }

    /// Sets the configuration of all services without one of their own.
    pub fn service_config(mut self, config: FailoverConfig) -> Self {
        self.draft.failover = config;
        self
    }

    /// Adds an entry that this crate does not interpret.
    pub fn metadata(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.draft.metadata.insert(key.into(), value.into());
        self
    }

    /// Validates the values.
    pub fn build(self) -> Result<ManagerConfig, Error> {
        let config = self.draft;
        if let Some(name) = config.default_provider.as_deref().filter(|name| name.contains('@')) {
            return Err(Error::invalid("default_provider", name, PROVIDER_NAME));
        }
        range::whole("retry_attempts", config.retry_attempts, &defaults::REGISTRY_ATTEMPTS_RANGE)?;
        range::whole("max_probes", config.max_probes, &defaults::MAX_PROBES_RANGE)?;
        for (name, value, range) in [
            ("retry_delay", config.retry_delay, &defaults::REGISTRY_DELAY_RANGE),
            ("timeout", config.timeout, &defaults::REGISTRY_TIMEOUT_RANGE),
            ("start_timeout", config.start_timeout, &defaults::START_TIMEOUT_RANGE),
            ("keep_idle", config.keep_idle, &defaults::KEEP_IDLE_RANGE),
            ("poll_interval", config.poll_interval, &defaults::POLL_INTERVAL_RANGE),
        ] {
            range::duration(name, value, range)?;
        }
        Ok(config)
    }
}

/// What the name of a provider must be: `id@source` is split at its last `@`.
pub(crate) const PROVIDER_NAME: &str = "a name without @";

const KEYS: &[&str] = &[
    "default_provider",
    "retry_attempts",
    "retry_delay",
    "timeout",
    "fallback_enabled",
    "stored_config",
    "start_timeout",
    "keep_idle",
    "poll_interval",
    "max_probes",
    "allow_loopback",
    "failover",
    "metadata",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_documents_of_the_go_package_are_read_and_unset_fields_have_their_defaults() {
        let config = ManagerConfig::from_json(
            r#"{"default_provider": "consul", "retry_attempts": 5, "retry_delay": 1000000000,
                "timeout": 30000000000, "fallback_enabled": false, "metadata": {"team": "users"}}"#,
        )
        .expect("valid");
        assert_eq!(config.default_provider(), Some("consul"));
        assert_eq!((config.retry_attempts(), config.retry_delay()), (5, Duration::from_secs(1)));
        assert_eq!((config.timeout(), config.fallback_enabled()), (Duration::from_secs(30), false));
        assert_eq!(config.metadata()["team"], "users");
        let zero = r#"{"default_provider": "", "retry_attempts": 0, "retry_delay": 0, "timeout": 0, "metadata": null}"#;
        assert_eq!(ManagerConfig::from_json(zero).expect("valid"), ManagerConfig::default());
    }

    #[test]
    fn what_is_written_reads_as_the_same() {
        let config = ManagerConfig::builder()
            .default_provider("dc1")
            .retry_attempts(7)
            .retry_delay(Duration::ZERO)
            .timeout(Duration::from_millis(1500))
            .fallback_enabled(false)
            .stored_config(false)
            .start_timeout(Duration::ZERO)
            .keep_idle(Duration::from_secs(90))
            .poll_interval(Duration::from_millis(20))
            .max_probes(3)
            .allow_loopback(true)
            .service_config(FailoverConfig::builder().max_retries(0).build().expect("valid"))
            .metadata("a", "b")
            .build()
            .expect("valid");
        let json = serde_json::to_string(&config).expect("serialises");
        assert_eq!(ManagerConfig::from_json(&json).expect("valid"), config, "{json}");
        assert_eq!(config.to_builder().build().expect("valid"), config);
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (json, message) in [
            ("{", "manager configuration is not valid JSON"),
            (r#"{"default_providr": "x"}"#, "default_providr: unknown key; did you mean default_provider?"),
            (
                r#"{"retry_attempts": 21}"#,
                "retry_attempts: 21 is not allowed; give a whole number from 1 to 20",
            ),
            (r#"{"timeout": "25h"}"#, "timeout: \"25h\" is not allowed"),
            (r#"{"max_probes": -1}"#, "max_probes: -1 is not allowed"),
            (r#"{"metadata": {"a": 1}}"#, "metadata.a: a number is not allowed; give text"),
            (r#"{"failover": {"max_retries": 99}}"#, "failover: max_retries: 99 is not allowed"),
            ("[]", "manager configuration: a list is not allowed; give an object"),
        ] {
            let error = ManagerConfig::from_json(json).expect_err(json).to_string();
            assert!(error.starts_with(message), "{json}: {error}");
        }
        let error =
            ManagerConfig::builder().keep_idle(Duration::from_secs(86_401)).build().expect_err("long");
        assert!(error.to_string().starts_with("keep_idle: "), "{error}");
        assert!(ManagerConfig::builder().retry_attempts(0).build().is_err());
    }
}
