//! How calls are made: strategy, retries, time, breaker, budget.
//!
//! Everything is checked when it is built or read, with an error that names the field in full.

mod backoff;
mod breaker;
pub(crate) mod defaults;
mod empty;
mod failover;
mod load_balancer;
mod locality;
mod manager;
mod removal;
mod retry_budget;
mod slow_start;
mod stored;
mod strategy;

#[cfg(test)]
mod tests;

pub use backoff::{BackoffConfig, BackoffConfigBuilder};
pub use breaker::{CircuitBreakerConfig, CircuitBreakerConfigBuilder};
pub use empty::EmptyPolicy;
pub use failover::{FailoverConfig, FailoverConfigBuilder};
pub use load_balancer::{LoadBalancerConfig, LoadBalancerConfigBuilder};
pub use locality::Locality;
pub use manager::{ManagerConfig, ManagerConfigBuilder};
pub use removal::RemovalGuard;
pub use retry_budget::{RetryBudgetConfig, RetryBudgetConfigBuilder};
pub use slow_start::{SlowStartConfig, SlowStartConfigBuilder};
pub(crate) use stored::{StoredDocument, Unknown};
pub use strategy::{Algorithm, ProbePolicy, StrategyKind};
