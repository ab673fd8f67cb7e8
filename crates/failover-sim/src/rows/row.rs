//! One row, and what the rows share.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use failover_core::Error;

use crate::policy::Policy;
use crate::record::{Report, SECOND};
use crate::rows::target::{Target, Verdict};
use crate::run::run;
use crate::scenario::{Model, Scenario};
use crate::server::Queue;
use crate::service_time::ServiceTime;

/// When the fault of a row begins, in seconds.
pub(super) const BEGINS: u64 = 5;

/// One row of the effect table.
#[derive(Clone, Debug)]
pub struct Row {
    scenario: Scenario,
    control: Policy,
    targets: Vec<Target>,
    /// How long random without any logic needs to recover, by seed: the same for every policy.
    random: Arc<Mutex<HashMap<u64, Option<usize>>>>,
}

impl Row {
    pub(super) fn new(scenario: Scenario, control: Policy, targets: Vec<Target>) -> Self {
        Self { scenario, control, targets, random: Arc::default() }
    }

    /// The name.
    pub fn name(&self) -> &str {
        self.scenario.name()
    }

    /// The scenario.
    pub fn scenario(&self) -> &Scenario {
        &self.scenario
    }

    /// The row with another scenario.
    pub(crate) fn with_scenario(&self, scenario: Scenario) -> Self {
        Self { scenario, random: Arc::default(), ..self.clone() }
    }

    /// The naive policy that must fail.
    pub fn control(&self) -> Policy {
        self.control
    }

    /// Runs a policy from a seed and judges what its callers saw.
    ///
    /// # Errors
    ///
    /// As [`run`].
    pub fn judge(&self, policy: Policy, seed: u64) -> Result<Verdict, Error> {
        let report = run(&self.scenario, policy, seed)?;
        Ok(self.verdict(&report, seed))
    }

    /// Judges a report of a run of this row's scenario from this seed.
    pub fn verdict(&self, report: &Report, seed: u64) -> Verdict {
        let judge = |target: &Target| {
            target.judge(report, || match target {
                Target::Recovers { after } => self.random_recovery(seed, *after),
                _ => None,
            })
        };
        Verdict::all(self.targets.iter().map(judge).collect())
    }

    fn random_recovery(&self, seed: u64, after: usize) -> Option<usize> {
        let known = || self.random.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = known().get(&seed) {
            return *found;
        }
        let report = run(&self.scenario, Policy::Random, seed).ok();
        let found = report.and_then(|report| report.recovery(after));
        known().insert(seed, found);
        found
    }

    /// Whether enough of the seeds have passed: 17 of 20, or 19 where the target is a 95th percentile.
    pub fn passes(&self, passed: u64, seeds: u64) -> bool {
        passed * 100 >= seeds * self.needed_percent()
    }

    fn needed_percent(&self) -> u64 {
        self.targets.iter().map(Target::needed_percent).max().unwrap_or(100)
    }
}

/// Ten milliseconds a request, give or take one, without a queue.
pub(super) fn quick(count: usize) -> Vec<Model> {
    let service = ServiceTime::Uniform(9_000_000, 11_000_000);
    vec![Model::new(service, usize::MAX, Queue::Fifo); count]
}

/// From the beginning of a row's fault to the end of the run.
pub(super) fn for_ever() -> (u64, u64) {
    (BEGINS * SECOND, u64::MAX)
}

/// No call fails.
pub(super) fn none_visible() -> Target {
    Target::Visible { from: 0, most: 0.0 }
}
