//! Picks an endpoint from a snapshot and has its breaker admit the call.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use crate::config::Algorithm;
use crate::engine::Engine;
use crate::engine::algorithm::{Candidates, PickOptions, Picked, Tried, pick};
use crate::engine::breaker::{Admission, Decision, Input, Phase};
use crate::engine::policy::CallPolicy;
use crate::engine::raw_pick::{RawPick, Transition};
use crate::engine::snapshot::{Snapshot, Tier};
use crate::engine::state::EndpointState;
use crate::model::endpoint::Endpoint;
use crate::runtime::clock::Time;
use crate::runtime::rush::Timing;

/// The maximum number of out-of-rotation endpoints that one call inspects, so that its work is
/// bounded.
const MAX_SCANS: usize = 16;
/// The maximum number of attempts to pick if breakers open during the pick.
const MAX_RACES: u32 = 4;
/// The maximum number of endpoints that slow start passes over in one pick. With 30 new endpoints
/// beside one other, fewer would send too many calls to the new ones.
const MAX_DRAWS: u32 = 128;
/// The longest interval between two scans of the endpoints out of rotation. It bounds the cost of a
/// lost race.
const SCAN_INTERVAL: Duration = Duration::from_secs(1);
/// The same for a call that may not be a probe call yet: another call may.
const UNREPEATED_INTERVAL: Duration = Duration::from_millis(50);

/// The inputs and the progress of one pick.
pub(super) struct Picker<'a> {
    pub(super) engine: &'a Engine,
    pub(super) snapshot: &'a Snapshot,
    pub(super) tried: Tried<'a>,
    /// Whether no further attempt can follow.
    last: bool,
    now: Time,
    pub(super) transition: Transition,
    algorithm: Algorithm,
    key: Option<u64>,
    gated: bool,
    /// The endpoint that the fast path drew, if any.
    drawn: Option<u32>,
    /// Whether the endpoints of some tier have no room for a call.
    pub(super) full: bool,
}

impl Engine {
    /// Picks an endpoint, preferring untried ones. `may_probe` means that the call can go elsewhere
    /// if this attempt fails, so it may be used as a probe call.
    ///
    /// A pick never waits, locks or allocates, and its cost does not grow with the number of
    /// endpoints.
    #[inline]
    pub(crate) fn pick(&self, tried: Tried<'_>, may_probe: bool) -> Option<RawPick> {
        self.pick_with(tried, may_probe, PickOptions::NONE)
    }

    /// Like [`pick`](Self::pick), for a call with a key or with its own algorithm. The data that
    /// the algorithm reads must have been built: see [`prepare`](Self::prepare).
    #[inline]
    pub(crate) fn pick_with(
        &self,
        tried: Tried<'_>,
        may_probe: bool,
        options: PickOptions,
    ) -> Option<RawPick> {
        self.pick_from(&self.snapshot.load(), tried, may_probe, options)
    }

    /// Picks an endpoint for the first attempt of a call, and returns the settings of the call as well.
    /// `prepare` changes them and the options of the pick, and returns whether the call may be used as a
    /// probe call, or `None` if it does not begin.
    #[inline]
    pub(crate) fn begin_call(
        &self,
        mut options: PickOptions,
        prepare: impl FnOnce(&mut CallPolicy, &mut PickOptions) -> Option<bool>,
    ) -> (CallPolicy, Option<(RawPick, Arc<Endpoint>)>) {
        let snapshot = self.snapshot.load();
        let mut policy = snapshot.policy.call;
        let may_probe = prepare(&mut policy, &mut options);
        let pick = may_probe.and_then(|probe| self.pick_from(&snapshot, Tried::NONE, probe, options));
        let begun = pick.map(|pick| {
            let state = self.slab.state(pick.state());
            // The snapshot is at hand, and the state's own reference costs another load.
            let slot = snapshot.slots.get(state.placement().slot() as usize);
            let slot = slot.filter(|slot| slot.state == pick.state());
            let endpoint = slot.map_or_else(|| state.endpoint(), |slot| Arc::clone(&slot.endpoint));
            (pick, endpoint)
        });
        (policy, begun)
    }

    #[inline]
    fn pick_from(
        &self,
        snapshot: &Snapshot,
        tried: Tried<'_>,
        may_probe: bool,
        options: PickOptions,
    ) -> Option<RawPick> {
        let algorithm = options.algorithm.unwrap_or(snapshot.policy.algorithm);
        let (now, timing) = self.begin_time(options.timed);
        let mut drawn = None;
        // The fast path of nearly every call: one tier, no probe call due, and a closed breaker.
        let plain = snapshot.is_plain() && algorithm != Algorithm::First;
        if plain && tried.is_none() && now.as_nanos() < self.probe_at.load(Ordering::Relaxed) {
            let tier = &snapshot.tiers[0];
            let candidates =
                Candidates { members: tier.candidates(), tier, slab: &self.slab, tried: Tried::NONE };
            drawn = pick(algorithm, candidates, options.key, &self.turns, &self.random, now);
            if let Some(Picked { number, state }) = drawn {
                if let Some(admission) = state.breaker().admit_if_closed() {
                    state.begin();
                    return Some(RawPick::new(number, admission, Transition::No, (now, timing)));
                }
            }
        }
        let now = self.precisely(now, timing);
        self.pick_from_all(Picker {
            engine: self,
            snapshot,
            tried,
            last: !may_probe,
            now,
            transition: Transition::No,
            algorithm,
            key: options.key,
            gated: options.gated,
            drawn: drawn.map(|found| found.number),
            full: false,
        })
    }

    /// The rest of a pick. A function of its own, so that the fast path keeps what it needs in registers.
    #[inline(never)]
    fn pick_from_all(&self, mut picker: Picker<'_>) -> Option<RawPick> {
        for _ in 0..MAX_RACES {
            // The snapshot is held, so that the state stays the endpoint's.
            let (state, admission) = picker.run()?;
            if self.begin(picker.snapshot, state, admission, picker.now) {
                return Some(RawPick::new(state, admission, picker.transition, (picker.now, Timing::Each)));
            }
        }
        None
    }

    /// Returns the time at which a call begins. In a rush, not all are timed whose durations nothing but
    /// statistics reads.
    #[inline]
    fn begin_time(&self, timed: bool) -> (Time, Timing) {
        if timed {
            return (self.clock.now(), Timing::Each);
        }
        let (now, timing) = self.clock.begin(&self.random);
        if timing == Timing::Each || !self.strain.heeds_successes(now) {
            return (now, timing);
        }
        (self.precisely(now, timing), Timing::Each)
    }

    /// Returns the time at which a call begins that stands for itself after all.
    fn precisely(&self, now: Time, timing: Timing) -> Time {
        if timing == Timing::Skipped { self.clock.now() } else { now }
    }

    /// Ensures that the data of this algorithm exists, for calls that override the service's
    /// algorithm. Cheap if it does; otherwise takes the control lock, once per snapshot.
    pub(crate) fn prepare(&self, algorithm: Algorithm) {
        if !self.snapshot.load().has(algorithm) {
            self.build(algorithm);
        }
    }

    /// Whether a call that has tried these endpoints can go to another one.
    pub(crate) fn has_other_than(&self, tried: &[u32]) -> bool {
        let snapshot = self.snapshot.load();
        // Inspecting one more than were tried is enough to find an untried one.
        let other = |part: &[AtomicU32]| {
            part.iter().take(tried.len() + 1).any(|state| !tried.contains(&state.load(Ordering::Relaxed)))
        };
        snapshot.tiers.iter().any(|tier| {
            let last_resort = || {
                other(tier.members.out())
                    || tier.unhealthy.iter().take(tried.len() + 1).any(|state| !tried.contains(state))
            };
            other(tier.members.available()) || (snapshot.closed() == 0 && last_resort())
        })
    }
}

impl<'a> Picker<'a> {
    /// Tries all options in order: the session's endpoint, a due probe call, the endpoints in
    /// rotation, and the last resort.
    fn run(&mut self) -> Option<(u32, Admission)> {
        self.transition = Transition::No;
        let engine = self.engine;
        let stays_first = self.algorithm == Algorithm::First;
        if engine.rotates(self.snapshot, self.tried) && (!stays_first || self.snapshot.is_all_out()) {
            return engine.next_in_rotation(self.snapshot, self.tried, self.now);
        }
        let due = engine.probe_at.load(Ordering::Relaxed);
        let session_endpoint =
            if self.key.is_some() && !stays_first { self.session_endpoint() } else { None };
        let probe = match session_endpoint {
            Some(found) => Some(found),
            // A retry that the gate has admitted goes to an endpoint in use.
            None if self.now.as_nanos() < due || self.gated => None,
            None if stays_first && self.snapshot.available() > 0 => None,
            None => self.probe(due),
        };
        let (state, admission) = match probe {
            Some(found) => found,
            None if self.snapshot.closed() > 0 || self.snapshot.panics() => match self.available() {
                None if !self.full => self.last_resort()?,
                found => found?,
            },
            None => self.last_resort()?,
        };
        if let (Some(key), Some(sticky)) = (self.key, self.snapshot.sessions()) {
            if !admission.permit && !stays_first && !self.session_stays(key, state) {
                sticky.keep(key, state, self.now);
            }
        }
        Some((state, admission))
    }

    /// Picks one of the endpoints in rotation.
    #[inline]
    fn available(&mut self) -> Option<(u32, Admission)> {
        if self.snapshot.policy.custom {
            if let Some(state) = self.engine.ask_custom(self.snapshot, self.tried, self.now) {
                let of = self.engine.slab.state(state);
                if let Some(admission) = of.breaker().admit_if_closed().filter(|_| self.has_room(state)) {
                    return Some((state, admission));
                }
            }
        }
        if self.algorithm == Algorithm::First {
            return self.first();
        }
        let tiers = &self.snapshot.tiers;
        if let [only] = &**tiers {
            return self.member(only);
        }
        let mut first = self.snapshot.tier_for(self.engine.random.below(100));
        // The failures of earlier attempts may affect their whole tier, so the last attempt prefers
        // another tier.
        if let Some(failed) = self.tried.states.last().filter(|_| self.last) {
            let slot = self.engine.slab.state(*failed).placement().slot();
            let tier = self.snapshot.slots.get(slot as usize).map_or(0, |slot| slot.tier as usize);
            first = if first == tier { first + 1 } else { first };
        }
        if self.gated {
            let limit = self.snapshot.policy.max_ambiguous;
            let open = |tier: &usize| tiers[*tier].admits_retries(limit);
            first = (first..first + tiers.len()).map(|tier| tier % tiers.len()).find(open).unwrap_or(first);
        }
        let mut again = None;
        for step in 0..tiers.len() {
            let tier = &tiers[(first + step) % tiers.len()];
            match self.member(tier) {
                // An admission with a permit is used at once, so that no permit is leaked.
                Some((state, admission)) if admission.permit || !self.tried.contains(state) => {
                    return Some((state, admission));
                }
                found => again = again.or(found),
            }
        }
        again
    }

    #[inline]
    fn member(&mut self, tier: &Tier) -> Option<(u32, Admission)> {
        let engine = self.engine;
        let slow_start = &self.snapshot.policy.slow_start;
        let mut tried = self.tried;
        let mut new = None;
        let mut races = 0;
        for _ in 0..MAX_DRAWS {
            let candidates = Candidates { members: tier.candidates(), tier, slab: &engine.slab, tried };
            let next = || pick(self.algorithm, candidates, self.key, &engine.turns, &engine.random, self.now);
            let Some(number) = self.drawn.take().or_else(|| next().map(|found| found.number)) else { break };
            let Some(number) = self.with_room(number, candidates) else {
                self.full = true;
                break;
            };
            let state = engine.slab.state(number);
            let admission = match state.breaker().admit_if_closed() {
                Some(admission) => admission,
                // Not closed: the tier is in panic mode, or the endpoint is pinned, or its breaker
                // has just opened and it is about to leave rotation.
                None if tier.in_panic() || state.placement().is_pinned() => engine.admission_beyond(number),
                None if races < MAX_RACES => {
                    races += 1;
                    continue;
                }
                None => break,
            };
            if slow_start.is_on() && !admission.permit && !self.passes_slow_start(state) {
                // Slow start has used up this endpoint's share: try another one, unless all are
                // new.
                new = new.or(Some((number, admission)));
                tried = tried.and(number);
                continue;
            }
            return Some((number, admission));
        }
        new
    }

    /// Whether a new endpoint gets this call, with the probability that slow start gives.
    #[cold]
    fn passes_slow_start(&self, state: &EndpointState) -> bool {
        let part = self.snapshot.policy.slow_start.part(self.now.since(state.placement().since(self.now)));
        part >= 1.0 || self.engine.random.unit() < part
    }

    /// Whether the session stays with another endpoint than this one, because that one is in rotation:
    /// only this attempt goes elsewhere, since the endpoint has just failed it.
    fn session_stays(&self, key: u64, state: u32) -> bool {
        let home = self.snapshot.sessions().and_then(|sessions| sessions.lookup(key, self.now));
        home.is_some_and(|home| home != state && self.keeps_sessions(home))
    }

    /// Whether sessions may stay with this endpoint: it is in rotation, or has begun to drain not long
    /// ago.
    fn keeps_sessions(&self, number: u32) -> bool {
        let state = self.engine.slab.state(number);
        let drains = || {
            let slot = self.snapshot.slots.get(state.placement().slot() as usize);
            let since = state.placement().since(self.now);
            slot.is_some_and(|slot| slot.state == number && slot.claim.drains())
                && self.now < since + self.snapshot.policy.sticky_drain
        };
        state.is_in_rotation() || drains()
    }

    /// Returns the endpoint of this call's session, while the session can stay there.
    fn session_endpoint(&mut self) -> Option<(u32, Admission)> {
        let key = self.key?;
        let state = self.snapshot.sessions()?.lookup(key, self.now)?;
        let usable = self.keeps_sessions(state) && self.has_room(state);
        if self.tried.contains(state) || !usable {
            return None;
        }
        let admission = self.engine.slab.state(state).breaker().admit_if_closed()?;
        Some((state, admission))
    }

    /// Admits a probe call to an endpoint whose open time has passed, if there is one. A call that
    /// cannot be repeated is used as a probe call only if no other call has come for a while, or if
    /// the cap keeps endpoints in use that may be dead.
    #[cold]
    fn probe(&mut self, due: u64) -> Option<(u32, Admission)> {
        let repeated = !self.last || self.engine.strain.is_capped(self.now);
        let mut next = self.now + if repeated { SCAN_INTERVAL } else { UNREPEATED_INTERVAL };
        // If active probes watch the endpoint, calls are not used to learn whether it has
        // recovered.
        let probed_down = |state: &u32| self.engine.slab.state(*state).placement().is_probed_down();
        let candidates = self.outside().chain(self.pinned_in_idle_tiers());
        for state in candidates.filter(|state| !probed_down(state)) {
            if !self.has_room(state) {
                continue;
            }
            let no_calls_until = self.engine.slab.state(state).placement().no_calls_until();
            if self.now < no_calls_until {
                next = next.min(no_calls_until);
                continue;
            }
            match self.admit(state, repeated) {
                Decision::Admitted(admission) if !admission.permit => {
                    self.transition = Transition::Resumed;
                    return Some((state, admission));
                }
                Decision::Admitted(admission) => return Some((state, admission)),
                Decision::Refused(at) => next = next.min(at.max(self.now)),
                Decision::Counted | Decision::Suspect | Decision::Ignored => {}
            }
        }
        // If another thread has set an earlier time, it stays; otherwise no call scans before
        // `next`.
        let probe_at = &self.engine.probe_at;
        let _ = probe_at.compare_exchange(due, next.as_nanos(), Ordering::Relaxed, Ordering::Relaxed);
        None
    }

    /// The last resort if nothing is available: pinned endpoints, then endpoints that their registry
    /// reports as unhealthy.
    #[cold]
    fn last_resort(&mut self) -> Option<(u32, Admission)> {
        let fail_open = !self.snapshot.policy.fail_fast;
        let start = self.engine.random.bits() as usize;
        let tiers = &self.snapshot.tiers;
        let pinned = tiers.iter().flat_map(|tier| rotated(tier.members.available(), start)).take(MAX_SCANS);
        let unhealthy = tiers.iter().flat_map(|tier| {
            let len = tier.unhealthy.len();
            (0..len).map(move |step| tier.unhealthy[(start % len + step) % len])
        });
        let mut again = None;
        for state in pinned.chain(unhealthy.take(if fail_open { MAX_SCANS } else { 0 })) {
            if !self.has_room(state) {
                self.full = true;
                continue;
            }
            if !self.tried.contains(state) {
                again = Some(state);
                break;
            }
            again = again.or(Some(state));
        }
        again.map(|state| (state, self.engine.admission_beyond(state)))
    }

    /// Returns some of the untried members out of rotation, from a random start.
    fn outside(&self) -> impl Iterator<Item = u32> + use<'a> {
        let start = self.engine.random.bits() as usize;
        let (snapshot, tried) = (self.snapshot, self.tried);
        let out = snapshot.tiers.iter().flat_map(move |tier| rotated(tier.members.out(), start));
        out.take(MAX_SCANS).filter(move |state| !tried.contains(*state))
    }

    /// Returns pinned members, which may be in a tier that receives no calls if the floor is above
    /// one.
    fn pinned_in_idle_tiers(&self) -> impl Iterator<Item = u32> + use<'a> {
        let (engine, snapshot, tried) = (self.engine, self.snapshot, self.tried);
        let tiers = if snapshot.policy.min_available > 1 { &*snapshot.tiers } else { &[] };
        let start = engine.random.bits() as usize;
        let pinned =
            tiers.iter().flat_map(move |tier| rotated(tier.members.available(), start)).take(MAX_SCANS);
        let is_pinned = move |state: &u32| engine.slab.state(*state).placement().is_pinned();
        pinned.filter(is_pinned).filter(move |state| !tried.contains(*state))
    }

    fn admit(&mut self, state: u32, repeated: bool) -> Decision {
        let state = self.engine.slab.state(state);
        let rules = &self.snapshot.policy.breaker;
        let unit = self.engine.random.unit();
        let (decision, change) = state.breaker().apply(Input::Admit { repeated }, self.now, rules, unit);
        // A new round of the same phase emits no event.
        let change = change.filter(|change| change.from.state() != change.to.state());
        match change.map(|change| change.to.phase) {
            Some(Phase::HalfOpen { .. }) => self.transition = Transition::HalfOpen,
            // The probe calls did not return in time; one of them emits the event when it ends.
            Some(Phase::Open { .. }) => {
                state.note_expired();
                state.count_opened();
            }
            Some(Phase::Closed { .. }) | None => {}
        }
        decision
    }
}

/// Returns the states of a part of a partition, starting at `start` and wrapping around.
fn rotated(part: &[AtomicU32], start: usize) -> impl Iterator<Item = u32> {
    let len = part.len();
    (0..len).map(move |step| part[(start % len + step) % len].load(Ordering::Relaxed))
}
