//! Active health probes for `failover`: HTTP, HTTPS and TCP.
//!
//! ```
//! use failover_core::{Endpoint, FailoverConfig, FailoverManager, HealthCheck};
//! use failover_memory::MemoryProvider;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let manager = FailoverManager::builder()
//!     .provider(MemoryProvider::new())
//!     .probes(failover_probe::standard())
//!     .service_config(FailoverConfig::builder().probe_endpoints(true).build()?)
//!     .build()
//!     .await?;
//! let check = HealthCheck::builder().path("/health").build()?;
//! # let port = 1;
//! let endpoint = Endpoint::builder("users-1", "user-service", "127.0.0.1", port).protocol("http");
//! manager.register_endpoint(endpoint.health_check(check).build()?).await?;
//!
//! let report = manager.health_check("users-1").await?; // asks now; the manager goes on asking by itself
//! println!("{report}");
//! # Ok(()) }
//! ```
//!
//! A probe uses only the status of a response: it ignores the body, does not follow redirects, and
//! ignores proxies of the environment. It checks every address that a host name resolves to. TLS is
//! rustls with ring; the crate installs nothing process-wide.
//!
//! The crate has no features. It needs Rust 1.85.

mod connect;
mod http;
mod tcp;

use std::sync::Arc;

use failover_core::probe::Probe;

pub use crate::http::{HttpProbe, HttpProbeBuilder};
pub use tcp::TcpProbe;

/// Returns the probes for `http`, `https` and `tcp` with default settings.
pub fn standard() -> [(&'static str, Arc<dyn Probe>); 3] {
    let http: Arc<dyn Probe> = Arc::new(HttpProbe::new());
    [("http", Arc::clone(&http)), ("https", http), ("tcp", Arc::new(TcpProbe::new()))]
}
