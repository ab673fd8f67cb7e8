//! Key hashing: the same key gets the same endpoint while that is in rotation, and again after it
//! returns.
//!
//! If the key's endpoint is out or was tried, the key is rehashed to another place of the same
//! table, as in Envoy's retries on Maglev. That place depends on the key alone, so the keys of one
//! endpoint spread over all others.

use crate::engine::algorithm::candidates::{Candidates, Picked};
use crate::engine::snapshot::maglev::MaglevTable;

/// The number of places of the table to inspect before any endpoint in rotation is used.
const MAX_SCANS: u64 = 16;

#[inline]
pub(super) fn pick<'s>(candidates: Candidates<'s, '_>, keyed: &MaglevTable, key: u64) -> Picked<'s> {
    let mut looks = (0..MAX_SCANS).filter_map(|again| keyed.at(key, again));
    let found = looks.find_map(|number| candidates.usable(number));
    found.unwrap_or_else(|| {
        let place = (key % u64::from(candidates.len())) as u32;
        candidates.untried_from(place)
    })
}
