//! Which of a tier's endpoints the next call gets: one file per algorithm.
//!
//! An algorithm sees the cells that are given calls and answers a place among them. It never waits, locks or
//! allocates, and its work does not grow with the number of endpoints.

mod least_connections;
mod random;
mod round_robin;

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use crate::cell::Cell;
use crate::cell::slab::Slab;
use crate::config::{Algorithm, FailoverConfig, StrategyKind};
use crate::error::{Error, ErrorKind};
use crate::random::Random;

/// What an algorithm chooses from.
#[derive(Clone, Copy)]
pub(crate) struct Candidates<'s, 't> {
    /// The cells that are given calls; not empty.
    pub(crate) members: &'s [AtomicU32],
    pub(crate) slab: &'s Slab,
    pub(crate) tried: Tried<'t>,
}

/// The cells of the endpoints that the call has tried already.
#[derive(Clone, Copy)]
pub(crate) struct Tried<'a>(pub(crate) &'a [u32]);

impl Tried<'_> {
    pub(crate) const NONE: Self = Tried(&[]);

    #[inline]
    pub(crate) fn contains(self, cell: u32) -> bool {
        self.0.contains(&cell)
    }
}

/// Whether this version can do what a configuration asks for.
pub(crate) fn supported(config: &FailoverConfig) -> Result<(), Error> {
    const CAN: &str = "use round_robin, random or least_connections";
    let (strategy, algorithm) = (config.strategy(), config.algorithm());
    let asked = if !matches!(
        strategy,
        StrategyKind::RoundRobin | StrategyKind::Random | StrategyKind::LeastConnections
    ) {
        format!("strategy {strategy}")
    } else if !matches!(algorithm, Algorithm::RoundRobin | Algorithm::Random | Algorithm::LeastConnections) {
        format!("load_balancer.algorithm {algorithm}")
    } else if config.load_balancer().sticky() {
        "load_balancer.sticky".to_owned()
    } else {
        return Ok(());
    };
    let message = match asked.strip_suffix("sticky") {
        Some(_) => format!("{asked} is not in this version; leave it out"),
        None => format!("{asked} is not in this version; {CAN}"),
    };
    Err(Error::new(ErrorKind::Unsupported, message).with_code("INVALID_STRATEGY").with_detail("asked", asked))
}

/// The next endpoint; one that was tried only when all were.
#[inline]
pub(crate) fn choose(
    algorithm: Algorithm,
    candidates: Candidates<'_, '_>,
    turn: &AtomicU64,
    random: &Random,
) -> Option<u32> {
    if candidates.members.is_empty() {
        return None;
    }
    let place = match algorithm {
        Algorithm::Random => random::place(candidates, random),
        Algorithm::LeastConnections => least_connections::place(candidates, random),
        // What is not supported is refused where a configuration is taken.
        _ => round_robin::place(candidates, turn),
    };
    Some(candidates.number(place))
}

impl<'s> Candidates<'s, '_> {
    #[inline]
    fn number(self, place: u32) -> u32 {
        self.members[place as usize].load(Ordering::Relaxed)
    }

    #[inline]
    fn cell(self, place: u32) -> &'s Cell {
        self.slab.cell(self.number(place))
    }

    #[inline]
    fn len(self) -> u32 {
        self.members.len() as u32
    }

    /// `place`, or the next one round the circle that was not tried. It looks at no more places than were tried,
    /// and one.
    #[inline]
    fn untried_from(self, place: u32) -> u32 {
        if self.tried.0.is_empty() {
            return place;
        }
        let len = self.len();
        let looks = len.min(self.tried.0.len() as u32 + 1);
        (0..looks)
            .map(|step| (place + step) % len)
            .find(|place| !self.tried.contains(self.number(*place)))
            .unwrap_or(place)
    }
}

#[cfg(test)]
mod tests;
