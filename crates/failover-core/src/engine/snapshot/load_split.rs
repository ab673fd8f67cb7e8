//! The load split: the first tier gets all calls until it lacks endpoints, then the rest spills
//! over.
//!
//! Implements Envoy's priority load with overprovisioning factor 1.4 and panic threshold, in its
//! integer arithmetic (`load_balancer_impl.cc`, `recalculatePerPriorityState` and
//! `recalculatePerPriorityPanic`).

/// The percentage of its calls that a tier can take per percent of its endpoints that is available.
const OVERPROVISIONING: u64 = 140;

/// The endpoint counts of a tier. Endpoints that are out on purpose are not counted.
#[derive(Clone, Copy, Debug)]
pub(crate) struct HostCounts {
    pub(crate) available: u32,
    pub(crate) hosts: u32,
    /// The same two counts for the whole priority that the tier belongs to. The healthy and the
    /// degraded endpoints of one priority are two tiers, and degraded endpoints must not make the
    /// healthy ones count as sufficient.
    pub(crate) of_priority: (u32, u32),
    /// The percentage of the calls that it can take; see [`zone_capacity`](super::zone_capacity).
    pub(crate) limit: u32,
    /// Set if zones share the calls of a priority by weight.
    pub(crate) zone: Option<Zone>,
}

/// The zone that a tier represents within its priority.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Zone {
    pub(crate) weight: u32,
    /// Source tier and priority.
    pub(crate) place: (u32, u32),
}

/// The share of a tier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Share {
    /// Percentage of the calls.
    pub(crate) percent: u32,
    /// Panic mode: so few endpoints of the priority are available that all of them receive calls.
    pub(crate) panic: bool,
}

/// Returns the share of each tier. The percentages add up to 100, or to 0 if nothing is available.
/// `threshold` is the percentage of available endpoints below which a priority is in panic mode, if
/// all tiers together cannot take all calls; 0 disables panic mode.
pub(crate) fn shares(tiers: &[HostCounts], threshold: u32) -> Vec<Share> {
    // The zones of a priority count as one tier towards the other priorities.
    let groups: Vec<&[HostCounts]> = tiers
        .chunk_by(|a, b| a.zone.is_some() && a.zone.map(|zone| zone.place) == b.zone.map(|zone| zone.place))
        .collect();
    if groups.len() == tiers.len() {
        return of_priorities(tiers, threshold);
    }
    let heads: Vec<HostCounts> = groups.iter().map(|zones| together(zones)).collect();
    let of_groups = of_priorities(&heads, threshold);
    groups.into_iter().zip(of_groups).flat_map(|(zones, share)| of_zones(zones, share)).collect()
}

fn together(zones: &[HostCounts]) -> HostCounts {
    let sum = |of: fn(&HostCounts) -> u32| zones.iter().map(of).sum();
    HostCounts { available: sum(|zone| zone.available), hosts: sum(|zone| zone.hosts), ..zones[0] }
}

/// Splits the share of a priority among its zones, by Envoy's locality weights
/// (`locality_weight.rst`). In panic mode all hosts count as available.
fn of_zones(zones: &[HostCounts], share: Share) -> Vec<Share> {
    let available = |zone: &HostCounts| if share.panic { zone.hosts } else { zone.available };
    let effective = |zone: &HostCounts| {
        let health = ratio(OVERPROVISIONING * u64::from(available(zone)), zone.hosts).min(100);
        u64::from(zone.zone.map_or(0, |zone| zone.weight)) * health
    };
    let mut parts: Vec<u64> = zones.iter().map(effective).collect();
    if parts.iter().all(|part| *part == 0) {
        // No zone with a weight has available endpoints: split by the available endpoints of all
        // zones.
        parts = zones.iter().map(|zone| u64::from(available(zone))).collect();
    }
    let percents = apportion(share.percent, &parts);
    percents.into_iter().map(|percent| Share { percent, ..share }).collect()
}

/// Divides `percent` in proportion to `parts`. The percents left over from rounding down go, one at
/// a time, to the part that is due next: the result of an earliest-deadline-first schedule with as
/// many turns (Jefferson's method).
fn apportion(percent: u32, parts: &[u64]) -> Vec<u32> {
    let all: u64 = parts.iter().sum();
    let floor = |part: &u64| (u64::from(percent) * part).checked_div(all).unwrap_or(0) as u32;
    let mut shares: Vec<u32> = parts.iter().map(floor).collect();
    let left = if all == 0 { 0 } else { percent - shares.iter().sum::<u32>() };
    for _ in 0..left {
        let due = |index: &usize| (u64::from(shares[*index]) + 1) as f64 / parts[*index] as f64;
        let next =
            (0..parts.len()).filter(|index| parts[*index] > 0).min_by(|a, b| due(a).total_cmp(&due(b)));
        if let Some(next) = next {
            shares[next] += 1;
        }
    }
    shares
}

fn of_priorities(tiers: &[HostCounts], threshold: u32) -> Vec<Share> {
    let health: Vec<u64> = tiers
        .iter()
        .map(|tier| ratio(OVERPROVISIONING * u64::from(tier.available), tier.of_priority.1).min(100))
        .collect();
    let all = health.iter().sum::<u64>().min(100);
    let short = |tier: &HostCounts| {
        let (available, hosts) = tier.of_priority;
        ratio(100 * u64::from(available), hosts) < u64::from(threshold)
    };
    let panics: Vec<bool> = tiers.iter().map(|tier| all < 100 && tier.hosts > 0 && short(tier)).collect();
    let everywhere = tiers.iter().zip(&panics).all(|(tier, panic)| *panic || tier.hosts == 0);
    let limited = within(&health, tiers);
    let percents = if panics.contains(&true) && everywhere {
        // No priority has enough endpoints: split by host counts, as if all were available.
        let hosts: Vec<u64> = tiers.iter().map(|tier| u64::from(tier.hosts)).collect();
        split(&hosts, hosts.iter().sum())
    } else {
        split(&limited, limited.iter().sum::<u64>().min(100))
    };
    percents.into_iter().zip(panics).map(|(percent, panic)| Share { percent, panic }).collect()
}

/// Applies the limits. If too few calls have a tier then, the others are divided by the available
/// endpoints.
fn within(health: &[u64], tiers: &[HostCounts]) -> Vec<u64> {
    if tiers.iter().all(|tier| tier.limit >= 100) {
        return health.to_vec();
    }
    let limited = health.iter().zip(tiers).map(|(health, tier)| health * u64::from(tier.limit) / 100);
    let limited: Vec<u64> = limited.collect();
    let missing = 100_u64.saturating_sub(limited.iter().sum());
    let available: Vec<u64> = tiers.iter().map(|tier| u64::from(tier.available)).collect();
    let more = apportion(missing as u32, &available);
    limited.into_iter().zip(more).map(|(share, more)| share + u64::from(more)).collect()
}

fn ratio(part: u64, whole: u32) -> u64 {
    part.checked_div(u64::from(whole)).unwrap_or(0)
}

/// Divides 100 percent in proportion to `parts` of `all`, in order. The rounding remainder goes to
/// the first nonzero part.
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

    fn heads(tiers: &[(u32, u32)]) -> Vec<HostCounts> {
        let head = |(hosts, available): &(u32, u32)| HostCounts {
            available: *available,
            hosts: *hosts,
            of_priority: (*available, *hosts),
            limit: 100,
            zone: None,
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
        let of = |available, of_priority| HostCounts {
            available,
            hosts: available,
            of_priority,
            limit: 100,
            zone: None,
        };
        // Priority 0 has 2 healthy and 2 degraded endpoints of 4, priority 1 has 1 healthy one of
        // 5.
        let tiers = [of(2, (4, 4)), of(1, (1, 5)), of(2, (4, 4))];
        assert_eq!(percents(&shares(&tiers, 0)), [70, 28, 2]);
    }

    fn zones(place: (u32, u32), zones: &[(u32, u32, u32)]) -> Vec<HostCounts> {
        let sum = |of: fn(&(u32, u32, u32)) -> u32| zones.iter().map(of).sum();
        let of_priority = (sum(|zone| zone.2), sum(|zone| zone.1));
        let head = |&(weight, hosts, available): &(u32, u32, u32)| HostCounts {
            available,
            hosts,
            of_priority,
            limit: 100,
            zone: Some(Zone { weight, place }),
        };
        zones.iter().map(head).collect()
    }

    #[test]
    fn zones_share_by_weight_as_in_envoys_own_tests() {
        for (available, expected) in
            [(5, [33, 67]), (4, [33, 67]), (3, [29, 71]), (2, [22, 78]), (1, [12, 88]), (0, [0, 100])]
        {
            let tiers = zones((0, 0), &[(1, 5, available), (2, 5, 5)]);
            assert_eq!(percents(&shares(&tiers, 0)), expected, "{available} of 5");
        }
    }

    #[test]
    fn a_tier_gets_no_more_than_its_limit_unless_the_others_are_gone() {
        let of = |rows: &[(u32, u32, u32)]| {
            let with = |(counts, row): (HostCounts, &(u32, u32, u32))| HostCounts { limit: row.2, ..counts };
            let counts = heads(&rows.iter().map(|row| (row.0, row.1)).collect::<Vec<_>>());
            percents(&shares(&counts.into_iter().zip(rows).map(with).collect::<Vec<_>>(), 0))
        };
        assert_eq!(of(&[(1, 1, 24), (9, 9, 100)]), [24, 76]);
        assert_eq!(of(&[(1, 1, 36), (1, 1, 0), (8, 8, 100)]), [36, 0, 64]);
        // Half of the rest is out: what is missing is divided by the available endpoints.
        assert_eq!(of(&[(1, 1, 24), (10, 5, 100)]), [25, 75]);
        assert_eq!(of(&[(1, 1, 24), (9, 0, 100)]), [100, 0]);
        assert_eq!(of(&[(2, 2, 36), (2, 2, 0), (8, 0, 100)]), [68, 32, 0]);
        assert_eq!(of(&[(1, 0, 24), (9, 9, 100)]), [0, 100]);
    }

    #[test]
    fn zones_share_what_their_priority_gets_and_the_others_come_last() {
        // Half of the first priority is available, so it takes 70 %; the second has a zone without
        // a weight.
        let mut tiers: Vec<_> = zones((0, 0), &[(3, 4, 2), (1, 4, 2)]);
        tiers.extend(zones((0, 1), &[(1, 5, 5), (0, 5, 5)]));
        assert_eq!(percents(&shares(&tiers, 0)), [53, 17, 30, 0]);
        // No zone with a weight has available endpoints.
        let tiers = zones((0, 0), &[(1, 5, 0), (2, 5, 0), (0, 5, 5)]);
        assert_eq!(percents(&shares(&tiers, 0)), [0, 0, 100]);
        // In panic mode all endpoints count.
        let tiers = zones((0, 0), &[(1, 5, 1), (2, 5, 1)]);
        assert_eq!(percents(&shares(&tiers, 50)), [33, 67]);
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
