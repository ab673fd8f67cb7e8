//! Many seeds of many rows, on every core.

use std::num::NonZero;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::thread;

use failover_core::Error;

use crate::policy::Policy;
use crate::rows::Row;

/// How the seeds of one row did under one policy.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Tally {
    /// The seeds that met the row's target.
    pub met: u64,
    /// The seeds that were run.
    pub seeds: u64,
    /// Whether enough of them met it.
    pub passed: bool,
    /// The figure of the first seed.
    pub figure: String,
}

/// Runs seeds 1 to `seeds` of a row; with `early` only as many as decide whether it passes.
///
/// # Errors
///
/// As [`run`](crate::run).
pub fn tally(row: &Row, policy: Policy, seeds: u64, early: bool) -> Result<Tally, Error> {
    let mut tally = Tally { met: 0, seeds: 0, passed: false, figure: String::new() };
    for seed in 1..=seeds {
        let verdict = row.judge(policy, seed)?;
        tally.seeds = seed;
        tally.met += u64::from(verdict.passed);
        if seed == 1 {
            tally.figure = verdict.figure;
        }
        let certain = row.passes(tally.met, seeds) || !row.passes(tally.met + seeds - seed, seeds);
        if early && certain {
            break;
        }
    }
    tally.passed = row.passes(tally.met, seeds);
    Ok(tally)
}

/// Runs each row under its policy, and calls `each` with the results, in order.
///
/// # Errors
///
/// As [`run`](crate::run); rows that come later are not run then.
pub fn tallies(
    jobs: &[(Row, Policy)],
    seeds: u64,
    early: bool,
    mut each: impl FnMut(&Row, Policy, Tally),
) -> Result<(), Error> {
    let threads = thread::available_parallelism().map_or(1, NonZero::get);
    let next = AtomicUsize::new(0);
    let (sender, results) = mpsc::sync_channel(threads);
    thread::scope(|scope| {
        for _ in 0..threads {
            let (next, sender) = (&next, sender.clone());
            scope.spawn(move || {
                while let Some((row, policy)) = jobs.get(next.fetch_add(1, Ordering::Relaxed)) {
                    if sender.send((row.name(), *policy, tally(row, *policy, seeds, early))).is_err() {
                        return;
                    }
                }
            });
        }
        drop(sender);
        let mut early: Vec<_> = Vec::new();
        for (row, policy) in jobs {
            let mut is_next = |result: &(&str, Policy, _)| result.0 == row.name() && result.1 == *policy;
            let result = match early.iter().position(&mut is_next) {
                Some(at) => early.swap_remove(at),
                None => loop {
                    let Ok(result) = results.recv() else { return Ok(()) };
                    if is_next(&result) {
                        break result;
                    }
                    early.push(result);
                },
            };
            each(row, *policy, result.2?);
        }
        Ok(())
    })
}
