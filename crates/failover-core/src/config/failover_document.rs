//! Reads the configuration of a service from documents.

use serde::{Deserialize, Deserializer};

use crate::codec::document;
use crate::codec::document::{Document, Raw};
use crate::config::failover::NO_RETRIES;
use crate::config::{
    BackoffConfig, CircuitBreakerConfig, EmptyPolicy, FailoverConfig, LoadBalancerConfig, Locality,
    OutlierConfig, ProbePolicy, RemovalGuard, RetryBudgetConfig, SlowStartConfig, StrategyKind, defaults,
};
use crate::error::Error;

impl FailoverConfig {
    /// Reads a JSON document.
    ///
    /// # Errors
    ///
    /// Returns `Validation` for text that is not JSON, with line and column, and for the first
    /// unknown or invalid field, with its full name.
    pub fn from_json(json: &str) -> Result<Self, Error> {
        document::from_json(json, "configuration").and_then(Self::from_raw)
    }

    /// Reads a TOML document.
    ///
    /// ```
    /// # use failover_core::FailoverConfig;
    /// let config = FailoverConfig::from_toml(
    ///     r#"
    /// strategy = "least_connections"
    /// timeout = "2s"
    ///
    /// [circuit_breaker]
    /// failure_threshold = 3
    /// "#,
    /// )?;
    /// assert_eq!(config.circuit_breaker().failure_threshold(), 3);
    /// # Ok::<(), failover_core::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// See [`from_json`](Self::from_json).
    #[cfg(feature = "toml")]
    pub fn from_toml(text: &str) -> Result<Self, Error> {
        document::from_toml(text, "configuration").and_then(Self::from_raw)
    }

    /// Reads a YAML document.
    ///
    /// ```
    /// # use failover_core::FailoverConfig;
    /// let config = FailoverConfig::from_yaml(
    ///     r#"
    /// strategy: least_connections
    /// timeout: 2s
    /// circuit_breaker:
    ///   failure_threshold: 3
    /// "#,
    /// )?;
    /// assert_eq!(config.circuit_breaker().failure_threshold(), 3);
    /// # Ok::<(), failover_core::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// See [`from_json`](Self::from_json).
    #[cfg(feature = "yaml")]
    pub fn from_yaml(text: &str) -> Result<Self, Error> {
        document::from_yaml(text, "configuration").and_then(Self::from_raw)
    }

    pub(crate) fn from_raw(raw: Raw) -> Result<Self, Error> {
        let mut fields = Document::open(raw, "", "configuration", KEYS)?;
        let mut builder = Self::builder();
        let draft = &mut builder.draft;
        KEYS.iter().filter(|key| fields.has(key)).for_each(|key| draft.given.mark(key));
        draft.strategy = match fields.take("strategy") {
            None => draft.strategy,
            Some(Raw::Text(word)) if word.is_empty() => draft.strategy,
            Some(raw) => StrategyKind::from_raw("strategy", &raw)?,
        };
        if let Some(probes) = fields.flag("health_check")? {
            draft.health_check = probes;
        }
        if let Some(raw) = fields.take("probe") {
            draft.probe = ProbePolicy::from_raw("probe", &raw)?;
        }
        if let Some(retries) = read_retries(&mut fields)? {
            draft.max_retries = retries;
        }
        if let Some(delay) = fields.duration("retry_delay", &defaults::RETRY_DELAY_RANGE)? {
            draft.retry_delay = delay;
        }
        if let Some(raw) = fields.take("circuit_breaker") {
            draft.circuit_breaker = CircuitBreakerConfig::from_raw(raw)?;
        }
        if let Some(raw) = fields.take("load_balancer") {
            draft.load_balancer = LoadBalancerConfig::from_raw(raw)?;
        }
        if let Some(timeout) = fields.duration("timeout", &defaults::TIMEOUT_RANGE)? {
            draft.timeout = timeout;
        }
        draft.attempt_timeout = fields.duration("attempt_timeout", &defaults::TIMEOUT_RANGE)?;
        if let Some(raw) = fields.take("backoff") {
            draft.backoff = BackoffConfig::from_raw(raw)?;
        }
        if let Some(raw) = fields.take("retry_budget") {
            draft.retry_budget = RetryBudgetConfig::from_raw(raw)?;
        }
        if let Some(raw) = fields.take("outlier_detection") {
            draft.outlier_detection = OutlierConfig::from_raw(raw)?;
        }
        if let Some(fail_fast) = fields.flag("fail_fast")? {
            draft.fail_fast = fail_fast;
        }
        if let Some(threshold) = fields.whole("panic_threshold", &defaults::PANIC_THRESHOLD_RANGE)? {
            draft.panic_threshold = threshold;
        }
        if let Some(raw) = fields.take("slow_start") {
            draft.slow_start = SlowStartConfig::from_raw(raw)?;
        }
        if let Some(raw) = fields.take("locality") {
            draft.locality = Some(Locality::from_raw(raw)?);
        }
        if let Some(raw) = fields.take("empty_policy") {
            draft.empty_policy = EmptyPolicy::from_raw(raw)?;
        }
        if let Some(raw) = fields.take("removal_guard") {
            draft.removal_guard = RemovalGuard::from_raw(raw)?;
        }
        for (key, value) in fields.object("metadata")? {
            let value = value.into_json(&document::path("metadata", &key))?;
            draft.metadata.insert(key, value);
        }
        builder.build()
    }
}

impl<'de> Deserialize<'de> for FailoverConfig {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        document::deserialize(deserializer, Self::from_raw)
    }
}

const KEYS: &[&str] = &[
    "strategy",
    "health_check",
    "probe",
    "max_retries",
    "retry_delay",
    "circuit_breaker",
    "load_balancer",
    "timeout",
    "attempt_timeout",
    "backoff",
    "retry_budget",
    "outlier_detection",
    "fail_fast",
    "panic_threshold",
    "slow_start",
    "locality",
    "empty_policy",
    "removal_guard",
    "metadata",
];

fn read_retries(fields: &mut Document) -> Result<Option<u32>, Error> {
    let raw = match fields.take("max_retries") {
        None => return Ok(None),
        Some(raw) if raw.is_unset() => return Ok(None),
        Some(raw) if raw.as_whole() == Some(NO_RETRIES) => return Ok(Some(0)),
        Some(raw) => raw,
    };
    document::whole("max_retries", &raw, &defaults::MAX_RETRIES_RANGE).map(Some).map_err(|_| {
        let most = defaults::MAX_RETRIES_RANGE.end();
        Error::invalid("max_retries", raw, &format!("a whole number from 1 to {most}, or -1 for none"))
    })
}
