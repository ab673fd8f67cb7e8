//! Least connections: picks the less busy of two endpoints drawn at random.
//!
//! Power of two choices (Mitzenmacher 2001) over two *different* endpoints, as in Finagle's
//! `P2CPick`: if drawn with replacement, as Envoy and gRPC do, the busier of two would still get a
//! quarter of the calls. The load is the number of calls in flight; a tie goes to the first one
//! drawn.
//!
//! If the weights differ, the first one is drawn by weight, and the other one replaces it only if it
//! has less load per unit of weight both without the call and with it. Shares therefore follow the
//! weights also while hardly any call is in flight, where a comparison alone would always prefer the
//! heaviest.

use crate::engine::algorithm::by_weight;
use crate::engine::algorithm::candidates::{Candidates, Picked};
use crate::engine::state::EndpointState;
use crate::runtime::random::Random;

#[inline]
pub(super) fn pick<'s>(candidates: Candidates<'s, '_>, random: &Random) -> Picked<'s> {
    if let Some(weights) = candidates.tier.draw() {
        if let Some((first, second)) = by_weight::pair(candidates, weights, random) {
            return if busier(first.state, second.state) { second } else { first };
        }
    }
    let (first, second) = pair(candidates, random);
    if first.state.in_flight() > second.state.in_flight() { second } else { first }
}

/// Draws two different, untried endpoints at random, as far as there are any.
#[allow(clippy::inline_always, reason = "four words by way of memory cost as much as the choice")]
#[inline(always)]
pub(super) fn pair<'s>(candidates: Candidates<'s, '_>, random: &Random) -> (Picked<'s>, Picked<'s>) {
    let (first, second) = random.two_below(candidates.len());
    (candidates.untried_from(first), candidates.untried_from(second))
}

/// Whether `a` has more load per unit of weight than `b`, both without one more call and with it.
fn busier(a: &EndpointState, b: &EndpointState) -> bool {
    let (weight_a, weight_b) = (u64::from(a.weight()), u64::from(b.weight()));
    let (calls_a, calls_b) = (u64::from(a.in_flight()), u64::from(b.in_flight()));
    calls_a * weight_b > calls_b * weight_a && (calls_a + 1) * weight_b > (calls_b + 1) * weight_a
}
