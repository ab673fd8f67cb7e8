//! Random: picks each endpoint with a probability in proportion to its weight, without a shared write.

use crate::engine::algorithm::by_weight;
use crate::engine::algorithm::candidates::{Candidates, Picked};
use crate::runtime::random::Random;

#[inline]
pub(super) fn pick<'s>(candidates: Candidates<'s, '_>, random: &Random) -> Picked<'s> {
    let drawn = candidates.tier.draw().and_then(|weights| by_weight::draw(candidates, weights, random));
    drawn.unwrap_or_else(|| even(candidates, random))
}

/// Picks each endpoint with the same probability.
#[inline]
pub(super) fn even<'s>(candidates: Candidates<'s, '_>, random: &Random) -> Picked<'s> {
    candidates.untried_from(random.below(candidates.len()))
}
