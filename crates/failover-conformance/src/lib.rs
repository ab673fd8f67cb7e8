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
//! Each case has the number of its clause in the provider contract. Cases for functions that a
//! provider does not offer are skipped and reported as such. The cases use their own services,
//! whose names start with `conformance-`, and remove what they registered.
//!
//! The crate has no features. It needs Rust 1.85 and a tokio runtime with its timer enabled.

#![allow(clippy::disallowed_methods, reason = "a suite that waits, in the time of the runtime")]

mod cases;
mod report;
mod subject;

pub use report::{CaseReport, Outcome, Report};
pub use subject::{Subject, Trouble};

/// Runs every case that applies to the subject's providers, one after the other.
///
/// # Cancel safety
///
/// A dropped future leaves behind what the current case has registered.
pub async fn run(subject: &dyn Subject) -> Report {
    let mut cases = Vec::new();
    for case in cases::CASES {
        let bench = subject::Bench::new(subject, case.number);
        let outcome = match bench.within(subject.patience() * 12, (case.run)(&bench)).await {
            Ok(()) => Outcome::Passed,
            Err(Trouble::Skipped(why)) => Outcome::Skipped { why },
            Err(Trouble::Failed { expected, seen }) => Outcome::Failed { expected, seen },
        };
        bench.clean_up().await;
        cases.push(CaseReport { number: case.number, name: case.name, outcome });
    }
    Report { cases }
}
