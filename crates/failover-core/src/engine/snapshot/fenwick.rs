//! A Fenwick tree (Fenwick 1994) of weights, for random draws in proportion to the weights of the
//! endpoints in rotation.
//!
//! Changing a weight and drawing an endpoint are O(log n). Writers hold the service's control lock.
//! Readers take no lock and may, during a change, draw an endpoint that is out of rotation, so
//! callers must check what they drew.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

#[derive(Debug)]
pub(crate) struct FenwickTree {
    weights: Box<[AtomicU32]>,
    /// Element `i` holds the sum of the weights from `i + 1` minus its lowest bit to `i`.
    tree: Box<[AtomicU64]>,
    total: AtomicU64,
}

impl FenwickTree {
    /// Creates a tree of `len` weights, all 0.
    pub(crate) fn new(len: usize) -> Self {
        Self {
            weights: (0..len).map(|_| AtomicU32::new(0)).collect(),
            tree: (0..len).map(|_| AtomicU64::new(0)).collect(),
            total: AtomicU64::new(0),
        }
    }

    /// Sets one weight. Requires the control lock.
    pub(crate) fn set(&self, index: usize, weight: u32) {
        let Some(state) = self.weights.get(index) else { return };
        let before = state.swap(weight, Ordering::Relaxed);
        // Wrapping arithmetic: a decrease is an addition modulo 2^64.
        let change = u64::from(weight).wrapping_sub(u64::from(before));
        let mut node = index + 1;
        while let Some(sum) = self.tree.get(node - 1) {
            sum.fetch_add(change, Ordering::Relaxed);
            node += node & node.wrapping_neg();
        }
        self.total.fetch_add(change, Ordering::Relaxed);
    }

    pub(crate) fn get(&self, index: usize) -> u32 {
        self.weights.get(index).map_or(0, |weight| weight.load(Ordering::Relaxed))
    }

    /// Returns the index that these 64 random bits select; each has a probability in proportion to
    /// its weight. `None` if all weights are 0.
    #[inline]
    pub(crate) fn draw(&self, bits: u64) -> Option<usize> {
        let total = self.total.load(Ordering::Relaxed);
        if total == 0 {
            return None;
        }
        let mut lot = ((u128::from(bits) * u128::from(total)) >> 64) as u64;
        let mut found = 0;
        let mut step = self.tree.len().checked_ilog2().map_or(0, |power| 1_usize << power);
        while step > 0 {
            if let Some(sum) = self.tree.get(found + step - 1) {
                let sum = sum.load(Ordering::Relaxed);
                if sum <= lot {
                    lot -= sum;
                    found += step;
                }
            }
            step /= 2;
        }
        Some(found.min(self.tree.len() - 1))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Each index owns a part of the lots that is as long as its weight.
        #[test]
        fn each_owns_as_many_lots_as_it_weighs(
            changes in prop::collection::vec((0_usize..13, prop_oneof![Just(0_u32), Just(u32::MAX), 0_u32..9]), 0..60),
        ) {
            let sums = FenwickTree::new(13);
            let mut model = [0_u32; 13];
            for (index, weight) in changes {
                sums.set(index, weight);
                model[index] = weight;
            }
            let total: u64 = model.iter().map(|weight| u64::from(*weight)).sum();
            prop_assert_eq!(sums.draw(7).is_none(), total == 0);
            let mut before = 0_u64;
            for (index, weight) in model.into_iter().enumerate().filter(|(_, weight)| *weight > 0) {
                for lot in [before, before + u64::from(weight) - 1] {
                    // The smallest bits that select this lot.
                    let bits = ((u128::from(lot) << 64).div_ceil(u128::from(total))) as u64;
                    prop_assert_eq!(sums.draw(bits), Some(index), "lot {} of {}", lot, total);
                }
                before += u64::from(weight);
            }
        }
    }
}
