//! An endpoint that comes and goes.

use crate::fault::FaultKind;
use crate::policy::Policy;
use crate::record::SECOND;
use crate::rows::row::{Row, none_visible, quick};
use crate::rows::target::Target;
use crate::scenario::{Load, Scenario};

pub(super) fn rows() -> Vec<Row> {
    [(2, 90), (20, 250), (60, 320), (120, 250)].map(|(period, most)| flapping(period, most)).into()
}

/// One of ten refuses in the first half of each period, at 10 calls a second, for an hour.
fn flapping(period: u64, most: u64) -> Row {
    let scenario = Scenario::new(&format!("flapping_{period}s"), 3_600 * SECOND, quick(10), Load::Open(10.0));
    let mut scenario = scenario.fault(FaultKind::Refuse, [0], (0, 3_600 * SECOND));
    scenario.faults[0].period = Some(period * SECOND);
    Row::new(scenario, Policy::Random, vec![Target::FirstAttempts(most), none_visible()])
}
