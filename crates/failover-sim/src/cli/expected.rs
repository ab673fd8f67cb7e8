//! What the rows came to when they were last recorded.

use failover_sim::judge;
use failover_sim::rows;

use crate::cli::line::{SEEDS, jobs, word};

/// A line for each row and policy: `pass` or `FAIL`, the row, the policy. A run from a seed is always the same, so that a
/// line changes with the engine only.
const EXPECTED: &str = include_str!("../../expected.txt");

/// Compares every row with what is recorded of it. A row that has begun to pass is a difference as well: it is recorded,
/// so that it cannot fail again unnoticed.
pub(super) fn check() -> Result<(), String> {
    let mut differences = 0;
    let mut recorded: Vec<_> = EXPECTED.lines().collect();
    lines(|line, figure| match recorded.iter().position(|recorded| *recorded == line) {
        Some(at) => drop(recorded.remove(at)),
        None => {
            println!("not as recorded: {line}; seed 1: {figure}");
            differences += 1;
        }
    })?;
    for line in recorded {
        println!("recorded: {line}");
        differences += 1;
    }
    let failing = EXPECTED.lines().filter(|line| line.starts_with("FAIL")).count();
    println!("{} rows and policies, {failing} of them recorded as failing", EXPECTED.lines().count());
    if differences == 0 {
        return Ok(());
    }
    Err(format!("{differences} lines differ; if that is meant, write what `record` prints to expected.txt"))
}

/// Prints a line for each row and policy.
pub(super) fn record() -> Result<(), String> {
    lines(|line, _| println!("{line}"))
}

fn lines(mut each: impl FnMut(&str, &str)) -> Result<(), String> {
    let shown = judge::tallies(&jobs(rows::all()), SEEDS, true, |row, policy, tally| {
        each(&format!("{} {} {policy}", word(tally.passed), row.name()), &tally.figure);
    });
    shown.map_err(|error| error.to_string())
}
