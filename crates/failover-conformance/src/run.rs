//! Runs the cases.

use std::fs::{self, OpenOptions};
use std::future::poll_fn;
use std::io::{ErrorKind, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::task::Poll;

use tokio::time::{Instant, timeout};

use crate::bench::{Bench, Done, Trouble, fail};
use crate::cases::{CASES, Case};
use crate::outcome::{CaseReport, Outcome};
use crate::random::{Random, new_seed};
use crate::report::Report;
use crate::subject::Subject;

const SEED: &str = "FAILOVER_CONFORMANCE_SEED";
const REPORT: &str = "FAILOVER_CONFORMANCE_REPORT";

/// Runs every case that applies to the subject's providers, one after the other.
///
/// The order of the cases and the random data in them come from a seed, which the report names.
/// `FAILOVER_CONFORMANCE_SEED` sets it, so that a run can be repeated. `FAILOVER_CONFORMANCE_REPORT`
/// names a directory: the suite creates it and writes `report.txt`, `report.json` and `report.xml`
/// (`JUnit`) there; a further run writes `report-2.txt` and so on.
///
/// # Panics
///
/// Panics if the seed is not a number, or if the report cannot be written.
///
/// # Cancel safety
///
/// A dropped future leaves behind what the current case has written.
pub async fn run(subject: &dyn Subject) -> Report {
    let seed = match std::env::var(SEED) {
        Ok(text) => text.parse().unwrap_or_else(|_| {
            panic!("{SEED} is {text:?}: set it to the number that a report names, or unset it")
        }),
        Err(_) => new_seed(),
    };
    // Printed first as well, in case the suite does not end.
    println!("failover-conformance: seed {seed}");
    let report = run_with_seed(subject, seed).await;
    if let Some(directory) = std::env::var_os(REPORT) {
        let directory = PathBuf::from(directory);
        if let Err(error) = save(&report, &directory) {
            panic!("{REPORT}: the report cannot be written to {}: {error}", directory.display());
        }
    }
    report
}

/// Runs every case with this seed; ignores the environment. See [`run`].
///
/// # Cancel safety
///
/// See [`run`].
pub async fn run_with_seed(subject: &dyn Subject, seed: u64) -> Report {
    let info = match subject.provider().await {
        Ok(provider) => {
            let info = provider.info();
            let _ = timeout(subject.patience(), provider.close()).await;
            Some((info.kind().to_owned(), info.version().to_owned()))
        }
        Err(_) => None,
    };
    let mut order: Vec<&Case> = CASES.iter().collect();
    Random::new(seed, 0).shuffle(&mut order);
    let mut cases = Vec::new();
    for case in order {
        let bench = Bench::new(subject, case.number, Random::new(seed, u64::from(case.number)));
        let begun = Instant::now();
        let outcome = match bench.within(subject.patience() * 12, guarded(case, &bench)).await {
            Ok(()) => Outcome::Passed,
            Err(Trouble::Skipped(lack, why)) => Outcome::Skipped { why, lack },
            Err(Trouble::Failed { expected, seen }) => Outcome::Failed { expected, seen },
        };
        let took = begun.elapsed();
        bench.clean_up().await;
        cases.push(CaseReport { number: case.number, name: case.name, level: case.level, outcome, took });
    }
    cases.sort_by_key(|case| case.number);
    Report { cases, seed, provider: info, backend: subject.backend() }
}

/// Runs a case; a panic of the provider in it is a failure of the case.
async fn guarded(case: &Case, bench: &Bench<'_>) -> Done {
    let mut running = (case.run)(bench);
    poll_fn(|context| match catch_unwind(AssertUnwindSafe(|| running.as_mut().poll(context))) {
        Ok(poll) => poll,
        Err(panic) => {
            let text = panic.downcast_ref::<String>().map(String::as_str);
            let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no message");
            Poll::Ready(fail("no panic, whatever the backend answers", format!("a panic: {text}")))
        }
    })
    .await
}

/// Writes the report as text, JSON and `JUnit` XML, and replaces no other.
fn save(report: &Report, directory: &Path) -> std::io::Result<()> {
    fs::create_dir_all(directory)?;
    for number in 1_u32.. {
        let stem = if number == 1 { "report".to_owned() } else { format!("report-{number}") };
        let text = directory.join(format!("{stem}.txt"));
        // Two test processes or threads may write at the same time.
        match OpenOptions::new().write(true).create_new(true).open(text) {
            Ok(mut file) => {
                fs::write(directory.join(format!("{stem}.json")), report.to_json())?;
                fs::write(directory.join(format!("{stem}.xml")), report.to_junit())?;
                return writeln!(file, "{report}");
            }
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
    }
    unreachable!("there are more numbers than files");
}
