//! Weights derived from the load that endpoints report, recomputed about once a second, for random
//! draws.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use crate::engine::snapshot::fenwick::FenwickTree;
use crate::runtime::clock::Time;

/// The scaled value of the largest weight; the others are scaled in proportion, to at least 1.
const MAX_REPORTED: f32 = 65_535.0;

#[derive(Debug)]
pub(crate) struct LoadWeights {
    states: Box<[u32]>,
    weights: Box<[AtomicU32]>,
    /// The weights of the endpoints in rotation.
    sums: FenwickTree,
    /// The time until which the weights are valid, in nanoseconds; 0 if too little is known.
    until: AtomicU64,
}

impl LoadWeights {
    /// Creates weights for these states before any load is known.
    pub(crate) fn new(states: Vec<u32>) -> Self {
        Self {
            weights: states.iter().map(|_| AtomicU32::new(1)).collect(),
            sums: FenwickTree::new(states.len()),
            states: states.into(),
            until: AtomicU64::new(0),
        }
    }

    /// Recomputes the weights from the known loads; they are valid until `until`. Requires the
    /// control lock.
    pub(crate) fn recompute(&self, known: &[Option<f32>], until: Time) {
        let Some(weights) = weights(known) else {
            return self.until.store(0, Ordering::Relaxed);
        };
        for ((index, place), weight) in self.weights.iter().enumerate().zip(weights) {
            place.store(weight, Ordering::Relaxed);
            if self.sums.get(index) > 0 {
                self.sums.set(index, weight);
            }
        }
        self.until.store(until.as_nanos(), Ordering::Relaxed);
    }

    /// Sets whether the endpoint at this index of the tier is in rotation. Requires the control
    /// lock.
    pub(crate) fn put(&self, index: usize, is_in: bool) {
        if let Some(weight) = self.weights.get(index) {
            self.sums.set(index, if is_in { weight.load(Ordering::Relaxed) } else { 0 });
        }
    }

    /// Draws an endpoint in rotation by weight; `None` while too little is known.
    #[inline]
    pub(crate) fn draw(&self, bits: u64, now: Time) -> Option<u32> {
        if now.as_nanos() >= self.until.load(Ordering::Relaxed) {
            return None;
        }
        self.sums.draw(bits).map(|index| self.states[index])
    }
}

/// Scales the weights to integers; an endpoint with unknown load gets the mean of the others.
/// Returns `None` if fewer than two are known.
fn weights(known: &[Option<f32>]) -> Option<Vec<u32>> {
    let given = || known.iter().flatten();
    let (count, most) = (given().count(), given().copied().fold(0.0, f32::max));
    let mean = given().sum::<f32>() / count as f32;
    let scaled =
        |weight: &Option<f32>| (weight.unwrap_or(mean) / most * MAX_REPORTED).round().max(1.0) as u32;
    (count >= 2).then(|| known.iter().map(scaled).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The figures of gRPC's own tests.
    #[test]
    fn weights_are_in_proportion_and_an_endpoint_without_a_report_has_the_mean() {
        assert_eq!(weights(&[Some(10.0), Some(100.0)]), Some(vec![6_554, 65_535]));
        assert_eq!(weights(&[Some(1.0), None, Some(3.0)]), Some(vec![21_845, 43_690, 65_535]));
        assert_eq!(weights(&[Some(1e-9), Some(1e9)]), Some(vec![1, 65_535]), "no weight is 0");
        for few in [&[][..], &[None, None], &[Some(5.0), None]] {
            assert_eq!(weights(few), None, "{few:?}");
        }
    }
}
