//! Load-balancing algorithms: which of a tier's endpoints the next call gets, one file per
//! algorithm.
//!
//! An algorithm receives the states in rotation and returns one of them. It never waits, locks or
//! allocates, and its cost does not grow with the number of endpoints.

pub(crate) mod by_weight;
pub(crate) mod candidates;
pub(crate) mod key_hash;
pub(crate) mod least_connections;
pub(crate) mod peak_ewma;
pub(crate) mod random;
pub(crate) mod reported_load;
pub(crate) mod retry;
pub(crate) mod round_robin;
pub(crate) mod sharded_counter;
pub(crate) mod thread_index;
pub(crate) mod weighted;

use crate::config::Algorithm;
use crate::runtime::clock::Time;
use crate::runtime::random::Random;
pub(crate) use candidates::{Candidates, PickOptions, Picked, Tried};
use sharded_counter::ShardedCounter;

/// Returns the next endpoint; one that was already tried only if all were.
#[inline]
pub(crate) fn pick<'s>(
    algorithm: Algorithm,
    candidates: Candidates<'s, '_>,
    key: Option<u64>,
    turns: &ShardedCounter,
    random: &Random,
    now: Time,
) -> Option<Picked<'s>> {
    if candidates.members.is_empty() {
        return None;
    }
    if !candidates.tried.states.is_empty() && algorithm != Algorithm::IpHash {
        return Some(retry::pick(algorithm, candidates, random, now));
    }
    Some(match algorithm {
        Algorithm::RoundRobin => round_robin::pick(candidates, turns, now),
        Algorithm::LeastConnections => least_connections::pick(candidates, random),
        Algorithm::PeakEwma => peak_ewma::pick(candidates, random, now),
        Algorithm::Random => random::pick(candidates, random),
        Algorithm::Weighted => match candidates.tier.schedule() {
            Some(schedule) => weighted::pick(candidates, schedule, turns, random, now),
            None => random::pick(candidates, random),
        },
        Algorithm::IpHash => match (candidates.tier.keyed(), key) {
            (Some(keyed), Some(key)) => key_hash::pick(candidates, keyed, key),
            // A call without a key has no preferred endpoint.
            _ => random::pick(candidates, random),
        },
        Algorithm::ReportedLoad => reported_load::pick(candidates, turns, random, now),
        // Chosen over all tiers, before an algorithm picks within one.
        Algorithm::First => candidates.untried_from(0),
    })
}

#[cfg(test)]
mod tests;
