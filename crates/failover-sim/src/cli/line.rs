//! What is run for a row, and the line that is printed of it.

use failover_sim::Policy;
use failover_sim::judge::Tally;
use failover_sim::rows::Row;

/// The seeds of a row, unless an argument says otherwise.
pub(super) const SEEDS: u64 = 20;

/// The engine with three algorithms and the control, for each row.
pub(super) fn jobs(rows: Vec<Row>) -> Vec<(Row, Policy)> {
    let policies =
        |row: &Row| [Policy::Default, Policy::LeastConnections, Policy::HealthBased, row.control()];
    rows.into_iter().flat_map(|row| policies(&row).map(|policy| (row.clone(), policy))).collect()
}

pub(super) fn line(row: &Row, policy: Policy, tally: &Tally) -> String {
    let control = match (policy == row.control(), tally.passed) {
        (false, _) => "",
        (true, false) => " (control, fails as it must)",
        (true, true) => " (control, passes: the row proves nothing)",
    };
    let (name, Tally { met, seeds, figure, .. }) = (row.name(), tally);
    format!("{} {name:40} {policy:18} {met:3}/{seeds}; seed 1: {figure}{control}", word(tally.passed))
}

pub(super) fn word(passed: bool) -> &'static str {
    if passed { "pass" } else { "FAIL" }
}
