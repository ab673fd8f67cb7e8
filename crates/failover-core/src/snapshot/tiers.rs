//! How calls spread over tiers: the first one gets all until it is short of endpoints, then the rest spills over.
//!
//! Envoy's priority load with overprovisioning 1.4, in its integer arithmetic (`load_balancer_impl.cc`,
//! `recalculatePerPriorityState`).

/// How many percent of its calls a tier can take for each percent of its endpoints that is available.
const OVERPROVISIONING: u64 = 140;

/// A tier's endpoints. Those that are out on purpose are in neither number.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Headcount {
    pub(crate) available: u32,
    pub(crate) total: u32,
}

/// The percentage of calls for each tier; they add up to 100, or to 0 when nothing is available.
pub(crate) fn shares(tiers: &[Headcount]) -> Vec<u32> {
    let health: Vec<u64> = tiers
        .iter()
        .map(|tier| {
            (OVERPROVISIONING * u64::from(tier.available))
                .checked_div(u64::from(tier.total))
                .unwrap_or(0)
                .min(100)
        })
        .collect();
    let all = health.iter().sum::<u64>().min(100);
    if all == 0 {
        return vec![0; tiers.len()];
    }
    let mut left = 100;
    let mut shares: Vec<u32> = health
        .iter()
        .map(|health| {
            let share = (health * 100 / all).min(left);
            left -= share;
            share as u32
        })
        .collect();
    // What rounding left over goes to the first tier that takes calls at all.
    if let Some(first) = health.iter().position(|health| *health > 0) {
        shares[first] += left as u32;
    }
    shares
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_figures_of_envoys_own_tests() {
        type Row = (&'static [(u32, u32)], &'static [u32]);
        let table: [Row; 10] = [
            (&[(4, 2), (4, 2)], &[70, 30]),
            (&[(100, 72), (100, 100)], &[100, 0]),
            (&[(100, 50), (100, 100)], &[70, 30]),
            (&[(5, 0), (5, 0), (5, 4)], &[0, 0, 100]),
            (&[(100, 25), (100, 25)], &[50, 50]),
            (&[(1, 0), (1, 1)], &[0, 100]),
            (&[(1, 1), (1, 1)], &[100, 0]),
            (&[(3, 0), (3, 0)], &[0, 0]),
            (&[(0, 0), (2, 1)], &[0, 100]),
            (&[(3, 1), (3, 1), (3, 1)], &[46, 46, 8]),
        ];
        for (tiers, expected) in table {
            let heads: Vec<_> = tiers
                .iter()
                .map(|(total, available)| Headcount { available: *available, total: *total })
                .collect();
            assert_eq!(shares(&heads), expected, "{tiers:?}");
        }
    }

    #[test]
    fn shares_always_add_up() {
        for a in 0..=7 {
            for b in 0..=7 {
                for c in 0..=7 {
                    let heads = [a, b, c].map(|available| Headcount { available, total: 7 });
                    let sum: u32 = shares(&heads).iter().sum();
                    assert_eq!(sum, if a + b + c == 0 { 0 } else { 100 }, "{a} {b} {c}");
                }
            }
        }
    }
}
