//! How many of its calls a zone can take, so that callers do not overload a small zone of their own.
//!
//! A client does not know the other callers, so they count as spread evenly over the zones: each of
//! `z` zones has `1 / z` of all calls. A zone whose endpoints have the capacity `c` of `C` in all can
//! then take `z c / C` of the calls of its callers, and 20 % more before calls leave it, the overload
//! threshold of Kubernetes' topology-aware routing. The other zones of the region take what their
//! own callers leave, and the rest of the calls goes further away. Envoy's zone-aware routing does the
//! same with a known number of callers in each zone.

use std::collections::BTreeSet;

/// The load of a zone, in relation to the mean, up to which calls stay there.
const OVERLOAD: f64 = 1.2;
/// The step of the caller's own zone.
const OWN: u32 = 0;

/// The endpoints of a tier at one distance from the caller.
#[derive(Clone, Debug)]
pub(super) struct Distance<'a> {
    /// Source tier and priority.
    pub(super) place: (u32, u32),
    /// 0 for the caller's own zone, 1 for its region, 2 for the rest.
    pub(super) step: u32,
    /// The number of endpoints, each in relation to the mean if it reports its load.
    pub(super) capacity: f64,
    /// Region and zone of the endpoints.
    pub(super) zones: BTreeSet<(Option<&'a str>, Option<&'a str>)>,
}

/// Returns the percentage of the calls that each tier can take. The last one of each priority takes
/// all that is left.
pub(super) fn limits(tiers: &[Distance<'_>]) -> Vec<u32> {
    tiers.chunk_by(|a, b| a.place == b.place).flat_map(of_priority).collect()
}

fn of_priority<'t>(tiers: &'t [Distance<'_>]) -> impl Iterator<Item = u32> + use<'t> {
    // The caller's own zone counts although it may have no endpoint.
    let own = usize::from(tiers.iter().all(|tier| tier.step != OWN));
    let zones = own + tiers.iter().map(|tier| tier.zones.len()).sum::<usize>();
    let capacity: f64 = tiers.iter().map(|tier| tier.capacity).sum();
    tiers.iter().zip(1..).map(move |(tier, number)| {
        if number == tiers.len() || capacity <= 0.0 {
            return 100;
        }
        let takes = OVERLOAD * zones as f64 * tier.capacity / capacity;
        let others = if tier.step == OWN { 0.0 } else { tier.zones.len() as f64 };
        (100.0 * (takes - others)).round().clamp(0.0, 100.0) as u32
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The limits of an own zone, the region and the rest with this capacity and number of zones each.
    fn of(distances: &[(u32, f64, usize)]) -> Vec<u32> {
        const NAMES: [&str; 9] = ["a", "b", "c", "d", "e", "f", "g", "h", "i"];
        let distance = |&(step, capacity, zones): &(u32, f64, usize)| Distance {
            place: (0, 0),
            step,
            capacity,
            zones: NAMES[..zones].iter().map(|zone| (None, Some(*zone))).collect(),
        };
        limits(&distances.iter().map(distance).collect::<Vec<_>>())
    }

    #[test]
    fn a_zone_takes_its_part_and_a_fifth_more() {
        for (distances, expected) in [
            // One of ten in the own zone; the others are one zone, or nine.
            (&[(0, 1.0, 1), (2, 9.0, 1)][..], &[24, 100][..]),
            (&[(0, 1.0, 1), (2, 9.0, 9)], &[100, 100]),
            (&[(0, 5.0, 1), (2, 5.0, 1)], &[100, 100]),
            (&[(0, 4.0, 1), (2, 6.0, 1)], &[96, 100]),
            (&[(0, 3.0, 1), (1, 7.0, 2)], &[100, 100]),
            // The region's other zones keep room for their own callers.
            (&[(0, 1.0, 1), (1, 9.0, 2)], &[36, 100]),
            (&[(0, 1.0, 1), (1, 1.0, 1), (2, 8.0, 1)], &[36, 0, 100]),
            (&[(0, 1.0, 1), (1, 5.0, 1), (2, 4.0, 1)], &[36, 80, 100]),
            // No endpoint in the own zone.
            (&[(1, 5.0, 1), (2, 5.0, 1)], &[80, 100]),
            (&[(0, 10.0, 1)], &[100]),
            (&[(0, 0.0, 1), (2, 0.0, 1)], &[100, 100]),
        ] {
            assert_eq!(of(distances), expected, "{distances:?}");
        }
    }
}
