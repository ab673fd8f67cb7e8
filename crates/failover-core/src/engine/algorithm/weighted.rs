//! Weighted: by a schedule worked out beforehand, one shared write a pick.
//!
//! The turn of an endpoint that is out goes to those that are in, drawn by their weights in O(log n); while all are in,
//! shares are exact over a period, but for the turns that threads in a rush have left: see [`Schedule`] and
//! [`turns`](super::turns).

use crate::engine::algorithm::candidates::{Candidates, Picked};
use crate::engine::algorithm::random;
use crate::engine::algorithm::sharded_counter::ShardedCounter;
use crate::engine::snapshot::schedule::Schedule;
use crate::runtime::clock::Time;
use crate::runtime::random::Random;

/// How many are drawn for a turn whose owner is out or was tried, before any that can be used will do.
const MAX_DRAWS: usize = 8;

#[inline]
pub(super) fn pick<'s>(
    candidates: Candidates<'s, '_>,
    schedule: &Schedule,
    turns: &ShardedCounter,
    random: &Random,
    now: Time,
) -> Picked<'s> {
    let scheduled = schedule.at(turns.take(now)).map(|number| candidates.at(number));
    if let Some(found) = scheduled.filter(|found| candidates.takes(found)) {
        return found;
    }
    drawn(candidates, schedule, random)
}

#[cold]
fn drawn<'s>(candidates: Candidates<'s, '_>, schedule: &Schedule, random: &Random) -> Picked<'s> {
    let draws = (0..MAX_DRAWS).filter_map(|_| schedule.draw(random.bits()));
    let drawn = draws.map(|number| candidates.at(number)).find(|found| candidates.takes(found));
    drawn.unwrap_or_else(|| random::pick(candidates, random))
}
