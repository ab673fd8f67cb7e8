//! Least connections: the less busy of two endpoints drawn at random.
//!
//! Power of two choices (Mitzenmacher 2001) over two *different* endpoints, as in Finagle's `P2CPick`: drawn with
//! replacement, as Envoy and gRPC do, the busier of two would still get a quarter of the calls. Busy is calls in
//! flight for each unit of weight; a tie goes to the first drawn.

use super::Candidates;
use crate::cell::Cell;
use crate::random::Random;

#[inline]
pub(super) fn place(candidates: Candidates<'_, '_>, random: &Random) -> u32 {
    let (first, second) = pair(candidates, random);
    if busier(candidates.cell(first), candidates.cell(second)) { second } else { first }
}

/// Two different places, drawn at random and not tried, as far as there are such.
#[inline]
pub(super) fn pair(candidates: Candidates<'_, '_>, random: &Random) -> (u32, u32) {
    let len = candidates.len();
    if len == 1 {
        return (0, 0);
    }
    let (first, second) = random.two_below(len);
    (candidates.untried_from(first), candidates.untried_from(second))
}

/// Whether one more call makes `a` busier than it makes `b`.
#[inline]
fn busier(a: &Cell, b: &Cell) -> bool {
    let load = |of: &Cell, other: &Cell| u64::from(of.in_flight() + 1) * u64::from(other.weight());
    load(a, b) > load(b, a)
}
