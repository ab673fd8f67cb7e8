//! Weighted: by a schedule worked out beforehand, one shared write a pick.
//!
//! The turn of an endpoint that is out goes to those that are in, drawn by their weights in O(log n); while all are in,
//! shares are exact over a period, but for the turns that threads in a rush have left: see [`Schedule`] and
//! [`turns`](super::turns).

use crate::engine::algorithm::candidates::{Candidates, Found};
use crate::engine::algorithm::random;
use crate::engine::algorithm::sharded_counter::Turns;
use crate::engine::snapshot::schedule::Schedule;
use crate::runtime::clock::Time;
use crate::runtime::random::Random;

/// How many are drawn for a turn whose owner is out or was tried, before any that can be used will do.
const DRAWS: usize = 8;

#[inline]
pub(super) fn found<'s>(
    candidates: Candidates<'s, '_>,
    schedule: &Schedule,
    turns: &Turns,
    random: &Random,
    now: Time,
) -> Found<'s> {
    let scheduled = schedule.at(turns.take(now)).map(|number| candidates.found(number));
    if let Some(found) = scheduled.filter(|found| candidates.takes(found)) {
        return found;
    }
    drawn(candidates, schedule, random)
}

#[cold]
fn drawn<'s>(candidates: Candidates<'s, '_>, schedule: &Schedule, random: &Random) -> Found<'s> {
    let draws = (0..DRAWS).filter_map(|_| schedule.draw(random.bits()));
    let drawn = draws.map(|number| candidates.found(number)).find(|found| candidates.takes(found));
    drawn.unwrap_or_else(|| random::found(candidates, random))
}
