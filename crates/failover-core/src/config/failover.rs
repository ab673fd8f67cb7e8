//! The configuration of a service's calls.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

use crate::codec::document;
use crate::codec::document::{Document, Raw};
use crate::codec::{duration, range};
use crate::config::{
    Algorithm, BackoffConfig, CircuitBreakerConfig, EmptyPolicy, LoadBalancerConfig, Locality, OutlierConfig,
    ProbePolicy, RemovalGuard, RetryBudgetConfig, SlowStartConfig, StrategyKind, defaults,
};
use crate::contract::strategy::{CustomStrategy, Strategy};
use crate::error::Error;

/// The configuration of a service's calls.
///
/// Every value has a default, and all values are validated when they are built or read.
///
/// serde reads and writes the JSON names of the Go package. Durations are written as `"30s"`; an
/// integer is nanoseconds. The values that Go writes for unset fields (`0`, `""`, `null`) read as
/// absent, so an intended zero is written differently: `max_retries` is -1 for none, and a
/// `retry_delay` of zero is `"0s"`.
///
/// ```
/// # use failover_core::FailoverConfig;
/// let config = FailoverConfig::from_json(r#"{"strategy": "weighted", "max_retries": 3, "timeout": "2s"}"#)?;
/// assert_eq!(config.attempt_timeout().as_millis(), 500);
/// # Ok::<(), failover_core::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct FailoverConfig {
    strategy: StrategyKind,
    health_check: bool,
    probe: ProbePolicy,
    #[serde(serialize_with = "write_retries")]
    max_retries: u32,
    #[serde(serialize_with = "duration::write")]
    retry_delay: Duration,
    circuit_breaker: CircuitBreakerConfig,
    load_balancer: LoadBalancerConfig,
    #[serde(serialize_with = "duration::write")]
    timeout: Duration,
    #[serde(serialize_with = "duration::write_option", skip_serializing_if = "Option::is_none")]
    attempt_timeout: Option<Duration>,
    backoff: BackoffConfig,
    retry_budget: RetryBudgetConfig,
    outlier_detection: OutlierConfig,
    fail_fast: bool,
    panic_threshold: u32,
    slow_start: SlowStartConfig,
    #[serde(skip_serializing_if = "Option::is_none")]
    locality: Option<Locality>,
    /// The caller's own strategy, which no document can hold.
    #[serde(skip)]
    custom: Option<CustomStrategy>,
    empty_policy: EmptyPolicy,
    removal_guard: RemovalGuard,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    metadata: BTreeMap<String, Value>,
}

impl FailoverConfig {
    /// Returns a builder with the defaults.
    pub fn builder() -> FailoverConfigBuilder {
        FailoverConfigBuilder { draft: Self::default() }
    }

    /// Returns a builder with these values.
    pub fn to_builder(&self) -> FailoverConfigBuilder {
        FailoverConfigBuilder { draft: self.clone() }
    }

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

    /// Returns the strategy, which orders endpoints into tiers. Default: round robin.
    pub fn strategy(&self) -> StrategyKind {
        self.strategy
    }

    /// Returns the algorithm within a tier: the load balancer's, or else the strategy's.
    pub fn algorithm(&self) -> Algorithm {
        self.load_balancer.algorithm().unwrap_or(self.strategy.default_algorithm())
    }

    /// Returns whether this process probes endpoints with a health check. Default: `false`.
    pub fn probe_endpoints(&self) -> bool {
        self.health_check
    }

    /// Returns whether this process probes endpoints that their registry probes, too.
    ///
    /// Default: auto, which does not.
    pub fn probe(&self) -> ProbePolicy {
        self.probe
    }

    /// Returns the maximum number of retries, 0 to 20. Default: 2.
    pub fn max_retries(&self) -> u32 {
        self.max_retries
    }

    /// Returns the first wait of the back-off between retries, 0 to 5 min. Default: 25 ms.
    pub fn retry_delay(&self) -> Duration {
        self.retry_delay
    }

    /// Returns the circuit breaker settings.
    pub fn circuit_breaker(&self) -> &CircuitBreakerConfig {
        &self.circuit_breaker
    }

    /// Returns the load balancing settings.
    pub fn load_balancer(&self) -> &LoadBalancerConfig {
        &self.load_balancer
    }

    /// Returns the timeout of a call with all attempts, 1 ms to 24 h. Default: 30 s.
    pub fn timeout(&self) -> Duration {
        self.timeout
    }

    /// Returns the timeout of one attempt, 1 ms to the call's timeout.
    ///
    /// Default: the timeout divided by the number of attempts.
    pub fn attempt_timeout(&self) -> Duration {
        self.attempt_timeout.unwrap_or(self.timeout / (self.max_retries + 1))
    }

    /// Returns the timeout of one attempt, if it was set.
    pub(crate) fn given_attempt_timeout(&self) -> Option<Duration> {
        self.attempt_timeout
    }

    /// Returns the back-off settings of retries.
    pub fn backoff(&self) -> &BackoffConfig {
        &self.backoff
    }

    /// Returns the retry budget settings.
    pub fn retry_budget(&self) -> &RetryBudgetConfig {
        &self.retry_budget
    }

    /// Returns the outlier detection settings: endpoints that fail clearly more often than the others.
    pub fn outlier_detection(&self) -> &OutlierConfig {
        &self.outlier_detection
    }

    /// Returns whether a call fails at once if no endpoint is available.
    ///
    /// Otherwise the call tries the least bad endpoint. Default: `false`.
    pub fn fail_fast(&self) -> bool {
        self.fail_fast
    }

    /// Returns the panic threshold, in percent: 0 to 100. Default: 0, never.
    ///
    /// If a smaller percentage of a tier's endpoints is available, and all tiers together cannot
    /// take all calls, the tier's calls go to all of its endpoints regardless of availability:
    /// panic mode.
    pub fn panic_threshold(&self) -> u32 {
        self.panic_threshold
    }

    /// Returns the slow start settings: how traffic ramps up to a new or recovered endpoint.
    ///
    /// Default: no slow start.
    pub fn slow_start(&self) -> &SlowStartConfig {
        &self.slow_start
    }

    /// Returns the locality of this process, which the strategy geographic requires.
    pub fn locality(&self) -> Option<&Locality> {
        self.locality.as_ref()
    }

    /// Returns the caller's own strategy.
    pub(crate) fn custom(&self) -> Option<&CustomStrategy> {
        self.custom.as_ref()
    }

    /// Returns how to treat an unconfirmed empty answer. Default: hold for 5 min.
    pub fn empty_policy(&self) -> EmptyPolicy {
        self.empty_policy
    }

    /// Returns how to treat an answer that removes many endpoints at once.
    ///
    /// Default: the endpoints are removed at once.
    pub fn removal_guard(&self) -> RemovalGuard {
        self.removal_guard
    }

    /// Returns the owner's own entries, which this crate does not interpret.
    pub fn metadata(&self) -> &BTreeMap<String, Value> {
        &self.metadata
    }

    pub(crate) fn from_raw(raw: Raw) -> Result<Self, Error> {
        let mut fields = Document::open(raw, "", "configuration", KEYS)?;
        let mut builder = Self::builder();
        let draft = &mut builder.draft;
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

impl Default for FailoverConfig {
    fn default() -> Self {
        Self {
            strategy: defaults::STRATEGY,
            health_check: defaults::HEALTH_CHECK,
            probe: defaults::PROBE,
            max_retries: defaults::MAX_RETRIES,
            retry_delay: defaults::RETRY_DELAY,
            circuit_breaker: CircuitBreakerConfig::default(),
            load_balancer: LoadBalancerConfig::default(),
            timeout: defaults::TIMEOUT,
            attempt_timeout: None,
            backoff: BackoffConfig::default(),
            retry_budget: RetryBudgetConfig::default(),
            outlier_detection: OutlierConfig::default(),
            fail_fast: defaults::FAIL_FAST,
            panic_threshold: defaults::PANIC_THRESHOLD,
            slow_start: SlowStartConfig::default(),
            locality: None,
            custom: None,
            empty_policy: EmptyPolicy::default(),
            removal_guard: RemovalGuard::default(),
            metadata: BTreeMap::new(),
        }
    }
}

impl<'de> Deserialize<'de> for FailoverConfig {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        document::deserialize(deserializer, Self::from_raw)
    }
}

/// Builds a [`FailoverConfig`]. Values that are not set have their defaults.
#[derive(Clone, Debug)]
#[must_use = "a builder does nothing until `build` is called"]
pub struct FailoverConfigBuilder {
    draft: FailoverConfig,
}

impl FailoverConfigBuilder {
    /// Sets the strategy, which orders endpoints into tiers. Default: round robin.
    pub fn strategy(mut self, strategy: StrategyKind) -> Self {
        self.draft.strategy = strategy;
        self
    }

    /// Sets the caller's own strategy, and [`StrategyKind::Custom`].
    pub fn custom_strategy(mut self, strategy: impl Strategy) -> Self {
        self.draft.strategy = StrategyKind::Custom;
        self.draft.custom = Some(CustomStrategy::new(strategy));
        self
    }

    /// Sets whether this process probes endpoints with a health check. Default: `false`.
    pub fn probe_endpoints(mut self, probes: bool) -> Self {
        self.draft.health_check = probes;
        self
    }

    /// Sets whether this process probes endpoints that their registry probes, too.
    ///
    /// Default: auto, which does not.
    pub fn probe(mut self, policy: ProbePolicy) -> Self {
        self.draft.probe = policy;
        self
    }

    /// Sets the maximum number of retries, 0 to 20. Default: 2.
    pub fn max_retries(mut self, retries: u32) -> Self {
        self.draft.max_retries = retries;
        self
    }

    /// Sets the first wait of the back-off between retries, 0 to 5 min. Default: 25 ms.
    pub fn retry_delay(mut self, delay: Duration) -> Self {
        self.draft.retry_delay = delay;
        self
    }

    /// Sets the circuit breaker settings.
    pub fn circuit_breaker(mut self, config: CircuitBreakerConfig) -> Self {
        self.draft.circuit_breaker = config;
        self
    }

    /// Sets the load balancing settings.
    pub fn load_balancer(mut self, config: LoadBalancerConfig) -> Self {
        self.draft.load_balancer = config;
        self
    }

    /// Sets the timeout of a call with all attempts, 1 ms to 24 h. Default: 30 s.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.draft.timeout = timeout;
        self
    }

    /// Sets the timeout of one attempt, 1 ms to the call's timeout.
    ///
    /// Default: the timeout divided by the number of attempts.
    pub fn attempt_timeout(mut self, timeout: impl Into<Option<Duration>>) -> Self {
        self.draft.attempt_timeout = timeout.into();
        self
    }

    /// Sets the back-off settings of retries.
    pub fn backoff(mut self, config: BackoffConfig) -> Self {
        self.draft.backoff = config;
        self
    }

    /// Sets the retry budget settings.
    pub fn retry_budget(mut self, config: RetryBudgetConfig) -> Self {
        self.draft.retry_budget = config;
        self
    }

    /// Sets the outlier detection settings.
    pub fn outlier_detection(mut self, config: OutlierConfig) -> Self {
        self.draft.outlier_detection = config;
        self
    }

    /// Sets whether a call fails at once if no endpoint is available. Default: `false`.
    pub fn fail_fast(mut self, fail_fast: bool) -> Self {
        self.draft.fail_fast = fail_fast;
        self
    }

    /// Sets the panic threshold, in percent: 0 to 100. Default: 0, never.
    ///
    /// If a smaller percentage of a tier's endpoints is available, availability is ignored.
    pub fn panic_threshold(mut self, percent: u32) -> Self {
        self.draft.panic_threshold = percent;
        self
    }

    /// Sets the slow start settings: how traffic ramps up to a new or recovered endpoint.
    ///
    /// Default: no slow start.
    pub fn slow_start(mut self, config: SlowStartConfig) -> Self {
        self.draft.slow_start = config;
        self
    }

    /// Sets the locality of this process, which the strategy geographic requires.
    pub fn locality(mut self, locality: impl Into<Option<Locality>>) -> Self {
        self.draft.locality = locality.into();
        self
    }

    /// Sets how to treat an unconfirmed empty answer. Default: hold for 5 min.
    pub fn empty_policy(mut self, policy: EmptyPolicy) -> Self {
        self.draft.empty_policy = policy;
        self
    }

    /// Sets how to treat an answer that removes many endpoints at once.
    ///
    /// Default: the endpoints are removed at once.
    pub fn removal_guard(mut self, guard: RemovalGuard) -> Self {
        self.draft.removal_guard = guard;
        self
    }

    /// Adds an entry that this crate does not interpret.
    pub fn metadata(mut self, key: impl Into<String>, value: impl Into<Value>) -> Self {
        self.draft.metadata.insert(key.into(), value.into());
        self
    }

    /// Validates the values.
    pub fn build(self) -> Result<FailoverConfig, Error> {
        let mut config = self.draft;
        range::whole("max_retries", config.max_retries, &defaults::MAX_RETRIES_RANGE)?;
        range::duration("retry_delay", config.retry_delay, &defaults::RETRY_DELAY_RANGE)?;
        range::duration("timeout", config.timeout, &defaults::TIMEOUT_RANGE)?;
        if let Some(attempt) = config.attempt_timeout {
            range::duration("attempt_timeout", attempt, &defaults::TIMEOUT_RANGE)?;
            if attempt > config.timeout {
                let wanted = format!("at most the timeout, {}", duration::short(config.timeout));
                return Err(Error::invalid("attempt_timeout", duration::short(attempt), &wanted));
            }
        }
        config.check_breaker()?;
        config.check_metadata()?;
        range::whole("panic_threshold", config.panic_threshold, &defaults::PANIC_THRESHOLD_RANGE)?;
        config.empty_policy.check()?;
        config.removal_guard.check()?;
        config.backoff = config.backoff.beginning_with(config.retry_delay);
        Ok(config)
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

/// Go writes 0 for an unset number, so -1 means no retries.
const NO_RETRIES: i128 = -1;

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

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn write_retries<S: Serializer>(retries: &u32, serializer: S) -> Result<S::Ok, S::Error> {
    match retries {
        0 => serializer.serialize_i8(NO_RETRIES as i8),
        retries => serializer.serialize_u32(*retries),
    }
}
