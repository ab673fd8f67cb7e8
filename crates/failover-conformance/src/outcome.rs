//! The result of a case.

use std::time::Duration;

use crate::level::Level;

/// The outcome of a case.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Outcome {
    /// The provider satisfies the clause.
    Passed,
    /// The provider violates the clause.
    Failed {
        /// What the clause requires.
        expected: String,
        /// What the provider did.
        seen: String,
    },
    /// The clause was not tested.
    Skipped {
        /// What is missing, and what to do about it.
        why: String,
        /// The kind of what is missing.
        lack: Lack,
    },
}

/// What was missing for a case that was skipped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Lack {
    /// The provider does not offer the function: the clause does not apply.
    Offer,
    /// The subject has no hook for it: the clause was not tested.
    Hook,
    /// The case could not tell, because something else went wrong first.
    Evidence,
}

/// One case of the suite.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct CaseReport {
    /// The number of the clause in the provider contract.
    pub number: u32,
    /// A short form of the clause.
    pub name: &'static str,
    /// The level that the clause belongs to.
    pub level: Level,
    /// The outcome.
    pub outcome: Outcome,
    /// How long the case ran.
    pub took: Duration,
}
