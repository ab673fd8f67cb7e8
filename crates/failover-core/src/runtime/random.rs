//! The only source of randomness: one generator per thread, or a seeded one for tests.

use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rand::rngs::SmallRng;
use rand::{Rng, RngExt, SeedableRng};

thread_local! {
    /// Seeded per thread by the operating system. Not suitable for secrets: it is used only for
    /// load balancing and jitter.
    static GENERATOR: RefCell<SmallRng> = RefCell::new(SmallRng::from_rng(&mut rand::rng()));
}

/// A source of randomness for services.
#[derive(Clone, Debug)]
pub struct Random(Source);

#[derive(Clone, Debug)]
enum Source {
    Thread,
    Seeded(Arc<AtomicU64>),
}

impl Random {
    /// Creates a source with one fast generator per thread, seeded by the operating system.
    pub fn system() -> Self {
        Self(Source::Thread)
    }

    /// Creates a source that returns the same numbers in every run with this seed, as long as they
    /// are requested in the same order.
    pub fn seeded(seed: u64) -> Self {
        Self(Source::Seeded(Arc::new(AtomicU64::new(seed))))
    }

    /// Returns a whole number from 0 to `bound - 1`, and 0 if `bound` is 0.
    #[inline]
    pub fn below(&self, bound: u32) -> u32 {
        if bound < 2 {
            return 0;
        }
        self.with(|generator| generator.random_range(0..bound))
    }

    /// Returns two different whole numbers from 0 to `bound - 1`; twice 0 if `bound` is 1.
    #[inline]
    pub(crate) fn two_below(&self, bound: u32) -> (u32, u32) {
        let bits = self.bits();
        // The upper and the lower half of one draw, each scaled down: the bias is below `bound` /
        // 2^32.
        let scaled = |half: u32, bound: u32| ((u64::from(half) * u64::from(bound)) >> 32) as u32;
        let first = scaled((bits >> 32) as u32, bound);
        let second = scaled(bits as u32, bound - 1);
        (first, second + u32::from(second >= first && bound > 1))
    }

    /// Returns a number from 0 to just below 1.
    pub fn unit(&self) -> f64 {
        self.with(RngExt::random)
    }

    #[inline]
    pub(crate) fn bits(&self) -> u64 {
        self.with(Rng::next_u64)
    }

    #[inline]
    fn with<T>(&self, draw: impl FnOnce(&mut SmallRng) -> T) -> T {
        match &self.0 {
            Source::Thread => GENERATOR.with_borrow_mut(draw),
            // One generator per draw, seeded by the number of the draw: needs no lock and does not
            // depend on threads.
            Source::Seeded(next) => draw(&mut SmallRng::seed_from_u64(next.fetch_add(1, Ordering::Relaxed))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_repeats_its_choices() {
        let draw = |random: &Random| (0..100).map(|_| random.below(1000)).collect::<Vec<_>>();
        assert_eq!(draw(&Random::seeded(7)), draw(&Random::seeded(7)));
        assert_ne!(draw(&Random::seeded(7)), draw(&Random::seeded(8)));
    }

    #[test]
    fn choices_are_even_and_in_bounds() {
        for random in [Random::system(), Random::seeded(1)] {
            let mut counts = [0_u32; 10];
            for _ in 0..10_000 {
                counts[random.below(10) as usize] += 1;
            }
            assert!(counts.iter().all(|n| (800..1200).contains(n)), "{counts:?}");
            assert_eq!(random.below(0), 0);
            assert_eq!(random.below(1), 0);
            assert!((0.0..1.0).contains(&random.unit()));
        }
    }
}
