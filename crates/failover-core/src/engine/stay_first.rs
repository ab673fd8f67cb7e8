//! The algorithm `first`: all calls go to one endpoint until it is out, then to the next one, and
//! stay there when the earlier one returns.
//!
//! The endpoint is chosen over all tiers, in the order of the snapshot, and belongs to the service: a
//! tier of higher priority that returns does not draw the calls back. A retry goes elsewhere without
//! moving the other calls. No call is used as a probe call, because an earlier endpoint that
//! accepts calls again, such as a database's old primary, must not get them.

use std::sync::atomic::Ordering;

use crate::engine::Engine;
use crate::engine::breaker::Admission;
use crate::engine::pick::Picker;
use crate::engine::raw_pick::Transition;
use crate::engine::snapshot::{Slot, Snapshot};
use crate::events::{Event, EventKind};

/// No state has this number.
const NONE: u32 = u32::MAX;

impl Picker<'_> {
    /// Picks the endpoint in use, or moves on to the next one.
    #[cold]
    pub(super) fn first(&mut self) -> Option<(u32, Admission)> {
        let in_use = self.engine.in_use();
        let stays = |number: &u32| self.engine.slab.state(*number).is_in_rotation();
        let in_use = match in_use.filter(stays) {
            Some(number) => number,
            None => self.move_on()?,
        };
        let other = || self.in_rotation().find(|state| !self.tried.contains(*state));
        let number = if self.tried.contains(in_use) { other().unwrap_or(in_use) } else { in_use };
        if !self.has_room(number) {
            self.full = true;
            return None;
        }
        let admission = self.engine.slab.state(number).breaker().admit_if_closed();
        Some((number, admission.unwrap_or_else(|| self.engine.admission_beyond(number))))
    }

    /// Makes the first endpoint in rotation the one in use. If another thread has done so, its choice
    /// counts.
    fn move_on(&mut self) -> Option<u32> {
        let next = self.in_rotation().next()?;
        let first = &self.engine.first;
        let before = first.load(Ordering::Relaxed);
        match first.compare_exchange(before, next, Ordering::Relaxed, Ordering::Relaxed) {
            Ok(NONE) => {}
            Ok(_) => self.transition = Transition::MovedOn,
            Err(other) => return Some(other),
        }
        Some(next)
    }

    fn in_rotation(&self) -> impl Iterator<Item = u32> {
        let states = self.snapshot.slots.iter().map(|slot| slot.state);
        states.filter(|state| self.engine.slab.state(*state).is_in_rotation())
    }
}

impl Engine {
    fn in_use(&self) -> Option<u32> {
        Some(self.first.load(Ordering::Relaxed)).filter(|number| *number != NONE)
    }

    /// Returns the endpoint that all calls go to, if the algorithm is `first` and there is one.
    pub(super) fn first_of<'s>(&self, snapshot: &'s Snapshot) -> Option<&'s Slot> {
        let number = self.in_use()?;
        let slot = snapshot.slots.get(self.slab.state(number).placement().slot() as usize);
        slot.filter(|slot| slot.state == number && self.slab.state(number).is_in_rotation())
    }

    #[cold]
    pub(super) fn emit_moved_on(&self, number: u32) {
        let state = self.slab.state(number);
        let id = state.endpoint().id().clone();
        let reason = format!("all calls go to {id} from now on, because the one before is out");
        self.events.emit(self.about(state, Event::new(EventKind::LoadBalance, reason)));
    }
}
