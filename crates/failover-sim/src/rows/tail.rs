//! An endpoint that answers, slowly.

use std::time::Duration;

use failover_core::config::OutlierConfig;

use crate::fault::FaultKind;
use crate::policy::Policy;
use crate::record::SECOND;
use crate::rows::row::{BEGINS, Row, for_ever, none_visible, quick};
use crate::rows::target::Target;
use crate::scenario::{Load, Scenario};

pub(super) fn rows() -> Vec<Row> {
    vec![slow(3), slow(10)]
}

/// One endpoint is ten times slower, and slow calls are watched: the tail is within a tenth of a healthy one once that is
/// known.
fn slow(count: usize) -> Row {
    let name = format!("slow_1_of_{count}");
    let scenario = Scenario::new(&name, 65 * SECOND, quick(count), Load::Open(1000.0));
    let mut scenario = scenario.fault(FaultKind::Slow(10.0), [0], for_ever());
    let watched = OutlierConfig::builder().slow_call(Duration::from_millis(50)).min_endpoints(2).build();
    let watched = watched.expect("the slow-call settings are valid");
    let config = scenario.config.to_builder().outlier_detection(watched).build();
    scenario.config = config.expect("a valid configuration with a valid section is valid");
    let p99 = Target::P99 { from: BEGINS as usize + 12, most: 12_000_000 };
    Row::new(scenario, Policy::RoundRobin, vec![p99, none_visible()])
}
