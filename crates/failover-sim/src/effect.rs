//! The effect table: what callers see of each fault, under the engine and under what it is compared with.

mod notes;
mod page;
mod tails;

use failover_core::Error;

use crate::judge::each_on_every_core;
use crate::peer::Peer;
use crate::policy::Policy;
use crate::rows::{self, Row};
use crate::run::run;
use crate::scenario::Scenario;
use crate::summary::Summary;

pub use page::page;

/// The columns of others' published figures leave out the first 15 s, and so do these.
const WARM_UP: usize = 15;

/// The engine with three algorithms, and what it is compared with.
const POLICIES: [Policy; 10] = [
    Policy::Default,
    Policy::LeastConnections,
    Policy::HealthBased,
    Policy::Random,
    Policy::RoundRobin,
    Policy::LeastBusy,
    Policy::HealthChecks,
    Policy::RequestBudget,
    Policy::Tower,
    Policy::Probing,
];

/// The rows of the table: one for each kind of fault. The others differ in size, rate or endpoint.
const ROWS: &[&str] = &[
    "crash_1_of_10",
    "black_hole_1_of_10_1000_per_s",
    "black_hole_2_of_3_100_per_s",
    "black_hole_9_of_10_1000_per_s",
    "slow_1_of_10",
    "errors_all_on_1_of_10",
    "resets_half_on_1_of_10",
    "errors_tenth_on_1_of_10",
    "errors_all_on_4_of_5",
    "errors_everywhere",
    "overload_503_1_of_3",
    "overload_503_burst",
    "overload_503_9_of_10",
    "zone_down_silent",
    "all_refused_held_of_3_returns_100_per_s",
    "returns_without_a_burst",
    "own_stall_5s",
    "m1_half_n3_90",
    "m1_half_n10_90",
    "m1_fifth_n3_90",
    "m1_half_n3_90_100_clients",
];

/// One scenario of the table, with a line for each policy.
#[derive(Debug)]
#[non_exhaustive]
pub struct Section {
    /// The name of the row or scenario.
    pub name: String,
    /// What others have published of it, and where the engine is not the best and why; may be empty.
    pub note: &'static str,
    /// The lines, under [`Summary::header`].
    pub lines: Vec<Line>,
}

/// One policy in one scenario.
#[derive(Debug)]
#[non_exhaustive]
pub struct Line {
    /// The policy.
    pub policy: Policy,
    /// How many seeds met the row's target; none where there is no target.
    pub met: Option<u64>,
    /// The figures of all seeds together.
    pub summary: Summary,
}

/// Runs every scenario of the table under every policy and these peers, with seeds 1 to `seeds`. Each run has a state of
/// its own.
///
/// # Errors
///
/// As [`run`].
pub fn table(seeds: u64, peers: &[Peer]) -> Result<Vec<Section>, Error> {
    let policies: Vec<_> = POLICIES.into_iter().chain(peers.iter().copied().map(Policy::Peer)).collect();
    let rows: Vec<_> = rows::all().into_iter().filter(|row| ROWS.contains(&row.name())).collect();
    let mut parts: Vec<(Scenario, Option<Row>)> =
        rows.into_iter().map(|row| (row.scenario().clone(), Some(row))).collect();
    parts.extend(tails::all().into_iter().map(|scenario| (scenario, None)));
    let jobs: Vec<_> =
        parts.iter().flat_map(|part| policies.iter().map(move |policy| (part, *policy))).collect();
    let mut sections: Vec<Section> = Vec::new();
    let mut failed = None;
    each_on_every_core(
        &jobs,
        |((scenario, row), policy)| line(scenario, row.as_ref(), *policy, seeds),
        |((scenario, _), _), line| {
            let name = scenario.name();
            if sections.last().is_none_or(|section| section.name != name) {
                let note = notes::of(name);
                sections.push(Section { name: name.to_owned(), note, lines: Vec::new() });
            }
            match (line, sections.last_mut()) {
                (Ok(line), Some(section)) => section.lines.push(line),
                (Err(error), _) => failed = Some(error),
                (Ok(_), None) => {}
            }
        },
    );
    failed.map_or(Ok(sections), Err)
}

fn line(scenario: &Scenario, row: Option<&Row>, policy: Policy, seeds: u64) -> Result<Line, Error> {
    let reports = (1..=seeds).map(|seed| run(scenario, policy, seed)).collect::<Result<Vec<_>, _>>()?;
    let met = row.map(|row| {
        let verdicts = reports.iter().map(|report| row.verdict(report, report.seed));
        verdicts.filter(|verdict| verdict.passed).count() as u64
    });
    let warm_up = if row.is_some() { 0 } else { WARM_UP };
    Ok(Line { policy, met, summary: Summary::of(scenario, &reports, warm_up) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_row_of_the_table_is_a_row() {
        let all = rows::all();
        for name in ROWS {
            assert!(all.iter().any(|row| row.name() == *name), "{name}");
        }
    }
}
