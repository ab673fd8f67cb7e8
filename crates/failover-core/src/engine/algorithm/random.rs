//! Random: picks each endpoint with the same probability, without a shared write.

use crate::engine::algorithm::candidates::{Candidates, Picked};
use crate::runtime::random::Random;

#[inline]
pub(super) fn pick<'s>(candidates: Candidates<'s, '_>, random: &Random) -> Picked<'s> {
    candidates.untried_from(random.below(candidates.len()))
}
