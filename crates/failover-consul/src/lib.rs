//! A `failover` provider backed by Consul.
//!
//! For programs that register themselves in Consul, or call services registered there. The provider
//! watches services with blocking queries, has the agent check endpoints or sends heartbeats from
//! the process, supports maintenance, and stores configuration in the key-value store. The facade
//! crate `failover` re-exports this crate as `failover::consul`.
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
//! `docs/consul.md` in the repository lists what is stored where in Consul, the rights a token
//! needs, the behaviour in each kind of outage, and measurements.
//!
//! # Logging
//!
//! Events have the target `failover::consul`. `WARN`: a service is polled because no connection is
//! left for a watch; another process has taken over a registration; a heartbeat failed. `INFO`: the
//! agent lost a registration, which is restored. The engine logs the registry's answers. The token
//! is not logged at any level.
//!
//! # Features
//!
//! `consulrs`, on by default, makes the requests that `consulrs` has types for with those types. Its
//! build needs OpenSSL's headers. Without it, this crate makes the same requests itself, and nothing
//! else differs; the README states the cost of each.
//!
//! The crate needs Rust 1.85, and a tokio runtime with timer and I/O enabled.

#![cfg_attr(docsrs, feature(doc_cfg))]

mod agent;
mod backoff;
mod blocking_query;
mod client;
mod config_document;
mod config_store;
mod config_watch;
mod connections;
mod convert;
mod empty_check;
mod error;
mod heartbeat;
mod leader;
mod metrics;
mod outage;
mod provider;
mod registry;
mod settings;
mod token;
mod wire;

/// Compiles the README's code.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

pub use metrics::Metrics;
pub use provider::ConsulProvider;
pub use provider::builder::ConsulBuilder;
pub use settings::Consistency;
