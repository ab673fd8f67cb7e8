//! Types, provider contract and engine of `failover`: calls that survive a dying endpoint.
//!
//! Depend on this crate to publish a provider ([`Provider`] and what stands beside it), or to name a
//! [`ServiceHandle`] or an [`Endpoint`] in the interface of a library. A program that makes calls depends on the facade
//! `failover`, whose types are these.
//!
//! ```
//! use failover_core::{Outcome, ServiceHandle};
//!
//! # fn send(_url: String) -> Result<String, std::io::Error> { Ok("Ada".into()) }
//! let users = ServiceHandle::fixed("user-service", ["http://10.0.0.1:8080", "http://10.0.0.2:8080"])?;
//!
//! // For who owns the transport: pick, send, say how it went.
//! let pick = users.select()?;
//! let reply = send(pick.endpoint().url("/users/7"));
//! pick.finish(Outcome::of(&reply));
//!
//! // Or leave attempts, time limits and retries to the library: see `ServiceHandle::execute`.
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # How a call travels
//!
//! ```text
//! provider ─► discovery ─► snapshot ─► select ─► attempt ─► outcome ─► breaker, events, stats
//!             (one task)   (immutable)  (no lock, no allocation, no await)
//! ```
//!
//! Everything left of the snapshot is asynchronous and rare, everything right of it is synchronous, lock-free and free
//! of allocation until something fails. Time and randomness can be replaced ([`Clock`], [`Random`]), so that every
//! behaviour can be tested in virtual time and from a seed.
//!
//! # Features
//!
//! A feature adds names and changes no behaviour; none is on by default.
//!
//! | feature | adds |
//! |---|---|
//! | `toml` | `from_toml` of the configurations |
//! | `yaml` | `from_yaml` of the configurations |
//!
//! It needs Rust 1.85 and, for everything but a fixed list and [`ServiceHandle::select`], tokio.

#![cfg_attr(test, allow(clippy::disallowed_methods, reason = "tests measure time"))]

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
mod explain;
mod hash;
mod health;
mod health_check;
mod latency;
mod load_report;
mod manager;
#[cfg(all(test, failover_loom))]
mod models;
mod outcome;
mod per_endpoint;
mod pick;
mod policy;
mod probe;
mod provider;
mod random;
mod range;
mod retry;
mod select;
mod service;
mod slow_start;
mod snapshot;
mod stats;
mod strategy;
mod sync;
mod task;
mod thread_number;
mod wire;

pub use async_trait::async_trait;
pub use availability::{Availability, OutCause};
pub use breaker::BreakerState;
pub use clock::Clock;
pub use config::{
    Algorithm, BackoffConfig, BackoffConfigBuilder, CircuitBreakerConfig, CircuitBreakerConfigBuilder,
    EmptyPolicy, FailoverConfig, FailoverConfigBuilder, LoadBalancerConfig, LoadBalancerConfigBuilder,
    Locality, ManagerConfig, ManagerConfigBuilder, ProbePolicy, RemovalGuard, RetryBudgetConfig,
    RetryBudgetConfigBuilder, SlowStartConfig, SlowStartConfigBuilder, StrategyKind,
};
pub use endpoint::{Endpoint, EndpointBuilder, EndpointEntry, EndpointId, ServiceName};
pub use engine::{NoEndpoints, NoEndpointsReason, OutEndpoint};
pub use error::{Error, ErrorKind, RetryAdvice};
pub use events::{Event, EventKind, Events};
pub use execute::{Attempt, AttemptClass, AttemptRecord, Attempts, Call, CallError, Done, StopReason};
pub use explain::{EndpointExplanation, Explanation};
pub use health::{Health, Lifecycle};
pub use health_check::{HealthCheck, HealthCheckBuilder};
pub use latency::Latency;
pub use load_report::LoadReport;
pub use manager::{EndpointRef, FailoverManager, HealthReport, ManagerBuilder, ProviderScope, Serving};
pub use outcome::{Classify, OkIsSuccess, Outcome};
pub use per_endpoint::PerEndpoint;
pub use pick::{OwnedPick, Pick};
pub use probe::{Finding, Probe, ProbeTarget};
pub use provider::{
    ConfigKey, ConfigStore, ConfigStream, ConnectionInfo, ConnectionStatus, EndpointSet, Feature, Provider,
    ProviderInfo, Query, Registry, RejectedEntry, Revision, StoredConfig, Trust, WatchStream,
};
pub use random::Random;
pub use service::{IntoEndpoint, ServiceBuilder, ServiceHandle};
pub use stats::{EndpointStats, ProviderStats, ServiceStats, SourceStats};
pub use strategy::{Candidate, Candidates, Strategy};
