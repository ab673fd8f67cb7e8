//! Tables of tails that others have published. What they do not say of their servers is assumed here: see each one.

use crate::Nanos;
use crate::fault::Burst;
use crate::record::SECOND;
use crate::scenario::{Load, Model, Scenario};
use crate::server::Queue;
use crate::service_time::ServiceTime;

const MS: Nanos = 1_000_000;

/// The scenarios.
pub(super) fn all() -> Vec<Scenario> {
    let two = two_slow("two_of_16_are_16_times_slower", Load::Open(500.0), 75);
    vec![cpu_bound(), two, ramp(), queues()]
}

/// Four backends with a processor each, and thirty callers that wait for one call before the next.
fn cpu_bound() -> Scenario {
    let model = Model::new(ServiceTime::Constant(10 * MS), 1, Queue::Fifo);
    let load = Load::Closed { callers: 30, think: MS };
    Scenario::new("four_processors_and_30_callers", 75 * SECOND, vec![model; 4], load)
}

/// Sixteen backends of 50 ms, two of them 16 times slower. A hundred workers each, so that a slow one just keeps up with
/// its share of the largest load.
fn two_slow(name: &str, load: Load, seconds: u64) -> Scenario {
    let model =
        |ms: Nanos| Model::new(ServiceTime::Uniform(ms * 9 / 10 * MS, ms * 11 / 10 * MS), 100, Queue::Fifo);
    let models = [vec![model(800); 2], vec![model(50); 14]].concat();
    let mut scenario = Scenario::new(name, seconds * SECOND, models, load);
    let limits = scenario.config.to_builder().timeout(std::time::Duration::from_secs(30));
    let limits = limits.attempt_timeout(std::time::Duration::from_secs(10)).build();
    scenario.config = limits.expect("an attempt is shorter than its call");
    scenario
}

/// The same under a load that grows from 100 to 1 500 calls a second, in steps of 100 that last 5 s.
fn ramp() -> Scenario {
    let mut scenario = two_slow("two_of_16_slow_and_a_ramp", Load::Open(100.0), 90);
    scenario.bursts = (1..15)
        .map(|step| Burst {
            from: (15 + step * 5) * SECOND,
            until: (20 + step * 5) * SECOND,
            factor: step as f64 + 1.0,
        })
        .collect();
    scenario
}

fn queues() -> Scenario {
    let service = ServiceTime::Exponential(10 * MS);
    let model = Model::new(service, 1, Queue::Fifo);
    Scenario::new("twenty_queues_at_90_percent", 75 * SECOND, vec![model; 20], Load::Open(1800.0))
}
