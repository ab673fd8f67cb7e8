//! By key: the same endpoint for the same key while it is in, and again when it is back.
//!
//! A key whose endpoint is out, or was tried, goes to the next place of the same table by the same hash, as in Envoy's
//! retries on Maglev; which one that is depends on the key alone, so that the keys of one endpoint spread over all
//! others.

use crate::engine::algorithm::candidates::{Candidates, Picked};
use crate::engine::snapshot::maglev::MaglevTable;

/// How many places of the table are looked at before any that is in will do.
const MAX_SCANS: u64 = 16;

#[inline]
pub(super) fn pick<'s>(candidates: Candidates<'s, '_>, keyed: &MaglevTable, key: u64) -> Picked<'s> {
    let looks = (0..MAX_SCANS).filter_map(|again| keyed.at(key, again));
    let found = looks.map(|number| candidates.at(number)).find(|found| candidates.takes(found));
    found.unwrap_or_else(|| {
        let place = (key % u64::from(candidates.len())) as u32;
        candidates.untried_from(place)
    })
}
