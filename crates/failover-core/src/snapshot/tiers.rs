//! How calls spread over tiers: the first one gets all until it is short of endpoints, then the rest spills over.
//!
//! Envoy's priority load with overprovisioning 1.4 and panic threshold, in its integer arithmetic
//! (`load_balancer_impl.cc`, `recalculatePerPriorityState` and `recalculatePerPriorityPanic`).

/// How many percent of its calls a tier can take for each percent of its endpoints that is available.
const OVERPROVISIONING: u64 = 140;

/// A tier's endpoints. Those that are out on purpose are in no number.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Headcount {
    pub(crate) available: u32,
    pub(crate) hosts: u32,
    /// The same two of the whole priority that the tier belongs to. Its healthy and its degraded endpoints are two
    /// tiers of one priority, and degraded ones are no reason to call the healthy ones sufficient.
    pub(crate) of_priority: (u32, u32),
}

/// What a tier gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Share {
    /// Percent of the calls.
    pub(crate) percent: u32,
    /// So few of its priority are available that calls go to all, whatever is known of them.
    pub(crate) panic: bool,
}

/// What each tier gets; the percentages add up to 100, or to 0 when nothing is available. `threshold` is the percentage
/// of a priority below which it is in panic, if all tiers together cannot take all calls; 0 for never.
pub(crate) fn shares(tiers: &[Headcount], threshold: u32) -> Vec<Share> {
    let health: Vec<u64> = tiers
        .iter()
        .map(|tier| ratio(OVERPROVISIONING * u64::from(tier.available), tier.of_priority.1).min(100))
        .collect();
    let all = health.iter().sum::<u64>().min(100);
    let short = |tier: &Headcount| {
        let (available, hosts) = tier.of_priority;
        ratio(100 * u64::from(available), hosts) < u64::from(threshold)
    };
    let panics: Vec<bool> = tiers.iter().map(|tier| all < 100 && tier.hosts > 0 && short(tier)).collect();
    let everywhere = tiers.iter().zip(&panics).all(|(tier, panic)| *panic || tier.hosts == 0);
    let percents = if panics.contains(&true) && everywhere {
        // Nowhere is enough: by their numbers, as if all were well.
        let hosts: Vec<u64> = tiers.iter().map(|tier| u64::from(tier.hosts)).collect();
        split(&hosts, hosts.iter().sum())
    } else {
        split(&health, all)
    };
    percents.into_iter().zip(panics).map(|(percent, panic)| Share { percent, panic }).collect()
}

fn ratio(part: u64, whole: u32) -> u64 {
    part.checked_div(u64::from(whole)).unwrap_or(0)
}

/// 100 percent by these parts of `all`, the first ones first. What rounding leaves over goes to the first that takes
/// any.
fn split(parts: &[u64], all: u64) -> Vec<u32> {
    if all == 0 {
        return vec![0; parts.len()];
    }
    let mut left = 100;
    let mut shares: Vec<u32> = parts
        .iter()
        .map(|part| {
            let share = (part * 100 / all).min(left);
            left -= share;
            share as u32
        })
        .collect();
    if let Some(first) = parts.iter().position(|part| *part > 0) {
        shares[first] += left as u32;
    }
    shares
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heads(tiers: &[(u32, u32)]) -> Vec<Headcount> {
        let head = |(hosts, available): &(u32, u32)| Headcount {
            available: *available,
            hosts: *hosts,
            of_priority: (*available, *hosts),
        };
        tiers.iter().map(head).collect()
    }

    fn percents(shares: &[Share]) -> Vec<u32> {
        shares.iter().map(|share| share.percent).collect()
    }

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
            assert_eq!(percents(&shares(&heads(tiers), 0)), expected, "{tiers:?}");
        }
    }

    #[test]
    fn panic_as_in_envoys_own_tests() {
        type Row = (&'static [(u32, u32)], &'static [(u32, bool)]);
        let table: [Row; 6] = [
            (&[(4, 2), (4, 2)], &[(70, false), (30, false)]),
            (&[(4, 1), (4, 1)], &[(50, true), (50, true)]),
            (&[(5, 0), (5, 0), (5, 4)], &[(0, false), (0, false), (100, false)]),
            (&[(5, 0), (3, 0), (2, 0)], &[(50, true), (30, true), (20, true)]),
            (&[(100, 25), (100, 25)], &[(50, true), (50, true)]),
            (&[(4, 1)], &[(100, true)]),
        ];
        for (tiers, expected) in table {
            let found = shares(&heads(tiers), 50);
            let found: Vec<_> = found.iter().map(|share| (share.percent, share.panic)).collect();
            assert_eq!(found, expected, "{tiers:?}");
        }
    }

    #[test]
    fn degraded_endpoints_take_what_the_healthy_ones_of_all_priorities_cannot() {
        let of = |available, of_priority| Headcount { available, hosts: available, of_priority };
        // Priority 0 has 2 healthy and 2 degraded ones of 4, priority 1 has 1 healthy one of 5.
        let tiers = [of(2, (4, 4)), of(1, (1, 5)), of(2, (4, 4))];
        assert_eq!(percents(&shares(&tiers, 0)), [70, 28, 2]);
    }

    #[test]
    fn shares_always_add_up() {
        for a in 0..=7 {
            for b in 0..=7 {
                for c in 0..=7 {
                    for threshold in [0, 50, 100] {
                        let found = shares(&heads(&[(7, a), (7, b), (7, c)]), threshold);
                        let sum: u32 = percents(&found).iter().sum();
                        let none = a + b + c == 0 && threshold == 0;
                        assert_eq!(sum, if none { 0 } else { 100 }, "{a} {b} {c} {threshold}");
                    }
                }
            }
        }
    }
}
