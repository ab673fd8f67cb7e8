//! Random: each with the same probability, without a shared write.

use super::Candidates;
use crate::random::Random;

#[inline]
pub(super) fn place(candidates: Candidates<'_, '_>, random: &Random) -> u32 {
    candidates.untried_from(random.below(candidates.len()))
}
