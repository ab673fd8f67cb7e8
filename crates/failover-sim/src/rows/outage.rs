//! Every endpoint fails; then one returns, whichever it is, and the others stay away.

use crate::fault::FaultKind;
use crate::policy::Policy;
use crate::record::SECOND;
use crate::rows::row::{BEGINS, Row, quick};
use crate::rows::target::Target;
use crate::scenario::{Load, Scenario};

/// How long all of them fail, in seconds.
const OUTAGE: u64 = 60;
/// Within how many seconds after a return calls succeed.
const SETTLES: u64 = 10;

pub(super) fn rows() -> Vec<Row> {
    const REFUSED: (FaultKind, &str) = (FaultKind::Refuse, "refused");
    const SILENT: (FaultKind, &str) = (FaultKind::BlackHole, "silent");
    const OVERLOADED: (FaultKind, &str) = (FaultKind::Overload(None), "503");
    let mut rows = Vec::new();
    for kind in [REFUSED, SILENT, OVERLOADED] {
        for count in [2, 3] {
            rows.extend((0..count).map(|index| outage(kind, count, Some(index), 100)));
            rows.push(outage(kind, count, None, 100));
        }
        for rate in [10, 100] {
            rows.extend([Some(0), Some(4), Some(9), None].map(|returns| outage(kind, 10, returns, rate)));
        }
    }
    rows
}

/// The endpoint that returns; `None` means the one that the policy has kept in use meanwhile.
fn outage((kind, word): (FaultKind, &str), count: usize, returns: Option<usize>, rate: u32) -> Row {
    let back = (BEGINS + OUTAGE) * SECOND;
    let which = returns.map_or_else(|| "held".to_owned(), |index| index.to_string());
    let name = format!("all_{word}_{which}_of_{count}_returns_{rate}_per_s");
    let scenario = Scenario::new(&name, back + 30 * SECOND, quick(count), Load::Open(f64::from(rate)));
    let begins = BEGINS * SECOND;
    let scenario = match returns {
        Some(index) => {
            let others = (0..count).filter(|other| *other != index);
            scenario.fault(kind, others, (begins, u64::MAX)).fault(kind, [index], (begins, back))
        }
        None => {
            let mut scenario = scenario.fault(kind, 0..count, (begins, u64::MAX));
            scenario.held_returns = Some(back);
            scenario
        }
    };
    // A call that hangs at a silent endpoint cannot succeed before its attempt has timed out.
    let patience = if kind == FaultKind::BlackHole { SECOND } else { 0 } + 20_000_000;
    // Then the others cost hardly a call, although they are down still.
    let after = Target::Visible { from: (BEGINS + OUTAGE + SETTLES) as usize, most: 0.01 };
    Row::new(scenario, Policy::Banning, vec![Target::Returns { at: back, patience }, after])
}
