//! Random: each with the same probability, without a shared write.

use super::{Candidates, Found};
use crate::random::Random;

#[inline]
pub(super) fn found<'s>(candidates: Candidates<'s, '_>, random: &Random) -> Found<'s> {
    candidates.untried_from(random.below(candidates.len()))
}
