//! The registry fails, answers nothing, or is late.

use crate::fault::FaultKind;
use crate::policy::Policy;
use crate::record::SECOND;
use crate::registry::Answer;
use crate::rows::row::{BEGINS, Row, none_visible, quick};
use crate::rows::target::Target;
use crate::scenario::{Load, Scenario};

pub(super) fn rows() -> Vec<Row> {
    vec![answer("registry_down", Answer::Down), answer("registry_empty", Answer::Empty), half(), rolling()]
}

/// From some time on the registry names no endpoint, for whatever reason: the last list stays in use.
fn answer(name: &str, answer: Answer) -> Row {
    let mut scenario = Scenario::new(name, 65 * SECOND, quick(3), Load::Open(300.0));
    scenario.registry.push((BEGINS * SECOND, answer));
    Row::new(scenario, Policy::Listed, vec![none_visible()])
}

/// Two of four are taken out of the list: they get no more calls.
fn half() -> Row {
    let mut scenario = Scenario::new("registry_removes_2_of_4", 35 * SECOND, quick(4), Load::Open(300.0));
    scenario.registry.push((BEGINS * SECOND, Answer::Lists(vec![0, 2])));
    let removed = Target::Attempts { endpoints: vec![1, 3], span: (BEGINS as usize + 1, 35), most: 0 };
    Row::new(scenario, Policy::RoundRobin, vec![none_visible(), removed])
}

/// A rolling restart of six: every 8 s one is gone for 5 s, and the registry notices 2 s late.
fn rolling() -> Row {
    const COUNT: usize = 6;
    let mut scenario =
        Scenario::new("registry_late_in_a_restart", 65 * SECOND, quick(COUNT), Load::Open(300.0));
    for index in 0..COUNT {
        let gone = (BEGINS + 8 * index as u64) * SECOND;
        let others = (0..COUNT).filter(|other| *other != index).collect();
        scenario = scenario.fault(FaultKind::Refuse, [index], (gone, gone + 5 * SECOND));
        scenario.registry.push((gone + 2 * SECOND, Answer::Lists(others)));
        scenario.registry.push((gone + 7 * SECOND, Answer::Lists((0..COUNT).collect())));
    }
    Row::new(scenario, Policy::Listed, vec![none_visible()])
}
