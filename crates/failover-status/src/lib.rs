//! The status page of `failover`: services, endpoints and the reasons for their state, as HTML and
//! JSON.
//!
//! For programs with a [`FailoverManager`](failover_core::FailoverManager) that operators look at. The
//! facade crate `failover` re-exports this crate as `failover::status`, behind the feature `status`.
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let manager = failover_core::FailoverManager::builder().build().await?;
//! use axum::Router;
//!
//! let app: Router = Router::new().nest("/failover", failover_status::router(&manager));
//! # Ok(()) }
//! ```
//!
//! With another server than axum, answer with what [`render`] returns.
//!
//! # Pages
//!
//! | path | shows |
//! |---|---|
//! | `/` | all services with endpoints in use, calls, failures and percentiles; the last events |
//! | `/service/NAME` | one service: the last 10 s and the last minute, each second of it, sources, endpoints with the reason for their state and what changes it next, budget, events, configuration |
//! | `/json`, `/json/NAME` | the same as JSON |
//!
//! Parameters: `page`, from 1, of 100 services or endpoints; `show=out` for the endpoints that are out;
//! `query` for a service that was asked for with one; `refresh=5` to load the page again every 5 s. One
//! that is not valid counts as not given.
//!
//! A page has no scripts and loads nothing. Rates and percentiles come from readings that the engine
//! takes about once a second while calls are made: no task runs for the page. Percentiles are
//! interpolated within the buckets of [`Durations`](failover_core::inspect::Durations). A service with
//! more than 64 endpoints has them only for periods that begin with a look at the page, so that they
//! appear with `refresh` after 10 s.
//!
//! # Operations
//!
//! [`router_with_operations`] adds a form, behind a token: force an endpoint out, in, or only observe it
//! ([`Forced`](failover_core::inspect::Forced)), and drain it in its registry. Without it, the pages only
//! read.
//!
//! The crate has no features. It needs Rust 1.85.

mod figures;
mod form;
mod html;
mod json;
mod lookup;
mod operations;
mod overview;
mod page;
mod render;
mod route;
mod router;
mod service;

/// Compiles the README's code.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

pub use operations::Operations;
pub use page::{HEADERS, Page};
pub use render::render;
pub use router::{router, router_with_operations};
