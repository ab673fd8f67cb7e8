//! A `failover` provider for Kubernetes.
//!
//! For programs that call services of a cluster from inside or outside. Endpoints come from a
//! Service's `EndpointSlices`, and changes arrive as the API server sends them. Endpoints outside
//! the cluster can be registered, and configuration is stored in one `ConfigMap` per document. The
//! facade crate `failover` re-exports this crate as `failover::k8s`.
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
//! kube is built on k8s-openapi, which compiles for one version of Kubernetes. The final program
//! must select it: the oldest API server that it will talk to. Select it with one of these
//! features, or with one of `k8s-openapi` itself. A library must not select any.
//!
//! | feature | chooses |
//! |---|---|
//! | `k8s-v1_33` … `k8s-v1_37` | that version |
//! | `k8s-latest` | the newest |
//!
//! The crate needs Rust 1.89, because kube does, and a tokio runtime with timer and I/O enabled.
//!
//! # Logging
//!
//! Events have the target `failover::k8s`. `WARN`: a lease is not renewed, was lost or may have
//! expired; a registration was deleted in the cluster and is back, or another process has taken it
//! over or deregistered it; endpoints of processes that are gone; credentials are not renewed.
//! `INFO`: the port of a service has changed. Neither tokens nor the output of credentials plugins
//! are logged.
//!
//! # Process-wide effects
//!
//! kube uses rustls's process-wide default provider of cryptography. If none is set when a provider
//! is built, this crate installs ring's; one that was set before stays in use. The crate has no
//! other process-wide effect.

#![cfg_attr(docsrs, feature(doc_cfg))]

mod api;
mod auth;
mod auth_info;
mod backoff;
mod certificate;
mod client;
mod cluster;
mod config_store;
mod convert;
mod credential_files;
mod credentials;
mod election;
mod endpoints;
mod error;
mod exec_credential;
mod kubeconfig;
mod lease;
mod names;
mod namespace_watch;
mod ownership;
mod pods;
mod provider;
mod reaper;
mod reflector;
mod registry;
mod server_url;
mod settings;
mod signal;
mod slice_store;
mod slices;
mod target;
mod timestamp;
mod transport;

pub use provider::KubernetesProvider;
pub use provider::builder::KubernetesProviderBuilder;
pub use settings::AddressFamily;
