//! Takes a suspect endpoint out of use, or leaves it in use, with the other endpoints in view.

use std::time::Duration;

use crate::codec::duration::rough;
use crate::engine::Engine;
use crate::engine::breaker::{BreakerPolicy, Input};
use crate::engine::control::active_source::{self, shares_event};
use crate::engine::control::state::Control;
use crate::engine::ejections::EjectionReason;
use crate::engine::snapshot::{Slot, Snapshot};
use crate::engine::state::placement::Cause;
use crate::engine::strain::{Evidence, Situation, Verdict, judge};
use crate::events::{Event, EventKind};
use crate::runtime::clock::Time;

/// How long an endpoint must have answered only with overload before it is suspect.
const OVERLOADED: Duration = Duration::from_secs(3);
/// The longest pause that an endpoint can ask for.
const MAX_PAUSE: Duration = Duration::from_secs(60);
/// When the first endpoint answers after an outage of all, the others become due for a probe call
/// within this time.
const RECALL: Duration = Duration::from_secs(1);

impl Engine {
    /// Decides about an endpoint whose failures have reached the limit.
    pub(in crate::engine) fn suspect(&self, number: u32, input: Input, evidence: Evidence, now: Time) {
        if self.slab.state(number).placement().is_immune(now) {
            return self.strain.left_in_use(evidence.reason());
        }
        if let Evidence::Ambiguous { silent } = evidence {
            let overload = matches!(input, Input::Overload(_));
            if (overload && now.since(self.slab.state(number).overloaded_from(now)) < OVERLOADED)
                || self.strain.is_frozen(now)
                || (!silent && self.strain.is_decided(now))
            {
                return;
            }
        }
        self.change(|control, snapshot, events| {
            let Some(slot) = self.slot_of(snapshot, number).filter(|slot| slot.claim.eligible()) else {
                return;
            };
            let tier = snapshot.tier_of(slot);
            let unconfirmed = |state: &u32| self.is_out_for(*state, Cause::Ambiguous);
            let count = || tier.members.all().filter(unconfirmed).count() as u32;
            let situation = Situation {
                in_use: snapshot.closed(),
                members: tier.members.len() as u32,
                unconfirmed: if evidence == Evidence::Hard { 0 } else { count() },
                max_share: snapshot.policy.max_ejected,
                fail_fast: snapshot.policy.fail_fast,
            };
            match judge(evidence, &situation) {
                Verdict::Eject => {
                    let cause = if evidence == Evidence::Hard { Cause::Hard } else { Cause::Ambiguous };
                    self.eject(control, snapshot, slot, cause, now, events);
                }
                Verdict::Freeze => self.freeze(control, snapshot, now, events),
                Verdict::Hold if self.strain.hold(now) => {
                    for state in tier.members.all().filter(unconfirmed) {
                        let level = u8::MAX;
                        self.apply(state, Input::Due { at: now, level }, now);
                    }
                    self.probe_from(now);
                }
                Verdict::Hold => {}
            }
        });
    }

    /// Returns all endpoints to use, because one that was taken out answers as soon as it is left
    /// alone.
    pub(in crate::engine) fn recognise_overload(&self) {
        let now = self.clock.now();
        self.change(|control, snapshot, events| self.freeze(control, snapshot, now, events));
    }

    /// Returns all endpoints to use, because the first answer after all have failed was late. Silence counts as soon
    /// as the freeze ends.
    pub(in crate::engine) fn recognise_late_answer(&self) {
        let now = self.clock.now();
        self.change(|control, snapshot, events| {
            self.freeze_only(control, snapshot, now, events);
        });
    }

    /// Keeps new calls away from an endpoint that asked for it, while others are in use. If all of
    /// them ask, the pauses end.
    pub(crate) fn pause(&self, number: u32, pause: Duration) {
        let now = self.clock.now();
        let until = now + pause.min(MAX_PAUSE);
        let placement = self.slab.state(number).placement();
        // Many calls in flight may bring the same request.
        if placement.is_immune(now)
            || self.strain.is_frozen(now)
            || until <= placement.paused_until() + Duration::from_secs(1)
        {
            return;
        }
        self.change(|control, snapshot, events| {
            let Some(slot) = self.slot_of(snapshot, number).filter(|slot| slot.claim.eligible()) else {
                return;
            };
            let here = usize::from(self.slab.state(number).is_in_rotation());
            if snapshot.available() <= here {
                return self.freeze(control, snapshot, now, events);
            }
            placement.set_paused_until(until, &control.lock);
            self.reconcile(control, snapshot, placement.slot());
            self.probe_from(until);
            self.strain.ejected(EjectionReason::RetryAfter);
            let reason = format!("asked for no calls for {} (Retry-After)", rough(until.since(now)));
            events.push(snapshot.about(slot, Event::new(EventKind::EndpointEjected, reason)));
        });
    }

    /// Records that a timer fired long after it was due, because this process was stopped or had no
    /// processor time.
    #[cold]
    pub(crate) fn process_stalled(&self, due: Time) {
        let now = self.clock.now();
        if self.strain.stalled(due, now) {
            let late = rough(now.since(due));
            let reason = format!("a timer fired {late} late; attempts that it ended prove nothing");
            self.emit_all(vec![Event::new(EventKind::ProcessStalled, reason)]);
        }
    }

    /// Returns an endpoint to rotation whose pause has passed.
    #[cold]
    pub(in crate::engine) fn resume(&self, number: u32) {
        let now = self.clock.now();
        self.change(|control, snapshot, events| {
            let placement = self.slab.state(number).placement();
            let Some(slot) = self.slot_of(snapshot, number) else { return };
            if placement.no_calls_until() == Time::from_nanos(0) || now < placement.no_calls_until() {
                return;
            }
            if placement.forced_out_until() != Time::from_nanos(0) {
                placement.end_forced(&control.lock);
            }
            placement.set_paused_until(Time::from_nanos(0), &control.lock);
            self.reconcile(control, snapshot, placement.slot());
            let reason = "its pause has passed";
            events.push(snapshot.about(slot, Event::new(EventKind::EndpointReadmitted, reason)));
        });
    }

    /// Ends the pauses if no endpoint is left in rotation.
    pub(super) fn end_pauses_if_alone(&self, control: &mut Control, snapshot: &Snapshot) {
        if snapshot.available() == 0 {
            self.end_pauses(control, snapshot);
        }
    }

    /// Makes the other endpoints due for a probe call soon, because the first one of a service
    /// without endpoints in use has answered.
    pub(super) fn recall(&self, snapshot: &Snapshot, now: Time) {
        for slot in &snapshot.slots {
            let at = now + RECALL.mul_f64(self.random.unit());
            self.apply(slot.state, Input::Due { at, level: 0 }, now);
        }
        self.probe_from(now);
    }

    pub(super) fn eject(
        &self,
        control: &mut Control,
        snapshot: &Snapshot,
        slot: &Slot,
        cause: Cause,
        now: Time,
        events: &mut Vec<Event>,
    ) {
        let state = self.slab.state(slot.state);
        let placement = state.placement();
        let level = BreakerPolicy::decayed(state.breaker().read().level, placement.closed_for(now));
        placement.set_cause(cause, &control.lock);
        if let Some(change) = self.apply(slot.state, Input::Open { level }, now) {
            state.count_opened();
            self.strain.ejected(match cause {
                Cause::Hard => EjectionReason::Failures,
                Cause::Outlier => EjectionReason::Outlier,
                Cause::Ambiguous | Cause::Confirmed => EjectionReason::Overload,
            });
            self.moved(control, snapshot, slot.state, change, events);
        }
    }

    /// Begins a freeze: every endpoint that is out on ambiguous evidence returns, scores start
    /// afresh, and pauses end.
    fn freeze(&self, control: &mut Control, snapshot: &Snapshot, now: Time, events: &mut Vec<Event>) {
        if self.freeze_only(control, snapshot, now, events) {
            self.strain.rest_silence(now + snapshot.policy.freeze);
        }
    }

    /// Begins a freeze, after which silence counts. Returns whether it has begun: not if there is one, or if it is to
    /// last no time.
    fn freeze_only(
        &self,
        control: &mut Control,
        snapshot: &Snapshot,
        now: Time,
        events: &mut Vec<Event>,
    ) -> bool {
        let time = snapshot.policy.freeze;
        if self.strain.is_frozen(now) || time.is_zero() {
            return false;
        }
        self.strain.freeze(now + time);
        let reason = format!(
            "most endpoints stop answering in time, as in an overload; timeouts and overload answers take none \
             out for {}",
            rough(time)
        );
        events.push(Event::new(EventKind::CommonCause, reason));
        for slot in snapshot.slots.iter().filter(|slot| slot.claim.eligible()) {
            let state = self.slab.state(slot.state);
            state.clear_failing();
            self.slab.clear_window(slot.state);
            let closed = state.breaker().admit_if_closed().is_some();
            if closed || matches!(state.placement().cause(), Cause::Ambiguous | Cause::Confirmed) {
                if let Some(change) = self.apply(slot.state, Input::Close, now) {
                    state.count_recovered();
                    self.moved(control, snapshot, slot.state, change, events);
                }
            }
        }
        self.end_pauses(control, snapshot);
        true
    }

    fn end_pauses(&self, control: &mut Control, snapshot: &Snapshot) {
        for slot in &snapshot.slots {
            self.end_pause(control, snapshot, slot.state);
        }
    }

    fn end_pause(&self, control: &mut Control, snapshot: &Snapshot, number: u32) {
        let placement = self.slab.state(number).placement();
        if placement.paused_until() != Time::from_nanos(0) {
            placement.set_paused_until(Time::from_nanos(0), &control.lock);
            self.reconcile(control, snapshot, placement.slot());
        }
    }

    /// Whether the endpoint's breaker opened for this cause and has not closed since.
    pub(super) fn is_out_for(&self, number: u32, cause: Cause) -> bool {
        let state = self.slab.state(number);
        state.placement().cause() == cause && state.breaker().admit_if_closed().is_none()
    }

    fn slot_of<'s>(&self, snapshot: &'s Snapshot, number: u32) -> Option<&'s Slot> {
        let index = self.slab.state(number).placement().slot();
        snapshot.slots.get(index as usize).filter(|slot| slot.state == number)
    }

    /// Runs a change under the control lock, and emits its events afterwards.
    pub(super) fn change(&self, change: impl FnOnce(&mut Control, &Snapshot, &mut Vec<Event>)) {
        let mut events = Vec::new();
        {
            let mut control = self.control();
            let snapshot = self.snapshot.load_full();
            change(&mut control, &snapshot, &mut events);
            if snapshot.recompute_shares() {
                events.push(shares_event(&snapshot));
                active_source::emit(&mut control, &snapshot, &mut events);
            }
        }
        self.emit_all(events);
    }
}
