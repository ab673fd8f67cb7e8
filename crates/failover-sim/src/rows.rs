//! Named rows: a scenario of a fault, what must hold, and a naive control that must fail it.

mod collapse;
mod errors;
mod flapping;
mod outage;
mod overload;
mod row;
mod silent;
mod stall;
mod standby;
mod tail;
mod target;
mod unrepeatable;

pub use collapse::{cells, hard_cells};
pub use row::Row;
pub use target::Verdict;

/// Every row, without the cells of the matrix.
pub fn all() -> Vec<Row> {
    let families = [
        errors::crashes(),
        silent::rows(),
        overload::rows(),
        outage::rows(),
        collapse::rows(),
        flapping::rows(),
        errors::rows(),
        tail::rows(),
        stall::rows(),
        standby::rows(),
        unrepeatable::rows(),
    ];
    for returns in 1..3 {
        rows.push(outage(&format!("all_refused_{returns}_returns"), returns));
    }
    for servers in [1, 2, 3, 10] {
        for (trigger, factor) in [("half", 2.0), ("fifth", 5.0)] {
            rows.push(collapse(&format!("m1_{trigger}_n{servers}_90"), servers, factor, 1.0));
        }
        rows.push(collapse(&format!("m1_doubled_n{servers}_90"), servers, 1.0, 2.0));
    }
    for (name, queue) in [("drops", Queue::DropAbandoned), ("refuses", Queue::Bounded(100))] {
        let mut row = collapse(&format!("m1_half_n3_90_{name}"), 3, 2.0, 1.0);
        for model in &mut row.scenario.endpoints {
            model.queue = queue;
        }
        rows.push(row);
    }
    rows.push(many_clients(collapse("m1_half_n3_90_100_clients", 3, 2.0, 1.0)));
    for period in [2, 20, 60, 120] {
        rows.push(flapping(&format!("flapping_{period}s"), period));
    }
    rows.push(errors("errors_all_on_1_of_10", FaultKind::Error, 1.0));
    rows.push(errors("resets_half_on_1_of_10", FaultKind::Reset, 0.5));
    rows.push(stall("own_stall_5s"));
    rows.push(standby("standby_black_hole", FaultKind::BlackHole));
    rows.push(standby("standby_refused", FaultKind::Refuse));
    rows
}

/// Ten milliseconds a request, give or take one, without a queue.
fn quick(count: usize) -> Vec<Model> {
    let service = ServiceTime::Uniform(9_000_000, 11_000_000);
    vec![Model { service, workers: usize::MAX, queue: Queue::Fifo, priority: 0 }; count]
}

fn row(scenario: Scenario, control: Policy, target: Target) -> Row {
    Row { name: scenario.name.clone(), scenario, control, target }
}

fn fault(name: &str, kind: FaultKind, endpoints: usize, broken: usize) -> Row {
    let scenario = Scenario::new(name, 30 * SECOND, quick(endpoints), Load::Open(1000.0));
    let scenario = scenario.fault(kind, 0..broken, (BEGINS * SECOND, u64::MAX));
    row(scenario, Policy::Random, Target::NoneVisible)
}

/// One of three answers 503 only, and no call may be repeated.
fn overload(name: &str) -> Row {
    let mut scenario = Scenario::new(name, 60 * SECOND, quick(3), Load::Open(200.0));
    scenario.idempotent = 0.0;
    let scenario = scenario.fault(FaultKind::Overload(None), [0], (BEGINS * SECOND, u64::MAX));
    row(scenario, Policy::Random, Target::Visible { from: BEGINS as usize + 10, most: 0.01 })
}

/// All refuse for a minute; then one endpoint returns and the others stay away.
fn outage(name: &str, returns: usize) -> Row {
    const COUNT: usize = 3;
    let back = (BEGINS + 60) * SECOND;
    let scenario = Scenario::new(name, back + 60 * SECOND, quick(COUNT), Load::Open(100.0));
    let others = (0..COUNT).filter(|index| *index != returns);
    let scenario = scenario.fault(FaultKind::Refuse, others, (BEGINS * SECOND, u64::MAX)).fault(
        FaultKind::Refuse,
        [returns],
        (BEGINS * SECOND, back),
    );
    row(scenario, Policy::First, Target::Returns { at: back, within: SECOND })
}

/// Servers that work on abandoned requests, with 1000 calls a second of capacity in all, at 90 % load.
fn collapse(name: &str, servers: usize, slow: f64, burst: f64) -> Row {
    let service = ServiceTime::Exponential(servers as u64 * 1_000_000);
    let models = vec![Model { service, workers: 1, queue: Queue::Fifo, priority: 0 }; servers];
    let span = (BEGINS * SECOND, (BEGINS + TRIGGER) * SECOND);
    // Random without logic needs up to 103 s after the worst trigger.
    let length = BEGINS + TRIGGER + if slow > 1.0 && slow < 3.0 { 70 } else { 130 };
    let mut scenario = Scenario::new(name, length * SECOND, models, Load::Open(900.0));
    if slow > 1.0 {
        scenario = scenario.fault(FaultKind::Slow(slow), 0..servers, span);
    }
    if burst > 1.0 {
        scenario.bursts.push(Burst { from: span.0, until: span.1, factor: burst });
    }
    row(scenario, Policy::Retrying, Target::Recovers { after: (BEGINS + TRIGGER) as usize })
}

/// The same load from a hundred clients, each with a budget of its own.
fn many_clients(mut row: Row) -> Row {
    row.scenario.clients = 100;
    row
}

/// One of ten refuses in the first half of each period, at 10 calls a second, for an hour.
fn flapping(name: &str, period: u64) -> Row {
    let most = match period {
        2 => 90,
        60 => 320,
        _ => 250,
    };
    let scenario = Scenario::new(name, 3_600 * SECOND, quick(10), Load::Open(10.0));
    let mut scenario = scenario.fault(FaultKind::Refuse, [0], (0, 3_600 * SECOND));
    scenario.faults[0].period = Some(period * SECOND);
    row(scenario, Policy::Random, Target::FirstAttempts(most))
}

/// One of ten fails this share of what it gets, for a minute.
fn errors(name: &str, kind: FaultKind, share: f64) -> Row {
    let scenario = Scenario::new(name, 60 * SECOND, quick(10), Load::Open(1000.0));
    let mut scenario = scenario.fault(kind, [0], (BEGINS * SECOND, u64::MAX));
    scenario.faults[0].share = share;
    row(scenario, Policy::Random, Target::NoneVisible)
}

/// The client's process stalls for 5 s with 200 calls in flight.
fn stall(name: &str) -> Row {
    let service = ServiceTime::Uniform(90_000_000, 110_000_000);
    let models = vec![Model { service, workers: usize::MAX, queue: Queue::Fifo, priority: 0 }; 10];
    let load = Load::Closed { callers: 200, think: 0 };
    let mut scenario = Scenario::new(name, 20 * SECOND, models, load);
    scenario.stalls.push((BEGINS * SECOND, 5 * SECOND));
    row(scenario, Policy::Random, Target::NoneOut { after: BEGINS as usize })
}

/// The only endpoint of the first tier fails; the second has a standby.
fn standby(name: &str, kind: FaultKind) -> Row {
    let mut models = quick(2);
    models[1].priority = 1;
    for model in &mut models {
        model.service = ServiceTime::Constant(10_000_000);
    }
    let scenario = Scenario::new(name, 60 * SECOND, models, Load::Open(100.0));
    let scenario = scenario.fault(kind, [0], (BEGINS * SECOND, u64::MAX));
    row(scenario, Policy::Random, Target::NoneVisible)
}
