//! Calls that survive a dying endpoint.
//!
//! For programs that call services with more than one endpoint. It discovers the endpoints, tracks
//! their health, picks one for each call, and retries a failed call on another endpoint, with load
//! balancing, circuit breakers and a retry budget.
//!
//! # A fixed list
//!
//! ```
//! use failover::ServiceHandle;
//!
//! # struct Http;
//! # impl Http { async fn get(&self, url: String) -> Result<String, std::io::Error> { Ok(url) } }
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let http = Http;
//! let users = ServiceHandle::fixed("user-service", ["http://10.0.0.1:8080", "http://10.0.0.2:8080"])?;
//! let done = users.execute(async |endpoint| http.get(endpoint.url("/users/7")).await).await?;
//! println!("{} from {} in {} attempts", done.value, done.endpoint.id(), done.attempts.len());
//! # Ok(()) }
//! ```
//!
//! The closure can run more than once, because each retry runs it again. It borrows what it
//! captures, so write `async |endpoint| …`, not `async move`.
//!
//! # A registry
//!
//! A provider discovers endpoints that change over time. The provider in memory needs no server;
//! calls are the same with any provider.
//!
#![cfg_attr(feature = "memory", doc = "```")]
#![cfg_attr(not(feature = "memory"), doc = "```ignore")]
//! use failover::memory::MemoryProvider;
//! use failover::{Endpoint, FailoverManager};
//!
//! # struct Http;
//! # impl Http { async fn get(&self, url: String) -> Result<String, std::io::Error> { Ok(url) } }
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let http = Http;
//! let manager = FailoverManager::builder().provider(MemoryProvider::new()).build().await?;
//! for (id, port) in [("users-1", 8081), ("users-2", 8082)] {
//!     let endpoint = Endpoint::builder(id, "user-service", "127.0.0.1", port).protocol("http").build()?;
//!     manager.register_endpoint(endpoint).await?;
//! }
//!
//! let users = manager.service("user-service").await?; // shared per service, cheap to clone
//! let done = users.execute(async |endpoint| http.get(endpoint.url("/users/7")).await).await?;
//! assert!(done.value.ends_with("/users/7"));
//!
//! manager.deregister_endpoint(("user-service", "users-1")).await?; // no call goes there any more
//! manager.close().await?;
//! # Ok(()) }
//! ```
//!
//! # Which crate to depend on
//!
//! | you write | depend on |
//! |---|---|
//! | a program that makes calls | `failover`, this crate: it holds no logic and re-exports the others |
//! | an author of a provider; a library with a [`ServiceHandle`] or an [`Endpoint`] in its interface | `failover-core` |
//! | a program that chooses each crate and its version itself | `failover-core` and its providers |
//!
//! The types are identical either way.
//!
//! # Features
//!
//! A feature adds names and changes no behaviour.
//!
//! | feature | adds |
//! |---|---|
//! | `memory`, on by default | `failover::memory`: the provider that keeps its endpoints in memory |
//! | `toml`, `yaml` | `from_toml`, `from_yaml` of the configurations |
//! | `probe` | `failover::probe`: health probes over HTTP, HTTPS, gRPC and TCP; brings hyper and rustls |
//! | `http` | `failover::http`: reply rules, URLs, gateway statuses and headers on the types of the `http` crate |
//! | `tower` | `failover::tower`: a layer that fails over, a connector, a `Discover`, and a service per endpoint |
//! | `reqwest` | `failover::reqwest`: a client that calls services by name, and a middleware; brings reqwest |
//! | `tonic` | `failover::tonic`: a channel for gRPC clients that fails over; brings tonic without its TLS and server |
//! | `consul-slim` | `failover::consul`: the provider for Consul; brings hyper and rustls |
//! | `metrics` | `failover::metrics`: the Prometheus text format at scrape time, and a bridge to the `metrics` facade |
//! | `status` | `failover::status`: the status page, with a router for axum; brings axum without its server |
//! | `full` | all of the above: everything that builds with Rust 1.85, and without a choice or a system library |
//! | `consul` | `consul-slim`, with requests made by consulrs: the same behaviour; its build needs the headers of OpenSSL |
//! | `dns` | `failover::dns`: endpoints from A, AAAA and SRV records; brings hickory-resolver, and needs Rust 1.88 |
//! | `file` | `failover::file`: endpoints and configuration from one TOML, YAML or JSON file that is watched; needs Rust 1.88 |
//! | `k8s` | `failover::k8s`: the provider for Kubernetes; brings kube, hyper and rustls, and needs Rust 1.89 |
//! | `k8s-v1_33` … `k8s-v1_37`, `k8s-latest` | `k8s`, built for that version of Kubernetes: a program with `k8s` chooses one, the oldest API server that it talks to |
//!
//! The crate needs Rust 1.85 without `dns`, `file` and `k8s`, and tokio for everything but [`ServiceHandle::fixed`]
//! and [`ServiceHandle::select`].

#![cfg_attr(docsrs, feature(doc_cfg))]

#[doc(inline)]
pub use failover_core::{
    Algorithm, Attempt, AttemptClass, AttemptRecord, Attempts, Call, CallError, Candidate, Candidates,
    Classified, Classify, Clock, Completed, ConnectTo, Endpoint, EndpointBuilder, EndpointChanges,
    EndpointId, EndpointList, EndpointRef, Error, ErrorKind, FailoverConfig, FailoverManager, Health,
    HealthCheck, HealthCheckBuilder, HealthReport, InFlightGuard, IntoEndpoint, Lifecycle, LoadReport,
    ManagerBuilder, ManagerConfig, NoEndpoints, NoEndpointsReason, OkIsSuccess, Outcome, OwnedPick,
    PerEndpoint, Pick, ProviderScope, Random, Registration, RegistrationState, RegistrationWatch,
    RetryAdvice, ServiceBuilder, ServiceHandle, ServiceName, ServiceSource, StopReason, Strategy,
    StrategyKind, Time, WeakManager, async_trait, codes, parse_retry_after, source,
};
#[doc(inline)]
pub use failover_core::{config, events, inspect, provider};

/// The provider in memory.
#[cfg(feature = "memory")]
pub mod memory {
    #[doc(inline)]
    pub use failover_memory::*;
}

/// The provider for Consul.
#[cfg(feature = "consul-slim")]
pub mod consul {
    #[doc(inline)]
    pub use failover_consul::*;
}

/// Endpoints from DNS.
#[cfg(feature = "dns")]
pub mod dns {
    #[doc(inline)]
    pub use failover_dns::*;
}

/// The provider for Kubernetes.
#[cfg(feature = "k8s")]
pub mod k8s {
    #[doc(inline)]
    pub use failover_k8s::*;
}

/// HTTP on the types of the `http` crate: reply rules, URLs, gateway statuses, headers.
#[cfg(feature = "http")]
pub mod http {
    #[doc(inline)]
    pub use failover_http::*;
}

/// A client of reqwest that calls services by name, and a middleware.
#[cfg(feature = "reqwest")]
pub mod reqwest {
    #[doc(inline)]
    pub use failover_reqwest::*;
}

/// Endpoints and configuration from one file that is watched.
#[cfg(feature = "file")]
pub mod file {
    #[doc(inline)]
    pub use failover_file::*;
}

/// A tower layer that fails over, and what else tower and hyper need.
#[cfg(feature = "tower")]
pub mod tower {
    #[doc(inline)]
    pub use failover_tower::*;
}

/// A channel for tonic's gRPC clients that fails over.
#[cfg(feature = "tonic")]
pub mod tonic {
    #[doc(inline)]
    pub use failover_tonic::*;
}

/// Metrics: the Prometheus text format, and a bridge to the `metrics` facade.
#[cfg(feature = "metrics")]
pub mod metrics {
    #[doc(inline)]
    pub use failover_metrics::*;
}

/// Active health checks: the trait [`Probe`](probe::Probe), and with the feature `probe` its
/// implementations for HTTP, HTTPS, gRPC and TCP.
pub mod probe {
    #[doc(inline)]
    pub use failover_core::probe::*;
    #[cfg(feature = "probe")]
    #[doc(inline)]
    pub use failover_probe::*;
}

/// The status page: services, endpoints and the reasons for their state.
#[cfg(feature = "status")]
pub mod status {
    #[doc(inline)]
    pub use failover_status::*;
}

/// Compiles the examples of the guide.
#[cfg(doctest)]
#[doc = include_str!("../docs/guide-compile-errors.md")]
struct CompileErrors;

/// Compiles the README's code.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
