//! Peak-EWMA: picks, of two endpoints drawn at random, the one that is likely to answer first.
//!
//! This is Finagle's load metric: the average latency, quick to rise and slow to fall, times the
//! calls that would be in flight; see [`PeakEwma`](crate::engine::state::ewma::PeakEwma). An
//! endpoint without samples gets one call, and no other before it has answered, unless all others are
//! worse.
//!
//! If the weights differ, the first one is drawn by weight, and costs are compared per unit of weight.
//! While both are idle, the other one replaces it only if it is clearly faster: a small difference in
//! latency leaves the shares that the weights ask for.

use crate::engine::algorithm::by_weight;
use crate::engine::algorithm::candidates::{Candidates, Picked};
use crate::engine::algorithm::least_connections::pair;
use crate::engine::state::EndpointState;
use crate::engine::state::ewma::PENALTY;
use crate::runtime::clock::Time;
use crate::runtime::random::Random;

/// How many times slower than another one an endpoint is to lose calls while both are idle.
const CLEARLY: f32 = 1.5;

#[inline]
pub(super) fn pick<'s>(candidates: Candidates<'s, '_>, random: &Random, now: Time) -> Picked<'s> {
    if let Some(weights) = candidates.tier.draw() {
        if let Some((first, second)) = by_weight::pair(candidates, weights, random) {
            return if is_worse(first.state, second.state, now) { second } else { first };
        }
    }
    let (first, second) = pair(candidates, random);
    if cost(first.state, now) > cost(second.state, now) { second } else { first }
}

/// Whether `a` has a higher cost per unit of weight than `b` with one more call, and either without it
/// as well or because it is clearly slower.
fn is_worse(a: &EndpointState, b: &EndpointState, now: Time) -> bool {
    let (weight_a, weight_b) = (a.weight() as f32, b.weight() as f32);
    let more = |cost_a: f32, cost_b: f32| cost_a * weight_b > cost_b * weight_a;
    let (latency_a, latency_b) = (a.ewma().at(now), b.ewma().at(now));
    let current = |of: &EndpointState, latency| match latency {
        0.0 => cost(of, now),
        _ => latency * of.in_flight() as f32,
    };
    more(cost(a, now), cost(b, now))
        && (more(current(a, latency_a), current(b, latency_b)) || latency_a > CLEARLY * latency_b)
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
