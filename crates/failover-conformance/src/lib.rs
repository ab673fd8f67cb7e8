//! The provider contract of `failover` as a test suite, for crates that implement a provider.
//!
//! ```
//! use std::sync::Arc;
//!
//! use failover_conformance::Subject;
//! use failover_core::{Error, async_trait};
//! use failover_core::provider::Provider;
//! use failover_memory::{MemoryCluster, MemoryProvider};
//!
//! struct Memory(MemoryCluster);
//!
//! #[async_trait]
//! impl Subject for Memory {
//!     async fn provider(&self) -> Result<Arc<dyn Provider>, Error> {
//!         Ok(Arc::new(self.0.provider()))
//!     }
//! }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() {
//! let report = failover_conformance::run(&Memory(MemoryCluster::new())).await;
//! println!("{report}");
//! report.assert(); // panics with the report when a case has failed
//! # }
//! ```
//!
//! Each clause belongs to a [`Level`]; [`Report::assert_level`] fails a test unless the provider reaches
//! it. What the suite cannot know about a backend, the hooks of [`Subject`] tell it.
//!
//! Each case has the number of its clause in the provider contract. Cases for functions that a
//! provider does not offer are skipped and reported as such. The cases use their own services,
//! whose names start with `conformance-`, and remove what they registered.
//!
//! The crate has no features. It needs Rust 1.85 and a tokio runtime with its timer enabled.

#![allow(clippy::disallowed_methods, reason = "a suite that waits, in the time of the runtime")]

mod advice;
mod bench;
mod cases;
mod level;
mod outcome;
mod random;
mod report;
mod run;
mod standings;
mod subject;
mod together;

pub use level::{Level, LevelReport, Standing};
pub use outcome::{CaseReport, Lack, Outcome};
pub use report::Report;
pub use run::{run, run_with_seed};
pub use subject::Subject;

const VERSION: &str = env!("CARGO_PKG_VERSION");
