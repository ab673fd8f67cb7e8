//! Takes samples in turns: changes of the machine's speed affect all cases alike, and samples from
//! slow periods are discarded.

use std::hint::black_box;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// The approximate duration of a sample.
const SAMPLE: Duration = Duration::from_micros(600);
/// A reference loop this much slower than the fastest one means that the machine was slow.
const SLOW: f64 = 1.2;

/// One measured case: `work` performs the given number of operations.
pub(crate) struct Case<'a> {
    pub(crate) peer: &'static str,
    pub(crate) name: String,
    pub(crate) n: usize,
    work: Box<dyn FnMut(u32) + 'a>,
    times: u32,
    pub(crate) allocations: f64,
    /// Nanoseconds per operation, and of the reference loop beside it.
    samples: Vec<(f64, f64)>,
}

/// A result.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    pub(crate) peer: &'static str,
    pub(crate) name: String,
    pub(crate) n: usize,
    pub(crate) threads: usize,
    pub(crate) nanos: f64,
    pub(crate) allocations: f64,
    /// For several threads, the throughput relative to one thread: the median over pairs of
    /// samples.
    pub(crate) gain: Option<f64>,
}

impl<'a> Case<'a> {
    pub(crate) fn new(
        peer: &'static str,
        name: impl Into<String>,
        n: usize,
        work: impl FnMut(u32) + 'a,
    ) -> Self {
        Self {
            peer,
            name: name.into(),
            n,
            work: Box::new(work),
            times: 1,
            allocations: 0.0,
            samples: Vec::new(),
        }
    }

    /// Warms up, finds the number of operations per sample, and counts allocations.
    fn prepare(&mut self) {
        (self.work)(200);
        let mut times = 1;
        loop {
            let began = Instant::now();
            (self.work)(times);
            if began.elapsed() >= SAMPLE / 2 || times >= 1 << 20 {
                break;
            }
            times *= 2;
        }
        self.times = times;
        let counted = allocation_counter::measure(|| (self.work)(1_000));
        self.allocations = counted.count_total as f64 / 1_000.0;
    }

    fn sample(&mut self) {
        // Refills the caches that other cases have evicted: with enough operations for nearly every
        // endpoint.
        (self.work)(self.times.max(4 * self.n as u32));
        let before = reference();
        let began = Instant::now();
        (self.work)(self.times);
        let nanos = began.elapsed().as_secs_f64() * 1e9 / f64::from(self.times);
        self.samples.push((nanos, before.max(reference())));
    }
}

/// Times a loop that touches no memory: the machine's current speed.
fn reference() -> f64 {
    let began = Instant::now();
    let mut state = 1_u64;
    for _ in 0..4_000 {
        state = black_box(state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1));
    }
    black_box(state);
    began.elapsed().as_secs_f64() * 1e9
}

pub(crate) fn run(mut cases: Vec<Case<'_>>, rounds: usize) -> Vec<Row> {
    cases.iter_mut().for_each(Case::prepare);
    for _ in 0..rounds {
        cases.iter_mut().for_each(Case::sample);
    }
    let all = cases.iter().flat_map(|case| case.samples.iter().map(|(_, reference)| *reference));
    // The fastest tenth, not the minimum: a single lucky loop is no reference.
    let fast = quantile(all.collect(), 0.1);
    let rows = cases.into_iter().map(|case| {
        let kept = kept(&case.samples, fast);
        Row {
            peer: case.peer,
            name: case.name,
            n: case.n,
            threads: 1,
            nanos: quantile(kept, 0.5),
            allocations: case.allocations,
            gain: None,
        }
    });
    rows.collect()
}

/// Returns the samples whose reference loop was fast, or all if those are too few.
fn kept(samples: &[(f64, f64)], fast: f64) -> Vec<f64> {
    let good: Vec<_> =
        samples.iter().filter(|(_, reference)| *reference <= fast * SLOW).map(|(nanos, _)| *nanos).collect();
    if good.len() >= samples.len() / 5 { good } else { samples.iter().map(|(nanos, _)| *nanos).collect() }
}

pub(crate) fn quantile(mut values: Vec<f64>, part: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    let index = (values.len() as f64 * part) as usize;
    values.get(index.min(values.len().saturating_sub(1))).copied().unwrap_or(f64::NAN)
}

/// A case that several threads run concurrently.
pub(crate) struct Shared<'a> {
    pub(crate) peer: &'static str,
    pub(crate) name: String,
    pub(crate) n: usize,
    pub(crate) work: Box<dyn Fn(u32) + Sync + 'a>,
}

/// Runs each case on one thread and on two concurrently, all in turns: nanoseconds per pick of a
/// thread.
pub(crate) fn threads(cases: &[Shared<'_>], rounds: usize) -> Vec<Row> {
    let mut samples = vec![[Vec::new(), Vec::new()]; cases.len()];
    for _ in 0..rounds {
        for (case, samples) in cases.iter().zip(&mut samples) {
            samples[0].push(at_once(1, &case.work));
            samples[1].push(at_once(2, &case.work));
        }
    }
    let all = samples.iter().flatten().flatten().map(|(_, reference)| *reference);
    let fast = quantile(all.collect(), 0.1);
    let rows = cases.iter().zip(samples).flat_map(|(case, samples)| {
        let gain = samples[0].iter().zip(&samples[1]).map(|(alone, two)| 2.0 * alone.0 / two.0);
        let gain = quantile(gain.collect(), 0.5);
        let [alone, two] = samples.map(|samples| quantile(kept(&samples, fast), 0.5));
        let row = |name: String, threads, nanos, gain| Row {
            peer: case.peer,
            name,
            n: case.n,
            threads,
            nanos,
            allocations: 0.0,
            gain,
        };
        let name = format!("{}, in turns with two threads", case.name);
        [row(name, 1, alone, None), row(case.name.clone(), 2, two, Some(gain))]
    });
    rows.collect()
}

/// Returns the nanoseconds per pick on `count` threads, and of the reference loop on the slowest of
/// them.
fn at_once(count: usize, work: &(dyn Fn(u32) + Sync)) -> (f64, f64) {
    const TIMES: u32 = 50_000;
    let arrived = AtomicUsize::new(0);
    // Spinning keeps each thread on its own core when they continue.
    let meet = |nth: usize| {
        arrived.fetch_add(1, Ordering::AcqRel);
        while arrived.load(Ordering::Acquire) < nth * count {
            std::hint::spin_loop();
        }
    };
    let one = || {
        // A core that has just woken up is slow for a while.
        meet(1);
        work(TIMES);
        let before = reference();
        meet(2);
        let began = Instant::now();
        work(TIMES);
        let nanos = began.elapsed().as_secs_f64() * 1e9 / f64::from(TIMES);
        (nanos, before.max(reference()))
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..count).map(|_| scope.spawn(one)).collect();
        let measured = threads.into_iter().map(|thread| thread.join().expect("no panic"));
        measured.fold((0.0, 0.0), |most, one| (one.0.max(most.0), one.1.max(most.1)))
    })
}
