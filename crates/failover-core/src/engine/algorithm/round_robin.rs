//! Round robin: picks each endpoint in turn.
//!
//! The order is exact: as long as nothing changes, any `n` consecutive picks return `n` different
//! endpoints, on any threads. While several threads together pick more than a million times a
//! second, each thread draws turns in batches; the call counts of two endpoints then differ by at
//! most one, plus one per such thread: see [`ShardedCounter`].
//!
//! An endpoint with far more calls in flight than the others is passed over: see
//! [`busy_limit`](crate::engine::snapshot::busy_limit).
//!
//! The first place is random, so that many clients do not start with the same endpoint, and the
//! position is kept when endpoints come and go. The only shared write is the turn itself.

use crate::engine::algorithm::candidates::{Candidates, Picked};
use crate::engine::algorithm::sharded_counter::ShardedCounter;
use crate::runtime::clock::Time;

/// The maximum number of endpoints that a pick passes over.
const MAX_PASSED: u32 = 16;

#[inline]
pub(super) fn pick<'s>(candidates: Candidates<'s, '_>, turns: &ShardedCounter, now: Time) -> Picked<'s> {
    let turn = turns.take(now);
    let len = candidates.len();
    // A 32-bit division is several times cheaper, and sufficient for the first 2^32 turns.
    let place = match u32::try_from(turn) {
        Ok(turn) => turn % len,
        Err(_) => (turn % u64::from(len)) as u32,
    };
    let found = candidates.untried_from(place);
    if found.state.in_flight() <= candidates.tier.spare() {
        found
    } else {
        less_busy(candidates, place, found, now)
    }
}

/// Returns the next one in turn that is not much busier than the others; `found` if all of the next
/// few are.
#[cold]
fn less_busy<'s>(candidates: Candidates<'s, '_>, place: u32, found: Picked<'s>, now: Time) -> Picked<'s> {
    let limit = candidates.tier.busy_limit(candidates.slab, now);
    let len = candidates.len();
    let next = (0..len.min(MAX_PASSED)).map(|step| candidates.untried_from((place + step) % len));
    next.into_iter().find(|next| next.state.in_flight() <= limit).unwrap_or(found)
}
