//! What a provider is certified for.

use failover_conformance::{Level, Outcome, Standing, Subject, run, run_with_seed};

use super::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_memory_provider_keeps_the_contract() {
    let report = run(&Memory(MemoryCluster::new())).await;
    println!("{report}");
    // Its backend is this process: it cannot be away, and there is no secret.
    assert_eq!(skipped(&report), [30, 31, 32, 33, 34, 35, 51, 61], "{report}");
    for level in Level::ALL {
        report.assert_level(level);
    }
}

/// A subject with one hook less than there are.
struct Without(Broken, &'static str);

#[async_trait]
impl Subject for Without {
    async fn provider(&self) -> Result<Arc<dyn Provider>, Error> {
        self.0.provider().await
    }

    async fn unconnected(&self) -> Result<Option<Arc<dyn Provider>>, Error> {
        if self.1 == "unconnected" { Ok(None) } else { self.0.unconnected().await }
    }

    fn patience(&self) -> std::time::Duration {
        self.0.patience()
    }

    fn crowd(&self) -> usize {
        self.0.crowd()
    }

    async fn outage(&self, begins: bool) -> bool {
        self.1 != "outage" && self.0.outage(begins).await
    }

    async fn hostile(&self, service: &str, begins: bool) -> bool {
        self.1 != "hostile" && self.0.hostile(service, begins).await
    }

    fn secrets(&self) -> Vec<String> {
        if self.1 == "secrets" { Vec::new() } else { self.0.secrets() }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_missing_hook_denies_the_level_and_its_name_is_in_the_report() {
    for (hook, level, clauses) in [
        ("unconnected", Level::Survive, &[35][..]),
        ("outage", Level::Survive, &[30, 31, 32, 33, 34, 35]),
        ("hostile", Level::Survive, &[61]),
        ("secrets", Level::Read, &[51]),
    ] {
        let report = run_with_seed(&Without(Broken::new(None), hook), SEED).await;
        report.assert();
        assert_eq!(skipped(&report), clauses, "{hook}: {report}");
        assert!(!report.levels().contains(&level), "{hook}: {report}");
        // Without Read there is no other level.
        assert_eq!(report.levels().is_empty(), level == Level::Read, "{hook}: {report}");
        let levels = report.level_reports();
        let of = levels.iter().find(|report| report.level == level).expect("each level has one");
        let Standing::NotReached { why } = &of.standing else { panic!("{of:?}") };
        assert!(why.contains(&format!("the subject has no hook `{hook}`: ")), "{why}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[should_panic(
    expected = "the provider does not reach the level Survive: not tested: clause 61: the subject has no hook `hostile`: let it"
)]
async fn asserting_a_level_that_was_not_tested_says_what_to_do() {
    run_with_seed(&Without(Broken::new(None), "hostile"), SEED).await.assert_level(Level::Survive);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[should_panic(expected = "the clauses [9] of other levels failed")]
async fn a_failure_anywhere_denies_every_level() {
    run_with_seed(&Broken::new(Some(Flaw::MissingIsAnError)), SEED).await.assert_level(Level::Watch);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_panic_of_the_provider_is_a_failure_of_the_clause() {
    let report = run_with_seed(&Broken::new(Some(Flaw::PanicsOnABrokenEntry)), SEED).await;
    let failed: Vec<_> = report.failures().collect();
    let Outcome::Failed { seen, .. } = &failed[0].outcome else { panic!("{failed:?}") };
    assert!(seen.contains("a panic: called `Option::unwrap()`"), "{seen}");
}
