//! The number of calls in flight above which round robin passes an endpoint over.
//!
//! Turns that ignore how busy an endpoint is keep feeding the slowest one: an endpoint that has
//! fallen behind gets as many new calls as the others and never catches up under high load. The
//! limit is relative, twice the lower median of the candidates plus 3, so that it follows what the
//! endpoints can answer; nothing is refused.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use crate::engine::state::slab::Slab;
use crate::runtime::clock::Time;

/// Up to this many calls in flight no endpoint is busy.
pub(crate) const SPARE: u32 = 3;
/// The number of endpoints that are a large enough sample.
const SAMPLE: usize = 32;
/// The limit is computed at most once in 2^20 ns, about 1 ms.
const TICK: u32 = 20;

/// The time of the last computation in the upper half, the limit in the lower half.
#[derive(Debug, Default)]
pub(crate) struct BusyLimit(AtomicU64);

impl BusyLimit {
    /// Returns the limit of these members.
    pub(crate) fn of(&self, members: &[AtomicU32], slab: &Slab, now: Time) -> u32 {
        let tick = now.as_nanos() >> TICK << 32;
        let known = self.0.load(Ordering::Relaxed);
        if known != 0 && known >> 32 << 32 == tick {
            return known as u32;
        }
        let limit = compute(members, slab);
        self.0.store(tick | u64::from(limit), Ordering::Relaxed);
        limit
    }
}

fn compute(members: &[AtomicU32], slab: &Slab) -> u32 {
    let mut loads = [0; SAMPLE];
    let mut count = 0;
    for member in members.iter().step_by(members.len().div_ceil(SAMPLE).max(1)) {
        loads[count] = slab.state(member.load(Ordering::Relaxed)).in_flight();
        count += 1;
    }
    let Some(middle) = count.checked_sub(1).map(|last| last / 2) else { return SPARE };
    let (_, median, _) = loads[..count].select_nth_unstable(middle);
    median.saturating_mul(2).saturating_add(SPARE)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::state::slab::SlotAllocator;

    fn limit(loads: &[u32]) -> u32 {
        let slab = Slab::new();
        let mut allocator = SlotAllocator::<()>::new();
        let members: Vec<_> = loads
            .iter()
            .map(|load| {
                let state = allocator.take(&slab);
                (0..*load).for_each(|_| slab.state(state).begin());
                AtomicU32::new(state)
            })
            .collect();
        BusyLimit::default().of(&members, &slab, Time::from_nanos(1))
    }

    #[test]
    fn it_is_twice_the_lower_median_plus_three() {
        for (loads, expected) in
            [(&[][..], 3), (&[0], 3), (&[9], 21), (&[0, 9], 3), (&[1, 2, 90], 7), (&[4, 4, 4, 4, 90, 90], 11)]
        {
            assert_eq!(limit(loads), expected, "{loads:?}");
        }
        assert_eq!(limit(&[5; 200]), 13);
    }

    #[test]
    fn it_is_computed_once_in_a_millisecond() {
        let slab = Slab::new();
        let mut allocator = SlotAllocator::<()>::new();
        let state = allocator.take(&slab);
        let members = [AtomicU32::new(state)];
        let limit = BusyLimit::default();
        assert_eq!(limit.of(&members, &slab, Time::from_nanos(5 << TICK)), 3);
        slab.state(state).begin();
        assert_eq!(limit.of(&members, &slab, Time::from_nanos((6 << TICK) - 1)), 3);
        assert_eq!(limit.of(&members, &slab, Time::from_nanos(6 << TICK)), 5);
    }
}
