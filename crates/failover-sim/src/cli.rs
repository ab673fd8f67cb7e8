//! The commands and their arguments.

mod effect;
mod expected;
mod line;
mod matrix;
mod scenario;

use failover_sim::Policy;
use failover_sim::judge;
use failover_sim::rows::{self, Row};
use failover_sim::shrink;

use crate::cli::line::{SEEDS, jobs, line, word};

const USAGE: &str = "usage: failover-sim COMMAND

  run FILE [--picture SVG]          a scenario file: prints a table, and writes a page into the current directory
  rows [NAME] [--seeds N]           rows or cells of that name, beside a control that must fail; NAME may end in *
  names                             prints the names of all rows and cells
  matrix [--full FILE] [--seeds N]  the hard cells of M1, and every row; or all cells, resumed from FILE
  effect [--seeds N]                prints the effect table, from 5 seeds
  shrink NAME SEED [POLICY]         a smaller scenario in which a failing seed still fails
  check                             compares every row with what expected.txt records
  record                            prints a new expected.txt";

/// Runs a command.
pub(crate) fn command(args: &[String]) -> Result<(), String> {
    let Some((first, rest)) = args.split_first() else { return Err(USAGE.to_owned()) };
    match first.as_str() {
        "run" => match rest {
            [file] => scenario::command(file, None),
            [file, option, picture] if option == "--picture" => scenario::command(file, Some(picture)),
            _ => Err(USAGE.to_owned()),
        },
        "rows" => {
            let (names, seeds) = seeds(rest)?;
            match names[..] {
                [] => show(&jobs(rows::all()), seeds),
                [name] => show(&jobs(named(name)?), seeds),
                _ => Err(USAGE.to_owned()),
            }
        }
        "matrix" => {
            let (others, seeds) = seeds(rest)?;
            match others[..] {
                [] => show(&[rows::hard_cells(), jobs(rows::all())].concat(), seeds),
                ["--full", file] => matrix::full(file, seeds),
                _ => Err(USAGE.to_owned()),
            }
        }
        "names" if rest.is_empty() => {
            named("*")?.iter().for_each(|row| println!("{}", row.name()));
            Ok(())
        }
        "effect" => {
            let (others, seeds) = seeds_or(rest, 5)?;
            if others.is_empty() { effect::print(seeds) } else { Err(USAGE.to_owned()) }
        }
        "shrink" => match rest {
            [name, seed] => shrunk(name, seed, Policy::Default),
            [name, seed, policy] => {
                shrunk(name, seed, Policy::parse("policy", policy).map_err(|error| error.to_string())?)
            }
            _ => Err(USAGE.to_owned()),
        },
        "check" if rest.is_empty() => expected::check(),
        "record" if rest.is_empty() => expected::record(),
        _ => Err(USAGE.to_owned()),
    }
}

fn seeds(args: &[String]) -> Result<(Vec<&str>, u64), String> {
    seeds_or(args, SEEDS)
}

/// Takes `--seeds N` out of the arguments.
fn seeds_or(args: &[String], default: u64) -> Result<(Vec<&str>, u64), String> {
    let mut words: Vec<_> = args.iter().map(String::as_str).collect();
    let Some(at) = words.iter().position(|word| *word == "--seeds") else { return Ok((words, default)) };
    let number = *words.get(at + 1).ok_or(USAGE)?;
    let seeds = number.parse().ok().filter(|seeds| (1..=10_000).contains(seeds));
    let seeds = seeds
        .ok_or_else(|| format!("--seeds: {number} is not allowed; give a whole number from 1 to 10000"))?;
    words.drain(at..at + 2);
    Ok((words, seeds))
}

/// Rows and cells by name; all that begin with what comes before a `*`.
fn named(name: &str) -> Result<Vec<Row>, String> {
    let mut all = rows::all();
    for (row, _) in rows::cells() {
        if all.iter().all(|other| other.name() != row.name()) {
            all.push(row);
        }
    }
    let fits = |row: &Row| match name.strip_suffix('*') {
        Some(start) => row.name().starts_with(start),
        None => row.name() == name,
    };
    let chosen: Vec<_> = all.iter().filter(|row| fits(row)).cloned().collect();
    if chosen.is_empty() {
        return Err(format!("there is no row or cell `{name}`; give one that `failover-sim names` prints"));
    }
    Ok(chosen)
}

fn show(jobs: &[(Row, Policy)], seeds: u64) -> Result<(), String> {
    let (mut failing, mut toothless) = (0, 0);
    let shown = judge::tallies(jobs, seeds, false, |row, policy, tally| {
        println!("{}", line(row, policy, &tally));
        match (policy == row.control(), tally.passed) {
            (false, false) => failing += 1,
            (true, true) => toothless += 1,
            _ => {}
        }
    });
    shown.map_err(|error| error.to_string())?;
    println!("{failing} fail; {toothless} controls pass, whose rows prove nothing");
    Ok(())
}

fn shrunk(name: &str, seed: &str, policy: Policy) -> Result<(), String> {
    let seed =
        seed.parse().map_err(|_| format!("seed: {seed} is not allowed; give a whole number from 0"))?;
    let row = named(name)?.swap_remove(0);
    let verdict = row.judge(policy, seed).map_err(|error| error.to_string())?;
    println!("{} {name} {policy}: {}", word(verdict.passed), verdict.figure);
    if verdict.passed {
        return Err("this seed passes; give one that fails".to_owned());
    }
    let (row, steps) = shrink::shrink(row, policy, seed).map_err(|error| error.to_string())?;
    for step in steps {
        println!("{step}");
    }
    println!("{:#?}", row.scenario());
    Ok(())
}
