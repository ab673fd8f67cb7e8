//! A `failover` provider that keeps its endpoints in memory.
//!
//! For programs that know their endpoints themselves, for tests of programs that use another
//! registry in production, and for authors of providers: it is the shortest complete implementation
//! of the contract. The facade crate `failover` re-exports this crate as `failover::memory`.
//!
//! A [`MemoryCluster`] holds the endpoints; any number of [`MemoryProvider`]s and managers share
//! it. A change through one of them is pushed to all others immediately.
//!
//! ```
//! use failover_core::{Endpoint, FailoverManager};
//! use failover_memory::MemoryCluster;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let cluster = MemoryCluster::new();
//! let writer = FailoverManager::builder().provider(cluster.provider()).build().await?;
//! let reader = FailoverManager::builder().provider(cluster.provider()).build().await?;
//!
//! let endpoint = Endpoint::builder("users-1", "user-service", "127.0.0.1", 8080).protocol("http").build()?;
//! writer.register_endpoint(endpoint).await?;
//!
//! let users = reader.service("user-service").await?;
//! assert_eq!(users.select()?.endpoint().url("/"), "http://127.0.0.1:8080/");
//! # Ok(()) }
//! ```
//!
//! The crate has no features. It needs Rust 1.85.

mod cluster;
mod provider;
mod store;
mod watch;

pub use cluster::MemoryCluster;
pub use provider::MemoryProvider;
