//! Calls with a single attempt: an endpoint that is out must come back by them alone.

use crate::fault::FaultKind;
use crate::policy::Policy;
use crate::record::SECOND;
use crate::rows::row::{BEGINS, Row, quick};
use crate::rows::target::Target;
use crate::scenario::{Load, Scenario};

/// How long an endpoint fails, in seconds.
const OUTAGE: u64 = 20;

pub(super) fn rows() -> Vec<Row> {
    let mut rows = Vec::new();
    for rate in [10, 100] {
        for (word, picks) in [("unrepeatable", false), ("by_select", true)] {
            rows.push(comes_back(word, picks, rate));
        }
    }
    rows
}

/// One of ten resets connections for 20 s, and gets its share again within a minute.
fn comes_back(word: &str, picks: bool, rate: u32) -> Row {
    let ends = (BEGINS + OUTAGE) as usize;
    let name = format!("returns_{word}_{rate}_per_s");
    let length = ends + 120;
    let mut scenario = Scenario::new(&name, length as u64 * SECOND, quick(10), Load::Open(f64::from(rate)));
    scenario.idempotent = 0.0;
    scenario.by_select = picks;
    let scenario = scenario.fault(FaultKind::Reset, [0], (BEGINS * SECOND, ends as u64 * SECOND));
    let share = |span, bounds| Target::Share { endpoints: vec![0], span, bounds };
    let targets = vec![
        // Ten or more calls at 10 a second have failed by then.
        share((ends - 5, ends), (0.0, 0.08)),
        share((ends + 60, length), (0.05, 0.2)),
    ];
    Row::new(scenario, Policy::Banning, targets)
}
