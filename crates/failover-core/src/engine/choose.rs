//! From a snapshot to one endpoint, admitted by its breaker.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::Engine;
use crate::breaker::{Effect, Event, Phase, Ticket};
use crate::clock::Time;
use crate::endpoint::Endpoint;
use crate::select::{Candidates, Tried, choose};
use crate::slot::Slot;
use crate::snapshot::{Snapshot, Tier};

/// How many endpoints that are out one call looks at, so that its work is bounded however many are.
const LOOKS: usize = 16;
/// How often a call chooses again when a breaker opened while it chose.
const RACES: usize = 4;
/// The longest time between two looks at the endpoints that are out. It bounds what a lost race can cost.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// An endpoint that was chosen. It is in flight until it is reported. Small, because it is moved about.
#[derive(Debug)]
pub(crate) struct Choice {
    pub(crate) slot: Arc<Slot>,
    pub(crate) began: Time,
    pub(crate) ticket: Ticket,
    /// What this choice did to the breaker; told later, because choosing itself tells nothing.
    pub(crate) moved: Moved,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Moved {
    No,
    /// Half-open, because its open time had passed.
    HalfOpen,
    /// Half-open before that, because nothing else was available.
    HalfOpenEarly,
}

impl Engine {
    /// Chooses an endpoint: one that was not tried, while there is one. `may_probe`: the call can go elsewhere if
    /// this attempt fails, so it may learn whether a broken endpoint is back.
    ///
    /// It never waits, locks or allocates, and its work does not grow with the number of endpoints.
    #[inline]
    pub(crate) fn choose(&self, tried: Tried<'_>, may_probe: bool) -> Option<Choice> {
        let snapshot = self.snapshot.load();
        let now = self.clock.now();
        let due = self.probe_at.load(Ordering::Relaxed);
        let mut moved = Moved::No;
        if now.as_nanos() >= due {
            let overdue = now >= Time::from_nanos(due) + LOOK_AGAIN;
            if may_probe || overdue {
                if let Some((slot, ticket)) = self.probe(&snapshot, tried, due, now, &mut moved) {
                    return Some(begin(slot, ticket, now, moved));
                }
            }
        }
        let (slot, ticket) = if snapshot.closed() > 0 {
            self.available(&snapshot, tried, now, &mut moved)
                .or_else(|| self.last_resort(&snapshot, tried, now, &mut moved))?
        } else {
            self.last_resort(&snapshot, tried, now, &mut moved)?
        };
        Some(begin(slot, ticket, now, moved))
    }

    /// Whether a call that has tried these can go to another endpoint.
    pub(crate) fn has_other_than(&self, tried: &[Arc<Endpoint>]) -> bool {
        let snapshot = self.snapshot.load();
        let mut usable = snapshot.tiers.iter().map(|tier| tier.members.len() + tier.unhealthy.len());
        let distinct = tried
            .iter()
            .enumerate()
            .filter(|(place, endpoint)| !tried[..*place].iter().any(|before| before.id() == endpoint.id()));
        usable.by_ref().sum::<usize>() > distinct.count()
    }

    /// One of the endpoints that are given calls.
    #[inline]
    fn available<'s>(
        &self,
        snapshot: &'s Snapshot,
        tried: Tried<'_>,
        now: Time,
        moved: &mut Moved,
    ) -> Option<(&'s Arc<Slot>, Ticket)> {
        let tiers = snapshot.tiers.len();
        let first = if tiers > 1 { snapshot.tier_for(self.random.below(100)) } else { 0 };
        let mut again = None;
        for step in 0..tiers {
            let tier = &snapshot.tiers[(first + step) % tiers];
            if let Some((slot, ticket)) = self.member(snapshot, tier, tried) {
                if !tried.contains(slot) {
                    let ticket = ticket.unwrap_or_else(|| self.admit_beyond(slot, now, snapshot, moved));
                    return Some((slot, ticket));
                }
                again = again.or(Some((slot, ticket)));
            }
        }
        again.map(|(slot, ticket)| {
            (slot, ticket.unwrap_or_else(|| self.admit_beyond(slot, now, snapshot, moved)))
        })
    }

    /// A member of the tier; without a ticket when its breaker is not closed and the floor holds it.

    #[inline]
    fn member<'s>(
        &self,
        snapshot: &'s Snapshot,
        tier: &'s Tier,
        tried: Tried<'_>,
    ) -> Option<(&'s Arc<Slot>, Option<Ticket>)> {
        for _ in 0..RACES {
            let candidates = Candidates { members: tier.members.available(), slots: &snapshot.slots, tried };
            let slot = choose(snapshot.policy.algorithm, candidates, &self.turn.0, &self.random)?;
            if let Some(ticket) = slot.state.gate.ticket_if_closed() {
                return Some((slot, Some(ticket)));
            }
            if slot.state.held.load(Ordering::Relaxed) {
                return Some((slot, None));
            }
            // Its breaker has opened just now, and it is about to be taken out.
        }
        None
    }

    /// A probe call for an endpoint whose open time has passed, if there is one.
    #[cold]
    fn probe<'s>(
        &self,
        snapshot: &'s Snapshot,
        tried: Tried<'_>,
        due: u64,
        now: Time,
        moved: &mut Moved,
    ) -> Option<(&'s Arc<Slot>, Ticket)> {
        let mut next = now + LOOK_AGAIN;
        for slot in self.outside(snapshot).take(LOOKS) {
            if tried.contains(slot) {
                continue;
            }
            match self.admit(slot, false, now, snapshot, moved) {
                Effect::Admitted(ticket) => return Some((slot, ticket)),
                Effect::Refused(at) => next = next.min(at.max(now)),
                Effect::Counted | Effect::Ignored => {}
            }
        }
        // Whoever has set an earlier time meanwhile is right; else nobody looks before it is worth it.
        let _ = self.probe_at.compare_exchange(due, next.as_nanos(), Ordering::Relaxed, Ordering::Relaxed);
        None
    }

    /// When nothing is available: the least bad endpoint, within its half-open permits; then what the floor holds;
    /// then what its registry calls unhealthy.
    #[cold]
    fn last_resort<'s>(
        &self,
        snapshot: &'s Snapshot,
        tried: Tried<'_>,
        now: Time,
        moved: &mut Moved,
    ) -> Option<(&'s Arc<Slot>, Ticket)> {
        let fail_open = !snapshot.policy.fail_fast;
        if fail_open {
            for slot in self.outside(snapshot).take(LOOKS).filter(|slot| !tried.contains(slot)) {
                if let Effect::Admitted(ticket) = self.admit(slot, true, now, snapshot, moved) {
                    return Some((slot, ticket));
                }
            }
        }
        let start = self.random.bits() as u32;
        let held = snapshot
            .tiers
            .iter()
            .flat_map(|tier| rotated(tier.members.available(), start))
            .map(|index| snapshot.slot(index));
        let unhealthy = snapshot.tiers.iter().flat_map(|tier| {
            let len = tier.unhealthy.len();
            (0..len).map(move |step| snapshot.slot(tier.unhealthy[(start as usize + step) % len]))
        });
        let rest = held.take(LOOKS).chain(unhealthy.take(if fail_open { LOOKS } else { 0 }));
        let mut again = None;
        for slot in rest {
            if !tried.contains(slot) {
                return Some((slot, self.admit_beyond(slot, now, snapshot, moved)));
            }
            again = again.or(Some(slot));
        }
        again.map(|slot| (slot, self.admit_beyond(slot, now, snapshot, moved)))
    }

    /// Members that are not given calls, from another one each time.
    fn outside<'s>(&self, snapshot: &'s Snapshot) -> impl Iterator<Item = &'s Arc<Slot>> {
        let start = self.random.bits() as u32;
        snapshot
            .tiers
            .iter()
            .flat_map(move |tier| rotated(tier.members.out(), start))
            .map(|index| snapshot.slot(index))
    }

    fn admit(
        &self,
        slot: &Arc<Slot>,
        early: bool,
        now: Time,
        snapshot: &Snapshot,
        moved: &mut Moved,
    ) -> Effect {
        let rules = &snapshot.policy.breaker;
        let (effect, change) = slot.state.gate.apply(Event::Admit { early }, now, rules, self.random.unit());
        match change.map(|change| change.to.phase) {
            Some(Phase::HalfOpen { early: true, .. }) => *moved = Moved::HalfOpenEarly,
            Some(Phase::HalfOpen { early: false, .. }) => *moved = Moved::HalfOpen,
            // Its probe calls have not answered in time; one of them will tell when it ends.
            Some(Phase::Open { .. }) => slot.state.expired.store(true, Ordering::Relaxed),
            Some(Phase::Closed { .. }) | None => {}
        }
        effect
    }

    /// With a permit if there is one, and without one otherwise: this endpoint is one of the last.
    fn admit_beyond(&self, slot: &Arc<Slot>, now: Time, snapshot: &Snapshot, moved: &mut Moved) -> Ticket {
        match self.admit(slot, true, now, snapshot, moved) {
            Effect::Admitted(ticket) => ticket,
            _ => Ticket { generation: slot.state.gate.read().generation, permit: false },
        }
    }
}

#[inline]
fn begin(slot: &Arc<Slot>, ticket: Ticket, now: Time, moved: Moved) -> Choice {
    slot.state.begin();
    Choice { slot: Arc::clone(slot), began: now, ticket, moved }
}

/// The indices of a part of a partition, from the `start`-th one round the circle.
fn rotated(part: &[std::sync::atomic::AtomicU32], start: u32) -> impl Iterator<Item = u32> {
    let len = part.len();
    (0..len).map(move |step| part[(start as usize + step) % len].load(Ordering::Relaxed))
}
