//! Reported load: by what endpoints say of their load, as gRPC's client-side weighted round robin (proposal A58), drawn in
//! O(log n).
//!
//! Of whom nothing is known gets as many calls as the mean; while less than two are known, all are called in turn.

use crate::engine::algorithm::candidates::{Candidates, Picked};
use crate::engine::algorithm::round_robin;
use crate::engine::algorithm::sharded_counter::ShardedCounter;
use crate::runtime::clock::Time;
use crate::runtime::random::Random;

/// How many are drawn before any that can be used will do.
const MAX_DRAWS: usize = 8;

#[inline]
pub(super) fn pick<'s>(
    candidates: Candidates<'s, '_>,
    turns: &ShardedCounter,
    random: &Random,
    now: Time,
) -> Picked<'s> {
    let reported = candidates.tier.reported();
    let draws = (0..MAX_DRAWS).map_while(|_| reported?.draw(random.bits(), now));
    let drawn = draws.map(|number| candidates.at(number)).find(|found| candidates.takes(found));
    drawn.unwrap_or_else(|| round_robin::pick(candidates, turns, now))
}
