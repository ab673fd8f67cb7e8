//! Samples in turns: a machine that changes its speed changes it for all alike, and what was measured while it was slow
//! is left out.

use std::hint::black_box;
use std::time::{Duration, Instant};

/// How long one sample takes, about.
const SAMPLE: Duration = Duration::from_micros(600);
/// A reference loop that took this much longer than the fastest one: the machine was slow.
const SLOW: f64 = 1.2;

/// One thing that is measured: it does its work so many times.
pub(crate) struct Case<'a> {
    pub(crate) peer: &'static str,
    pub(crate) name: String,
    pub(crate) n: usize,
    work: Box<dyn FnMut(u32) + 'a>,
    times: u32,
    pub(crate) allocations: f64,
    /// Nanoseconds of one, and of the reference loop beside it.
    samples: Vec<(f64, f64)>,
}

/// What came out.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    pub(crate) peer: &'static str,
    pub(crate) name: String,
    pub(crate) n: usize,
    pub(crate) threads: usize,
    pub(crate) nanos: f64,
    pub(crate) allocations: f64,
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

    /// Warms up, finds how often it fits into a sample, and counts what it allocates.
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
        // What the other cases have pushed out of the caches is fetched first: every endpoint, most likely.
        (self.work)(self.times.max(4 * self.n as u32));
        let before = reference();
        let began = Instant::now();
        (self.work)(self.times);
        let nanos = began.elapsed().as_secs_f64() * 1e9 / f64::from(self.times);
        self.samples.push((nanos, before.max(reference())));
    }
}

/// A loop that touches no memory: how fast the machine is now.
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
    // The fastest tenth, not the fastest of all: one lucky loop is no measure.
    let fast = quantile(all.collect(), 0.1);
    let rows = cases.into_iter().map(|case| {
        let good: Vec<_> =
            case.samples.iter().filter(|(_, slow)| *slow <= fast * SLOW).map(|(nanos, _)| *nanos).collect();
        let kept = if good.len() >= rounds / 5 {
            good
        } else {
            case.samples.iter().map(|(nanos, _)| *nanos).collect()
        };
        Row {
            peer: case.peer,
            name: case.name,
            n: case.n,
            threads: 1,
            nanos: quantile(kept, 0.5),
            allocations: case.allocations,
        }
    });
    rows.collect()
}

pub(crate) fn quantile(mut values: Vec<f64>, part: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    let index = (values.len() as f64 * part) as usize;
    values.get(index.min(values.len().saturating_sub(1))).copied().unwrap_or(f64::NAN)
}

/// The same work on two threads at once and on one, in turns: nanoseconds of one pick of a thread.
pub(crate) fn threads(
    peer: &'static str,
    name: &str,
    n: usize,
    rounds: usize,
    work: impl Fn(u32) + Sync,
) -> Vec<Row> {
    const TIMES: u32 = 50_000;
    let measure = |count: usize| {
        let began = Instant::now();
        std::thread::scope(|scope| (0..count).for_each(|_| drop(scope.spawn(|| work(TIMES)))));
        began.elapsed().as_secs_f64() * 1e9 / f64::from(TIMES)
    };
    let mut samples = [Vec::new(), Vec::new()];
    for _ in 0..rounds {
        samples[0].push(measure(1));
        samples[1].push(measure(2));
    }
    let [alone, together] = samples;
    let row = |threads, name: String, samples| Row {
        peer,
        name,
        n,
        threads,
        nanos: quantile(samples, 0.5),
        allocations: 0.0,
    };
    // In turns with the other, so that both have met the same machine.
    vec![row(1, format!("{name}, in turns with two threads"), alone), row(2, name.to_owned(), together)]
}
