//! M1: an overload that feeds itself after its trigger has ended.
//!
//! Servers have 1000 calls a second of capacity in all. For 10 s their capacity is halved or cut to a fifth, or the load
//! is doubled; then the callers must recover.

use std::fmt::Write;
use std::time::Duration;

use failover_core::FailoverConfig;

use crate::fault::{Burst, FaultKind};
use crate::policy::Policy;
use crate::record::SECOND;
use crate::rows::row::{BEGINS, Row};
use crate::rows::target::Target;
use crate::scenario::{Load, Model, Scenario};
use crate::server::Queue;
use crate::service_time::ServiceTime;

/// How long the trigger lasts, in seconds.
const TRIGGER: u64 = 10;

const ALGORITHMS: [Policy; 3] = [Policy::Default, Policy::LeastConnections, Policy::HealthBased];

#[derive(Clone, Copy, PartialEq)]
enum Trigger {
    Half,
    Fifth,
    Doubled,
}

const TRIGGERS: [Trigger; 3] = [Trigger::Half, Trigger::Fifth, Trigger::Doubled];

/// What is varied.
#[derive(Clone, Copy)]
struct Cell {
    trigger: Trigger,
    servers: usize,
    /// The load in percent of the capacity.
    load: u32,
    queue: Queue,
    clients: usize,
    retries: bool,
    /// How long an attempt may take, in seconds.
    attempt: u64,
}

impl Cell {
    fn new(trigger: Trigger, servers: usize, load: u32) -> Self {
        Self { trigger, servers, load, queue: Queue::Fifo, clients: 1, retries: true, attempt: 1 }
    }

    fn name(self) -> String {
        let trigger = match self.trigger {
            Trigger::Half => "half",
            Trigger::Fifth => "fifth",
            Trigger::Doubled => "doubled",
        };
        let mut name = format!("m1_{trigger}_n{}_{}", self.servers, self.load);
        name.push_str(match self.queue {
            Queue::Fifo => "",
            Queue::DropAbandoned => "_drops",
            Queue::Bounded(_) => "_refuses",
        });
        if self.clients > 1 {
            let _ = write!(name, "_{}_clients", self.clients);
        }
        if !self.retries {
            name.push_str("_no_retries");
        }
        if self.attempt > 1 {
            let _ = write!(name, "_attempts_of_{}s", self.attempt);
        }
        name
    }

    fn row(self) -> Row {
        let service = ServiceTime::Exponential(self.servers as u64 * 1_000_000);
        let model = Model::new(service, 1, self.queue);
        let span = (BEGINS * SECOND, (BEGINS + TRIGGER) * SECOND);
        // Random without logic needs up to 103 s after the worst trigger. Where a hundred clients have thirty servers,
        // it needs 96 s after half the capacity and about 160 s after a fifth. A policy may take 1.3 times as long.
        let watched = match (self.trigger, self.servers * self.clients > 1_000) {
            (Trigger::Half, false) => 70,
            (Trigger::Half, true) | (_, false) => 130,
            (_, true) => 210,
        };
        let length = BEGINS + TRIGGER + watched;
        let load = Load::Open(f64::from(self.load) * 10.0);
        let mut scenario = Scenario::new(&self.name(), length * SECOND, vec![model; self.servers], load);
        let slow =
            |scenario: Scenario, factor| scenario.fault(FaultKind::Slow(factor), 0..self.servers, span);
        match self.trigger {
            Trigger::Half => scenario = slow(scenario, 2.0),
            Trigger::Fifth => scenario = slow(scenario, 5.0),
            Trigger::Doubled => scenario.bursts.push(Burst { from: span.0, until: span.1, factor: 2.0 }),
        }
        scenario.clients = self.clients;
        scenario.config = with_attempts(&scenario.config, Duration::from_secs(self.attempt));
        if !self.retries {
            scenario.config = without_retries(&scenario.config);
        }
        // Servers that keep nothing old, and callers without retries, recover by themselves: what fails there is a
        // breaker that takes an overload for the endpoint's fault.
        let naive = self.queue == Queue::Fifo && self.retries;
        let control = if naive { Policy::Retrying } else { Policy::Banning };
        Row::new(scenario, control, vec![Target::Recovers { after: (BEGINS + TRIGGER) as usize }])
    }
}

fn with_attempts(config: &FailoverConfig, of: Duration) -> FailoverConfig {
    config.to_builder().timeout(of * 3).attempt_timeout(of).build().expect("three attempts are valid")
}

fn without_retries(config: &FailoverConfig) -> FailoverConfig {
    config.to_builder().max_retries(0).build().expect("calls without retries are valid")
}

/// Fourteen rows that stand for the whole family.
pub(super) fn rows() -> Vec<Row> {
    let half = Cell::new(Trigger::Half, 3, 90);
    let cells = [
        Cell { servers: 2, ..half },
        half,
        Cell { servers: 10, ..half },
        Cell::new(Trigger::Fifth, 3, 90),
        Cell::new(Trigger::Fifth, 10, 90),
        Cell::new(Trigger::Doubled, 3, 90),
        Cell::new(Trigger::Doubled, 10, 90),
        Cell { queue: Queue::DropAbandoned, ..half },
        Cell { queue: Queue::Bounded(100), ..half },
        Cell { clients: 10, ..half },
        Cell { clients: 100, ..half },
        Cell { clients: 100, ..Cell::new(Trigger::Fifth, 30, 90) },
        Cell { retries: false, ..half },
        Cell { clients: 10, attempt: 3, ..Cell::new(Trigger::Fifth, 3, 90) },
    ];
    cells.map(Cell::row).into()
}

/// The hard cells: 2, 3, 10 and 30 servers at 90 % load under each trigger and algorithm, ten at 70 % with half of their
/// capacity, and one server; 40 in all.
pub fn hard_cells() -> Vec<(Row, Policy)> {
    let mut cells: Vec<_> =
        [2, 3, 10, 30].map(|servers| TRIGGERS.map(|t| Cell::new(t, servers, 90))).concat();
    cells.push(Cell::new(Trigger::Half, 10, 70));
    let mut cells = crossed(&cells);
    cells.push((Cell::new(Trigger::Half, 1, 90).row(), Policy::Default));
    cells
}

/// Every cell: 405 of one client, 81 without retries, 72 each of 10 and 100 clients.
pub fn cells() -> Vec<(Row, Policy)> {
    let mut cells = Vec::new();
    for trigger in TRIGGERS {
        for load in [50, 70, 90] {
            for servers in [1, 2, 3, 10, 30] {
                let cell = Cell::new(trigger, servers, load);
                let queues = [Queue::Fifo, Queue::DropAbandoned, Queue::Bounded(300 / servers)];
                cells.extend(queues.map(|queue| Cell { queue, ..cell }));
                if [2, 3, 10].contains(&servers) {
                    cells.push(Cell { retries: false, ..cell });
                }
                if load > 50 && servers > 1 {
                    cells.extend([10, 100].map(|clients| Cell { clients, ..cell }));
                }
            }
        }
    }
    crossed(&cells)
}

fn crossed(cells: &[Cell]) -> Vec<(Row, Policy)> {
    cells.iter().flat_map(|cell| ALGORITHMS.map(|algorithm| (cell.row(), algorithm))).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn the_matrix_has_its_cells_each_under_a_name_of_its_own() {
        assert_eq!(hard_cells().len(), 40);
        let cells = cells();
        assert_eq!(cells.len(), 405 + 81 + 2 * 72);
        let names: HashSet<_> =
            cells.iter().map(|(row, policy)| (row.name().to_owned(), policy.as_str())).collect();
        assert_eq!(names.len(), cells.len());
    }
}
