//! From a snapshot to one endpoint, admitted by its breaker.

use std::num::NonZeroU64;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use crate::config::Algorithm;
use crate::engine::Engine;
use crate::engine::algorithm::{Candidates, Found, Tried, Wish, choose};
use crate::engine::breaker::{Effect, Event, Phase, Ticket};
use crate::engine::snapshot::{Snapshot, Tier};
use crate::engine::state::Cell;
use crate::runtime::clock::Time;

/// How many endpoints that are out one call looks at, so that its work is bounded however many are.
const LOOKS: usize = 16;
/// How often a call chooses again when a breaker opened while it chose.
const RACES: usize = 4;
/// The longest time between two looks at the endpoints that are out. It bounds what a lost race can cost.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// An endpoint that was chosen. It is in flight until it is reported.
///
/// Two words, that it travels in registers: written part by part and read as a whole, it would wait for its own stores.
#[derive(Debug)]
pub(crate) struct Choice {
    /// From the lowest bit: cell 32, generation 16, permit 1, what was moved 2; all one bit up, above one that is always set.
    word: NonZeroU64,
    began: Time,
}

const GENERATION_AT: u32 = 32;
const PERMIT: u64 = 1 << 48;
const MOVED_AT: u32 = 49;
const MOVED_MASK: u64 = 0b11 << MOVED_AT;

/// What this choice did to the breaker; told later, because choosing itself tells nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Moved {
    No,
    /// Half-open, because its open time had passed.
    HalfOpen,
    /// Half-open before that, because nothing else was available.
    HalfOpenEarly,
}

impl Choice {
    #[inline]
    pub(crate) fn new(cell: u32, ticket: Ticket, moved: Moved, began: Time) -> Self {
        let permit = if ticket.permit { PERMIT } else { 0 };
        let word = u64::from(cell)
            | (u64::from(ticket.generation) << GENERATION_AT)
            | permit
            | ((moved as u64) << MOVED_AT);
        Self { word: NonZeroU64::MIN | (word << 1), began }
    }

    #[inline]
    fn bits(&self) -> u64 {
        self.word.get() >> 1
    }

    #[inline]
    pub(crate) fn cell(&self) -> u32 {
        self.bits() as u32
    }

    #[inline]
    pub(crate) fn ticket(&self) -> Ticket {
        let bits = self.bits();
        Ticket { generation: (bits >> GENERATION_AT) as u16, permit: bits & PERMIT != 0 }
    }

    #[inline]
    pub(crate) fn began(&self) -> Time {
        self.began
    }

    /// What it did to the breaker, if that is not told yet.
    #[inline]
    pub(crate) fn take_moved(&mut self) -> Moved {
        let bits = self.bits();
        if bits & MOVED_MASK == 0 {
            return Moved::No;
        }
        self.word = NonZeroU64::MIN | ((bits & !MOVED_MASK) << 1);
        if bits & (1 << MOVED_AT) != 0 { Moved::HalfOpen } else { Moved::HalfOpenEarly }
    }
}

/// One search for an endpoint: what it looks at, and what it has done so far.
struct Search<'a> {
    engine: &'a Engine,
    snapshot: &'a Snapshot,
    tried: Tried<'a>,
    /// No attempt can follow this one.
    last: bool,
    now: Time,
    moved: Moved,
    algorithm: Algorithm,
    key: Option<u64>,
    /// The first one that was drawn, if that has been done.
    drawn: Option<u32>,
}

impl Engine {
    /// Chooses an endpoint: one that was not tried, while there is one. `may_probe`: the call can go elsewhere if
    /// this attempt fails, so it may learn whether a broken endpoint is back.
    ///
    /// It never waits, locks or allocates, and its work does not grow with the number of endpoints.
    #[inline]
    pub(crate) fn choose(&self, tried: Tried<'_>, may_probe: bool) -> Option<Choice> {
        self.choose_by(tried, may_probe, Wish::NONE)
    }

    /// As [`choose`](Self::choose), for a call with a key, or with an algorithm of its own. What the algorithm reads has
    /// to be there: see [`prepare`](Self::prepare).
    #[inline]
    pub(crate) fn choose_by(&self, tried: Tried<'_>, may_probe: bool, wish: Wish) -> Option<Choice> {
        let snapshot = self.snapshot.load();
        let now = self.clock.now();
        let algorithm = wish.algorithm.unwrap_or(snapshot.policy.algorithm);
        let mut drawn = None;
        // The way of nearly every call: there is nothing to look at but the endpoints of one tier, and all is well.
        if snapshot.is_plain() && tried.is_none() && now.as_nanos() < self.probe_at.load(Ordering::Relaxed) {
            let tier = &snapshot.tiers[0];
            let candidates =
                Candidates { members: tier.candidates(), tier, slab: &self.slab, tried: Tried::NONE };
            drawn = choose(algorithm, candidates, wish.key, &self.turns, &self.random, now);
            if let Some(Found { number, cell }) = drawn {
                if let Some(ticket) = cell.gate().ticket_if_closed() {
                    cell.begin();
                    return Some(Choice::new(number, ticket, Moved::No, now));
                }
            }
        }
        let drawn = drawn.map(|found| found.number);
        let last = !may_probe;
        let search = Search {
            engine: self,
            snapshot: &snapshot,
            tried,
            last,
            now,
            moved: Moved::No,
            algorithm,
            key: wish.key,
            drawn,
        };
        search.run()
    }

    /// Has what this algorithm reads ready, for calls that ask for another one than the service's own. Cheap when it
    /// is; else it takes the control lock once for each snapshot.
    pub(crate) fn prepare(&self, algorithm: Algorithm) {
        if !self.snapshot.load().has(algorithm) {
            self.build(algorithm);
        }
    }

    /// Whether a call that has tried these can go to another endpoint.
    pub(crate) fn has_other_than(&self, tried: &[u32]) -> bool {
        let snapshot = self.snapshot.load();
        // One more than were tried is enough to find one that was not.
        let other = |part: &[AtomicU32]| {
            part.iter().take(tried.len() + 1).any(|cell| !tried.contains(&cell.load(Ordering::Relaxed)))
        };
        snapshot.tiers.iter().any(|tier| {
            let last_resort = || {
                other(tier.members.out())
                    || tier.unhealthy.iter().take(tried.len() + 1).any(|cell| !tried.contains(cell))
            };
            other(tier.members.available()) || (snapshot.closed() == 0 && last_resort())
        })
    }
}

impl<'a> Search<'a> {
    /// All that can matter, in order: the session's place, a probe call that is due, the endpoints that are given calls,
    /// and then the others.
    fn run(mut self) -> Option<Choice> {
        let engine = self.engine;
        let due = engine.probe_at.load(Ordering::Relaxed);
        let settled = if self.key.is_some() { self.settled() } else { None };
        let probe = match settled {
            Some(found) => Some(found),
            None if self.now.as_nanos() < due => None,
            None => self.probe(due, !self.last),
        };
        let (cell, ticket) = match probe {
            Some(found) => found,
            None if self.snapshot.closed() > 0 || self.snapshot.panics() => {
                self.available().or_else(|| self.last_resort())?
            }
            None => self.last_resort()?,
        };
        if let (Some(key), Some(sticky)) = (self.key, self.snapshot.sticky()) {
            if !ticket.permit {
                sticky.keep(key, cell, self.now);
            }
        }
        // While the snapshot is held: from here on the cell stays the endpoint's.
        engine.slab.cell(cell).begin();
        Some(Choice::new(cell, ticket, self.moved, self.now))
    }

    /// One of the endpoints that are given calls.
    #[inline]
    fn available(&mut self) -> Option<(u32, Ticket)> {
        if self.snapshot.policy.custom {
            if let Some(cell) = self.engine.ask_custom(self.snapshot, self.tried, self.now) {
                if let Some(ticket) = self.engine.slab.cell(cell).gate().ticket_if_closed() {
                    return Some((cell, ticket));
                }
            }
        }
        let tiers = &self.snapshot.tiers;
        if let [only] = &**tiers {
            return self.member(only);
        }
        let mut first = self.snapshot.tier_for(self.engine.random.below(100));
        // What the attempts before have found may be so of their whole tier: the last one does not share its fate.
        if let Some(failed) = self.tried.cells.last().filter(|_| self.last) {
            let slot = self.engine.slab.cell(*failed).cold.slot.load(Ordering::Relaxed);
            let tier = self.snapshot.slots.get(slot as usize).map_or(0, |slot| slot.tier as usize);
            first = if first == tier { first + 1 } else { first };
        }
        let mut again = None;
        for step in 0..tiers.len() {
            let tier = &tiers[(first + step) % tiers.len()];
            match self.member(tier) {
                // A ticket with a permit is used at once, so that none is left lying about.
                Some((cell, ticket)) if ticket.permit || !self.tried.contains(cell) => {
                    return Some((cell, ticket));
                }
                found => again = again.or(found),
            }
        }
        again
    }

    #[inline]
    fn member(&mut self, tier: &Tier) -> Option<(u32, Ticket)> {
        let engine = self.engine;
        let slow_start = &self.snapshot.policy.slow_start;
        let mut tried = self.tried;
        let mut new = None;
        for _ in 0..RACES {
            let candidates = Candidates { members: tier.candidates(), tier, slab: &engine.slab, tried };
            let next =
                || choose(self.algorithm, candidates, self.key, &engine.turns, &engine.random, self.now);
            let Some(number) = self.drawn.take().or_else(|| next().map(|found| found.number)) else { break };
            let cell = engine.slab.cell(number);
            let ticket = match cell.gate().ticket_if_closed() {
                Some(ticket) => ticket,
                // Not closed: either all are used, or the floor holds it, or its breaker has opened just now and it is
                // about to leave.
                None if tier.in_panic() || cell.cold.held.load(Ordering::Relaxed) => {
                    self.admit_beyond(number)
                }
                None => continue,
            };
            if slow_start.is_on() && !ticket.permit && !self.is_broken_in(cell) {
                // It has had its part: another one, unless all are new.
                new = new.or(Some((number, ticket)));
                tried = tried.and(number);
                continue;
            }
            return Some((number, ticket));
        }
        new
    }

    /// Whether an endpoint that is new gets this call: with the probability that slow start says.
    #[cold]
    fn is_broken_in(&self, cell: &Cell) -> bool {
        let part = self.snapshot.policy.slow_start.part(self.now.since(cell.since(self.now)));
        part >= 1.0 || self.engine.random.unit() < part
    }

    /// Where the session of this call is, while it can stay there.
    fn settled(&mut self) -> Option<(u32, Ticket)> {
        let key = self.key?;
        let cell = self.snapshot.sticky()?.seat(key, self.now)?;
        if self.tried.contains(cell) || !self.engine.slab.cell(cell).is_seated() {
            return None;
        }
        let ticket = self.engine.slab.cell(cell).gate().ticket_if_closed()?;
        Some((cell, ticket))
    }

    /// A probe call for an endpoint whose open time has passed, if there is one. A call that cannot be repeated is
    /// used for it only when no other has come along.
    #[cold]
    fn probe(&mut self, due: u64, may_probe: bool) -> Option<(u32, Ticket)> {
        if !may_probe && self.now < Time::from_nanos(due) + LOOK_AGAIN {
            return None;
        }
        let mut next = self.now + LOOK_AGAIN;
        // A call is no way to learn what a probe finds out.
        let probed_down = |cell: &u32| self.engine.slab.cell(*cell).is_probed_down();
        let candidates = self.outside().chain(self.held_back());
        for cell in candidates.filter(|cell| !probed_down(cell)) {
            match self.admit(cell, false) {
                Effect::Admitted(ticket) => return Some((cell, ticket)),
                Effect::Refused(at) => next = next.min(at.max(self.now)),
                Effect::Counted | Effect::Ignored => {}
            }
        }
        // Whoever has set an earlier time meanwhile is right; else nobody looks before it is worth it.
        let probe_at = &self.engine.probe_at;
        let _ = probe_at.compare_exchange(due, next.as_nanos(), Ordering::Relaxed, Ordering::Relaxed);
        None
    }

    /// When nothing is available: the least bad endpoint, within its half-open permits; then what the floor holds;
    /// then what its registry calls unhealthy.
    #[cold]
    fn last_resort(&mut self) -> Option<(u32, Ticket)> {
        let fail_open = !self.snapshot.policy.fail_fast;
        if fail_open {
            for cell in self.outside() {
                if let Effect::Admitted(ticket) = self.admit(cell, true) {
                    return Some((cell, ticket));
                }
            }
        }
        let start = self.engine.random.bits() as usize;
        let tiers = &self.snapshot.tiers;
        let held = tiers.iter().flat_map(|tier| rotated(tier.members.available(), start)).take(LOOKS);
        let unhealthy = tiers.iter().flat_map(|tier| {
            let len = tier.unhealthy.len();
            (0..len).map(move |step| tier.unhealthy[(start % len + step) % len])
        });
        let mut again = None;
        for cell in held.chain(unhealthy.take(if fail_open { LOOKS } else { 0 })) {
            if !self.tried.contains(cell) {
                again = Some(cell);
                break;
            }
            again = again.or(Some(cell));
        }
        again.map(|cell| (cell, self.admit_beyond(cell)))
    }

    /// Some of the members that are not given calls and were not tried, from another one each time.
    fn outside(&self) -> impl Iterator<Item = u32> + use<'a> {
        let start = self.engine.random.bits() as usize;
        let (snapshot, tried) = (self.snapshot, self.tried);
        let out = snapshot.tiers.iter().flat_map(move |tier| rotated(tier.members.out(), start));
        out.take(LOOKS).filter(move |cell| !tried.contains(*cell))
    }

    /// Members that a floor of more than one holds, and that may stand in a tier without calls.
    fn held_back(&self) -> impl Iterator<Item = u32> + use<'a> {
        let (engine, snapshot, tried) = (self.engine, self.snapshot, self.tried);
        let tiers = if snapshot.policy.min_available > 1 { &*snapshot.tiers } else { &[] };
        let start = engine.random.bits() as usize;
        let held = tiers.iter().flat_map(move |tier| rotated(tier.members.available(), start)).take(LOOKS);
        let is_held = move |cell: &u32| engine.slab.cell(*cell).cold.held.load(Ordering::Relaxed);
        held.filter(is_held).filter(move |cell| !tried.contains(*cell))
    }

    fn admit(&mut self, cell: u32, early: bool) -> Effect {
        let cell = self.engine.slab.cell(cell);
        let rules = &self.snapshot.policy.breaker;
        let unit = self.engine.random.unit();
        let (effect, change) = cell.gate().apply(Event::Admit { early }, self.now, rules, unit);
        // A new round of the same phase is nothing to tell.
        let change = change.filter(|change| change.from.state() != change.to.state());
        match change.map(|change| change.to.phase) {
            Some(Phase::HalfOpen { early: true, .. }) => self.moved = Moved::HalfOpenEarly,
            Some(Phase::HalfOpen { early: false, .. }) => self.moved = Moved::HalfOpen,
            // Its probe calls have not answered in time; one of them will tell when it ends.
            Some(Phase::Open { .. }) => {
                cell.cold.expired.store(true, Ordering::Relaxed);
                cell.cold.opened.fetch_add(1, Ordering::Relaxed);
            }
            Some(Phase::Closed { .. }) | None => {}
        }
        effect
    }

    /// With a permit if there is one, and without one otherwise: this endpoint is one of the last.
    #[cold]
    fn admit_beyond(&mut self, cell: u32) -> Ticket {
        match self.admit(cell, true) {
            Effect::Admitted(ticket) => ticket,
            _ => {
                let generation = self.engine.slab.cell(cell).gate().read().generation;
                Ticket { generation, permit: false }
            }
        }
    }
}

/// The cells of a part of a partition, from the `start`-th one round the circle.
fn rotated(part: &[AtomicU32], start: usize) -> impl Iterator<Item = u32> {
    let len = part.len();
    (0..len).map(move |step| part[(start % len + step) % len].load(Ordering::Relaxed))
}
