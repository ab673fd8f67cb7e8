//! What the failures of a service's endpoints have in common, and the rules that keep an overload
//! from taking endpoints out one after another.
//!
//! A timeout and an overload answer are *ambiguous*: an endpoint that is down and an endpoint that
//! gets more calls than it can answer look the same. Ambiguous evidence may therefore take out only
//! part of a tier (the cap), unless probe calls confirm it, and takes out nothing at all while the
//! service is *frozen*: when the last endpoint in use fails as well and none has answered since, when
//! an endpoint that was taken out answers again as soon as it is left alone, or when the first answer
//! after all have failed is a late one (`first_answer`), the cause is load, and every endpoint is
//! needed. The rules were found by simulation; `failover-sim` judges them.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use crate::engine::ejections::{EjectionCounts, EjectionReason, Ejections};
use crate::engine::mean_answer::MeanAnswer;
use crate::runtime::clock::Time;

/// How long failures are remembered together after the last one.
const TROUBLE: Duration = Duration::from_secs(60);
/// While the cap holds endpoints in use, the endpoints that are out become due for a probe call at
/// most this often; for as long, any call may be the probe call.
const CAP_PROBES: Duration = Duration::from_secs(5);
/// How long a decision of the cap is not repeated.
const CAP_PAUSE: Duration = Duration::from_millis(100);
/// After a freeze, silence does not count for this time.
const SILENCE_REST: Duration = Duration::from_secs(30);
/// Starts of successful calls are compared at this resolution.
const SUCCESS_STEP: u64 = 10_000_000;

/// What a failure says about its endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Evidence {
    /// The endpoint refused, reset or answered with an error.
    Hard,
    /// The endpoint did not answer in time, or answered that it is overloaded. An endpoint is
    /// silent if others have answered calls that began well after its first failure.
    Ambiguous { silent: bool },
}

impl Evidence {
    /// The reason of an ejection on this evidence.
    pub(crate) fn reason(self) -> EjectionReason {
        match self {
            Self::Hard => EjectionReason::Failures,
            Self::Ambiguous { .. } => EjectionReason::Overload,
        }
    }
}

/// The endpoints beside the one that is suspect.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Situation {
    /// The endpoints of all tiers with a closed breaker, including the suspect one.
    pub(crate) in_use: u32,
    /// The eligible endpoints of its tier.
    pub(crate) members: u32,
    /// The endpoints of its tier that are out on ambiguous evidence that no probe call confirmed.
    pub(crate) unconfirmed: u32,
    /// The share of a tier that ambiguous evidence may take out.
    pub(crate) max_share: f64,
    /// Whether a service without available endpoints refuses calls instead of trying all.
    pub(crate) fail_fast: bool,
}

/// What happens to a suspect endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Its breaker opens.
    Eject,
    /// It stays in use, because too many others are out.
    Hold,
    /// It stays in use, and those that are out on ambiguous evidence return.
    Freeze,
}

/// Decides what happens to a suspect endpoint.
pub(crate) fn judge(evidence: Evidence, of: &Situation) -> Verdict {
    let allowed = ((f64::from(of.members) * of.max_share) as u32).max(1);
    match evidence {
        Evidence::Ambiguous { silent: false } if of.in_use <= 1 && !of.fail_fast => Verdict::Freeze,
        Evidence::Ambiguous { silent: false } if of.unconfirmed >= allowed => Verdict::Hold,
        Evidence::Hard | Evidence::Ambiguous { .. } => Verdict::Eject,
    }
}

/// The failures of a service as a whole. Times are in nanoseconds; 0 means never.
#[derive(Debug)]
pub(crate) struct Strain {
    /// Reports consider successes until this time: during a trouble, and always if slow calls are
    /// watched. While all calls succeed, a report reads only this value.
    heeds_until: AtomicU64,
    trouble_until: AtomicU64,
    /// Failures since the last success.
    failures: AtomicU32,
    /// The latest start of a call that succeeded during the trouble.
    latest_success: AtomicU64,
    /// How long answers take during the trouble.
    mean_answer: MeanAnswer,
    frozen_until: AtomicU64,
    /// Silence does not count before this time.
    rests_until: AtomicU64,
    /// When the cap last made endpoints due for a probe call.
    capped_at: AtomicU64,
    /// No decision of the cap before this time.
    decide_from: AtomicU64,
    ejections: EjectionCounts,
    /// When the attempts of all endpoints are compared next.
    compare_at: AtomicU64,
    /// When a stall of this process was last noticed.
    stalled_at: AtomicU64,
}

impl Strain {
    pub(crate) const fn new() -> Self {
        Self {
            heeds_until: AtomicU64::new(0),
            trouble_until: AtomicU64::new(0),
            failures: AtomicU32::new(0),
            latest_success: AtomicU64::new(0),
            mean_answer: MeanAnswer::new(),
            frozen_until: AtomicU64::new(0),
            rests_until: AtomicU64::new(0),
            capped_at: AtomicU64::new(0),
            decide_from: AtomicU64::new(0),
            ejections: EjectionCounts::new(),
            compare_at: AtomicU64::new(0),
            stalled_at: AtomicU64::new(0),
        }
    }

    /// Whether a report must consider a success.
    #[inline]
    pub(crate) fn heeds_successes(&self, now: Time) -> bool {
        now.as_nanos() < self.heeds_until.load(Ordering::Relaxed)
    }

    /// Makes reports consider every success, or only those of a trouble.
    pub(crate) fn heed_all(&self, all: bool) {
        let until = if all { u64::MAX } else { self.trouble_until.load(Ordering::Relaxed) };
        self.heeds_until.store(until, Ordering::Relaxed);
    }

    /// Whether some call has failed recently.
    fn in_trouble(&self, now: Time) -> bool {
        now.as_nanos() < self.trouble_until.load(Ordering::Relaxed)
    }

    /// Records a failure. Returns the number of failures since the last success. At the beginning of
    /// a trouble, `latest_success` gives the latest start of a call that has succeeded.
    pub(crate) fn failed(&self, now: Time, latest_success: impl FnOnce() -> Time) -> u32 {
        if !self.in_trouble(now) {
            self.failures.store(0, Ordering::Relaxed);
            self.mean_answer.clear();
            self.latest_success.store(latest_success().as_nanos(), Ordering::Relaxed);
        }
        let until = (now + TROUBLE).as_nanos();
        self.trouble_until.fetch_max(until, Ordering::Relaxed);
        self.heeds_until.fetch_max(until, Ordering::Relaxed);
        self.failures.fetch_add(1, Ordering::Relaxed).saturating_add(1)
    }

    /// Records that a call which began at this time is answered now.
    pub(crate) fn answered(&self, began: Time, now: Time) {
        self.mean_answer.record(now.nanos_since(began), now);
        if self.failures.load(Ordering::Relaxed) != 0 {
            self.failures.store(0, Ordering::Relaxed);
        }
        // Coarse steps, so that few successes write a value that all threads share.
        if began.as_nanos() >= self.latest_success.load(Ordering::Relaxed) + SUCCESS_STEP {
            self.latest_success.fetch_max(began.as_nanos(), Ordering::Relaxed);
        }
    }

    /// The mean duration of answers during the trouble, in nanoseconds; 0 if there are none.
    pub(crate) fn mean_answer(&self) -> f32 {
        self.mean_answer.nanos()
    }

    /// Failures since the last success.
    pub(crate) fn failures(&self) -> u32 {
        self.failures.load(Ordering::Relaxed)
    }

    /// Whether an endpoint that has failed since `since` is silent: another one has answered a call
    /// that began so much later. An overload stops all endpoints at about the same time.
    pub(crate) fn is_silent(&self, since: Time, lead: Duration, now: Time) -> bool {
        let rests = now < Time::from_nanos(self.rests_until.load(Ordering::Relaxed));
        !rests && Time::from_nanos(self.latest_success.load(Ordering::Relaxed)) >= since + lead
    }

    pub(crate) fn is_frozen(&self, now: Time) -> bool {
        self.frozen_for(now) > Duration::ZERO
    }

    /// How long the service remains frozen.
    pub(crate) fn frozen_for(&self, now: Time) -> Duration {
        Time::from_nanos(self.frozen_until.load(Ordering::Relaxed)).since(now)
    }

    /// Freezes the service. Silence does not count until then. Requires the control lock.
    pub(crate) fn freeze(&self, until: Time) {
        self.frozen_until.store(until.as_nanos(), Ordering::Relaxed);
        self.rests_until.store(until.as_nanos(), Ordering::Relaxed);
        self.capped_at.store(0, Ordering::Relaxed);
    }

    /// Lets silence rest after a freeze until this time. Requires the control lock.
    pub(crate) fn rest_silence(&self, after: Time) {
        self.rests_until.store((after + SILENCE_REST).as_nanos(), Ordering::Relaxed);
    }

    /// Ends a freeze and the rest after it.
    pub(crate) fn thaw(&self) {
        self.frozen_until.store(0, Ordering::Relaxed);
        self.rests_until.store(0, Ordering::Relaxed);
    }

    /// Whether the cap has just left an endpoint in use, so that its decision is not repeated.
    pub(crate) fn is_decided(&self, now: Time) -> bool {
        let decided = now.as_nanos() < self.decide_from.load(Ordering::Relaxed);
        if decided {
            self.ejections.hold(EjectionReason::Overload);
        }
        decided
    }

    /// Records that the cap left an endpoint in use. Returns whether those that are out become due
    /// for a probe call. Requires the control lock.
    pub(crate) fn hold(&self, now: Time) -> bool {
        self.ejections.hold(EjectionReason::Overload);
        self.decide_from.store((now + CAP_PAUSE).as_nanos(), Ordering::Relaxed);
        let probes = !self.is_capped(now);
        if probes {
            self.capped_at.store(now.as_nanos().max(1), Ordering::Relaxed);
        }
        probes
    }

    /// Lets the cap decide again, because the endpoints have changed.
    pub(crate) fn reconsider(&self) {
        self.decide_from.store(0, Ordering::Relaxed);
    }

    /// Whether the cap has made endpoints due for a probe call recently.
    pub(crate) fn is_capped(&self, now: Time) -> bool {
        let at = self.capped_at.load(Ordering::Relaxed);
        at != 0 && now < Time::from_nanos(at) + CAP_PROBES
    }

    /// Whether this call compares the attempts of all endpoints: the first failure after an interval.
    pub(crate) fn takes_comparison(&self, now: Time, interval: Duration) -> bool {
        let due = self.compare_at.load(Ordering::Relaxed);
        let next = (now + interval).as_nanos();
        now.as_nanos() >= due
            && self.compare_at.compare_exchange(due, next, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }

    /// Counts a suspect endpoint that was left in use.
    pub(crate) fn left_in_use(&self, reason: EjectionReason) {
        self.ejections.hold(reason);
    }

    /// Counts an endpoint that was taken out.
    pub(crate) fn ejected(&self, reason: EjectionReason) {
        self.ejections.enforce(reason);
    }

    /// The numbers of endpoints that were taken out or left in use.
    pub(crate) fn ejections(&self) -> Ejections {
        self.ejections.read()
    }

    /// Records that this process noticed a timer late. Returns true for the first one of a stall.
    pub(crate) fn stalled(&self, due: Time, now: Time) -> bool {
        let before = self.stalled_at.fetch_max(now.as_nanos(), Ordering::Relaxed);
        Time::from_nanos(before) < due
    }

    /// How often a suspect endpoint was left in use.
    pub(crate) fn unenforced(&self) -> u64 {
        self.ejections.unenforced()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Time {
        Time::from_nanos(millis * 1_000_000)
    }

    #[test]
    fn hard_evidence_ejects_and_ambiguous_evidence_only_within_the_cap() {
        let of = |in_use, members, unconfirmed| Situation {
            in_use,
            members,
            unconfirmed,
            max_share: 0.5,
            fail_fast: false,
        };
        let vague = Evidence::Ambiguous { silent: false };
        let silent = Evidence::Ambiguous { silent: true };
        for (evidence, situation, expected) in [
            (Evidence::Hard, of(1, 1, 0), Verdict::Eject),
            (Evidence::Hard, of(1, 10, 9), Verdict::Eject),
            (vague, of(1, 1, 0), Verdict::Freeze),
            (vague, of(2, 2, 0), Verdict::Eject),
            (vague, of(1, 2, 1), Verdict::Freeze),
            (vague, of(3, 3, 0), Verdict::Eject),
            (vague, of(2, 3, 1), Verdict::Hold),
            (vague, of(2, 3, 0), Verdict::Eject),
            (vague, of(6, 10, 4), Verdict::Eject),
            (vague, of(5, 10, 5), Verdict::Hold),
            (silent, of(5, 10, 5), Verdict::Eject),
            // The one that has answered may wait for its probe call.
            (silent, of(1, 10, 9), Verdict::Eject),
            // The only endpoint of its tier, with one in the next tier.
            (vague, of(2, 1, 0), Verdict::Eject),
            (vague, Situation { fail_fast: true, ..of(1, 1, 0) }, Verdict::Eject),
            (vague, Situation { max_share: 1.0, ..of(2, 10, 8) }, Verdict::Eject),
        ] {
            assert_eq!(judge(evidence, &situation), expected, "{evidence:?} {situation:?}");
        }
    }

    #[test]
    fn failures_count_until_a_success_or_a_minute_without_any() {
        let strain = Strain::new();
        let fail = |now| strain.failed(at(now), || at(0));
        assert_eq!((fail(0), fail(1), strain.failures()), (1, 2, 2));
        strain.answered(at(1), at(1));
        assert_eq!((strain.failures(), fail(2)), (0, 1));
        assert!(strain.in_trouble(at(60_001)) && !strain.in_trouble(at(60_002)));
        assert_eq!(fail(70_000), 1);
    }

    #[test]
    fn a_success_before_the_first_failure_counts_as_well() {
        let strain = Strain::new();
        strain.failed(at(6_000), || at(5_990));
        assert!(strain.is_silent(at(5_000), Duration::from_millis(500), at(6_000)));
    }

    #[test]
    fn an_endpoint_is_silent_if_another_answers_a_call_that_began_later() {
        let strain = Strain::new();
        let half = Duration::from_millis(500);
        assert!(!strain.is_silent(at(5_000), half, at(6_000)));
        strain.answered(at(5_400), at(5_400));
        assert!(!strain.is_silent(at(5_000), half, at(6_000)), "it may have stopped with the others");
        strain.answered(at(5_500), at(5_500));
        assert!(strain.is_silent(at(5_000), half, at(6_000)));
        strain.freeze(at(36_000));
        assert!(!strain.is_silent(at(5_000), half, at(35_999)));
        assert!(strain.is_silent(at(5_000), half, at(36_000)), "after such a freeze, silence counts");
        strain.rest_silence(at(36_000));
        assert!(!strain.is_silent(at(5_000), half, at(65_999)));
        assert!(strain.is_silent(at(5_000), half, at(66_000)));
        strain.thaw();
        assert!(strain.is_silent(at(5_000), half, at(10_000)) && !strain.is_frozen(at(10_000)));
    }

    #[test]
    fn the_cap_probes_at_most_every_five_seconds() {
        let strain = Strain::new();
        assert!(strain.hold(at(1_000)));
        assert!(strain.is_decided(at(1_099)) && !strain.is_decided(at(1_100)));
        assert!(!strain.hold(at(5_999)));
        assert!(strain.hold(at(6_000)));
        strain.reconsider();
        assert!(!strain.is_decided(at(6_000)));
        assert_eq!(strain.unenforced(), 4);
    }
}
