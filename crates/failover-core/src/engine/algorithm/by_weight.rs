//! Draws endpoints in proportion to their weights, for the algorithms that draw at random.

use crate::engine::algorithm::candidates::{Candidates, Picked};
use crate::engine::snapshot::weighted_draw::WeightedDraw;
use crate::runtime::random::Random;

/// The number of draws that may find an endpoint that is out or was tried.
const MAX_DRAWS: usize = 8;

/// Draws an endpoint that is in rotation and untried; `None` after eight draws without one.
#[inline]
pub(super) fn draw<'s>(
    candidates: Candidates<'s, '_>,
    weights: &WeightedDraw,
    random: &Random,
) -> Option<Picked<'s>> {
    (0..MAX_DRAWS).find_map(|_| candidates.usable(weights.draw(random.bits())?))
}

/// Draws two different endpoints, of which the first has the probability of its weight.
pub(super) fn pair<'s>(
    candidates: Candidates<'s, '_>,
    weights: &WeightedDraw,
    random: &Random,
) -> Option<(Picked<'s>, Picked<'s>)> {
    // The upper bits decide, so that one random number is enough for two draws.
    let bits = random.bits();
    let one = |of: Candidates<'s, '_>, bits| of.usable(weights.draw(bits)?);
    let first = one(candidates, bits).or_else(|| draw(candidates, weights, random))?;
    let others = Candidates { tried: candidates.tried.and(first.number), ..candidates };
    let second = one(others, bits << 32).or_else(|| draw(others, weights, random));
    // If one endpoint has nearly all of the weight, any other one will do.
    Some((first, second.unwrap_or_else(|| others.untried_from(random.below(others.len())))))
}
