//! Round robin: each in turn.
//!
//! Exact: as long as nothing changes, any `n` picks in a row are `n` different endpoints, on whichever threads. While several
//! threads pick more than a million times a second, each has some turns of its own; then the counts of two endpoints differ
//! by one, and one more for each such thread, at most: see [`turns`](super::turns).
//!
//! It starts at a random place, so that many clients do not begin with the same endpoint, and goes on from where it is when
//! endpoints come and go. Its one shared write is the turn itself.

use crate::engine::algorithm::candidates::{Candidates, Picked};
use crate::engine::algorithm::sharded_counter::ShardedCounter;
use crate::runtime::clock::Time;

#[inline]
pub(super) fn pick<'s>(candidates: Candidates<'s, '_>, turns: &ShardedCounter, now: Time) -> Picked<'s> {
    let turn = turns.take(now);
    let len = candidates.len();
    // A division of 32 bits is several times cheaper, and enough for the first four thousand million turns.
    let place = match u32::try_from(turn) {
        Ok(turn) => turn % len,
        Err(_) => (turn % u64::from(len)) as u32,
    };
    candidates.untried_from(place)
}
