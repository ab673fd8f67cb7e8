//! Performs one operation of the hot path a given number of times, for `cargo xtask instructions`.
//!
//! `instructions CASE COUNT` builds a service of ten endpoints, performs the operation `COUNT`
//! times on one thread and exits; without arguments the program lists its cases. The command runs
//! it under Valgrind, which counts the instructions of the functions below that are never inlined,
//! with two counts: the difference between the two, for each operation, is the cost.
//!
//! Random choices come from a seed; the clock is the one used in production.

use std::future::Future;
use std::hint::black_box;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use failover_core::{Endpoint, FailoverConfig, Outcome, Pick, Random, ServiceHandle, StrategyKind};

/// A name, and the function that performs the operation `count` times.
type Case = (&'static str, fn(count: u32));

const CASES: &[Case] = &[
    ("round_robin", |count| select_and_finish(StrategyKind::RoundRobin, count)),
    ("random", |count| select_and_finish(StrategyKind::Random, count)),
    ("least_connections", |count| select_and_finish(StrategyKind::LeastConnections, count)),
    // The algorithm of this strategy is peak EWMA.
    ("peak_ewma", |count| select_and_finish(StrategyKind::HealthBased, count)),
    ("weighted", |count| select_and_finish(StrategyKind::Weighted, count)),
    ("parts", parts),
    ("execute", execute),
];

fn main() {
    // `cargo bench` adds `--bench`.
    let args: Vec<String> = std::env::args().skip(1).filter(|arg| arg != "--bench").collect();
    match args.as_slice() {
        [] => CASES.iter().for_each(|(name, _)| println!("{name}")),
        [name, count] => {
            let (_, run) = CASES.iter().find(|(case, _)| case == name).expect("one of the listed cases");
            run(count.parse().expect("a number of operations"));
        }
        _ => panic!("the arguments are CASE COUNT, or none"),
    }
}

/// Returns a service of ten endpoints, with the weights 1 to 10 for the algorithm weighted.
fn service(strategy: StrategyKind) -> ServiceHandle {
    let endpoints = (1..=10).map(|n| {
        let address = format!("10.0.0.{n}");
        let weight = if strategy == StrategyKind::Weighted { n } else { 1 };
        Endpoint::builder(&*address, "bench", &*address, 80).weight(weight).build().expect("valid")
    });
    ServiceHandle::builder("bench")
        .endpoints(endpoints)
        .config(FailoverConfig::builder().strategy(strategy).build().expect("valid"))
        .random(Random::seeded(1))
        .build()
        .expect("valid")
}

/// Runs the loop of every case but `parts`. Only the instructions of this function are counted,
/// which excludes the calibration of the clock, because that varies between runs.
#[inline(never)]
fn measured(count: u32, operation: impl Fn()) {
    for _ in 0..count {
        operation();
    }
}

fn select_and_finish(strategy: StrategyKind, count: u32) {
    let service = service(strategy);
    measured(count, || service.select().expect("available").finish(Outcome::Success));
}

/// Performs the operation in two functions, which are counted separately.
fn parts(count: u32) {
    let service = service(StrategyKind::RoundRobin);
    for _ in 0..count {
        part_finish(part_select(&service));
    }
}

#[inline(never)]
fn part_select(service: &ServiceHandle) -> Pick<'_> {
    service.select().expect("available")
}

#[inline(never)]
fn part_finish(pick: Pick<'_>) {
    pick.finish(Outcome::Success);
}

fn execute(count: u32) {
    let service = service(StrategyKind::RoundRobin);
    measured(count, || {
        let done = ready(service.execute(async |attempt| Ok::<_, std::fmt::Error>(attempt.port())));
        black_box(done.expect("succeeds").value);
    });
}

fn ready<F: Future>(future: F) -> F::Output {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => output,
        Poll::Pending => unreachable!("the operation is ready at once"),
    }
}
