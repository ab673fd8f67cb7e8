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
use crate::config::Algorithm;
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

/// Whether this version can pick by an algorithm.
pub(crate) fn supported(algorithm: Algorithm) -> Result<(), Error> {
    match algorithm {
        Algorithm::RoundRobin | Algorithm::Random | Algorithm::LeastConnections => Ok(()),
        other => Err(Error::new(
            ErrorKind::Unsupported,
            format!("algorithm {other} is not in this version; use round_robin, random or least_connections"),
        )
        .with_code("INVALID_STRATEGY")
        .with_detail("algorithm", other.to_string())),
    }
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
