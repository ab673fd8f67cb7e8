//! Types, provider contract and engine of `failover`: calls that survive a dying endpoint.
//!
//! Depend on this crate to publish a provider ([`provider`]), or to name a
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

mod client;
mod codec;
pub mod config;
mod contract;
mod discovery;
mod engine;
mod error;
pub mod events;
pub mod inspect;
#[cfg(all(test, failover_loom))]
mod loom_tests;
mod manager;
mod model;
mod probing;
mod runtime;

pub use async_trait::async_trait;
pub use client::call::{Attempt, AttemptRecord, Attempts, Call, CallError, Completed, StopReason};
pub use client::per_endpoint::PerEndpoint;
pub use client::pick::{OwnedPick, Pick};
pub use client::service::{IntoEndpoint, ServiceBuilder, ServiceHandle};
pub use codec::retry_after::parse_retry_after;
pub use config::{Algorithm, FailoverConfig, ManagerConfig, StrategyKind};
pub use contract::classify::{Classify, OkIsSuccess, Outcome};
pub use contract::strategy::{Candidate, Candidates, Strategy};
pub use engine::{NoEndpoints, NoEndpointsReason};
pub use error::{Error, ErrorKind, RetryAdvice, codes};
pub use manager::{EndpointRef, FailoverManager, HealthReport, ManagerBuilder, ProviderScope, Registration};
pub use model::attempt_class::AttemptClass;
pub use model::endpoint::{Endpoint, EndpointBuilder, EndpointId, ServiceName};
pub use model::health::{Health, Lifecycle};
pub use model::health_check::{HealthCheck, HealthCheckBuilder};
pub use model::load_report::LoadReport;
pub use runtime::clock::{Clock, Time};
pub use runtime::random::Random;

/// The contract of a provider: for crates that publish one, and for direct use of a provider.
pub mod provider {
    pub use crate::contract::provider::{
        AddressTrust, ConfigKey, ConfigStore, ConfigStream, ConnectionInfo, ConnectionStatus, EndpointSet,
        Feature, Provider, ProviderInfo, Query, Registry, RejectedEntry, Revision, StoredConfig, WatchStream,
    };
    pub use crate::model::endpoint::EndpointEntry;
}

/// Active health checks: how a process asks an endpoint whether it works.
pub mod probe {
    pub use crate::contract::probe::{Probe, ProbeOutcome, ProbeTarget};
}
