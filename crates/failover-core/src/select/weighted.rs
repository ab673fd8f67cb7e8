//! Weighted: by a schedule worked out beforehand, one shared write a pick.
//!
//! The turn of an endpoint that is out goes to those that are in, drawn by their weights in O(log n); while all are in,
//! shares are exact over a period: see [`Schedule`].

use std::sync::atomic::{AtomicU64, Ordering};

use super::{Candidates, random};
use crate::random::Random;
use crate::snapshot::schedule::Schedule;

/// How many are drawn for a turn whose owner is out or was tried, before any that can be used will do.
const DRAWS: usize = 8;

#[inline]
pub(super) fn cell(
    candidates: Candidates<'_, '_>,
    schedule: &Schedule,
    turn: &AtomicU64,
    random: &Random,
) -> u32 {
    let scheduled = schedule.at(turn.fetch_add(1, Ordering::Relaxed));
    if let Some(cell) = scheduled.filter(|cell| candidates.takes(*cell)) {
        return cell;
    }
    drawn(candidates, schedule, random)
}

#[cold]
fn drawn(candidates: Candidates<'_, '_>, schedule: &Schedule, random: &Random) -> u32 {
    let mut draws = (0..DRAWS).filter_map(|_| schedule.draw(random.bits()));
    let drawn = draws.find(|cell| candidates.takes(*cell));
    drawn.unwrap_or_else(|| candidates.number(random::place(candidates, random)))
}
