//! Endpoints that are gone, or answer errors.

use crate::fault::FaultKind;
use crate::policy::Policy;
use crate::record::SECOND;
use crate::rows::row::{BEGINS, Row, for_ever, none_visible, quick};
use crate::rows::target::Target;
use crate::scenario::{Load, Scenario};

/// Some endpoints are gone for good. The target of attempts: five failures, and a half-open call now and then.
pub(super) fn crashes() -> Vec<Row> {
    let rows = [("crash_1_of_3", 3, 1), ("crash_1_of_10", 10, 1), ("crash_2_of_3", 3, 2)];
    rows.into_iter()
        .map(|(name, endpoints, broken)| {
            let scenario = Scenario::new(name, 30 * SECOND, quick(endpoints), Load::Open(1000.0));
            let scenario = scenario.fault(FaultKind::Refuse, 0..broken, for_ever());
            let attempts = Target::Attempts {
                endpoints: (0..broken).collect(),
                span: (BEGINS as usize, BEGINS as usize + 20),
                most: 10 * broken as u64,
            };
            Row::new(scenario, Policy::Random, vec![none_visible(), attempts])
        })
        .collect()
}

pub(super) fn rows() -> Vec<Row> {
    vec![
        one_of_ten("errors_all_on_1_of_10", FaultKind::Error, 1.0),
        one_of_ten("resets_half_on_1_of_10", FaultKind::Reset, 0.5),
        tenth_of_one(),
        most("errors_half_on_4_of_5", 0.5),
        most("errors_all_on_4_of_5", 1.0),
        tenth_of_most(),
        everywhere(),
        returning(),
    ]
}

/// All endpoints answer errors for a minute: retries stop after a while, and all is well right after it.
fn everywhere() -> Row {
    let (begins, ends) = (BEGINS as usize, BEGINS as usize + 60);
    let scenario = Scenario::new("errors_everywhere", 90 * SECOND, quick(10), Load::Open(1000.0));
    let scenario = scenario.fault(FaultKind::Error, 0..10, (BEGINS * SECOND, ends as u64 * SECOND));
    let targets = vec![
        Target::Amplification { span: (begins + 10, ends), most: 1.05 },
        Target::Visible { from: ends + 10, most: 0.0 },
    ];
    Row::new(scenario, Policy::Retrying, targets)
}

/// One of ten is gone for 20 s. When it returns it gets no more than it can take like the others.
fn returning() -> Row {
    let ends = BEGINS + 20;
    let length = ends + 60;
    let scenario = Scenario::new("returns_without_a_burst", length * SECOND, quick(10), Load::Open(1000.0));
    let scenario = scenario.fault(FaultKind::Refuse, [0], (BEGINS * SECOND, ends * SECOND));
    let targets = vec![
        none_visible(),
        Target::NoBurst { endpoint: 0, fair: 0.1, span: (ends as usize, length as usize) },
        Target::Share {
            endpoints: vec![0],
            span: (ends as usize + 50, length as usize),
            bounds: (0.05, 0.12),
        },
    ];
    Row::new(scenario, Policy::First, targets)
}

/// One of ten fails this share of what it gets, for a minute, and is out soon.
fn one_of_ten(name: &str, kind: FaultKind, share: f64) -> Row {
    let scenario = Scenario::new(name, 60 * SECOND, quick(10), Load::Open(1000.0));
    let scenario = scenario.fault_share(kind, [0], for_ever(), share);
    let out = Target::OutBy { endpoints: vec![0], second: BEGINS as usize + 2 };
    Row::new(scenario, Policy::Random, vec![none_visible(), out])
}

/// One of ten fails a tenth of what it gets: out by comparison with the others, within one interval of 10 s.
fn tenth_of_one() -> Row {
    let scenario = Scenario::new("errors_tenth_on_1_of_10", 60 * SECOND, quick(10), Load::Open(1000.0));
    let scenario = scenario.fault_share(FaultKind::Error, [0], for_ever(), 0.1);
    let out = Target::OutBy { endpoints: vec![0], second: BEGINS as usize + 12 };
    Row::new(scenario, Policy::Random, vec![none_visible(), out])
}

/// Four of five fail half or all of what they get: out by their own score, whatever the others do.
fn most(name: &str, share: f64) -> Row {
    let scenario = Scenario::new(name, 60 * SECOND, quick(5), Load::Open(500.0));
    let scenario = scenario.fault_share(FaultKind::Error, 0..4, for_ever(), share);
    let targets = vec![
        Target::OutBy { endpoints: (0..4).collect(), second: BEGINS as usize + 5 },
        Target::Visible { from: BEGINS as usize + 5, most: 0.01 },
        Target::Share { endpoints: (0..4).collect(), span: (BEGINS as usize + 10, 60), bounds: (0.0, 0.05) },
    ];
    Row::new(scenario, Policy::Random, targets)
}

/// Four of five fail a tenth: none is much worse than the others, so that all stay in, and retries hide it.
fn tenth_of_most() -> Row {
    let scenario = Scenario::new("errors_tenth_on_4_of_5", 60 * SECOND, quick(5), Load::Open(500.0));
    let scenario = scenario.fault_share(FaultKind::Error, 0..4, for_ever(), 0.1);
    let stay = Target::Share { endpoints: (0..4).collect(), span: (BEGINS as usize, 60), bounds: (0.4, 1.0) };
    Row::new(scenario, Policy::Random, vec![Target::Visible { from: 0, most: 0.01 }, stay])
}
