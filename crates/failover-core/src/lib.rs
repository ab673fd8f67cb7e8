//! Types, provider contract and engine of `failover`, which keeps calls working when an endpoint
//! fails.
//!
//! Depend on this crate to publish a provider ([`provider`], [how](provider::writing_a_provider)), or to use a [`ServiceHandle`] or an
//! [`Endpoint`] in the public API of a library. A program that makes calls depends on the facade
//! `failover`, which re-exports these types.
//!
//! ```
//! use failover_core::{Outcome, ServiceHandle};
//!
//! # fn send(_url: String) -> Result<String, std::io::Error> { Ok("Ada".into()) }
//! let users = ServiceHandle::fixed("user-service", ["http://10.0.0.1:8080", "http://10.0.0.2:8080"])?;
//!
//! // With your own transport: pick an endpoint, send the request, report the outcome.
//! let pick = users.select()?;
//! let reply = send(pick.endpoint().url("/users/7"));
//! pick.finish(Outcome::of(&reply));
//!
//! // Or let the library handle attempts, timeouts and retries: see `ServiceHandle::execute`.
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Data path of a call
//!
//! ```text
//! provider ─► discovery ─► snapshot ─► select ─► attempt ─► outcome ─► breaker, events, stats
//!             (one task)   (immutable)  (no lock, no allocation, no await)
//! ```
//!
//! Everything left of the snapshot is asynchronous and rare. Everything right of it is synchronous,
//! lock-free and, until an attempt fails, free of allocation. Time and randomness can be replaced
//! ([`Clock`], [`Random`]), so that all behaviour can be tested in virtual time and from a seed.
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
//! This crate requires Rust 1.85. Everything except a fixed list and [`ServiceHandle::select`]
//! requires tokio.

#![cfg_attr(docsrs, feature(doc_cfg))]
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
pub use client::changes::{EndpointChanges, EndpointList};
pub use client::in_flight::InFlightGuard;
pub use client::per_endpoint::PerEndpoint;
pub use client::pick::{OwnedPick, Pick};
pub use client::service::{IntoEndpoint, ServiceBuilder, ServiceHandle};
pub use codec::retry_after::parse_retry_after;
pub use config::{Algorithm, FailoverConfig, ManagerConfig, StrategyKind};
pub use contract::classify::{Classified, Classify, OkIsSuccess, Outcome};
pub use contract::strategy::{Candidate, Candidates, Strategy};
pub use engine::{NoEndpoints, NoEndpointsReason};
pub use error::{Error, ErrorKind, RetryAdvice, codes};
pub use manager::{
    EndpointRef, FailoverManager, HealthReport, ManagerBuilder, ProviderScope, Registration,
    RegistrationState, RegistrationWatch, ServiceSource, WeakManager, source,
};
pub use model::attempt_class::AttemptClass;
pub use model::endpoint::{ConnectTo, Endpoint, EndpointBuilder, EndpointId, ServiceName};
pub use model::health::{Health, Lifecycle};
pub use model::health_check::{HealthCheck, HealthCheckBuilder};
pub use model::load_report::LoadReport;
pub use runtime::clock::{Clock, Time};
pub use runtime::random::Random;

/// The version of this crate, for reports: the one that a program was built with.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The provider contract: for crates that implement a provider, and for using one directly.
pub mod provider {
    pub use crate::contract::provider::{
        AddressTrust, ConfigKey, ConfigSet, ConfigStore, ConfigStream, ConnectionInfo, ConnectionStatus,
        EndpointSet, Feature, PortChoice, Provider, ProviderInfo, Query, RegistrationStatus, Registry,
        RejectedEntry, Revision, StoredConfig, Stream, WatchStream,
    };
    pub use crate::model::endpoint::EndpointEntry;

    #[doc = include_str!("../docs/writing-a-provider.md")]
    pub mod writing_a_provider {}

    #[doc = include_str!("../docs/provider-contract.md")]
    pub mod contract {}
}

/// Active health checks: the probe contract.
pub mod probe {
    pub use crate::contract::probe::{Probe, ProbeOutcome, ProbeTarget};
}
