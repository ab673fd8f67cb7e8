//! Configuration of calls: strategy, retries, timeouts, breaker, budget.
//!
//! Values are validated when they are built or read; an error gives the full name of the field.

pub(crate) mod backoff;
pub(crate) mod breaker;
pub(crate) mod defaults;
pub(crate) mod empty;
pub(crate) mod failover;
pub(crate) mod failover_document;
pub(crate) mod given;
pub(crate) mod layers;
pub(crate) mod load_balancer;
pub(crate) mod locality;
pub(crate) mod manager;
pub(crate) mod outlier;
pub(crate) mod removal;
pub(crate) mod retry_budget;
pub(crate) mod slow_start;
pub(crate) mod stored;
pub(crate) mod strategy;
pub(crate) mod together;
pub(crate) mod usable;

pub use backoff::{BackoffConfig, BackoffConfigBuilder};
pub use breaker::{CircuitBreakerConfig, CircuitBreakerConfigBuilder};
pub use empty::EmptyPolicy;
pub use failover::{FailoverConfig, FailoverConfigBuilder};
pub(crate) use layers::{Layer, layered};
pub use load_balancer::{LoadBalancerConfig, LoadBalancerConfigBuilder};
pub use locality::Locality;
pub use manager::{ManagerConfig, ManagerConfigBuilder};
pub use outlier::{OutlierConfig, OutlierConfigBuilder};
pub use removal::RemovalGuard;
pub use retry_budget::{RetryBudgetConfig, RetryBudgetConfigBuilder};
pub use slow_start::{SlowStartConfig, SlowStartConfigBuilder};
pub(crate) use stored::{StoredDocument, Unknown};
pub use strategy::{Algorithm, ProbePolicy, StrategyKind};

#[cfg(test)]
mod tests;
