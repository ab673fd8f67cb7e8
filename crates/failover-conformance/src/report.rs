//! What the suite has found.

use std::fmt;

/// How one case ended.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Outcome {
    /// The provider keeps the clause.
    Passed,
    /// It does not.
    Failed {
        /// What the clause asks for.
        expected: String,
        /// What the provider did.
        seen: String,
    },
    /// The provider does not offer it, or the subject has no hook for it.
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
    /// The clause in a few words.
    pub name: &'static str,
    /// How it ended.
    pub outcome: Outcome,
}

/// What every case came to. `Display` is a table, and a line for each failure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    pub(crate) cases: Vec<CaseReport>,
}

impl Report {
    /// Every case, in the order of the contract.
    pub fn cases(&self) -> &[CaseReport] {
        &self.cases
    }

    /// Whether no case has failed.
    pub fn passed(&self) -> bool {
        self.failures().next().is_none()
    }

    /// The cases that have failed.
    pub fn failures(&self) -> impl Iterator<Item = &CaseReport> {
        self.cases.iter().filter(|case| matches!(case.outcome, Outcome::Failed { .. }))
    }

    /// For a test.
    ///
    /// # Panics
    ///
    /// With the report, when a case has failed.
    pub fn assert(&self) {
        assert!(self.passed(), "the provider does not keep its contract\n{self}");
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
