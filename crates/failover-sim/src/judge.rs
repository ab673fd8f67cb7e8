//! Many seeds of many rows, on every core.

use std::collections::BTreeMap;
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
/// The first error of [`run`](crate::run); the rows are run to their end all the same.
pub fn tallies(
    jobs: &[(Row, Policy)],
    seeds: u64,
    early: bool,
    mut each: impl FnMut(&Row, Policy, Tally),
) -> Result<(), Error> {
    let mut failed = Ok(());
    each_on_every_core(
        jobs,
        |(row, policy)| tally(row, *policy, seeds, early),
        |(row, policy), result| match result {
            Ok(tally) => each(row, *policy, tally),
            Err(error) => failed = Err(error),
        },
    );
    failed
}

/// Does the work of each job on some core, and hands over the results on this one, in the order of the jobs.
pub(crate) fn each_on_every_core<J: Sync, T: Send>(
    jobs: &[J],
    work: impl Fn(&J) -> T + Sync,
    mut done: impl FnMut(&J, T),
) {
    let threads = thread::available_parallelism().map_or(1, NonZero::get);
    let next = AtomicUsize::new(0);
    let (sender, results) = mpsc::sync_channel(threads);
    thread::scope(|scope| {
        for _ in 0..threads {
            let (next, sender, work) = (&next, sender.clone(), &work);
            scope.spawn(move || {
                loop {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    let Some(job) = jobs.get(index) else { return };
                    if sender.send((index, work(job))).is_err() {
                        return;
                    }
                }
            });
        }
        drop(sender);
        let (mut early, mut shown) = (BTreeMap::new(), 0);
        for (index, result) in results {
            early.insert(index, result);
            while let Some(result) = early.remove(&shown) {
                done(&jobs[shown], result);
                shown += 1;
            }
        }
    });
}
