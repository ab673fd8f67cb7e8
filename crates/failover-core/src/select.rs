//! Which of a tier's endpoints the next call gets: one file per algorithm.
//!
//! An algorithm sees the cells that are given calls and answers a place among them. It never waits, locks or
//! allocates, and its work does not grow with the number of endpoints.

mod keyed;
mod least_connections;
mod peak_ewma;
mod random;
mod reported_load;
mod round_robin;
pub(crate) mod turns;
mod weighted;

use std::sync::atomic::{AtomicU32, Ordering};

use crate::cell::Cell;
use crate::cell::slab::Slab;
use crate::clock::Time;
use crate::config::{Algorithm, FailoverConfig, StrategyKind};
use crate::error::{Error, ErrorKind};
use crate::hash::xxh64;
use crate::random::Random;
use crate::snapshot::Tier;
use turns::Turns;

/// What an algorithm chooses from.
#[derive(Clone, Copy)]
pub(crate) struct Candidates<'s, 't> {
    /// The cells that are given calls; not empty.
    pub(crate) members: &'s [AtomicU32],
    pub(crate) tier: &'s Tier,
    pub(crate) slab: &'s Slab,
    pub(crate) tried: Tried<'t>,
}

/// The cells of the endpoints that the call has tried already, and one that it passes over.
#[derive(Clone, Copy)]
pub(crate) struct Tried<'a> {
    pub(crate) cells: &'a [u32],
    /// No cell has the number `u32::MAX`.
    passed: u32,
}

impl<'a> Tried<'a> {
    pub(crate) const NONE: Self = Self::of(&[]);

    pub(crate) const fn of(cells: &'a [u32]) -> Self {
        Self { cells, passed: u32::MAX }
    }

    /// Passes over this one as well.
    pub(crate) const fn and(self, cell: u32) -> Self {
        Self { passed: cell, ..self }
    }

    #[inline]
    pub(crate) fn is_none(self) -> bool {
        self.len() == 0
    }

    #[inline]
    pub(crate) fn contains(self, cell: u32) -> bool {
        self.cells.contains(&cell) || self.passed == cell
    }

    /// At most how many there are.
    #[inline]
    fn len(self) -> u32 {
        self.cells.len() as u32 + u32::from(self.passed != u32::MAX)
    }
}

/// What a call asks of its choice beyond what the configuration says.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Wish {
    /// The hash of its key.
    pub(crate) key: Option<u64>,
    /// Another algorithm than the service's own.
    pub(crate) algorithm: Option<Algorithm>,
}

impl Wish {
    pub(crate) const NONE: Self = Self { key: None, algorithm: None };

    /// For calls with this key; an empty one is none.
    pub(crate) fn keyed(key: &[u8]) -> Self {
        Self { key: (!key.is_empty()).then(|| xxh64(key, 0)), ..Self::NONE }
    }
}

/// Whether a configuration says all that its strategy needs.
pub(crate) fn supported(config: &FailoverConfig) -> Result<(), Error> {
    let (asked, lacks) = match config.strategy() {
        StrategyKind::Geographic if config.locality().is_none() => {
            ("strategy geographic", "needs `locality.zone`, where this process runs")
        }
        StrategyKind::Custom if config.custom().is_none() => {
            ("strategy custom", "needs a `Strategy`, set with `custom_strategy` in code")
        }
        _ => return Ok(()),
    };
    let message = format!("{asked} {lacks}");
    Err(Error::new(ErrorKind::Validation, message).with_code("INVALID_STRATEGY").with_detail("asked", asked))
}

/// An endpoint that was found.
#[derive(Clone, Copy)]
pub(crate) struct Found<'s> {
    pub(crate) number: u32,
    pub(crate) cell: &'s Cell,
}

/// The next endpoint; one that was tried only when all were.
#[inline]
pub(crate) fn choose<'s>(
    algorithm: Algorithm,
    candidates: Candidates<'s, '_>,
    key: Option<u64>,
    turns: &Turns,
    random: &Random,
    now: Time,
) -> Option<Found<'s>> {
    if candidates.members.is_empty() {
        return None;
    }
    Some(match algorithm {
        Algorithm::RoundRobin => round_robin::found(candidates, turns, now),
        Algorithm::LeastConnections => least_connections::found(candidates, random),
        Algorithm::PeakEwma => peak_ewma::found(candidates, random, now),
        Algorithm::Random => random::found(candidates, random),
        Algorithm::Weighted => match candidates.tier.schedule() {
            Some(schedule) => weighted::found(candidates, schedule, turns, random, now),
            None => random::found(candidates, random),
        },
        Algorithm::IpHash => match (candidates.tier.keyed(), key) {
            (Some(keyed), Some(key)) => keyed::found(candidates, keyed, key),
            // A call without a key belongs nowhere.
            _ => random::found(candidates, random),
        },
        Algorithm::ReportedLoad => reported_load::found(candidates, turns, random, now),
    })
}

impl<'s> Candidates<'s, '_> {
    #[inline]
    fn number(self, place: u32) -> u32 {
        self.members[place as usize].load(Ordering::Relaxed)
    }

    #[inline]
    fn found(self, number: u32) -> Found<'s> {
        Found { number, cell: self.slab.cell(number) }
    }

    #[inline]
    fn len(self) -> u32 {
        self.members.len() as u32
    }

    /// Whether a cell of the tier can be had: it is given calls, and was not tried.
    #[inline]
    fn takes(self, found: &Found<'_>) -> bool {
        (found.cell.is_seated() || self.tier.in_panic()) && !self.tried.contains(found.number)
    }

    /// The one at `place`, or the next one round the circle that was not tried. It looks at no more places than were
    /// tried, and one.
    #[inline]
    fn untried_from(self, place: u32) -> Found<'s> {
        let number = if self.tried.len() == 0 { self.number(place) } else { self.untried_number(place) };
        self.found(number)
    }

    #[cold]
    fn untried_number(self, place: u32) -> u32 {
        let len = self.len();
        let looks = len.min(self.tried.len() + 1);
        let mut numbers = (0..looks).map(|step| self.number((place + step) % len));
        numbers.find(|number| !self.tried.contains(*number)).unwrap_or_else(|| self.number(place))
    }
}

#[cfg(test)]
mod tests;
