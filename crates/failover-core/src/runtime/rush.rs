//! Which calls are timed while a thread makes many of them.
//!
//! A precise reading of the clock can cost more than a pick. While a thread begins more than a few dozen
//! calls within one tick of a coarse clock, it therefore times one of every eight calls, drawn at random
//! so that no pattern of the load can coincide with it, and that call counts as all eight.

use std::cell::Cell;

/// How a call is timed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Timing {
    /// It stands for itself.
    Each,
    /// It stands for [`SPAN`] calls.
    Sample,
    /// Another call stands for it. The time of its start is that of an earlier call in the same tick.
    Skipped,
}

/// The number of calls that one stands for in a rush.
pub(crate) const SPAN: u32 = 8;
/// The number of calls within one tick that are timed each.
const CALM: u32 = 48;

impl Timing {
    pub(crate) const fn from_bits(bits: u64) -> Self {
        match bits {
            0 => Self::Each,
            1 => Self::Sample,
            _ => Self::Skipped,
        }
    }

    /// The number of calls whose duration is that of this one.
    #[cfg(test)]
    pub(crate) const fn weight(self) -> u32 {
        match self {
            Self::Each => 1,
            Self::Sample => SPAN,
            Self::Skipped => 0,
        }
    }
}

/// The calls that one thread has begun within the current tick.
#[derive(Debug)]
pub(super) struct Rush {
    /// The tick, and the clock that it is of.
    tick: Cell<(u64, u64)>,
    calls: Cell<u32>,
    /// Which call of the current span is timed.
    chosen: Cell<u32>,
    /// The last precise reading.
    pub(super) read: Cell<u64>,
}

impl Rush {
    pub(super) const fn new() -> Self {
        Self { tick: Cell::new((0, 0)), calls: Cell::new(0), chosen: Cell::new(0), read: Cell::new(0) }
    }

    /// Counts a call that begins in this tick of this clock. `draw` returns a random number below its
    /// argument.
    #[inline]
    pub(super) fn begin(&self, tick: u64, clock: u64, draw: impl FnOnce(u32) -> u32) -> Timing {
        if self.tick.get() != (tick, clock) {
            self.tick.set((tick, clock));
            self.calls.set(1);
            return Timing::Each;
        }
        let calls = self.calls.get();
        self.calls.set(calls.wrapping_add(1));
        if calls < CALM {
            return Timing::Each;
        }
        let place = (calls - CALM) % SPAN;
        if place == 0 {
            self.chosen.set(draw(SPAN));
        }
        if place == self.chosen.get() { Timing::Sample } else { Timing::Skipped }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rand::rngs::SmallRng;
    use rand::{RngExt, SeedableRng};

    use super::*;

    const TICK: u64 = 4_000_000;

    /// A call's start and duration in nanoseconds.
    type Call = (u64, u64);

    /// Returns the timing of each call, for calls of one thread.
    fn timings(calls: &[Call], random: &mut SmallRng) -> Vec<Timing> {
        let rush = Rush::new();
        let one = |&(at, _): &Call| rush.begin(at / TICK, 0, |bound| random.random_range(0..bound));
        calls.iter().map(one).collect()
    }

    #[test]
    fn each_call_is_timed_unless_a_tick_has_many() {
        let rush = Rush::new();
        for tick in 1..100 {
            for _ in 0..CALM {
                assert_eq!(rush.begin(tick, 0, |_| unreachable!("no rush")), Timing::Each);
            }
        }
        let rest: Vec<_> = (0..8 * SPAN).map(|_| rush.begin(99, 0, |_| 5)).collect();
        for span in rest.chunks(SPAN as usize) {
            let timed: Vec<_> = span.iter().map(|timing| timing.weight()).collect();
            assert_eq!(timed, [0, 0, 0, 0, 0, SPAN, 0, 0]);
        }
        assert_eq!(rush.begin(100, 0, |_| 5), Timing::Each, "the next tick");
        assert_eq!(rush.begin(100, 1, |_| 5), Timing::Each, "another clock");
    }

    #[test]
    fn a_load_that_repeats_every_eight_calls_has_all_of_its_parts_timed() {
        let mut random = SmallRng::seed_from_u64(3);
        let calls: Vec<Call> = (0..400_000).map(|n| (TICK + n, 0)).collect();
        let mut by_turn = [0; SPAN as usize];
        for (n, timing) in timings(&calls, &mut random).into_iter().enumerate() {
            by_turn[n % SPAN as usize] += timing.weight();
        }
        assert!(by_turn.iter().all(|count| (47_000..53_000).contains(count)), "{by_turn:?}");
    }

    /// Returns a time that varies around `middle`, from half of it to twice as much.
    fn about(middle: f64, random: &mut SmallRng) -> u64 {
        let sum: f64 = (0..6).map(|_| random.random::<f64>()).sum();
        (middle * (0.3 * (sum - 3.0)).exp()) as u64
    }

    /// 250 000 calls a second.
    fn steady(random: &mut SmallRng) -> Vec<Call> {
        (0..600_000).map(|n| (n * 4_000, about(20e6, random))).collect()
    }

    /// A call every millisecond, and every 100 ms a burst of 5 000 calls that are twice as slow.
    fn bursty(random: &mut SmallRng) -> Vec<Call> {
        let one = |n: u64, random: &mut SmallRng| {
            let (burst, within) = (n / 5_100, n % 5_100);
            match within.checked_sub(100) {
                None => (burst * 100_000_000 + within * 1_000_000, about(10e6, random)),
                Some(rest) => (burst * 100_000_000 + 99_900_000 + rest * 20, about(20e6, random)),
            }
        };
        (0..600_000).map(|n| one(n, random)).collect()
    }

    /// Two of three calls take 2 ms and the others 200 ms.
    fn bimodal(random: &mut SmallRng) -> Vec<Call> {
        let middle = |n: u64| if n % 3 == 0 { 200e6 } else { 2e6 };
        (0..600_000).map(|n| (n * 2_000, about(middle(n), random))).collect()
    }

    /// Returns percentiles of durations, each with the number of calls that it stands for.
    fn percentiles(mut durations: Vec<(u64, u32)>) -> [u64; 3] {
        durations.sort_unstable();
        let all: u64 = durations.iter().map(|(_, weight)| u64::from(*weight)).sum();
        [500, 900, 990].map(|per_mille| {
            let (rank, mut before) = ((all * per_mille).div_ceil(1000), 0);
            let found = durations.iter().find(|(_, weight)| {
                before += u64::from(*weight);
                before >= rank
            });
            found.expect("there are durations").0
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(6))]
        #[test]
        fn percentiles_of_timed_calls_are_within_two_percent_of_those_of_all_calls(
            seed in any::<u64>(),
            load in prop::sample::select(vec![steady as fn(&mut SmallRng) -> Vec<Call>, bursty, bimodal]),
        ) {
            let mut random = SmallRng::seed_from_u64(seed);
            let calls = load(&mut random);
            let timings = timings(&calls, &mut random);
            let timed = timings.iter().filter(|timing| **timing != Timing::Skipped).count();
            prop_assert!(timed < calls.len() / 5, "{timed} of {}", calls.len());
            let sampled = calls.iter().zip(&timings).map(|(call, timing)| (call.1, timing.weight())).collect();
            let all = calls.iter().map(|call| (call.1, 1)).collect();
            for (found, exact) in percentiles(sampled).into_iter().zip(percentiles(all)) {
                let (found, exact) = (found as f64, exact as f64);
                prop_assert!((found - exact).abs() <= 0.02 * exact, "{found} for {exact}");
            }
        }
    }
}
