//! Endpoints and configuration of `failover` from one file that is watched.
//!
//! For programs whose endpoints are written by a person, a deployment or a sidecar: a TOML, YAML or JSON
//! file, such as a `ConfigMap` of Kubernetes. [`FileProvider`] shows a file and a program. The facade crate
//! `failover` re-exports this crate as `failover::file`, behind the feature `file`.
//!
//! # The file
//!
//! | key | value |
//! |---|---|
//! | `services.NAME.endpoints` | a list of URLs, such as `"http://10.0.0.1:8080"`, and of tables with the fields of an [`Endpoint`](failover_core::Endpoint) and of the claims about it: `id` (default: address and port), `address`, `port`, `protocol`, `weight`, `zone`, `tags`, `metadata`, `health`, `draining`, `maintenance`, … |
//! | `services.NAME.config` | the configuration of this service, as `FailoverConfig` reads it |
//! | `services.NAME` | the list itself, for a service without configuration |
//! | `config` | the configuration of all other services |
//!
//! Another key is an error, because it is likely a misspelt one.
//!
//! The crate has no features. It needs Rust 1.88 and a tokio runtime with its timer enabled.
//!
//! # Logging
//!
//! Events have the target `failover::file`: what is left out of a file, and a directory that the system
//! cannot watch (`WARN`).

mod document;
mod provider;
mod source;
mod text;

/// Compiles the README's code.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

pub use provider::{FileProvider, FileProviderBuilder};
