//! Least connections: picks the less busy of two endpoints drawn at random.
//!
//! Power of two choices (Mitzenmacher 2001) over two *different* endpoints, as in Finagle's
//! `P2CPick`: if drawn with replacement, as Envoy and gRPC do, the busier of two would still get a
//! quarter of the calls. The load is the number of calls in flight per unit of weight; a tie goes
//! to the first one drawn.

use crate::engine::algorithm::candidates::{Candidates, Picked};
use crate::engine::state::EndpointState;
use crate::runtime::random::Random;

#[inline]
pub(super) fn pick<'s>(candidates: Candidates<'s, '_>, random: &Random) -> Picked<'s> {
    let (first, second) = pair(candidates, random);
    if busier(first.state, second.state) { second } else { first }
}

/// Draws two different, untried endpoints at random, as far as there are any.
#[allow(clippy::inline_always, reason = "four words by way of memory cost as much as the choice")]
#[inline(always)]
pub(super) fn pair<'s>(candidates: Candidates<'s, '_>, random: &Random) -> (Picked<'s>, Picked<'s>) {
    let (first, second) = random.two_below(candidates.len());
    (candidates.untried_from(first), candidates.untried_from(second))
}

/// Whether one more call makes `a` busier than it makes `b`.
#[inline]
fn busier(a: &EndpointState, b: &EndpointState) -> bool {
    let load =
        |of: &EndpointState, other: &EndpointState| u64::from(of.in_flight() + 1) * u64::from(other.weight());
    load(a, b) > load(b, a)
}
