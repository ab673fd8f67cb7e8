//! All cells of the matrix, resumable: each result is appended to a file, and what is there is not run again.

use std::fs::{self, OpenOptions};
use std::io::Write;

use failover_sim::judge;
use failover_sim::rows;

use crate::cli::line::line;

pub(super) fn full(file: &str, seeds: u64) -> Result<(), String> {
    let known = if fs::exists(file).unwrap_or(false) { read(file)? } else { String::new() };
    let is_known = |name: &str, policy: &str| {
        known.lines().any(|line| {
            let mut words = line.split_whitespace().skip(1);
            words.next() == Some(name) && words.next() == Some(policy)
        })
    };
    let cells = rows::cells();
    let all = cells.len();
    let left: Vec<_> =
        cells.into_iter().filter(|(row, policy)| !is_known(row.name(), policy.as_str())).collect();
    println!("{} of {all} cells are left", left.len());
    let mut results = OpenOptions::new().create(true).append(true).open(file).map_err(|e| about(file, &e))?;
    let mut written = Ok(());
    let run = judge::tallies(&left, seeds, false, |row, policy, tally| {
        let line = line(row, policy, &tally);
        println!("{line}");
        if written.is_ok() {
            written = writeln!(results, "{line}");
        }
    });
    run.map_err(|error| error.to_string())?;
    written.map_err(|error| about(file, &error))?;
    let results = read(file)?;
    let passed = results.lines().filter(|line| line.starts_with("pass")).count();
    println!("{passed} of {} cells pass", results.lines().count());
    Ok(())
}

fn read(file: &str) -> Result<String, String> {
    fs::read_to_string(file).map_err(|error| about(file, &error))
}

fn about(file: &str, error: &std::io::Error) -> String {
    format!("{file}: {error}")
}
