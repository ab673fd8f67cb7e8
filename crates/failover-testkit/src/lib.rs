//! Shared by the tests of failover's own crates: real servers, scripted faults, certificates. Not
//! published.

#![cfg_attr(docsrs, feature(doc_cfg))]
#![allow(clippy::disallowed_methods, reason = "real servers take real time")]

#[cfg(feature = "net")]
mod black_hole;
#[cfg(feature = "net")]
pub mod certificates;
#[cfg(feature = "net")]
pub mod consul;
#[cfg(feature = "net")]
mod fault;
#[cfg(feature = "http-server")]
mod http_server;
#[cfg(feature = "kubernetes")]
pub mod kubernetes;
#[cfg(feature = "tls")]
mod named_server;
mod ports;
pub mod postgres;
mod process;
pub mod servers;
#[cfg(feature = "net")]
mod until;

#[cfg(feature = "net")]
pub use black_hole::BlackHole;
#[cfg(feature = "net")]
pub use fault::{FaultServer, Reply, Request};
#[cfg(feature = "http-server")]
pub use http_server::HttpServer;
#[cfg(feature = "tls")]
pub use named_server::named_server;
pub use ports::{free_port, free_ports};
pub use process::Process;
pub use tempfile::TempDir;
#[cfg(feature = "net")]
pub use until::until;
