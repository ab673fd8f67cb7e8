//! Active health probes for `failover`: HTTP, HTTPS, gRPC and TCP.
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
//! An HTTP probe uses only the status of a response: it ignores the body, does not follow redirects,
//! and ignores proxies of the environment. A gRPC probe calls `grpc.health.v1.Health/Check`. Probes
//! check every address that a host name resolves to, and try the next one after 250 ms without an
//! answer. TLS is rustls with ring and the authorities of the platform; the crate installs nothing
//! process-wide.
//!
//! The crate has no features. It needs Rust 1.85.

mod client;
mod grpc;
mod http;
mod tcp;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use failover_core::probe::Probe;

pub use crate::http::{HttpProbe, HttpProbeBuilder};
pub use grpc::{GrpcProbe, GrpcProbeBuilder};
pub use tcp::TcpProbe;

/// Returns the probes for `http`, `https`, `grpc`, `grpcs` and `tcp` with default settings.
pub fn standard() -> [(&'static str, Arc<dyn Probe>); 5] {
    let (http, grpc): (Arc<dyn Probe>, Arc<dyn Probe>) =
        (Arc::new(HttpProbe::new()), Arc::new(GrpcProbe::new()));
    [
        ("http", Arc::clone(&http)),
        ("https", http),
        ("grpc", Arc::clone(&grpc)),
        ("grpcs", grpc),
        ("tcp", Arc::new(TcpProbe::new())),
    ]
}
