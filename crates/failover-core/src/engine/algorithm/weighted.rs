//! Weighted: picks by a precomputed schedule, with one shared write per pick.
//!
//! The turn of an endpoint that is out goes to an endpoint in rotation, drawn by weight in O(log
//! n). While all are in rotation, the shares are exact over a period, except for turns that threads
//! have drawn in batches and not used: see [`Schedule`] and [`ShardedCounter`].

use crate::engine::algorithm::candidates::{Candidates, Picked};
use crate::engine::algorithm::sharded_counter::ShardedCounter;
use crate::engine::algorithm::{by_weight, random};
use crate::engine::snapshot::schedule::Schedule;
use crate::runtime::clock::Time;
use crate::runtime::random::Random;

#[inline]
pub(super) fn pick<'s>(
    candidates: Candidates<'s, '_>,
    schedule: &Schedule,
    turns: &ShardedCounter,
    random: &Random,
    now: Time,
) -> Picked<'s> {
    let scheduled = schedule.at(turns.take(now)).and_then(|number| candidates.usable(number));
    if let Some(found) = scheduled {
        return found;
    }
    let drawn = by_weight::draw(candidates, &schedule.draw, random);
    drawn.unwrap_or_else(|| random::even(candidates, random))
}
