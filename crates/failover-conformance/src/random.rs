//! What the suite leaves to chance, from one seed.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};

/// Increment and mixing steps of `SplitMix64` (Steele, Lea and Flood, 2014).
const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

/// Random numbers of one purpose: the same seed and stream give the same numbers.
pub(crate) struct Random(AtomicU64);

impl Random {
    /// Creates the numbers of a stream. A case has its own, so that its numbers do not depend on the
    /// cases before it.
    pub(crate) fn new(seed: u64, stream: u64) -> Self {
        Self(AtomicU64::new(mix(seed ^ mix(stream))))
    }

    /// Returns a number below `limit`, which is above 0.
    pub(crate) fn below(&self, limit: usize) -> usize {
        let next = self.0.fetch_add(GOLDEN, Ordering::Relaxed).wrapping_add(GOLDEN);
        (mix(next) % limit as u64) as usize
    }

    /// Puts the items into a random order.
    pub(crate) fn shuffle<T>(&self, items: &mut [T]) {
        for end in (1..items.len()).rev() {
            items.swap(end, self.below(end + 1));
        }
    }
}

/// Returns a new seed, short enough to be typed and exact in every JSON reader.
pub(crate) fn new_seed() -> u64 {
    RandomState::new().build_hasher().finish() >> 32
}

fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_order_and_another_one_another() {
        let order = |seed, stream| {
            let mut items: Vec<_> = (0..50).collect();
            Random::new(seed, stream).shuffle(&mut items);
            items
        };
        assert_eq!(order(7, 1), order(7, 1));
        assert_ne!(order(7, 1), order(8, 1));
        assert_ne!(order(7, 1), order(7, 2));
        let mut sorted = order(7, 1);
        sorted.sort_unstable();
        assert_eq!(sorted, (0..50).collect::<Vec<_>>());
    }
}
