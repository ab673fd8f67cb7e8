//! Types, provider contract and engine of `failover`.

mod availability;
mod breaker;
mod cell;
mod clock;
mod config;
mod discovery;
mod document;
mod duration;
mod endpoint;
mod engine;
mod error;
mod events;
mod execute;
mod health;
mod health_check;
mod manager;
mod outcome;
mod pick;
mod policy;
mod provider;
mod random;
mod range;
mod retry;
mod select;
mod service;
mod snapshot;
mod stats;
mod wire;

pub use async_trait::async_trait;
pub use availability::{Availability, OutCause};
pub use breaker::BreakerState;
pub use clock::Clock;
pub use config::{
    Algorithm, BackoffConfig, BackoffConfigBuilder, CircuitBreakerConfig, CircuitBreakerConfigBuilder,
    EmptyPolicy, FailoverConfig, FailoverConfigBuilder, LoadBalancerConfig, LoadBalancerConfigBuilder,
    RetryBudgetConfig, RetryBudgetConfigBuilder, StrategyKind,
};
pub use endpoint::{Endpoint, EndpointBuilder, EndpointEntry, EndpointId, ServiceName};
pub use engine::{NoEndpoints, NoEndpointsReason};
pub use error::{Error, ErrorKind, RetryAdvice};
pub use events::{Event, EventKind, Events};
pub use execute::{Attempt, AttemptClass, AttemptRecord, Attempts, Call, CallError, Done, StopReason};
pub use health::{Health, Lifecycle};
pub use health_check::{HealthCheck, HealthCheckBuilder};
pub use manager::{EndpointRef, FailoverManager, ManagerBuilder, ProviderScope};
pub use outcome::{Classify, OkIsSuccess, Outcome};
pub use pick::{OwnedPick, Pick};
pub use provider::{
    ConfigKey, ConfigStore, ConfigStream, ConnectionInfo, ConnectionStatus, EndpointSet, Feature, Provider,
    ProviderInfo, Query, Registry, RejectedEntry, Revision, StoredConfig, Trust, WatchStream,
};
pub use random::Random;
pub use service::{IntoEndpoint, ServiceBuilder, ServiceHandle};
pub use stats::{EndpointStats, ServiceStats, SourceStats};
