//! The configuration of a service's calls.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Serialize, Serializer};
use serde_json::Value;

use crate::codec::{duration, range};
use crate::config::given::{Given, Origins};
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
    pub(super) strategy: StrategyKind,
    pub(super) health_check: bool,
    pub(super) probe: ProbePolicy,
    #[serde(serialize_with = "write_retries")]
    pub(super) max_retries: u32,
    #[serde(serialize_with = "duration::write")]
    pub(super) retry_delay: Duration,
    pub(super) circuit_breaker: CircuitBreakerConfig,
    pub(super) load_balancer: LoadBalancerConfig,
    #[serde(serialize_with = "duration::write")]
    pub(super) timeout: Duration,
    #[serde(serialize_with = "duration::write_option", skip_serializing_if = "Option::is_none")]
    pub(super) attempt_timeout: Option<Duration>,
    pub(super) backoff: BackoffConfig,
    pub(super) retry_budget: RetryBudgetConfig,
    pub(super) outlier_detection: OutlierConfig,
    pub(super) fail_fast: bool,
    pub(super) panic_threshold: u32,
    pub(super) slow_start: SlowStartConfig,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) locality: Option<Locality>,
    /// The caller's own strategy, which no document can hold.
    #[serde(skip)]
    pub(super) custom: Option<CustomStrategy>,
    pub(super) empty_policy: EmptyPolicy,
    pub(super) removal_guard: RemovalGuard,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) metadata: BTreeMap<String, Value>,
    #[serde(skip)]
    pub(super) given: Given,
    #[serde(skip)]
    pub(super) origins: Origins,
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

    /// Returns the configuration with probing on, unless it says otherwise.
    pub(crate) fn probing_by_default(mut self) -> Self {
        self.health_check |= !self.given.contains("health_check");
        self
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

    /// Returns where a value comes from, by the full name of its field, such as
    /// `circuit_breaker.jitter`: a stored document. `None` for a default, and for a value that was set in
    /// code or read from a file.
    pub fn origin(&self, field: &str) -> Option<&str> {
        self.origins.get(field)
    }

    /// Returns the values that were given, as a document, for others to inherit from or to add to. A
    /// section is one value.
    pub(crate) fn given_document(&self) -> Value {
        let mut json = serde_json::to_value(self).unwrap_or_default();
        if let Some(fields) = json.as_object_mut() {
            fields.retain(|key, _| self.given.contains(key));
        }
        json
    }

    /// Returns a configuration that was read from layers on top of `base`.
    pub(super) fn layered_on(mut self, base: &Self, origins: Origins) -> Self {
        // No document can hold the caller's own strategy.
        self.custom = base.custom.clone().filter(|_| self.strategy == StrategyKind::Custom);
        self.origins = origins;
        self
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
            given: Given::default(),
            origins: Origins::default(),
        }
    }
}

/// Builds a [`FailoverConfig`]. Values that are not set have their defaults.
#[derive(Clone, Debug)]
#[must_use = "a builder does nothing until `build` is called"]
pub struct FailoverConfigBuilder {
    pub(super) draft: FailoverConfig,
}

impl FailoverConfigBuilder {
    /// Sets the strategy, which orders endpoints into tiers. Default: round robin.
    pub fn strategy(mut self, strategy: StrategyKind) -> Self {
        self.draft.given.mark("strategy");
        self.draft.strategy = strategy;
        self
    }

    /// Sets the caller's own strategy, and [`StrategyKind::Custom`].
    pub fn custom_strategy(mut self, strategy: impl Strategy) -> Self {
        self.draft.given.mark("strategy");
        self.draft.strategy = StrategyKind::Custom;
        self.draft.custom = Some(CustomStrategy::new(strategy));
        self
    }

    /// Sets whether this process probes endpoints with a health check. Default: `false`.
    pub fn probe_endpoints(mut self, probes: bool) -> Self {
        self.draft.given.mark("health_check");
        self.draft.health_check = probes;
        self
    }

    /// Sets whether this process probes endpoints that their registry probes, too.
    ///
    /// Default: auto, which does not.
    pub fn probe(mut self, policy: ProbePolicy) -> Self {
        self.draft.given.mark("probe");
        self.draft.probe = policy;
        self
    }

    /// Sets the maximum number of retries, 0 to 20. Default: 2.
    pub fn max_retries(mut self, retries: u32) -> Self {
        self.draft.given.mark("max_retries");
        self.draft.max_retries = retries;
        self
    }

    /// Sets the first wait of the back-off between retries, 0 to 5 min. Default: 25 ms.
    pub fn retry_delay(mut self, delay: Duration) -> Self {
        self.draft.given.mark("retry_delay");
        self.draft.retry_delay = delay;
        self
    }

    /// Sets the circuit breaker settings.
    pub fn circuit_breaker(mut self, config: CircuitBreakerConfig) -> Self {
        self.draft.given.mark("circuit_breaker");
        self.draft.circuit_breaker = config;
        self
    }

    /// Sets the load balancing settings.
    pub fn load_balancer(mut self, config: LoadBalancerConfig) -> Self {
        self.draft.given.mark("load_balancer");
        self.draft.load_balancer = config;
        self
    }

    /// Sets the timeout of a call with all attempts, 1 ms to 24 h. Default: 30 s.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.draft.given.mark("timeout");
        self.draft.timeout = timeout;
        self
    }

    /// Sets the timeout of one attempt, 1 ms to the call's timeout.
    ///
    /// Default: the timeout divided by the number of attempts.
    pub fn attempt_timeout(mut self, timeout: impl Into<Option<Duration>>) -> Self {
        self.draft.given.mark("attempt_timeout");
        self.draft.attempt_timeout = timeout.into();
        self
    }

    /// Sets the back-off settings of retries.
    pub fn backoff(mut self, config: BackoffConfig) -> Self {
        self.draft.given.mark("backoff");
        self.draft.backoff = config;
        self
    }

    /// Sets the retry budget settings.
    pub fn retry_budget(mut self, config: RetryBudgetConfig) -> Self {
        self.draft.given.mark("retry_budget");
        self.draft.retry_budget = config;
        self
    }

    /// Sets the outlier detection settings.
    pub fn outlier_detection(mut self, config: OutlierConfig) -> Self {
        self.draft.given.mark("outlier_detection");
        self.draft.outlier_detection = config;
        self
    }

    /// Sets whether a call fails at once if no endpoint is available. Default: `false`.
    pub fn fail_fast(mut self, fail_fast: bool) -> Self {
        self.draft.given.mark("fail_fast");
        self.draft.fail_fast = fail_fast;
        self
    }

    /// Sets the panic threshold, in percent: 0 to 100. Default: 0, never.
    ///
    /// If a smaller percentage of a tier's endpoints is available, availability is ignored.
    pub fn panic_threshold(mut self, percent: u32) -> Self {
        self.draft.given.mark("panic_threshold");
        self.draft.panic_threshold = percent;
        self
    }

    /// Sets the slow start settings: how traffic ramps up to a new or recovered endpoint.
    ///
    /// Default: no slow start.
    pub fn slow_start(mut self, config: SlowStartConfig) -> Self {
        self.draft.given.mark("slow_start");
        self.draft.slow_start = config;
        self
    }

    /// Sets the locality of this process, which the strategy geographic requires.
    pub fn locality(mut self, locality: impl Into<Option<Locality>>) -> Self {
        self.draft.given.mark("locality");
        self.draft.locality = locality.into();
        self
    }

    /// Sets how to treat an unconfirmed empty answer. Default: hold for 5 min.
    pub fn empty_policy(mut self, policy: EmptyPolicy) -> Self {
        self.draft.given.mark("empty_policy");
        self.draft.empty_policy = policy;
        self
    }

    /// Sets how to treat an answer that removes many endpoints at once.
    ///
    /// Default: the endpoints are removed at once.
    pub fn removal_guard(mut self, guard: RemovalGuard) -> Self {
        self.draft.given.mark("removal_guard");
        self.draft.removal_guard = guard;
        self
    }

    /// Adds an entry that this crate does not interpret.
    pub fn metadata(mut self, key: impl Into<String>, value: impl Into<Value>) -> Self {
        self.draft.given.mark("metadata");
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

/// Go writes 0 for an unset number, so -1 means no retries.
pub(super) const NO_RETRIES: i128 = -1;

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn write_retries<S: Serializer>(retries: &u32, serializer: S) -> Result<S::Ok, S::Error> {
    match retries {
        0 => serializer.serialize_i8(NO_RETRIES as i8),
        retries => serializer.serialize_u32(*retries),
    }
}
