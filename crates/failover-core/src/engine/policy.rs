//! The numbers of a configuration that calls go by.

use std::time::Duration;

use crate::config::{Algorithm, FailoverConfig, StrategyKind};
use crate::engine::breaker::BreakerPolicy;
use crate::engine::retry_budget::BudgetPolicy;
use crate::engine::slow_start::SlowStart;
use crate::runtime::backoff::Backoff;

/// A copy of what a call carries with it: it keeps what it began with, and no shared count is written for it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CallPolicy {
    pub(crate) max_retries: u32,
    pub(crate) timeout: Duration,
    /// Where it is given; else each attempt has its share of the whole.
    pub(crate) attempt_timeout: Option<Duration>,
    pub(crate) backoff: Backoff,
    pub(crate) budget: BudgetPolicy,
}

/// What is worked out once for each snapshot.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Policy {
    pub(crate) call: CallPolicy,
    pub(crate) algorithm: Algorithm,
    pub(crate) breaker: BreakerPolicy,
    pub(crate) min_available: u32,
    pub(crate) fail_fast: bool,
    /// Whether the caller's own strategy chooses.
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
