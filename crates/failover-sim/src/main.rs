//! `failover-sim rows [NAME] [--seeds N]` shows each row beside its target, and beside the naive control that must fail it.
//! `failover-sim check` compares every row with what `expected.txt` records of it, and `record` prints that file.

use std::process::ExitCode;

use failover_sim::Policy;
use failover_sim::rows::{self, Row};

const USAGE: &str = "usage: failover-sim rows [NAME] [--seeds N] | check | record";

/// A line for each row and policy: `pass` or `FAIL`, the row, the policy. A run from a seed is always the same, so that a
/// line changes with the engine only.
const EXPECTED: &str = include_str!("../expected.txt");

/// The seeds of `check` and `record`.
const SEEDS: u64 = 2;

fn main() -> ExitCode {
    let args: Vec<_> = std::env::args().skip(1).collect();
    match command(&args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("error: {why}");
            ExitCode::FAILURE
        }
    }
}

fn command(args: &[String]) -> Result<(), String> {
    let Some((first, mut rest)) = args.split_first() else { return Err(USAGE.to_owned()) };
    match (first.as_str(), rest) {
        ("rows", _) => {}
        ("check", []) => return check(),
        ("record", []) => return record(),
        _ => return Err(USAGE.to_owned()),
    }
    let (mut name, mut seeds) = (None, 20);
    while let Some((word, others)) = rest.split_first() {
        rest = others;
        if word == "--seeds" {
            let (number, others) = rest.split_first().ok_or(USAGE)?;
            seeds = number.parse().ok().filter(|seeds| (1..=10_000).contains(seeds)).ok_or_else(|| {
                format!("--seeds: {number} is not allowed; give a whole number from 1 to 10000")
            })?;
            rest = others;
        } else if name.replace(word.as_str()).is_some() {
            return Err(USAGE.to_owned());
        }
    }
    let all = rows::all();
    let chosen: Vec<_> = all.iter().filter(|row| name.is_none_or(|name| row.name() == name)).collect();
    if chosen.is_empty() {
        let names: Vec<_> = all.iter().map(Row::name).collect();
        return Err(format!("there is no such row; give one of {}", names.join(", ")));
    }
    for row in chosen {
        for policy in policies(row) {
            show(row, policy, seeds)?;
        }
    }
    Ok(())
}

/// The engine with three algorithms, and the control.
fn policies(row: &Row) -> [Policy; 4] {
    [Policy::Default, Policy::LeastConnections, Policy::HealthBased, row.control()]
}

/// Compares every row with what is recorded of it. A row that has begun to pass is a difference as well: it is recorded,
/// so that it cannot fail again unnoticed.
fn check() -> Result<(), String> {
    let mut differences = 0;
    let mut recorded: Vec<_> = EXPECTED.lines().collect();
    for (line, figure) in lines()? {
        match recorded.iter().position(|recorded| *recorded == line) {
            Some(at) => drop(recorded.remove(at)),
            None => {
                println!("not as recorded: {line}; seed 1: {figure}");
                differences += 1;
            }
        }
    }
    for line in recorded {
        println!("recorded: {line}");
    }
    let failing = EXPECTED.lines().filter(|line| line.starts_with("FAIL")).count();
    println!("{} rows and policies, {failing} of them recorded as failing", EXPECTED.lines().count());
    if differences == 0 {
        return Ok(());
    }
    Err(format!("{differences} results differ; if that is meant, write what `record` prints to expected.txt"))
}

fn record() -> Result<(), String> {
    for (line, _) in lines()? {
        println!("{line}");
    }
    Ok(())
}

fn lines() -> Result<Vec<(String, String)>, String> {
    let mut lines = Vec::new();
    for row in &rows::all() {
        for policy in policies(row) {
            let (passed, figure) = judge(row, policy, SEEDS)?;
            lines.push((format!("{} {} {policy}", word(passed, SEEDS), row.name()), figure));
        }
    }
    Ok(lines)
}

/// How many seeds met the target, and the figure of the first one.
fn judge(row: &Row, policy: Policy, seeds: u64) -> Result<(u64, String), String> {
    let verdicts = (1..=seeds).map(|seed| row.judge(policy, seed)).collect::<Result<Vec<_>, _>>();
    let verdicts = verdicts.map_err(|error| error.to_string())?;
    let passed = verdicts.iter().filter(|verdict| verdict.passed).count() as u64;
    Ok((passed, verdicts.into_iter().next().map_or_else(String::new, |verdict| verdict.figure)))
}

/// A row passes with 17 of 20 seeds.
fn word(passed: u64, seeds: u64) -> &'static str {
    if passed * 20 >= seeds * 17 { "pass" } else { "FAIL" }
}

fn show(row: &Row, policy: Policy, seeds: u64) -> Result<(), String> {
    let (passed, figure) = judge(row, policy, seeds)?;
    let word = word(passed, seeds);
    let control = match (policy == row.control(), word) {
        (false, _) => "",
        (true, "FAIL") => " (control, fails as it must)",
        (true, _) => " (control, passes: the row proves nothing)",
    };
    println!("{word} {:34} {policy:18} {passed:3}/{seeds}; seed 1: {figure}{control}", row.name());
    Ok(())
}
