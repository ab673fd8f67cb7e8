//! The client's own process stops.

use crate::policy::Policy;
use crate::record::SECOND;
use crate::rows::row::{BEGINS, Row};
use crate::rows::target::Target;
use crate::scenario::{Load, Model, Scenario};
use crate::server::Queue;
use crate::service_time::ServiceTime;

pub(super) fn rows() -> Vec<Row> {
    vec![stall("own_stall_5s", 5), stall("process_stopped_30s", 30)]
}

/// Two hundred calls are in flight at ten endpoints. What the process notices late proves nothing about any of them.
fn stall(name: &str, length: u64) -> Row {
    let service = ServiceTime::Uniform(90_000_000, 110_000_000);
    let models = vec![Model::new(service, usize::MAX, Queue::Fifo); 10];
    let load = Load::Closed { callers: 200, think: 1_000_000 };
    let mut scenario = Scenario::new(name, (BEGINS + length + 10) * SECOND, models, load);
    scenario.stalls.push((BEGINS * SECOND, length * SECOND));
    let targets = vec![Target::NoneOut { from: BEGINS as usize }, Target::Stalls(1)];
    Row::new(scenario, Policy::Ejecting, targets)
}
