//! A precomputed order of turns by weight, used cyclically.
//!
//! A static schedule, as in gRPC's and Envoy's weighted round robin, but precomputed and bounded,
//! so that a pick reads one slot. The turns of each endpoint are spread evenly: turn `k` of `q` is
//! at `(k + p) / q` of the period, where `p` spreads the endpoints that have equally many turns.
//!
//! If the weights, divided by their greatest common divisor, add up to at most 64 Ki, the shares
//! are exact over a period. Otherwise each share is rounded to whole slots, and to at least one
//! slot: it is off by up to half a slot of 64 Ki less one per endpoint or, for the lightest
//! endpoints, by up to one slot. Building takes O(slots · log slots).

use std::collections::HashMap;
use std::sync::Arc;

use crate::engine::snapshot::weighted_draw::WeightedDraw;

/// The maximum number of slots, 64 Ki.
const SLOTS: usize = 1 << 16;

#[derive(Debug)]
pub(crate) struct Schedule {
    /// State numbers in the order of their turns. Empty if there are more endpoints than slots.
    turns: Arc<[u32]>,
    /// For the turns of endpoints that are out.
    pub(crate) draw: WeightedDraw,
}

impl Schedule {
    /// Builds the schedule of these members, or reuses `before` if its members are the same.
    pub(crate) fn new(members: Vec<(u32, u32)>, before: Option<&Self>) -> Self {
        match before.filter(|before| **before.draw.members() == *members) {
            Some(before) => {
                let draw = WeightedDraw::new(Arc::clone(before.draw.members()));
                Self { turns: Arc::clone(&before.turns), draw }
            }
            None => Self { turns: turns(&members).into(), draw: WeightedDraw::new(members.into()) },
        }
    }

    /// Returns the state whose turn it is.
    #[inline]
    pub(crate) fn at(&self, turn: u64) -> Option<u32> {
        let len = self.turns.len() as u32;
        // A 32-bit division is several times cheaper.
        let place = match u32::try_from(turn) {
            Ok(turn) => turn.checked_rem(len)?,
            Err(_) => turn.checked_rem(u64::from(len))? as u32,
        };
        self.turns.get(place as usize).copied()
    }
}

fn turns(members: &[(u32, u32)]) -> Vec<u32> {
    let weighted: Vec<_> = members.iter().copied().filter(|(_, weight)| *weight > 0).collect();
    if weighted.len() > SLOTS {
        return Vec::new();
    }
    let slots = slots(weighted.iter().map(|(_, weight)| *weight));
    // For each number of turns: how many endpoints have it, and how many of those came before.
    // These endpoints are spread over the interval between two turns.
    let mut peers = HashMap::<u32, (u32, u32)>::new();
    for count in &slots {
        peers.entry(*count).or_default().0 += 1;
    }
    let mut order = Vec::with_capacity(slots.iter().map(|count| *count as usize).sum());
    for (index, count) in slots.iter().enumerate() {
        let (all, before) = peers.entry(*count).or_default();
        let phase = (f64::from(*before) + 0.5) / f64::from(*all);
        *before += 1;
        for turn in 0..*count {
            let place = (f64::from(turn) + phase) / f64::from(*count);
            // 48 bits of position above the index: sorts by position, then by id.
            order.push((((place * (1_u64 << 48) as f64) as u64) << 16) | index as u64);
        }
    }
    order.sort_unstable();
    order.into_iter().map(|entry| weighted[(entry & 0xFFFF) as usize].0).collect()
}

/// Returns the number of slots for each weight.
fn slots(weights: impl Iterator<Item = u32> + Clone) -> Vec<u32> {
    let common = weights.clone().fold(0, gcd).max(1);
    let sum: u64 = weights.clone().map(|weight| u64::from(weight / common)).sum();
    if sum <= SLOTS as u64 {
        return weights.map(|weight| weight / common).collect();
    }
    // One less per endpoint, so that rounding up never exceeds the maximum.
    let spare = (SLOTS - weights.clone().count()) as u64;
    weights
        .map(|weight| {
            let share = (2 * u64::from(weight / common) * spare + sum) / (2 * sum);
            share.max(1) as u32
        })
        .collect()
}

fn gcd(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { gcd(b, a % b) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn schedule(weights: &[u32]) -> Schedule {
        Schedule::new((0..).zip(weights.iter().copied()).collect(), None)
    }

    fn counts(schedule: &Schedule, from: u64, picks: u64) -> HashMap<u32, u64> {
        let mut counts = HashMap::new();
        for turn in from..from + picks {
            *counts.entry(schedule.at(turn).unwrap()).or_default() += 1;
        }
        counts
    }

    #[test]
    fn equal_weights_give_strict_order() {
        let schedule = schedule(&[7; 128]);
        let order: Vec<_> = (0..256).map(|turn| schedule.at(turn).unwrap()).collect();
        assert_eq!(order, (0..128).chain(0..128).collect::<Vec<_>>());
    }

    #[test]
    fn weights_1_to_128_are_exact_over_8256_picks_from_any_start() {
        let schedule = schedule(&(1..=128).collect::<Vec<_>>());
        for start in [0, 1, 4_000, u64::from(u32::MAX) * 8_256] {
            let counts = counts(&schedule, start, 8_256);
            assert!((0..128).all(|index| counts[&index] == u64::from(index) + 1), "{counts:?}");
        }
    }

    #[test]
    fn turns_are_spread_and_no_one_gets_a_burst() {
        let schedule = schedule(&[5, 1, 1]);
        let order: Vec<_> = (0..7).map(|turn| schedule.at(turn).unwrap()).collect();
        assert_eq!(order, [0, 1, 0, 0, 0, 2, 0]);
        // However many light endpoints there are, their turns are not adjacent.
        let mut weights = vec![1; 1_000];
        weights.push(1_000);
        let schedule = self::schedule(&weights);
        let heavy: Vec<_> = (0..2_000).map(|turn| schedule.at(turn) == Some(1_000)).collect();
        assert!(heavy.windows(3).all(|three| three.contains(&true) && three.contains(&false)));
    }

    #[test]
    fn weights_far_apart_fit_the_bound_and_every_one_has_a_turn() {
        for weights in [vec![u32::MAX, 1], vec![65_535, 1, 1], vec![u32::MAX; 3], {
            let mut many = vec![1; 10_000];
            many[17] = u32::MAX;
            many
        }] {
            let schedule = schedule(&weights);
            assert!(schedule.turns.len() <= SLOTS);
            let counts = counts(&schedule, 3, schedule.turns.len() as u64);
            assert_eq!(counts.len(), weights.len(), "each of {} has a turn", weights.len());
        }
    }

    #[test]
    fn more_endpoints_than_slots_are_drawn() {
        let schedule = schedule(&vec![1; SLOTS + 1]);
        assert_eq!(schedule.at(5), None);
        schedule.draw.put(SLOTS, true);
        assert_eq!(schedule.draw.draw(u64::MAX), Some(SLOTS as u32));
    }

    #[test]
    fn what_weights_have_in_common_takes_no_slots() {
        assert_eq!(schedule(&[65_537]).turns.len(), 1);
        assert_eq!(schedule(&[200_000, 100_000, 100_000]).turns.len(), 4);
    }

    proptest! {
        // Each case builds a schedule of up to 64 Ki slots.
        #![proptest_config(ProptestConfig::with_cases(32))]

        #[test]
        fn a_period_has_exact_shares_where_the_sum_fits_and_the_stated_error_elsewhere(
            weights in prop::collection::vec(prop_oneof![4 => 1_u32..500, 1 => 1_u32..100_000], 1..60),
        ) {
            let schedule = schedule(&weights);
            let counts = counts(&schedule, 0, schedule.turns.len() as u64);
            let common = weights.iter().copied().fold(0, gcd);
            let sum: u64 = weights.iter().map(|weight| u64::from(weight / common)).sum();
            let slots = schedule.turns.len() as u64;
            prop_assert!(slots <= SLOTS as u64);
            for (index, weight) in weights.iter().enumerate() {
                let (count, weight) = (counts[&(index as u32)], u64::from(*weight / common));
                if sum <= SLOTS as u64 {
                    prop_assert_eq!(count * sum, weight * slots);
                } else {
                    let exact = weight as f64 * (SLOTS - weights.len()) as f64 / sum as f64;
                    let most = if exact < 1.0 { 1.0 } else { 0.5 + 1e-6 };
                    prop_assert!((count as f64 - exact).abs() <= most, "{} for {}", count, exact);
                }
            }
        }
    }
}
