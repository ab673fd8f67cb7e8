//! Runs the suite on a correct provider, and on providers that each violate one clause.

mod broken;
mod read_only;

use std::sync::Arc;

use failover_conformance::{Outcome, Subject, run};
use failover_core::provider::Provider;
use failover_core::{Error, async_trait};
use failover_memory::MemoryCluster;

use broken::{Broken, Flaw, SECRET};

struct Memory(MemoryCluster);

#[async_trait]
impl Subject for Memory {
    async fn provider(&self) -> Result<Arc<dyn Provider>, Error> {
        Ok(Arc::new(self.0.provider()))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_memory_provider_keeps_the_contract() {
    let report = run(&Memory(MemoryCluster::new())).await;
    println!("{report}");
    report.assert();
    let skipped: Vec<_> = report
        .cases()
        .iter()
        .filter(|case| matches!(case.outcome, Outcome::Skipped { .. }))
        .map(|case| case.number)
        .collect();
    assert_eq!(skipped, [30, 31, 32, 33, 34, 35, 51], "only what needs a hook");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_provider_that_can_lose_its_backend_keeps_the_contract_with_every_hook() {
    let report = run(&Broken::new(None)).await;
    report.assert();
    assert!(report.cases().iter().all(|case| case.outcome == Outcome::Passed), "{report}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_flaw_fails_its_own_clause_and_no_other() {
    let flaws = [
        (Flaw::NamesNoRegistry, 1),
        (Flaw::CannotConnectTwice, 2),
        (Flaw::UnknownServiceIsAnError, 3),
        (Flaw::DropsMetadata, 4),
        (Flaw::KeepsTheFirstRegistration, 5),
        (Flaw::LosesAnUpdate, 6),
        (Flaw::UpdateRegisters, 7),
        (Flaw::Resurrects, 8),
        (Flaw::MissingIsAnError, 9),
        (Flaw::GetsSomebodyElse, 10),
        (Flaw::IgnoresTags, 11),
        (Flaw::ForgetsTheLast, 12),
        (Flaw::CutsIdsAtTheSlash, 13),
        (Flaw::WritesInTwoSteps, 14),
        (Flaw::ForgetsClaims, 15),
        (Flaw::BeginsEmpty, 20),
        (Flaw::NeverWakes, 21),
        (Flaw::Floods, 22),
        (Flaw::OneWatchForAll, 23),
        (Flaw::EmptiesOnAnError, 30),
        (Flaw::ListsFromACache, 30),
        (Flaw::EndsOnAnError, 31),
        (Flaw::HidesErrors, 31),
        (Flaw::LosesASetToAnError, 32),
        (Flaw::LosesADocumentToAnError, 33),
        (Flaw::OutageIsInvalid, 34),
        (Flaw::BreaksOnAFailedConnect, 35),
        (Flaw::CutsDocuments, 40),
        (Flaw::IgnoresCompareAndSwap, 41),
        (Flaw::ConfigNeverWakes, 42),
        (Flaw::MiscallsALargeDocument, 43),
        (Flaw::BlocksClose, 50),
        (Flaw::LeaksASecretInDebug, 51),
        (Flaw::MiscallsAConflict, 52),
    ];
    let mut runs: Vec<_> = flaws
        .into_iter()
        .map(|(flaw, clause)| {
            (flaw, clause, tokio::spawn(async move { run(&Broken::new(Some(flaw))).await }))
        })
        .collect();
    let mut wrong = Vec::new();
    for (flaw, clause, report) in runs.drain(..) {
        let report = report.await.expect("the suite itself does not panic");
        let failed: Vec<_> = report.failures().map(|case| case.number).collect();
        if failed != [clause] {
            wrong.push(format!("{flaw:?} fails {failed:?}, not [{clause}]"));
        }
        assert!(!report.to_string().contains(SECRET), "{report}");
    }
    assert_eq!(wrong, Vec::<String>::new());
}

#[tokio::test]
#[should_panic(expected = "FAILED   deregistering what is not there is no error, and says so")]
async fn a_failure_is_a_panic_that_names_the_clause() {
    run(&Broken::new(Some(Flaw::MissingIsAnError))).await.assert();
}
