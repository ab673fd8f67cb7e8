//! The results of the suite.

use std::fmt;

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
    /// The provider does not offer the function, or the subject lacks a hook for it.
    Skipped {
        /// What is missing.
        why: String,
    },
}

/// One case of the suite.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct CaseReport {
    /// The number of the clause in the provider contract.
    pub number: u32,
    /// A short form of the clause.
    pub name: &'static str,
    /// The outcome.
    pub outcome: Outcome,
}

/// The outcomes of all cases. `Display` prints a table and a line per failure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    pub(crate) cases: Vec<CaseReport>,
}

impl Report {
    /// Returns all cases, in the order of the contract.
    pub fn cases(&self) -> &[CaseReport] {
        &self.cases
    }

    /// Returns whether no case has failed.
    pub fn passed(&self) -> bool {
        self.failures().next().is_none()
    }

    /// Returns the cases that have failed.
    pub fn failures(&self) -> impl Iterator<Item = &CaseReport> {
        self.cases.iter().filter(|case| matches!(case.outcome, Outcome::Failed { .. }))
    }

    /// Panics if a case has failed.
    ///
    /// # Panics
    ///
    /// Panics with the report if a case has failed.
    pub fn assert(&self) {
        assert!(self.passed(), "the provider does not keep its contract\n{self}");
    }
}

impl Report {
    /// Panics if a case has failed, or if one of these clauses was not tested: a missing hook of the
    /// subject skips cases, and a suite that skips what matters proves nothing.
    ///
    /// # Panics
    ///
    /// Panics with the report if a case has failed, if one of these was skipped, or if there is no such
    /// clause.
    pub fn assert_covers(&self, clauses: impl IntoIterator<Item = u32>) {
        self.assert();
        let passed =
            |number| self.cases.iter().any(|case| case.number == number && case.outcome == Outcome::Passed);
        let missing: Vec<_> = clauses.into_iter().filter(|number| !passed(*number)).collect();
        assert!(
            missing.is_empty(),
            "the clauses {missing:?} were not tested: offer what they need, or give the subject the hook that the \
             report names\n{self}"
        );
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for CaseReport { number, name, outcome } in &self.cases {
            match outcome {
                Outcome::Passed => writeln!(f, "{number:>3}  passed   {name}")?,
                Outcome::Skipped { why } => writeln!(f, "{number:>3}  skipped  {name}: {why}")?,
                Outcome::Failed { expected, seen } => {
                    writeln!(
                        f,
                        "{number:>3}  FAILED   {name}\n       expected: {expected}\n       seen:     {seen}"
                    )?;
                }
            }
        }
        let skipped =
            self.cases.iter().filter(|case| matches!(case.outcome, Outcome::Skipped { .. })).count();
        let failed = self.failures().count();
        write!(f, "{} passed, {failed} failed, {skipped} skipped", self.cases.len() - failed - skipped)
    }
}
