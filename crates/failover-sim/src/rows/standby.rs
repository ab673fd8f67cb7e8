//! The first tier fails, and a second one is the standby.

use crate::fault::FaultKind;
use crate::policy::Policy;
use crate::record::SECOND;
use crate::rows::row::{BEGINS, Row, none_visible, quick};
use crate::rows::target::Target;
use crate::scenario::{Load, Scenario};
use crate::service_time::ServiceTime;

/// How long the first tier fails, in seconds.
const OUTAGE: u64 = 30;

pub(super) fn rows() -> Vec<Row> {
    let mut rows = Vec::new();
    for (kind, word) in
        [(FaultKind::Refuse, "refused"), (FaultKind::BlackHole, "silent"), (FaultKind::Overload(None), "503")]
    {
        for (first, second) in [(1, 1), (1, 2), (2, 1), (3, 1)] {
            rows.push(standby(kind, word, first, second, 100));
        }
        rows.extend([10, 1000].map(|rate| standby(kind, word, 1, 1, rate)));
    }
    rows
}

/// All of the first tier fail for half a minute. The second one serves within 10 s, and the first one again after it.
fn standby(kind: FaultKind, word: &str, first: usize, second: usize, rate: u32) -> Row {
    let name = format!("standby_{word}_{first}_and_{second}_{rate}_per_s");
    let mut models = quick(first + second);
    for model in models.iter_mut().skip(first) {
        model.priority = 1;
    }
    for model in &mut models {
        model.service = ServiceTime::Constant(10_000_000);
    }
    let (begins, ends) = (BEGINS as usize, (BEGINS + OUTAGE) as usize);
    let length = ends + 50;
    let scenario = Scenario::new(&name, length as u64 * SECOND, models, Load::Open(f64::from(rate)));
    let scenario = scenario.fault(kind, 0..first, (BEGINS * SECOND, ends as u64 * SECOND));
    let share = |span, bounds| Target::Share { endpoints: (0..first).collect(), span, bounds };
    let targets = vec![
        none_visible(),
        share((begins + 10, ends), (0.0, 0.05)),
        share((ends + 40, length), (0.95, 1.0)),
    ];
    Row::new(scenario, Policy::Random, targets)
}
