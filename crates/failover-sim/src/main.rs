//! `failover-sim rows [NAME] [--seeds N]`: each row beside its target, and beside the naive control that must fail it.

use std::process::ExitCode;

use failover_sim::Policy;
use failover_sim::rows::{self, Row};

const USAGE: &str = "usage: failover-sim rows [NAME] [--seeds N]";

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
    if first != "rows" {
        return Err(USAGE.to_owned());
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
        for policy in [Policy::Default, Policy::LeastConnections, Policy::HealthBased, row.control()] {
            show(row, policy, seeds)?;
        }
    }
    Ok(())
}

/// A row passes with 17 of 20 seeds.
fn show(row: &Row, policy: Policy, seeds: u64) -> Result<(), String> {
    let verdicts = (1..=seeds).map(|seed| row.judge(policy, seed)).collect::<Result<Vec<_>, _>>();
    let verdicts = verdicts.map_err(|error| error.to_string())?;
    let passed = verdicts.iter().filter(|verdict| verdict.passed).count() as u64;
    let word = if passed * 20 >= seeds * 17 { "pass" } else { "FAIL" };
    let control = match (policy == row.control(), word) {
        (false, _) => "",
        (true, "FAIL") => " (control, fails as it must)",
        (true, _) => " (control, passes: the row proves nothing)",
    };
    let figure = verdicts.first().map_or("", |verdict| verdict.figure.as_str());
    println!("{word} {:34} {policy:18} {passed:3}/{seeds}; seed 1: {figure}{control}", row.name());
    Ok(())
}
