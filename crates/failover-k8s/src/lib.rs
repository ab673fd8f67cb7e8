//! A provider of `failover` for Kubernetes.
//!
//! For programs that call services of a cluster, from inside or outside of it: the endpoints come from the `EndpointSlices`
//! of a Service, and changes arrive as the API server sends them. Endpoints that run elsewhere can be registered, and
//! configuration is kept in a `ConfigMap` for each document. Programs that take the facade `failover` have it as `failover::k8s`.
//!
//! ```no_run
//! use failover_core::FailoverManager;
//! use failover_k8s::KubernetesProvider;
//!
//! # async fn run() -> Result<(), Box<dyn std::error::Error>> {
//! let provider = KubernetesProvider::from_env().await?; // as kubectl, or as the pod's service account
//! let manager = FailoverManager::builder().provider(provider).build().await?;
//!
//! let users = manager.service("user-service").await?;
//! println!("{}", users.select()?.endpoint().url("/users/7"));
//! # Ok(()) }
//! ```
//!
//! # Features
//!
//! k8s-openapi, on which kube is built, compiles for one version of Kubernetes, and the program at the end has to choose it:
//! the oldest API server that it will talk to. Choose with one of these features, or with one of `k8s-openapi` itself. A
//! library must choose none.
//!
//! | feature | chooses |
//! |---|---|
//! | `k8s-v1_33` … `k8s-v1_37` | that version |
//! | `k8s-latest` | the newest |
//!
//! It needs Rust 1.89, because kube does, and a tokio runtime with time and network.
//!
//! # Logging
//!
//! Target `failover::k8s`: a lease that is not renewed, was lost or may have run out, endpoints of
//! processes that are gone, credentials that are not renewed (all `WARN`), and a registration that
//! another process has taken over (`INFO`). Neither tokens nor the output of credentials plugins are
//! logged.
//!
//! # What it does to the process
//!
//! kube takes its cryptography from rustls' process-wide default. Where none is set when a provider is built, this crate
//! sets that of ring; set another before, and that one is used. It is the only thing that it does to the whole process.

mod api;
mod auth;
mod backoff;
mod client;
mod cluster;
mod config_store;
mod convert;
mod credentials;
mod endpoints;
mod error;
mod exec_credential;
mod lease;
mod names;
mod provider;
mod reaper;
mod reflector;
mod registry;
mod server_url;
mod settings;
mod slice_store;
mod slices;
mod timestamp;

pub use provider::KubernetesProvider;
pub use provider::builder::KubernetesProviderBuilder;
pub use settings::AddressFamily;
