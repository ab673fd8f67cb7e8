//! Random: each with the same probability, without a shared write.

use crate::engine::algorithm::candidates::{Candidates, Found};
use crate::runtime::random::Random;

#[inline]
pub(super) fn found<'s>(candidates: Candidates<'s, '_>, random: &Random) -> Found<'s> {
    candidates.untried_from(random.below(candidates.len()))
}
