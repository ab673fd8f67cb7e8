//! The choice of a retry: the least busy endpoint that has not failed since its last success.
//!
//! The endpoint that failed the call may not be the only one that is down, and an endpoint that has
//! stopped answering keeps its calls in flight. A retry therefore goes where the signs are best,
//! and leaves the turns of first attempts alone: a retry that took the next turn would, with two
//! endpoints of which one fails, send every first attempt to the failing one.

use crate::config::Algorithm;
use crate::engine::algorithm::candidates::{Candidates, Picked};
use crate::engine::algorithm::peak_ewma;
use crate::engine::state::EndpointState;
use crate::runtime::clock::Time;
use crate::runtime::random::Random;

/// The maximum number of endpoints compared.
const COMPARED: u32 = 16;

#[cold]
pub(super) fn pick<'s>(
    algorithm: Algorithm,
    candidates: Candidates<'s, '_>,
    random: &Random,
    now: Time,
) -> Picked<'s> {
    let len = candidates.len();
    let first = random.below(len);
    let cost = |state: &EndpointState| {
        let load = match algorithm {
            Algorithm::PeakEwma => peak_ewma::cost(state, now),
            _ => (state.in_flight() + 1) as f32,
        };
        (!state.breaker().is_quiet(), load / state.weight() as f32)
    };
    let untried = |number: &u32| !candidates.tried.contains(*number);
    let numbers = (0..len).map(|step| candidates.number((first + step) % len)).filter(untried);
    let best = numbers
        .take(COMPARED as usize)
        .map(|number| candidates.at(number))
        .map(|found| (cost(found.state), found))
        .reduce(|best, next| if next.0 < best.0 { next } else { best });
    best.map_or_else(|| candidates.untried_from(first), |(_, found)| found)
}
