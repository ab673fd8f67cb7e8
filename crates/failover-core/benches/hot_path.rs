//! Measures the cost of a pick and a call, relative to the floor: the minimum work of any balancer
//! of this design.
//!
//! The floor loads an `ArcSwap`, draws a random index, reads the clock twice and adds to two
//! atomics of the chosen entry. All cases are measured in one run, in turns, so that changes of the
//! machine's speed affect all alike; each figure is the median of many short batches.

#![allow(clippy::disallowed_methods, reason = "a benchmark measures time")]

use std::future::Future;
use std::hint::black_box;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use failover_core::{FailoverConfig, Outcome, ServiceHandle, StrategyKind};
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

const BATCH: u32 = 1_000;
const BATCHES: usize = 301;
/// The promised limit for round robin select and finish, as a multiple of the floor.
const PROMISED: f64 = 3.0;

struct Case<'a> {
    name: String,
    work: Box<dyn FnMut() + 'a>,
    nanos: Vec<f64>,
}

impl<'a> Case<'a> {
    fn new(name: impl Into<String>, work: impl FnMut() + 'a) -> Self {
        Self { name: name.into(), work: Box::new(work), nanos: Vec::with_capacity(BATCHES) }
    }

    fn run(&mut self) {
        let began = Instant::now();
        for _ in 0..BATCH {
            (self.work)();
        }
        self.nanos.push(began.elapsed().as_secs_f64() * 1e9 / f64::from(BATCH));
    }

    fn median(&mut self) -> f64 {
        self.nanos.sort_by(f64::total_cmp);
        self.nanos[self.nanos.len() / 2]
    }
}

fn service(strategy: StrategyKind, count: usize) -> ServiceHandle {
    ServiceHandle::builder("bench")
        .endpoints((0..count).map(|n| format!("10.0.{}.{}:80", n / 250, n % 250)))
        .config(FailoverConfig::builder().strategy(strategy).build().expect("valid"))
        .build()
        .expect("valid")
}

fn floor(clock: impl Fn() -> u64, count: usize) -> impl FnMut() {
    let entries: Vec<_> = (0..count).map(|_| Arc::new((AtomicU64::new(0), AtomicU64::new(0)))).collect();
    let table = ArcSwap::from_pointee(entries);
    let mut generator = SmallRng::seed_from_u64(1);
    move || {
        let table = table.load();
        let began = clock();
        let entry = &table[generator.random_range(0..table.len())];
        entry.0.fetch_add(1, Ordering::Relaxed);
        let took = clock().wrapping_sub(began);
        entry.1.fetch_add(took, Ordering::Relaxed);
    }
}

fn ready<F: Future>(future: F) -> F::Output {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => output,
        Poll::Pending => unreachable!("the operation is ready at once"),
    }
}

fn main() {
    let std_start = Instant::now();
    let quanta = quanta::Clock::new();
    let start = quanta.raw();
    let count = 10;
    let services: Vec<_> = [
        (StrategyKind::RoundRobin, 10),
        (StrategyKind::RoundRobin, 1_000),
        (StrategyKind::Random, 10),
        (StrategyKind::LeastConnections, 10),
        (StrategyKind::LeastConnections, 1_000),
    ]
    .map(|(strategy, count)| (strategy, count, service(strategy, count)))
    .into();
    let mut cases = vec![
        Case::new("floor, std clock", floor(move || std_start.elapsed().as_nanos() as u64, count)),
        Case::new("floor, our clock", floor(move || quanta.delta_as_nanos(start, quanta.raw()), count)),
    ];
    for (strategy, count, service) in &services {
        cases.push(Case::new(format!("select + finish, {strategy}, {count} endpoints"), || {
            service.select().expect("available").finish(Outcome::Success);
        }));
    }
    let calls = &services[0].2;
    cases.push(Case::new("select_owned + finish, round_robin, 10 endpoints", || {
        calls.select_owned().expect("available").finish(Outcome::Success);
    }));
    cases.push(Case::new("execute, ready at once, round_robin, 10 endpoints", || {
        let done = ready(calls.execute(async |attempt| Ok::<_, std::fmt::Error>(attempt.port())));
        black_box(done.expect("succeeds").value);
    }));
    for _ in 0..BATCHES {
        cases.iter_mut().for_each(Case::run);
    }
    report(&mut cases);
    contention(calls);
}

fn report(cases: &mut [Case<'_>]) {
    let medians: Vec<f64> = cases.iter_mut().map(Case::median).collect();
    let (std_floor, our_floor) = (medians[0], medians[1]);
    println!("{:<52} {:>8} {:>12} {:>12}", "case", "ns", "x std floor", "x our floor");
    for (case, median) in cases.iter().zip(&medians) {
        println!("{:<52} {median:>8.1} {:>12.2} {:>12.2}", case.name, median / std_floor, median / our_floor);
    }
    let ratio = medians[2] / our_floor;
    println!(
        "\nround_robin select + finish is {ratio:.2} times the floor with the same clock; promised: at most {PROMISED}"
    );
    assert!(ratio <= PROMISED, "slower than promised: {ratio:.2}");
}

/// Measures two threads on one service: the cost of sharing.
fn contention(service: &ServiceHandle) {
    let each = |threads: usize| {
        let began = Instant::now();
        std::thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(|| {
                    for _ in 0..200_000 {
                        service.select().expect("available").finish(Outcome::Success);
                    }
                });
            }
        });
        began.elapsed() / 200_000
    };
    let (one, two) = (each(1), each(2));
    let fold = two.as_secs_f64() / one.max(Duration::from_nanos(1)).as_secs_f64();
    println!("one thread {one:?}, two threads {two:?} for each pick of a thread: {fold:.1} times");
}
