//! Types, provider contract and engine of `failover`.

mod config;
mod document;
mod duration;
mod endpoint;
mod error;
mod health;
mod health_check;
mod range;

pub use async_trait::async_trait;
pub use config::{
    Algorithm, BackoffConfig, BackoffConfigBuilder, CircuitBreakerConfig, CircuitBreakerConfigBuilder,
    EmptyPolicy, FailoverConfig, FailoverConfigBuilder, LoadBalancerConfig, LoadBalancerConfigBuilder,
    RetryBudgetConfig, RetryBudgetConfigBuilder, StrategyKind,
};
pub use endpoint::{Endpoint, EndpointBuilder, EndpointEntry, EndpointId, ServiceName};
pub use error::{Error, ErrorKind, RetryAdvice};
pub use health::{Health, Lifecycle};
pub use health_check::{HealthCheck, HealthCheckBuilder};
