//! Peak-EWMA: picks, of two endpoints drawn at random, the one that is likely to answer first.
//!
//! This is Finagle's load metric: the average latency, quick to rise and slow to fall, times the
//! calls that would be in flight, here per unit of weight; see
//! [`PeakEwma`](crate::engine::state::ewma::PeakEwma). An endpoint without samples gets one call,
//! and no other before it has answered, unless all others are worse.

use crate::engine::algorithm::candidates::{Candidates, Picked};
use crate::engine::algorithm::least_connections::pair;
use crate::engine::state::EndpointState;
use crate::engine::state::ewma::PENALTY;
use crate::runtime::clock::Time;
use crate::runtime::random::Random;

#[inline]
pub(super) fn pick<'s>(candidates: Candidates<'s, '_>, random: &Random, now: Time) -> Picked<'s> {
    let (first, second) = pair(candidates, random);
    let (a, b) = (first.state, second.state);
    let (cost_a, cost_b) = (cost(a, now) * b.weight() as f32, cost(b, now) * a.weight() as f32);
    if cost_a > cost_b { second } else { first }
}

#[inline]
pub(super) fn cost(state: &EndpointState, now: Time) -> f32 {
    let in_flight = state.in_flight();
    let ewma = state.ewma().at(now);
    if ewma > 0.0 {
        return ewma * (in_flight + 1) as f32;
    }
    // No samples yet: the first call is free, and further calls are penalised until it has
    // answered.
    in_flight as f32 * PENALTY.as_secs_f32() * 1e9
}
