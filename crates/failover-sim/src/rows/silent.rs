//! Endpoints from which nothing comes back, at several rates.

use crate::fault::FaultKind;
use crate::policy::Policy;
use crate::record::SECOND;
use crate::rows::row::{BEGINS, Row, for_ever, none_visible, quick};
use crate::rows::target::Target;
use crate::scenario::{Load, Scenario};

pub(super) fn rows() -> Vec<Row> {
    let mut rows = vec![silent(1, 3, 1000), silent(1, 10, 1000), silent(1, 2, 100)];
    for rate in [10, 50, 100, 1000] {
        rows.extend([silent(2, 3, rate), silent(5, 10, rate), silent(9, 10, rate)]);
    }
    rows
}

fn silent(broken: usize, endpoints: usize, rate: u32) -> Row {
    let name = format!("black_hole_{broken}_of_{endpoints}_{rate}_per_s");
    let scenario = Scenario::new(&name, 65 * SECOND, quick(endpoints), Load::Open(f64::from(rate)));
    let scenario = scenario.fault(FaultKind::BlackHole, 0..broken, for_ever());
    // With a call every second at each endpoint, the five failures that each one needs are seen: no policy knows before
    // its attempts have timed out.
    let visible = match (broken, rate) {
        (9, 10) => Target::Visible { from: BEGINS as usize, most: 0.025 },
        (5, 10) => Target::Visible { from: BEGINS as usize, most: 0.01 },
        _ => none_visible(),
    };
    Row::new(scenario, Policy::Random, vec![visible])
}
