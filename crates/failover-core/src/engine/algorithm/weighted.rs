//! Weighted: picks by a precomputed schedule, with one shared write per pick.
//!
//! The turn of an endpoint that is out goes to an endpoint in rotation, drawn by weight in O(log
//! n). While all are in rotation, the shares are exact over a period, except for turns that threads
//! have drawn in batches and not used: see [`Schedule`] and [`ShardedCounter`].

use crate::engine::algorithm::candidates::{Candidates, Picked};
use crate::engine::algorithm::random;
use crate::engine::algorithm::sharded_counter::ShardedCounter;
use crate::engine::snapshot::schedule::Schedule;
use crate::runtime::clock::Time;
use crate::runtime::random::Random;

/// The number of draws for a turn whose endpoint is out or was tried, before the fallback to a
/// random endpoint.
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
