//! Reported load: picks by the load that endpoints report, as in gRPC's client-side weighted round
//! robin (proposal A58), drawn in O(log n).
//!
//! An endpoint with unknown load gets the mean weight. While fewer than two loads are known, the
//! algorithm falls back to round robin.

use crate::engine::algorithm::candidates::{Candidates, Picked};
use crate::engine::algorithm::round_robin;
use crate::engine::algorithm::sharded_counter::ShardedCounter;
use crate::runtime::clock::Time;
use crate::runtime::random::Random;

/// The number of draws before the algorithm falls back to round robin.
const MAX_DRAWS: usize = 8;

#[inline]
pub(super) fn pick<'s>(
    candidates: Candidates<'s, '_>,
    turns: &ShardedCounter,
    random: &Random,
    now: Time,
) -> Picked<'s> {
    let reported = candidates.tier.reported();
    let mut draws = (0..MAX_DRAWS).map_while(|_| reported?.draw(random.bits(), now));
    let drawn = draws.find_map(|number| candidates.usable(number));
    drawn.unwrap_or_else(|| round_robin::pick(candidates, turns, now))
}
