//! Answers of 503: by one endpoint for ever, or by all for a while. 429 is the same outcome for the engine.

use crate::fault::{Burst, FaultKind};
use crate::policy::Policy;
use crate::record::SECOND;
use crate::rows::row::{BEGINS, Row, for_ever, none_visible, quick};
use crate::rows::target::Target;
use crate::scenario::{Load, Model, Scenario};
use crate::server::Queue;
use crate::service_time::ServiceTime;

/// How long all endpoints answer 503, in seconds.
const BURST: u64 = 90;
/// The waiting time that Retry-After names, in seconds.
const WAIT: u64 = 10;

pub(super) fn rows() -> Vec<Row> {
    vec![
        one_of_three(true),
        one_of_three(false),
        retry_after(true),
        retry_after(false),
        all(),
        above_capacity(),
        most(2, 3, true),
        most(9, 10, true),
        most(2, 3, false),
        most(9, 10, false),
        half_of_many(),
    ]
}

/// One of three answers nothing else.
fn one_of_three(repeatable: bool) -> Row {
    let name = if repeatable { "overload_503_1_of_3" } else { "overload_503_1_of_3_unrepeatable" };
    let mut scenario = Scenario::new(name, 125 * SECOND, quick(3), Load::Open(300.0));
    scenario.idempotent = if repeatable { 1.0 } else { 0.0 };
    let scenario = scenario.fault(FaultKind::Overload(None), [0], for_ever());
    let from = BEGINS as usize + 10;
    let most = if repeatable { 0.001 } else { 0.01 };
    let targets = vec![
        Target::Share { endpoints: vec![0], span: (from, 125), bounds: (0.0, 0.01) },
        Target::Visible { from, most },
    ];
    Row::new(scenario, Policy::Random, targets)
}

/// Most of the endpoints answer nothing else for a minute, and the others can serve all calls. They do after 3 s: the
/// engine takes an endpoint out for 503 once it has answered nothing else for that long. After the minute it gets its
/// share again.
fn most(broken: usize, endpoints: usize, repeatable: bool) -> Row {
    const TIME: u64 = 60;
    const LENGTH: usize = (BEGINS + TIME) as usize + 60;
    let suffix = if repeatable { "" } else { "_unrepeatable" };
    let name = format!("overload_503_{broken}_of_{endpoints}{suffix}");
    let mut scenario = Scenario::new(&name, LENGTH as u64 * SECOND, quick(endpoints), Load::Open(300.0));
    scenario.idempotent = if repeatable { 1.0 } else { 0.0 };
    let span = (BEGINS * SECOND, (BEGINS + TIME) * SECOND);
    let scenario = scenario.fault(FaultKind::Overload(None), 0..broken, span);
    let most = if repeatable { 0.001 } else { 0.01 };
    let fair = broken as f64 / endpoints as f64;
    let share = |span, bounds| Target::Share { endpoints: (0..broken).collect(), span, bounds };
    let targets = vec![
        Target::Visible { from: BEGINS as usize + 3, most },
        share((BEGINS as usize + 10, (BEGINS + TIME) as usize), (0.0, 0.02)),
        share((LENGTH - 20, LENGTH), (0.9 * fair, 1.02 * fair)),
    ];
    Row::new(scenario, Policy::Random, targets)
}

/// Half of twenty answer nothing else. Each of thirty clients makes seven calls a second and needs 15 s to take them
/// all out; a retry soon finds one of the others.
fn half_of_many() -> Row {
    let name = "overload_503_10_of_20_30_clients";
    let mut scenario = Scenario::new(name, 45 * SECOND, quick(20), Load::Open(200.0));
    scenario.clients = 30;
    let scenario = scenario.fault(FaultKind::Overload(None), 0..10, for_ever());
    let begins = BEGINS as usize;
    let targets = vec![
        Target::Visible { from: begins, most: 0.06 },
        Target::Visible { from: begins + 10, most: 0.001 },
    ];
    Row::new(scenario, Policy::Random, targets)
}

/// One of three answers 503 and asks for 10 s without calls: while it waits, only calls already on their way reach it.
fn retry_after(repeatable: bool) -> Row {
    let name = if repeatable { "retry_after_1_of_3" } else { "retry_after_1_of_3_unrepeatable" };
    let mut scenario = Scenario::new(name, 65 * SECOND, quick(3), Load::Open(300.0));
    scenario.idempotent = if repeatable { 1.0 } else { 0.0 };
    let scenario = scenario.fault(FaultKind::Overload(Some(WAIT * SECOND)), [0], for_ever());
    let (from, until) = (BEGINS as usize, (BEGINS + WAIT) as usize);
    let visible = if repeatable { none_visible() } else { Target::Visible { from: 0, most: 0.01 } };
    let attempts = |span, most| Target::Attempts { endpoints: vec![0], span, most };
    Row::new(scenario, Policy::Random, vec![attempts((from, until), 5), attempts((from, 65), 60), visible])
}

/// All answer 503 for 90 s. An endpoint that is taken out because of it is missing although it works again.
fn all() -> Row {
    let end = (BEGINS + BURST) as usize;
    let scenario =
        Scenario::new("overload_503_all", (BEGINS + BURST + 30) * SECOND, quick(3), Load::Open(300.0));
    let span = (BEGINS * SECOND, (BEGINS + BURST) * SECOND);
    let scenario = scenario.fault(FaultKind::Overload(None), 0..3, span);
    let targets = vec![Target::NoneOut { from: end + 5 }, Target::Visible { from: end + 5, most: 0.0 }];
    Row::new(scenario, Policy::Banning, targets)
}

/// Twice the calls that the endpoints can serve for 90 s; what they have no place for is answered with 503. They serve
/// at their capacity meanwhile, and all are in use soon after.
fn above_capacity() -> Row {
    const COUNT: u64 = 3;
    let end = (BEGINS + BURST) as usize;
    let service = ServiceTime::Exponential(COUNT * 1_000_000);
    let model = Model::new(service, 1, Queue::Bounded(50));
    let length = (BEGINS + BURST + 30) * SECOND;
    let mut scenario =
        Scenario::new("overload_503_burst", length, vec![model; COUNT as usize], Load::Open(900.0));
    scenario.bursts.push(Burst { from: BEGINS * SECOND, until: (BEGINS + BURST) * SECOND, factor: 2.0 });
    let targets = vec![
        Target::Succeed { span: (BEGINS as usize, end), least: BURST * 990 },
        Target::NoneOut { from: end + 5 },
        Target::Visible { from: end + 5, most: 0.001 },
    ];
    Row::new(scenario, Policy::Ejecting, targets)
}
