//! The number of calls in flight above which round robin passes an endpoint over.
//!
//! Turns that ignore how busy an endpoint is keep feeding the slowest one: an endpoint that has
//! fallen behind gets as many new calls as the others and never catches up under high load. The
//! limit is relative, twice the lower median of the candidates plus 3, so that it follows what the
//! endpoints can answer; nothing is refused.
//!
//! For a minute after a timeout or an overload answer, the limit is twice the median alone. Each of a
//! hundred clients has less than one call in flight to most endpoints, and only so sees which ones
//! have fallen behind.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use crate::engine::state::slab::Slab;
use crate::runtime::clock::Time;

/// Up to this many calls in flight no endpoint is busy, unless the limit is strict.
const SPARE: u32 = 3;
/// How long the limit is strict after a failure.
const STRICT: Duration = Duration::from_secs(60);
/// The number of endpoints that are a large enough sample.
const SAMPLE: usize = 32;
/// The limit is computed at most once in 2^20 ns, about 1 ms.
const TICK: u32 = 20;

#[derive(Debug)]
pub(crate) struct BusyLimit {
    /// The time of the last computation in the upper half, the limit in the lower half.
    computed: AtomicU64,
    /// Up to this many calls in flight no endpoint is busy: [`SPARE`], or 0 while the limit is strict.
    spare: AtomicU32,
    strict_until: AtomicU64,
}

impl BusyLimit {
    /// Creates a limit that is as strict as the one that it replaces.
    pub(crate) fn after(replaced: Option<&Self>) -> Self {
        let (spare, strict_until) = replaced
            .map_or((SPARE, 0), |replaced| (replaced.spare(), replaced.strict_until.load(Ordering::Relaxed)));
        Self {
            computed: AtomicU64::new(0),
            spare: AtomicU32::new(spare),
            strict_until: AtomicU64::new(strict_until),
        }
    }

    #[inline]
    pub(crate) fn spare(&self) -> u32 {
        self.spare.load(Ordering::Relaxed)
    }

    /// Makes the limit strict for a minute.
    pub(crate) fn be_strict(&self, now: Time) {
        self.strict_until.store((now + STRICT).as_nanos(), Ordering::Relaxed);
        if self.spare() != 0 {
            self.spare.store(0, Ordering::Relaxed);
        }
    }

    /// Returns the limit of these members.
    pub(crate) fn of(&self, members: &[AtomicU32], slab: &Slab, now: Time) -> u32 {
        let tick = now.as_nanos() >> TICK << 32;
        let known = self.computed.load(Ordering::Relaxed);
        if known != 0 && known >> 32 << 32 == tick {
            return known as u32;
        }
        if now.as_nanos() >= self.strict_until.load(Ordering::Relaxed) && self.spare() != SPARE {
            self.spare.store(SPARE, Ordering::Relaxed);
        }
        let limit = compute(members, slab).saturating_add(self.spare());
        self.computed.store(tick | u64::from(limit), Ordering::Relaxed);
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
    let Some(middle) = count.checked_sub(1).map(|last| last / 2) else { return 0 };
    let (_, median, _) = loads[..count].select_nth_unstable(middle);
    median.saturating_mul(2)
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
        BusyLimit::after(None).of(&members, &slab, Time::from_nanos(1))
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
        let limit = BusyLimit::after(None);
        assert_eq!(limit.of(&members, &slab, Time::from_nanos(5 << TICK)), 3);
        slab.state(state).begin();
        assert_eq!(limit.of(&members, &slab, Time::from_nanos((6 << TICK) - 1)), 3);
        assert_eq!(limit.of(&members, &slab, Time::from_nanos(6 << TICK)), 5);
    }

    #[test]
    fn it_is_twice_the_lower_median_alone_for_a_minute_after_a_failure() {
        let slab = Slab::new();
        let mut allocator = SlotAllocator::<()>::new();
        let members = [AtomicU32::new(allocator.take(&slab))];
        let at = |seconds: u64| Time::from_nanos(seconds * 1_000_000_000);
        let limit = BusyLimit::after(None);
        limit.be_strict(at(1));
        assert_eq!((limit.spare(), limit.of(&members, &slab, at(60))), (0, 0));
        let next = BusyLimit::after(Some(&limit));
        assert_eq!((next.spare(), next.of(&members, &slab, at(60))), (0, 0));
        assert_eq!((limit.of(&members, &slab, at(61)), limit.spare()), (SPARE, SPARE));
    }
}
