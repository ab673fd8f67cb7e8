//! The input and the result of an algorithm.

use std::sync::atomic::{AtomicU32, Ordering};

use crate::config::Algorithm;
use crate::engine::hash::xxh64;
use crate::engine::snapshot::Tier;
use crate::engine::state::EndpointState;
use crate::engine::state::slab::Slab;

/// The endpoints that an algorithm picks from.
#[derive(Clone, Copy)]
pub(crate) struct Candidates<'s, 't> {
    /// The states in rotation, or all states in panic mode; not empty.
    pub(crate) members: &'s [AtomicU32],
    pub(crate) tier: &'s Tier,
    pub(crate) slab: &'s Slab,
    pub(crate) tried: Tried<'t>,
}

/// The states of the endpoints that the call has already tried, and one more to skip.
#[derive(Clone, Copy)]
pub(crate) struct Tried<'a> {
    pub(crate) states: &'a [u32],
    /// No state has the number `u32::MAX`.
    passed: u32,
}

impl<'a> Tried<'a> {
    pub(crate) const NONE: Self = Self::of(&[]);

    pub(crate) const fn of(states: &'a [u32]) -> Self {
        Self { states, passed: u32::MAX }
    }

    /// Skips this state as well.
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

    /// An upper bound of the number of states.
    #[inline]
    fn len(self) -> u32 {
        self.states.len() as u32 + u32::from(self.passed != u32::MAX)
    }
}

/// The options of a pick that override the configuration.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct PickOptions {
    /// The hash of the call's key.
    pub(crate) key: Option<u64>,
    /// The algorithm to use instead of the service's own.
    pub(crate) algorithm: Option<Algorithm>,
    /// Whether the pick is for a retry after an ambiguous failure, which avoids tiers with many of
    /// them.
    pub(crate) gated: bool,
    /// Whether the call is timed also in a rush.
    pub(crate) timed: bool,
}

impl PickOptions {
    pub(crate) const NONE: Self = Self { key: None, algorithm: None, gated: false, timed: false };

    /// Options for calls with this key; an empty key counts as none.
    pub(crate) fn keyed(key: &[u8]) -> Self {
        Self { key: (!key.is_empty()).then(|| xxh64(key, 0)), ..Self::NONE }
    }
}

/// A picked endpoint.
#[derive(Clone, Copy)]
pub(crate) struct Picked<'s> {
    pub(crate) number: u32,
    pub(crate) state: &'s EndpointState,
}

impl<'s> Candidates<'s, '_> {
    #[inline]
    pub(crate) fn number(self, place: u32) -> u32 {
        self.members[place as usize].load(Ordering::Relaxed)
    }

    #[inline]
    pub(super) fn at(self, number: u32) -> Picked<'s> {
        Picked { number, state: self.slab.state(number) }
    }

    #[inline]
    pub(crate) fn len(self) -> u32 {
        self.members.len() as u32
    }

    /// Returns a state of the tier if it is usable: in rotation (or the tier is in panic mode) and not
    /// tried.
    #[inline]
    pub(super) fn usable(self, number: u32) -> Option<Picked<'s>> {
        let found = self.at(number);
        let takes_calls = found.state.is_in_rotation() || self.tier.in_panic();
        (takes_calls && !self.tried.contains(number)).then_some(found)
    }

    /// Returns the state at `place`, or the next untried one after it, wrapping around. It inspects
    /// at most one more place than the number of states tried.
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
