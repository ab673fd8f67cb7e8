//! The results of the suite.

mod export;

use std::fmt;

use crate::advice::advice;
use crate::level::{Level, LevelReport, Standing};
use crate::outcome::{CaseReport, Outcome};
use crate::standings::levels;

/// The outcomes of all cases. `Display` prints a table, a line per failure, and the levels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    pub(crate) cases: Vec<CaseReport>,
    pub(crate) seed: u64,
    /// Kind and version, unless no provider could be made.
    pub(crate) provider: Option<(String, String)>,
    pub(crate) backend: String,
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

    /// Returns the levels that the provider has reached, `Read` first.
    pub fn levels(&self) -> Vec<Level> {
        let reached = |report: LevelReport| (report.standing == Standing::Reached).then_some(report.level);
        self.level_reports().into_iter().filter_map(reached).collect()
    }

    /// Returns for each level whether it was reached, and if not why and what to do.
    pub fn level_reports(&self) -> Vec<LevelReport> {
        levels(&self.cases)
    }

    /// Returns the seed of the run. `FAILOVER_CONFORMANCE_SEED` repeats a run with it.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// Panics if a case has failed.
    ///
    /// # Panics
    ///
    /// Panics with the report if a case has failed.
    pub fn assert(&self) {
        assert!(
            self.passed(),
            "the provider does not keep its contract: compare `expected` and `seen` of each clause that FAILED; \
             FAILOVER_CONFORMANCE_SEED={} repeats this run\n{self}",
            self.seed
        );
    }

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

    /// Panics unless the provider has reached the level.
    ///
    /// # Panics
    ///
    /// Panics with the report if the level is not reached, and says what to do.
    pub fn assert_level(&self, level: Level) {
        let reports = self.level_reports();
        let found = reports.iter().find(|report| report.level == level).expect("every level has a report");
        match &found.standing {
            Standing::Reached => {}
            Standing::NotOffered { why } => panic!(
                "the provider does not reach the level {level}, because it does not offer it: {why}. Offer it, or \
                 do not assert the level\n{self}"
            ),
            Standing::NotReached { why } => {
                panic!("the provider does not reach the level {level}: {why}\n{self}")
            }
        }
    }

    /// Returns how many cases passed, failed and were skipped.
    fn counts(&self) -> [usize; 3] {
        let failed = self.failures().count();
        let passed = self.cases.iter().filter(|case| case.outcome == Outcome::Passed).count();
        [passed, failed, self.cases.len() - passed - failed]
    }

    /// Returns the names of the levels that were reached, or `none`.
    fn level_names(&self) -> String {
        let names: Vec<_> = self.levels().into_iter().map(Level::as_str).collect();
        if names.is_empty() { "none".to_owned() } else { names.join(", ") }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (kind, version) =
            self.provider.as_ref().map_or(("unknown", ""), |(kind, version)| (kind, version));
        writeln!(f, "provider {kind} {version}")?;
        if !self.backend.is_empty() {
            writeln!(f, "backend {}", self.backend)?;
        }
        let (suite, core) = (crate::VERSION, failover_core::VERSION);
        writeln!(f, "failover-conformance {suite}, failover-core {core}, seed {}\n", self.seed)?;
        for CaseReport { number, name, outcome, .. } in &self.cases {
            match outcome {
                Outcome::Passed => writeln!(f, "{number:>3}  passed   {name}")?,
                Outcome::Skipped { why, .. } => writeln!(f, "{number:>3}  skipped  {name}: {why}")?,
                Outcome::Failed { expected, seen } => {
                    writeln!(
                        f,
                        "{number:>3}  FAILED   {name}\n       expected: {expected}\n       seen:     {seen}"
                    )?;
                    writeln!(f, "       to do:    {}", advice(*number))?;
                }
            }
        }
        writeln!(f)?;
        for report in self.level_reports() {
            writeln!(f, "{report}")?;
        }
        let [passed, failed, skipped] = self.counts();
        writeln!(f, "\nlevels: {}", self.level_names())?;
        write!(f, "{passed} passed, {failed} failed, {skipped} skipped")
    }
}
