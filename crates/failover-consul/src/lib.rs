//! A provider of `failover` that keeps its endpoints in Consul.
//!
//! For programs that register themselves in Consul, or call services that are registered there: with blocking queries that
//! survive what agents and servers really do, checks by the agent or heartbeats by the process, maintenance, and
//! configuration in the key-value store. Programs that take the facade `failover` have it as `failover::consul`.
//!
//! ```no_run
//! use failover_consul::ConsulProvider;
//! use failover_core::{Endpoint, FailoverManager};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let consul = ConsulProvider::from_env()?; // CONSUL_HTTP_ADDR and the others; or ConsulProvider::builder()
//! let manager = FailoverManager::builder().provider(consul).build().await?;
//!
//! let endpoint = Endpoint::builder("users-1", "user-service", "10.0.0.1", 8080).protocol("http").build()?;
//! let serving = manager.register_self(endpoint).await?; // registered until this is closed or dropped
//!
//! let users = manager.service("user-service").await?;
//! println!("{}", users.select()?.endpoint().url("/"));
//! serving.close().await?;
//! # Ok(()) }
//! ```
//!
//! What is written to which place of Consul, the rights that a token needs, what happens in each kind of outage, and
//! figures: `docs/consul.md` in the repository.
//!
//! # Logging
//!
//! Target `failover::consul`: a service that is polled because no connection is left for its watch
//! (`WARN`), a registration that the agent lost and that is restored (`INFO`), one that another process
//! has taken over (`WARN`), a heartbeat that failed (`WARN`). The engine logs what a registry answers.
//! The token is in no line of any level.
//!
//! There are no features. It needs Rust 1.85, a tokio runtime with its timer and I/O, and, to be built, the headers of OpenSSL:
//! see the README.

mod address;
mod agent;
mod backoff;
mod blocking_query;
mod client;
mod config_store;
mod convert;
mod empty_check;
mod error;
mod heartbeat;
mod leader;
mod metrics;
mod provider;
mod registry;
mod settings;
mod tls;
mod token;
mod wire;

/// The code of the README, compiled.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

pub use metrics::Metrics;
pub use provider::ConsulProvider;
pub use provider::builder::ConsulBuilder;
pub use settings::Consistency;
