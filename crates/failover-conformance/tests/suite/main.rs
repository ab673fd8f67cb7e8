//! Runs the suite on a correct provider, and on providers that each violate one clause.

mod broken;
mod levels;
mod read_only;
mod reports;

use std::sync::Arc;

use failover_conformance::{Level, Outcome, Report, Subject, run, run_with_seed};
use failover_core::provider::Provider;
use failover_core::{Error, async_trait};
use failover_memory::MemoryCluster;

use broken::{Broken, FLAWS, Flaw, SECRET};

/// The runs of flawed providers are the same each time.
const SEED: u64 = 42;

struct Memory(MemoryCluster);

#[async_trait]
impl Subject for Memory {
    async fn provider(&self) -> Result<Arc<dyn Provider>, Error> {
        Ok(Arc::new(self.0.provider()))
    }

    async fn unconnected(&self) -> Result<Option<Arc<dyn Provider>>, Error> {
        self.provider().await.map(Some)
    }

    fn has_secrets(&self) -> bool {
        false
    }
}

fn skipped(report: &Report) -> Vec<u32> {
    let is_skipped =
        |case: &&failover_conformance::CaseReport| matches!(case.outcome, Outcome::Skipped { .. });
    report.cases().iter().filter(is_skipped).map(|case| case.number).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_provider_that_can_lose_its_backend_keeps_the_contract_with_every_hook() {
    let report = run(&Broken::new(None)).await;
    report.assert();
    assert_eq!(skipped(&report), Vec::<u32>::new(), "{report}");
    assert_eq!(report.levels(), Level::ALL);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_flaw_fails_its_own_clause_and_no_other() {
    let mut runs = Vec::new();
    for (flaw, clause) in FLAWS {
        let running = tokio::spawn(async move { run_with_seed(&Broken::new(Some(*flaw)), SEED).await });
        runs.push((flaw, *clause, running));
    }
    let mut wrong = Vec::new();
    for (flaw, clause, report) in runs {
        let report = report.await.expect("the suite itself does not panic");
        let failed: Vec<_> = report.failures().map(|case| case.number).collect();
        if failed != [clause] {
            wrong.push(format!("{flaw:?} fails {failed:?}, not [{clause}]\n{report}"));
        }
        if !report.levels().is_empty() {
            wrong.push(format!("{flaw:?} reaches {:?}", report.levels()));
        }
        for shown in [report.to_string(), report.to_json(), report.to_junit()] {
            assert!(!shown.contains(SECRET), "{shown}");
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_clause_has_at_least_two_flaws() {
    let report = run_with_seed(&Broken::new(None), SEED).await;
    let of = |number| FLAWS.iter().filter(|(_, clause)| *clause == number).count();
    let few: Vec<_> =
        report.cases().iter().map(|case| case.number).filter(|number| of(*number) < 2).collect();
    assert_eq!(few, Vec::<u32>::new(), "these clauses have fewer than two flaws");
    let numbers: Vec<_> = report.cases().iter().map(|case| case.number).collect();
    let unknown: Vec<_> = FLAWS.iter().filter(|(_, clause)| !numbers.contains(clause)).collect();
    assert!(unknown.is_empty(), "there is no clause of {unknown:?}");
}

#[tokio::test]
#[should_panic(expected = "FAILED   deregistering what is not there is no error, and says so")]
async fn a_failure_is_a_panic_that_names_the_clause() {
    run_with_seed(&Broken::new(Some(Flaw::MissingIsAnError)), SEED).await.assert();
}
