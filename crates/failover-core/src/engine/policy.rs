//! The configuration values that calls use.

use std::time::Duration;

use crate::config::{Algorithm, CircuitBreakerConfig, FailoverConfig, StrategyKind};
use crate::engine::breaker::BreakerPolicy;
use crate::engine::outlier::OutlierPolicy;
use crate::engine::retry_budget::BudgetPolicy;
use crate::engine::slow_start::SlowStart;
use crate::engine::state::failure_window::RatePolicy;
use crate::runtime::backoff::Backoff;

/// The values that a call copies, so that it keeps its settings to the end and writes no shared
/// reference count.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CallPolicy {
    pub(crate) max_retries: u32,
    pub(crate) timeout: Duration,
    /// Set if configured; otherwise each attempt gets a share of the call's timeout.
    pub(crate) attempt_timeout: Option<Duration>,
    pub(crate) backoff: Backoff,
    pub(crate) budget: BudgetPolicy,
}

/// The values that are derived once per snapshot.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Policy {
    pub(crate) call: CallPolicy,
    pub(crate) algorithm: Algorithm,
    pub(crate) breaker: BreakerPolicy,
    pub(crate) min_available: u32,
    /// The share of a tier that ambiguous evidence may take out.
    pub(crate) max_ejected: f64,
    pub(crate) failure_rate: Option<RatePolicy>,
    pub(crate) freeze: Duration,
    pub(crate) outliers: OutlierPolicy,
    /// The share of ambiguous failures above which no retry follows one.
    pub(crate) max_ambiguous: f32,
    pub(crate) fail_fast: bool,
    /// The most calls in flight to one endpoint; `u32::MAX` without a limit.
    pub(crate) max_in_flight: u32,
    /// Whether a custom strategy picks.
    pub(crate) custom: bool,
    /// How long sessions stay on an endpoint that drains.
    pub(crate) sticky_drain: Duration,
    pub(crate) panic_threshold: u32,
    pub(crate) slow_start: SlowStart,
}

impl CallPolicy {
    /// The time that an attempt gets unless the call or its deadline sets another.
    pub(crate) fn usual_attempt(&self) -> Duration {
        self.attempt_timeout.unwrap_or(self.timeout / (self.max_retries + 1))
    }
}

impl From<&FailoverConfig> for CallPolicy {
    fn from(config: &FailoverConfig) -> Self {
        Self {
            max_retries: config.max_retries(),
            timeout: config.timeout(),
            attempt_timeout: config.given_attempt_timeout(),
            backoff: Backoff::new(
                config.retry_delay(),
                config.backoff().max_delay(),
                config.backoff().multiplier(),
            ),
            budget: BudgetPolicy::from(config.retry_budget()),
        }
    }
}

impl From<&FailoverConfig> for Policy {
    fn from(config: &FailoverConfig) -> Self {
        Self {
            call: CallPolicy::from(config),
            algorithm: config.algorithm(),
            breaker: BreakerPolicy::from(config),
            min_available: config.floor(),
            max_ejected: config.circuit_breaker().max_ejected(),
            failure_rate: rate_policy(config.circuit_breaker()),
            freeze: config.circuit_breaker().freeze_time(),
            outliers: OutlierPolicy::from(config.outlier_detection()),
            max_ambiguous: config.retry_budget().max_ambiguous() as f32,
            fail_fast: config.fail_fast(),
            max_in_flight: config.load_balancer().max_in_flight().unwrap_or(u32::MAX),
            custom: config.strategy() == StrategyKind::Custom,
            sticky_drain: config.load_balancer().sticky_drain_timeout(),
            panic_threshold: config.panic_threshold(),
            slow_start: SlowStart::from(config.slow_start()),
        }
    }
}

fn rate_policy(config: &CircuitBreakerConfig) -> Option<RatePolicy> {
    let rate = config.failure_rate().filter(|_| config.enabled())?;
    let (window, min_attempts) = (config.failure_rate_window(), config.failure_rate_attempts());
    Some(RatePolicy { rate, window, min_attempts })
}
