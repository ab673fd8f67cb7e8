//! Records the result of an attempt.

use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::contract::classify::reason::Reason;
use crate::contract::classify::{Classified, Outcome};
use crate::engine::breaker::atomic::Change;
use crate::engine::breaker::{Admission, Decision, Input};
use crate::engine::gate::Vague;
use crate::engine::state::EndpointState;
use crate::engine::state::ewma::{LONGEST_PENALTY, PENALTY};
use crate::engine::state::last_failure::Noted;
use crate::engine::state::placement::Cause;
use crate::engine::strain::Evidence;
use crate::engine::{Engine, RawPick, Transition};
use crate::model::attempt_class::AttemptClass;
use crate::model::breaker_state::BreakerState;
use crate::runtime::clock::Time;
use crate::runtime::rush::Timing;

/// The penalty of a failure is at most this many times the mean latency of the others.
const PEERS: f32 = 20.0;
/// The same from the second hard failure in a row until the breaker decides: about a second while the others
/// are idle. With [`PEERS`], a dead endpoint gets so few calls that it counts as available for a minute.
const TESTED: f32 = 2.5;
/// The number of endpoints that are a large enough sample.
const MAX_PEERS: usize = 64;
/// How much later than the first overload answer of a silent endpoint others have been called and have
/// answered. Overload answers are prompt, however long an attempt may take.
const PROMPT: Duration = Duration::from_millis(500);
/// The pause before an endpoint is probed again after an inconclusive probe call.
const PAUSE: Duration = Duration::from_millis(50);

impl Engine {
    /// Ends an attempt: counts it, updates the breaker, and returns its duration in nanoseconds, or
    /// something less than a tick if it was not timed.
    /// Without a class the attempt was cancelled, which is neither a success nor a failure.
    #[inline]
    pub(crate) fn report(&self, mut pick: RawPick, class: impl Into<Option<AttemptClass>>) -> u64 {
        let class = class.into();
        let plain = pick.is_plain();
        if !plain {
            self.emit_transition(&mut pick);
        }
        let (number, admission, began) = (pick.state(), pick.admission(), pick.began());
        let state = self.slab.state(number);
        let success = class == Some(AttemptClass::Success);
        let timing = pick.timing();
        if timing == Timing::Skipped && success && plain && state.breaker().is_quiet() {
            // It began at this time or later.
            if !self.strain.heeds_successes(began) {
                state.succeed_untimed();
                return 0;
            }
        }
        let now = self.clock.now();
        let took = now.nanos_since(began);
        // The breaker comes first: once the call has ended, the state may be reused for another
        // endpoint.
        let due = if success {
            if !plain || !state.breaker().is_quiet() || self.strain.heeds_successes(now) {
                self.weigh(number, admission, class, began, now);
            }
            if timing != Timing::Skipped {
                state.ewma().update(took, now);
            }
            state.succeed(took, timing)
        } else {
            self.weigh(number, admission, class, began, now);
            self.report_other(number, class, (began, took, timing), now)
        };
        if due {
            self.note_reading(now);
        }
        took
    }

    /// Ends an attempt that was no success. Returns whether other work is due.
    #[inline(never)]
    fn report_other(
        &self,
        number: u32,
        class: Option<AttemptClass>,
        (began, took, timing): (Time, u64, Timing),
        now: Time,
    ) -> bool {
        let state = self.slab.state(number);
        match class {
            Some(AttemptClass::Rejected) => state.ewma().update(took, now),
            _ => self.penalise(number, class, began, took, now),
        }
        state.end(class, took, timing)
    }

    /// Records how an attempt failed, before its end is reported, so that the events of the end name
    /// the reason.
    #[cold]
    #[inline(never)]
    pub(crate) fn note_failure(&self, number: u32, class: AttemptClass, reason: Option<Reason>) {
        let noted = Noted { class, reason, at: self.clock.now() };
        self.slab.state(number).note_failure(noted);
    }

    /// Records a failure that ended a reply whose attempt had succeeded. A breaker that is not closed
    /// learns nothing from it: the attempt may have begun before it opened.
    #[cold]
    #[inline(never)]
    pub(crate) fn report_late(&self, number: u32, classified: Classified) {
        let (outcome, reason) = classified.into_parts();
        let class = AttemptClass::from(outcome);
        let Some(admission) = self.slab.state(number).breaker().admit_if_closed() else { return };
        if class.is_failure() {
            let now = self.clock.now();
            self.note_failure(number, class, reason);
            self.weigh(number, admission, Some(class), now, now);
            if let Outcome::Overload(Some(pause)) = outcome {
                self.charge(number, pause);
            }
        }
    }

    /// Records that an endpoint has requested a pause, which counts as the latency of its attempt.
    pub(crate) fn charge(&self, number: u32, pause: Duration) {
        let now = self.clock.now();
        self.slab.state(number).ewma().raise_to(self.limited(number, pause, PEERS, now), now);
        self.pause(number, pause);
    }

    /// Ends a call that was dropped, which is neither a success nor a failure.
    #[cold]
    pub(crate) fn cancel(&self, pick: RawPick) {
        self.report(pick, None);
    }

    /// Emits the event of the change that a pick made to the breaker. A call that may take long
    /// does this as soon as the pick is made.
    #[inline]
    pub(crate) fn emit_transition(&self, pick: &mut RawPick) {
        match pick.take_transition() {
            Transition::No => {}
            Transition::Resumed => self.resume(pick.state()),
            Transition::MovedOn => self.emit_moved_on(pick.state()),
            Transition::HalfOpen => self.emit_half_open(self.slab.state(pick.state())),
        }
    }

    /// Records what the end of an attempt says about its endpoint and about the service.
    #[cold]
    #[inline(never)]
    fn weigh(&self, number: u32, admission: Admission, class: Option<AttemptClass>, began: Time, now: Time) {
        let state = self.slab.state(number);
        let closed = state.breaker().admit_if_closed() == Some(admission);
        let first = !state.is_failing();
        let overloaded = class == Some(AttemptClass::Success) && self.consider_first_answer(began, now);
        let (input, evidence) = match class {
            Some(AttemptClass::Success) => {
                if now.nanos_since(began) >= self.slow_from.load(Ordering::Relaxed) {
                    self.count_slow(number, admission, now);
                }
                self.strain.answered(began, now);
                state.clear_failing();
                (Input::Success(admission), None)
            }
            // A rejected request is still an answer, which is what a probe call needs.
            Some(AttemptClass::Rejected) => {
                self.strain.answered(began, now);
                state.clear_failing();
                let input = if closed { Input::Release(admission) } else { Input::Success(admission) };
                (input, None)
            }
            Some(AttemptClass::Failure | AttemptClass::NotSent) => {
                self.count_failure(now);
                state.failing_from(began);
                (Input::Failure(admission), Some(Evidence::Hard))
            }
            Some(class @ (AttemptClass::Timeout | AttemptClass::Overload)) => {
                self.count_failure(now);
                let since = state.failing_from(began);
                let half = self.call_policy().usual_attempt() / 2;
                let lead = if class == AttemptClass::Overload { half.min(PROMPT) } else { half };
                let silent = self.strain.is_silent(since, lead, now);
                let evidence = Evidence::Ambiguous { silent };
                match class {
                    // While the service is frozen, a timeout says nothing about its endpoint.
                    AttemptClass::Timeout if closed && self.strain.is_frozen(now) => {
                        (Input::Release(admission), Some(evidence))
                    }
                    AttemptClass::Timeout => (Input::Failure(admission), Some(evidence)),
                    _ => {
                        state.overloaded_from(now);
                        (Input::Overload(admission), Some(evidence))
                    }
                }
            }
            Some(AttemptClass::Local) | None => (Input::Release(admission), None),
        };
        if admission.permit || !matches!(input, Input::Release(_)) {
            self.update_breaker(number, input, evidence, now);
        }
        if closed && (evidence.is_some() || matches!(input, Input::Success(_))) {
            self.count_rate(number, input, evidence, now);
        }
        if let (true, Some(Evidence::Ambiguous { silent })) = (closed, evidence) {
            let overload = class == Some(AttemptClass::Overload);
            self.feed_gate(number, Vague { silent, first, overload }, now);
        }
        if overloaded {
            self.recognise_late_answer();
        }
    }

    /// Counts an attempt for the failure rate, if that is watched. Timeouts and overload answers do not
    /// count while the service is frozen.
    fn count_rate(&self, number: u32, input: Input, evidence: Option<Evidence>, now: Time) {
        let Some(policy) = self.snapshot.load().policy.failure_rate else { return };
        let vague = matches!(evidence, Some(Evidence::Ambiguous { .. }));
        if vague && self.strain.is_frozen(now) {
            return;
        }
        let reached = self.slab.window(number).record(evidence, now, &policy);
        let closed = self.slab.state(number).breaker().admit_if_closed().is_some();
        if let Some(evidence) = reached.filter(|_| closed) {
            self.suspect(number, input, evidence, now);
        }
    }

    /// Counts a slow success. A probe call that is slow has failed.
    #[cold]
    #[inline(never)]
    fn count_slow(&self, number: u32, admission: Admission, now: Time) {
        self.slab.state(number).count_slow();
        self.compare_if_due(now);
        if admission.permit {
            self.update_breaker(number, Input::Failure(admission), Some(Evidence::Hard), now);
        }
    }

    fn compare_if_due(&self, now: Time) {
        let outliers = self.snapshot.load().policy.outliers;
        if outliers.enabled && self.strain.takes_comparison(now, outliers.interval) {
            self.compare_endpoints(now);
        }
    }

    fn count_failure(&self, now: Time) {
        self.note_reading(now);
        self.compare_if_due(now);
        if self.strain.failed(now, || self.latest_success(now)) > self.snapshot.load().eligible {
            // Every call consults the rotation of a service whose endpoints all fail.
            self.probe_from(now);
        }
    }

    /// Returns the latest start of a successful call, as far as the average latencies of endpoints
    /// without failures tell: while all calls succeed, nothing else is recorded.
    fn latest_success(&self, now: Time) -> Time {
        let snapshot = self.snapshot.load();
        let quiet = |state: &&EndpointState| state.breaker().is_quiet();
        let in_use = snapshot.tiers.iter().flat_map(|tier| tier.members.available());
        let states = in_use.map(|state| self.slab.state(state.load(Ordering::Relaxed))).filter(quiet);
        states.take(MAX_PEERS).map(|state| state.ewma().last_start(now)).max().unwrap_or(Time::from_nanos(0))
    }

    pub(super) fn update_breaker(&self, number: u32, input: Input, evidence: Option<Evidence>, now: Time) {
        let state = self.slab.state(number);
        let unit = self.random.unit();
        let (decision, change) = state.breaker().apply(input, now, &self.breaker_rules(), unit);
        if let Some(change) = change {
            return self.transition(number, state, change);
        }
        match (decision, evidence) {
            (Decision::Suspect, Some(evidence)) => return self.suspect(number, input, evidence, now),
            (Decision::Ignored, _) if state.take_expired() => self.emit_half_open_expired(state),
            _ => {}
        }
        match input {
            Input::Success(admission) if admission.permit => {
                if state.placement().cause() == Cause::Ambiguous && self.strain.is_capped(now) {
                    self.recognise_overload();
                }
                self.probe_from(now);
            }
            // The permit is free again. After an inconclusive probe call, the next one waits:
            // otherwise a caller whose calls are all inconclusive would send every one of them to
            // this endpoint.
            Input::Release(admission) if admission.permit => self.probe_after(now, PAUSE),
            _ => {}
        }
    }

    fn transition(&self, number: u32, state: &EndpointState, change: Change) {
        let to = change.to.state();
        if to == BreakerState::Closed {
            state.count_recovered();
        } else if to == BreakerState::Open {
            state.count_opened();
        }
        self.breaker_changed(number, change);
    }

    /// Updates the average latency after an attempt without a good answer.
    #[cold]
    #[inline(never)]
    fn penalise(&self, number: u32, class: Option<AttemptClass>, began: Time, took: u64, now: Time) {
        let took = Duration::from_nanos(took);
        match class {
            // A lower bound: the attempt would have taken longer.
            None => self.slab.state(number).ewma().raise_to(took, now),
            Some(AttemptClass::Local) => {}
            _ => {
                let state = self.slab.state(number);
                let penalty = |peers| self.limited(number, took.max(PENALTY), peers, now);
                let hard = matches!(class, Some(AttemptClass::Failure | AttemptClass::NotSent));
                let undecided = || self.breaker_rules().is_undecided(&state.breaker().read());
                if state.is_failing_since(began) {
                    // A failure after a success may be a single one.
                    state.ewma().penalise(penalty(PEERS), now);
                } else if hard && undecided() {
                    state.ewma().penalise(penalty(TESTED), now);
                } else {
                    // No failure decides anything, or it may be an overload, which calls prolong.
                    state.ewma().raise_to(penalty(PEERS), now);
                }
            }
        }
    }

    /// Limits a penalty to this many times the mean latency of the other endpoints in use.
    fn limited(&self, number: u32, penalty: Duration, peers: f32, now: Time) -> Duration {
        let others = self.mean_latency(&self.snapshot.load(), number, now);
        let most = others.map_or(LONGEST_PENALTY, |mean| Duration::from_nanos((mean * peers) as u64));
        penalty.min(most)
    }
}
