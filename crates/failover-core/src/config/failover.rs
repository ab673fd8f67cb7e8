//! The configuration of a service's calls.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

use crate::codec::document;
use crate::codec::document::{Document, Raw};
use crate::codec::{duration, range};
use crate::config::{
    Algorithm, BackoffConfig, CircuitBreakerConfig, EmptyPolicy, LoadBalancerConfig, Locality, ProbePolicy,
    RemovalGuard, RetryBudgetConfig, SlowStartConfig, StrategyKind, defaults,
};
use crate::contract::strategy::{CustomStrategy, Strategy};
use crate::error::Error;

/// How the calls of a service are made. Every value has a default, and all were checked when it was built or read.
///
/// serde reads and writes the JSON names of the Go package. Durations are written as `"30s"`; an integer is
/// nanoseconds. What Go writes for a field that nobody set (`0`, `""`, `null`) reads as absent, so a zero that is
/// meant looks different: `max_retries` is -1 for none, and a `retry_delay` of none is `"0s"`.
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
    fail_fast: bool,
    panic_threshold: u32,
    slow_start: SlowStartConfig,
    #[serde(skip_serializing_if = "Option::is_none")]
    locality: Option<Locality>,
    /// The caller's own strategy; no document can hold it.
    #[serde(skip)]
    custom: Option<CustomStrategy>,
    empty_policy: EmptyPolicy,
    removal_guard: RemovalGuard,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    metadata: BTreeMap<String, Value>,
}

impl FailoverConfig {
    /// A builder that holds the defaults.
    pub fn builder() -> FailoverConfigBuilder {
        FailoverConfigBuilder { draft: Self::default() }
    }

    /// A builder that holds these values.
    pub fn to_builder(&self) -> FailoverConfigBuilder {
        FailoverConfigBuilder { draft: self.clone() }
    }

    /// Reads a JSON document.
    ///
    /// # Errors
    ///
    /// Kind `Validation`: text that is not JSON, with line and column; the first field that is not known or not
    /// right, with its full name.
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
    /// As [`from_json`](Self::from_json).
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
    /// As [`from_json`](Self::from_json).
    #[cfg(feature = "yaml")]
    pub fn from_yaml(text: &str) -> Result<Self, Error> {
        document::from_yaml(text, "configuration").and_then(Self::from_raw)
    }

    /// In which order endpoints are candidates; default round robin.
    pub fn strategy(&self) -> StrategyKind {
        self.strategy
    }

    /// The algorithm among equals: the load balancer's, or else the one of the strategy's name.
    pub fn algorithm(&self) -> Algorithm {
        self.load_balancer.algorithm().unwrap_or(self.strategy.default_algorithm())
    }

    /// Whether this process probes endpoints that have a health check; default false.
    pub fn probe_endpoints(&self) -> bool {
        self.health_check
    }

    /// Whether this process probes endpoints that their registry probes, too; default auto: it does not.
    pub fn probe(&self) -> ProbePolicy {
        self.probe
    }

    /// How many attempts may follow the first, 0 to 20; default 2.
    pub fn max_retries(&self) -> u32 {
        self.max_retries
    }

    /// The wait from which retries back off, 0 to 5 min; default 25 ms.
    pub fn retry_delay(&self) -> Duration {
        self.retry_delay
    }

    /// When an endpoint that fails is left alone.
    pub fn circuit_breaker(&self) -> &CircuitBreakerConfig {
        &self.circuit_breaker
    }

    /// Who is picked among equals.
    pub fn load_balancer(&self) -> &LoadBalancerConfig {
        &self.load_balancer
    }

    /// How long a call may take with all its attempts, 1 ms to 24 h; default 30 s.
    pub fn timeout(&self) -> Duration {
        self.timeout
    }

    /// How long one attempt may take, 1 ms to the timeout; default the timeout divided by the number of attempts.
    pub fn attempt_timeout(&self) -> Duration {
        self.attempt_timeout.unwrap_or(self.timeout / (self.max_retries + 1))
    }

    /// The time for each attempt, where it was given.
    pub(crate) fn given_attempt_timeout(&self) -> Option<Duration> {
        self.attempt_timeout
    }

    /// How the wait between retries grows.
    pub fn backoff(&self) -> &BackoffConfig {
        &self.backoff
    }

    /// How many retries the successes pay for.
    pub fn retry_budget(&self) -> &RetryBudgetConfig {
        &self.retry_budget
    }

    /// Whether a call fails at once when no endpoint is available, instead of trying the least bad; default false.
    pub fn fail_fast(&self) -> bool {
        self.fail_fast
    }

    /// Below which percentage of available endpoints a tier's calls go to all of its endpoints, whatever is known of
    /// them, if all tiers together cannot take all calls: panic mode. 0 to 100; default 0, never.
    pub fn panic_threshold(&self) -> u32 {
        self.panic_threshold
    }

    /// How an endpoint is broken in that has just come, or come back; default at once.
    pub fn slow_start(&self) -> &SlowStartConfig {
        &self.slow_start
    }

    /// Where this process runs; the strategy geographic needs it.
    pub fn locality(&self) -> Option<&Locality> {
        self.locality.as_ref()
    }

    /// The caller's own strategy.
    pub(crate) fn custom(&self) -> Option<&CustomStrategy> {
        self.custom.as_ref()
    }

    /// What an unconfirmed empty answer of a registry means; default hold for 5 min.
    pub fn empty_policy(&self) -> EmptyPolicy {
        self.empty_policy
    }

    /// What an answer means that removes many endpoints at once; default they are gone at once.
    pub fn removal_guard(&self) -> RemovalGuard {
        self.removal_guard
    }

    /// What its owner adds; it has no meaning here.
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

/// Builds a [`FailoverConfig`]; what is not set has its default.
#[derive(Clone, Debug)]
#[must_use = "a builder does nothing until `build` is called"]
pub struct FailoverConfigBuilder {
    draft: FailoverConfig,
}

impl FailoverConfigBuilder {
    /// In which order endpoints are candidates; default round robin.
    pub fn strategy(mut self, strategy: StrategyKind) -> Self {
        self.draft.strategy = strategy;
        self
    }

    /// The caller's own strategy, and [`StrategyKind::Custom`].
    pub fn custom_strategy(mut self, strategy: impl Strategy) -> Self {
        self.draft.strategy = StrategyKind::Custom;
        self.draft.custom = Some(CustomStrategy::new(strategy));
        self
    }

    /// Whether this process probes endpoints that have a health check; default false.
    pub fn probe_endpoints(mut self, probes: bool) -> Self {
        self.draft.health_check = probes;
        self
    }

    /// Whether this process probes endpoints that their registry probes, too; default auto: it does not.
    pub fn probe(mut self, policy: ProbePolicy) -> Self {
        self.draft.probe = policy;
        self
    }

    /// How many attempts may follow the first, 0 to 20; default 2.
    pub fn max_retries(mut self, retries: u32) -> Self {
        self.draft.max_retries = retries;
        self
    }

    /// The wait from which retries back off, 0 to 5 min; default 25 ms.
    pub fn retry_delay(mut self, delay: Duration) -> Self {
        self.draft.retry_delay = delay;
        self
    }

    /// When an endpoint that fails is left alone.
    pub fn circuit_breaker(mut self, config: CircuitBreakerConfig) -> Self {
        self.draft.circuit_breaker = config;
        self
    }

    /// Who is picked among equals.
    pub fn load_balancer(mut self, config: LoadBalancerConfig) -> Self {
        self.draft.load_balancer = config;
        self
    }

    /// How long a call may take with all its attempts, 1 ms to 24 h; default 30 s.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.draft.timeout = timeout;
        self
    }

    /// How long one attempt may take, 1 ms to the timeout; default the timeout divided by the number of attempts.
    pub fn attempt_timeout(mut self, timeout: impl Into<Option<Duration>>) -> Self {
        self.draft.attempt_timeout = timeout.into();
        self
    }

    /// How the wait between retries grows.
    pub fn backoff(mut self, config: BackoffConfig) -> Self {
        self.draft.backoff = config;
        self
    }

    /// How many retries the successes pay for.
    pub fn retry_budget(mut self, config: RetryBudgetConfig) -> Self {
        self.draft.retry_budget = config;
        self
    }

    /// Whether a call fails at once when no endpoint is available; default false.
    pub fn fail_fast(mut self, fail_fast: bool) -> Self {
        self.draft.fail_fast = fail_fast;
        self
    }

    /// Below which percentage of available endpoints availability is ignored, 0 to 100; default 0, never.
    pub fn panic_threshold(mut self, percent: u32) -> Self {
        self.draft.panic_threshold = percent;
        self
    }

    /// How an endpoint is broken in that has just come, or come back; default at once.
    pub fn slow_start(mut self, config: SlowStartConfig) -> Self {
        self.draft.slow_start = config;
        self
    }

    /// Where this process runs; the strategy geographic needs it.
    pub fn locality(mut self, locality: impl Into<Option<Locality>>) -> Self {
        self.draft.locality = locality.into();
        self
    }

    /// What an unconfirmed empty answer of a registry means; default hold for 5 min.
    pub fn empty_policy(mut self, policy: EmptyPolicy) -> Self {
        self.draft.empty_policy = policy;
        self
    }

    /// What an answer means that removes many endpoints at once; default they are gone at once.
    pub fn removal_guard(mut self, guard: RemovalGuard) -> Self {
        self.draft.removal_guard = guard;
        self
    }

    /// Adds an entry that has no meaning here.
    pub fn metadata(mut self, key: impl Into<String>, value: impl Into<Value>) -> Self {
        self.draft.metadata.insert(key.into(), value.into());
        self
    }

    /// Checks the values.
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
    "fail_fast",
    "panic_threshold",
    "slow_start",
    "locality",
    "empty_policy",
    "removal_guard",
    "metadata",
];

/// Go writes 0 for a number that nobody set, so no retries at all is -1.
const NO_RETRIES: i128 = -1;

fn read_retries(fields: &mut Document) -> Result<Option<u32>, Error> {
    let raw = match fields.take("max_retries") {
        None | Some(Raw::Whole(0)) => return Ok(None),
        Some(Raw::Whole(NO_RETRIES)) => return Ok(Some(0)),
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
