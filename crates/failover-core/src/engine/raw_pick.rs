//! The result of a pick, packed into two words.

use std::num::NonZeroU64;

use crate::engine::breaker::Admission;
use crate::runtime::clock::Time;
use crate::runtime::rush::Timing;

/// A picked endpoint. The attempt is in flight until it is reported.
///
/// The type is two words, so that it is passed in registers; if it were written in parts and read
/// as a whole, the read would stall on the stores.
#[derive(Debug)]
pub(crate) struct RawPick {
    /// Layout, from the lowest bit: state 32, generation 16, permit 1, transition 2, timing 2; all shifted
    /// by one bit, above a bit that is always set.
    word: NonZeroU64,
    /// Of a call that is not timed, a time within the same tick.
    began: Time,
}

const GENERATION_AT: u32 = 32;
const PERMIT: u64 = 1 << 48;
const TRANSITION_AT: u32 = 49;
const TRANSITION_MASK: u64 = 0b11 << TRANSITION_AT;
const TIMING_AT: u32 = 51;
const TIMING_MASK: u64 = 0b11 << TIMING_AT;

/// The change that a pick made to the breaker. The pick itself emits no events; they are emitted
/// later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Transition {
    No,
    /// Half-open because the open time had passed.
    HalfOpen,
    /// The pause that the endpoint asked for had passed.
    Resumed,
    /// With the algorithm `first`, all calls go to this endpoint from now on.
    MovedOn,
}

impl RawPick {
    #[inline]
    pub(crate) fn new(
        state: u32,
        admission: Admission,
        transition: Transition,
        (began, timing): (Time, Timing),
    ) -> Self {
        let permit = if admission.permit { PERMIT } else { 0 };
        let word = u64::from(state)
            | (u64::from(admission.generation) << GENERATION_AT)
            | permit
            | ((transition as u64) << TRANSITION_AT)
            | ((timing as u64) << TIMING_AT);
        Self { word: NonZeroU64::MIN | (word << 1), began }
    }

    /// Whether the pick holds no permit and made no change: then its success changes nothing.
    #[inline]
    pub(crate) fn is_plain(&self) -> bool {
        self.bits() & (PERMIT | TRANSITION_MASK) == 0
    }

    #[inline]
    fn bits(&self) -> u64 {
        self.word.get() >> 1
    }

    #[inline]
    pub(crate) fn state(&self) -> u32 {
        self.bits() as u32
    }

    #[inline]
    pub(crate) fn admission(&self) -> Admission {
        let bits = self.bits();
        Admission { generation: (bits >> GENERATION_AT) as u16, permit: bits & PERMIT != 0 }
    }

    #[inline]
    pub(crate) fn began(&self) -> Time {
        self.began
    }

    #[inline]
    pub(crate) fn timing(&self) -> Timing {
        Timing::from_bits(self.bits() >> TIMING_AT)
    }

    /// Makes the call stand for itself and no other one. `now` returns the time at which it begins, if that
    /// is not known.
    #[inline]
    pub(crate) fn time_alone(&mut self, now: impl FnOnce() -> Time) {
        if self.timing() == Timing::Skipped {
            self.began = now();
        }
        let bits = self.bits() & !TIMING_MASK | ((Timing::Each as u64) << TIMING_AT);
        self.word = NonZeroU64::MIN | (bits << 1);
    }

    /// Takes the change that the pick made to the breaker, if its event has not been emitted yet.
    #[inline]
    pub(crate) fn take_transition(&mut self) -> Transition {
        let bits = self.bits();
        if bits & TRANSITION_MASK == 0 {
            return Transition::No;
        }
        self.word = NonZeroU64::MIN | ((bits & !TRANSITION_MASK) << 1);
        match (bits & TRANSITION_MASK) >> TRANSITION_AT {
            1 => Transition::HalfOpen,
            2 => Transition::Resumed,
            _ => Transition::MovedOn,
        }
    }
}
