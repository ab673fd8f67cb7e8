//! Metrics of `failover`: the Prometheus text format at scrape time, and a bridge to the `metrics`
//! facade.
//!
//! For programs with a [`FailoverManager`](failover_core::FailoverManager) that a monitoring system
//! watches. The facade crate `failover` re-exports this crate as `failover::metrics`, behind the feature
//! `metrics`.
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let manager = failover_core::FailoverManager::builder().build().await?;
//! // What the program answers at `GET /metrics`, with the content type `CONTENT_TYPE`:
//! let body = failover_metrics::render(&manager);
//! # assert!(body.contains("# TYPE failover_calls_total counter"));
//! # Ok(()) }
//! ```
//!
//! `docs/metrics.md` in the repository lists the metrics and their labels, and reads them by
//! OpenTelemetry; a dashboard for Grafana and alert rules for Prometheus are beside it.
//!
//! The crate has no features. It needs Rust 1.85; [`install`] needs a tokio runtime.

mod bridge;
mod families;
mod limits;
mod text;

/// Compiles the README's code.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

/// Compiles the code of the guide.
#[cfg(doctest)]
#[doc = include_str!("../docs/metrics.md")]
struct Guide;

pub use bridge::{Bridge, install};
pub use limits::Limits;
pub use text::{CONTENT_TYPE, render, render_stats};
