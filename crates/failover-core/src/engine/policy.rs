//! The configuration values that calls use.

use std::time::Duration;

use crate::config::{Algorithm, FailoverConfig, StrategyKind};
use crate::engine::breaker::BreakerPolicy;
use crate::engine::retry_budget::BudgetPolicy;
use crate::engine::slow_start::SlowStart;
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
    pub(crate) fail_fast: bool,
    /// Whether a custom strategy picks.
    pub(crate) custom: bool,
    pub(crate) panic_threshold: u32,
    pub(crate) slow_start: SlowStart,
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
            breaker: BreakerPolicy::from(config.circuit_breaker()),
            min_available: config.circuit_breaker().min_available(),
            fail_fast: config.fail_fast(),
            custom: config.strategy() == StrategyKind::Custom,
            panic_threshold: config.panic_threshold(),
            slow_start: SlowStart::from(config.slow_start()),
        }
    }
}
