//! What an algorithm chooses from, and what it finds.

use std::sync::atomic::{AtomicU32, Ordering};

use crate::config::Algorithm;
use crate::engine::hash::xxh64;
use crate::engine::snapshot::Tier;
use crate::engine::state::EndpointState;
use crate::engine::state::slab::Slab;

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
    pub(crate) states: &'a [u32],
    /// No cell has the number `u32::MAX`.
    passed: u32,
}

impl<'a> Tried<'a> {
    pub(crate) const NONE: Self = Self::of(&[]);

    pub(crate) const fn of(states: &'a [u32]) -> Self {
        Self { states, passed: u32::MAX }
    }

    /// Passes over this one as well.
    pub(crate) const fn and(self, state: u32) -> Self {
        Self { passed: state, ..self }
    }

    #[inline]
    pub(crate) fn is_none(self) -> bool {
        self.len() == 0
    }

    #[inline]
    pub(crate) fn contains(self, state: u32) -> bool {
        self.states.contains(&state) || self.passed == state
    }

    /// At most how many there are.
    #[inline]
    fn len(self) -> u32 {
        self.states.len() as u32 + u32::from(self.passed != u32::MAX)
    }
}

/// What a call asks of its choice beyond what the configuration says.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct PickOptions {
    /// The hash of its key.
    pub(crate) key: Option<u64>,
    /// Another algorithm than the service's own.
    pub(crate) algorithm: Option<Algorithm>,
}

impl PickOptions {
    pub(crate) const NONE: Self = Self { key: None, algorithm: None };

    /// For calls with this key; an empty one is none.
    pub(crate) fn keyed(key: &[u8]) -> Self {
        Self { key: (!key.is_empty()).then(|| xxh64(key, 0)), ..Self::NONE }
    }
}

/// An endpoint that was found.
#[derive(Clone, Copy)]
pub(crate) struct Picked<'s> {
    pub(crate) number: u32,
    pub(crate) state: &'s EndpointState,
}

impl<'s> Candidates<'s, '_> {
    #[inline]
    pub(super) fn number(self, place: u32) -> u32 {
        self.members[place as usize].load(Ordering::Relaxed)
    }

    #[inline]
    pub(super) fn at(self, number: u32) -> Picked<'s> {
        Picked { number, state: self.slab.state(number) }
    }

    #[inline]
    pub(super) fn len(self) -> u32 {
        self.members.len() as u32
    }

    /// Whether a cell of the tier can be had: it is given calls, and was not tried.
    #[inline]
    pub(super) fn takes(self, found: &Picked<'_>) -> bool {
        (found.state.is_in_rotation() || self.tier.in_panic()) && !self.tried.contains(found.number)
    }

    /// The one at `place`, or the next one round the circle that was not tried. It looks at no more places than were
    /// tried, and one.
    #[inline]
    pub(super) fn untried_from(self, place: u32) -> Picked<'s> {
        let number = if self.tried.len() == 0 { self.number(place) } else { self.untried_number(place) };
        self.at(number)
    }

    #[cold]
    fn untried_number(self, place: u32) -> u32 {
        let len = self.len();
        let looks = len.min(self.tried.len() + 1);
        let mut numbers = (0..looks).map(|step| self.number((place + step) % len));
        numbers.find(|number| !self.tried.contains(*number)).unwrap_or_else(|| self.number(place))
    }
}
